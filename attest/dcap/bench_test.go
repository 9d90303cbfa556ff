package dcap

import (
	"crypto/ecdsa"
	"crypto/rand"
	"maps"
	"slices"
	"testing"
)

// BenchmarkVerify judges quotes with collateral that was verified before, as a
// manager or a TLS client does.
func BenchmarkVerify(b *testing.B) {
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		b.Run(name, func(b *testing.B) {
			w, q := kinds[name](b)
			raw, v := w.seal(q), NewVerifier(w.root, w.collateral(), false)
			b.ReportAllocs()
			for b.Loop() {
				if r, err := v.Verify(raw, now); err != nil || !r.OK() {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkVerifyParallel shows that verifiers share nothing that they wait for.
func BenchmarkVerifyParallel(b *testing.B) {
	w, q := kinds["TDX v4"](b)
	raw, v := w.seal(q), NewVerifier(w.root, w.collateral(), false)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if r, err := v.Verify(raw, now); err != nil || !r.OK() {
				b.Error(err)
			}
		}
	})
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

// BenchmarkVerifyNewKeys judges quotes whose attestation keys were not seen
// before, so that both signatures must be verified.
func BenchmarkVerifyNewKeys(b *testing.B) {
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		b.Run(name, func(b *testing.B) {
			w, q := kinds[name](b)
			v := NewVerifier(w.root, w.collateral(), false)
			var raws [][]byte
			for range 2 * maxAttestedKeys {
				w.attestationKey = newKey(b)
				raws = append(raws, w.seal(q))
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if r, err := v.Verify(raws[i%len(raws)], now); err != nil || !r.OK() {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkTwoSignatures is the floor: the two P-256 verifications that every quote needs.
func BenchmarkTwoSignatures(b *testing.B) {
	verify := twoSignatures(b)
	b.ReportAllocs()
	for b.Loop() {
		verify()
	}
}

func twoSignatures(t testing.TB) func() {
	key := newKey(t)
	digest := make([]byte, 32)
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		for range 2 {
			if !ecdsa.VerifyASN1(&key.PublicKey, digest, sig) {
				t.Fatal("refused")
			}
		}
	}
}
