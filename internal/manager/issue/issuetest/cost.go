//go:build unix

package issuetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"syscall"
	"testing"
	"time"
)

// CPUTime is what this process has used so far, so that a busy machine does not change ratios.
func CPUTime(t testing.TB) time.Duration {
	t.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// SignatureTime is the CPU time of the signatures that one certificate needs: verification of
// the request, of the quoting enclave's report and of the quote, and signing the leaf, which
// crypto/x509 verifies once more.
func SignatureTime(t testing.TB) time.Duration {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("x"))
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	const rounds = 500
	start := CPUTime(t)
	for range rounds {
		for range 4 {
			if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], sig) {
				t.Fatal("own signature does not verify")
			}
		}
		if _, err := ecdsa.SignASN1(rand.Reader, key, digest[:]); err != nil {
			t.Fatal(err)
		}
	}
	return (CPUTime(t) - start) / rounds
}
