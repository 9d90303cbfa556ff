package dcap

import (
	"crypto/ecdsa"
	"crypto/rand"
	"testing"
)

// BenchmarkVerify judges a quote with collateral that was verified before, as a
// manager or a TLS client does.
func BenchmarkVerify(b *testing.B) {
	w := newWorld(b)
	raw, v := w.seal(w.quote()), NewVerifier(w.root, w.collateral(), false)
	b.ReportAllocs()
	for b.Loop() {
		if r, err := v.Verify(raw, now); err != nil || !r.OK() {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerifyCold reads and verifies the collateral each time.
func BenchmarkVerifyCold(b *testing.B) {
	w := newWorld(b)
	raw, o := w.seal(w.quote()), Options{Root: w.root, Collateral: w.collateral(), At: now}
	b.ReportAllocs()
	for b.Loop() {
		if r, err := Verify(raw, o); err != nil || !r.OK() {
			b.Fatal(err)
		}
	}
}

// BenchmarkTwoSignatures is the floor: the two P-256 verifications that every quote needs.
func BenchmarkTwoSignatures(b *testing.B) {
	key := newKey(b)
	digest := make([]byte, 32)
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		for range 2 {
			if !ecdsa.VerifyASN1(&key.PublicKey, digest, sig) {
				b.Fatal("refused")
			}
		}
	}
}
