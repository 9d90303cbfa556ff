package snp_test

import (
	"crypto/ecdsa"
	"crypto/sha512"
	"encoding/asn1"
	"math/big"
	"slices"
	"testing"

	"hitoku.dev/attest/snp"
	"hitoku.dev/attest/snp/snptest"
)

// verifyOnly is the least that any verifier must do: one P-384 verification by the standard library.
func verifyOnly(tb testing.TB, leaf *snptest.Leaf, raw []byte) func() {
	der := signatureDER(tb, raw)
	return func() {
		digest := sha512.Sum384(raw[:snp.SignedSize])
		if !ecdsa.VerifyASN1(&leaf.Key.PublicKey, digest[:], der) {
			tb.Error("the signature does not match")
		}
	}
}

func signatureDER(tb testing.TB, raw []byte) []byte {
	var n [2]*big.Int
	for i := range n {
		le := slices.Clone(raw[snp.SignedSize+72*i : snp.SignedSize+72*i+72])
		slices.Reverse(le)
		n[i] = new(big.Int).SetBytes(le)
	}
	der, err := asn1.Marshal(struct{ R, S *big.Int }{n[0], n[1]})
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

// BenchmarkVerify is a report whose chain is remembered, beside the least possible.
func BenchmarkVerify(b *testing.B) {
	w := world()
	report := w.Report(snp.Milan, 3)
	bare, extended := w.Sign(report), w.SignExtended(report)
	v := snp.NewVerifier(options(w, w.Collateral(report)))
	run := func(raw []byte) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r, err := v.Verify(raw, now); err != nil || !r.OK() {
					b.Fatal(err)
				}
			}
		}
	}
	b.Run("bare", run(bare))
	b.Run("extended", run(extended))
	b.Run("P384", func(b *testing.B) {
		check := verifyOnly(b, w.Leaf(report), bare)
		b.ReportAllocs()
		for b.Loop() {
			check()
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if r, err := v.Verify(bare, now); err != nil || !r.OK() {
					b.Error(err)
				}
			}
		})
	})
	b.Run("first", func(b *testing.B) { // nothing remembered
		o := options(w, nil)
		for b.Loop() {
			if r, err := snp.NewVerifier(o).Verify(extended, now); err != nil || !r.OK() {
				b.Fatal(err)
			}
		}
	})
}
