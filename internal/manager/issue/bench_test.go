//go:build unix

package issue

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"syscall"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/atls"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/internal/manager/ca"
	"hitoku.dev/internal/manager/issue/issuetest"
)

// signatures is the CPU time of the signatures that one certificate needs: verification of
// the request, of the quoting enclave's report and of the quote, and signing the leaf, which
// crypto/x509 verifies once more.
func signatures(b *testing.B) time.Duration {
	b.Helper()
	key := newKey(b)
	digest := sha256.Sum256([]byte("x"))
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		b.Fatal(err)
	}
	const rounds = 300
	start := cpuTime(b)
	for range rounds {
		for range 4 {
			if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], sig) {
				b.Fatal("own signature does not verify")
			}
		}
		if _, err := ecdsa.SignASN1(rand.Reader, key, digest[:]); err != nil {
			b.Fatal(err)
		}
	}
	return (cpuTime(b) - start) / rounds
}

// cpuTime is what this process has used so far, so that a busy machine does not change ratios.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkCertificate makes a certificate from a request, everything but the database:
// read, verify evidence, decide, build the leaf, sign. "x-signatures" is the ratio to the CPU
// time of the signatures alone; the target is 3.
func BenchmarkCertificate(b *testing.B) {
	w := newWorld(b, attest.PurposeAppTLS)
	collateral, err := w.auth.Collateral(now)
	if err != nil {
		b.Fatal(err)
	}
	verifier := dcap.NewVerifier(w.auth.Root(), collateral, true)
	root, err := ca.NewRoot(rand.Reader, now, ca.RootParams{AccountID: accountID, Name: "acme", Simulated: true})
	if err != nil {
		b.Fatal(err)
	}
	zone, err := ca.NewZone(root, rand.Reader, now, ca.ZoneParams{AccountID: accountID, Simulated: true, Domains: w.names})
	if err != nil {
		b.Fatal(err)
	}
	quote, binding := w.machine.Evidence(b, w.id, &w.binding)
	text := issuetest.Request(b, w.key, w.common, w.names, quote, binding)
	per := signatures(b)
	b.ReportAllocs()
	b.ResetTimer()
	start := cpuTime(b)
	for range b.N {
		req, err := ParseRequest(text)
		if err != nil {
			b.Fatal(err)
		}
		result, err := verifier.Verify(req.Quote, now)
		if err != nil {
			b.Fatal(err)
		}
		d := DecideApp(req, result, w.app)
		if d.Outcome != Issue {
			b.Fatal(d.Reason)
		}
		ext, err := atls.MarshalExtension(atls.Message{Evidence: req.Quote, Binding: req.BindingDER, Collateral: collateral})
		if err != nil {
			b.Fatal(err)
		}
		d.Leaf.Extensions = append(d.Leaf.Extensions, ext)
		if _, err := zone.Issue(rand.Reader, now, d.Leaf); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-start)/float64(b.N)/float64(per), "x-signatures")
}
