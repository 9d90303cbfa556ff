//go:build unix

package issue

import (
	"crypto/rand"
	"testing"

	"hitoku.dev/attest"
	"hitoku.dev/attest/atls"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/internal/manager/ca"
	"hitoku.dev/internal/manager/issue/issuetest"
)

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
	per := issuetest.SignatureTime(b)
	b.ReportAllocs()
	b.ResetTimer()
	start := issuetest.CPUTime(b)
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
	b.ReportMetric(float64(issuetest.CPUTime(b)-start)/float64(b.N)/float64(per), "x-signatures")
}
