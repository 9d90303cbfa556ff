package keys_test

import (
	"crypto/rand"
	"fmt"
	"testing"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/wire"
)

func BenchmarkOpenRequest(b *testing.B) {
	for _, suite := range suites() {
		b.Run(fmt.Sprintf("suite=%d", suite), func(b *testing.B) {
			k := newKey(b, suite)
			q, _ := seal(b, options(k))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := keys.OpenRequest(k, repeat(1), repeat(2), q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSealReply(b *testing.B) {
	k := newKey(b, wire.SuiteX25519)
	q, _ := seal(b, options(k))
	_, sealer, err := keys.OpenRequest(k, repeat(1), repeat(2), q)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := sealer.Seal(body(300), 1024, rand.Reader, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// hundred is a batch of 100 commands of the usual size.
func hundred() [][]byte {
	out := make([][]byte, 100)
	for i := range out {
		out[i] = command(repeat(1), fmt.Sprintf(`{"recipient":"%x","amount":%d}`, repeat(byte(i)), i))
	}
	return out
}

func BenchmarkSealData(b *testing.B) {
	batch := hundred()
	b.ReportAllocs()
	for b.Loop() {
		sealData(b, repeat(1), dataHeader(), batch, nil)
	}
}

func BenchmarkOpenData(b *testing.B) {
	d := sealData(b, repeat(1), dataHeader(), hundred(), nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := keys.OpenData(repeat(1), dataHeader(), d); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWraps seals an epoch's secret to all members; it reports the wraps' bytes too.
func BenchmarkWraps(b *testing.B) {
	for _, suite := range suites() {
		for _, n := range []int{3, 16, 64, 256} {
			b.Run(fmt.Sprintf("suite=%d/members=%d", suite, n), func(b *testing.B) {
				public := newKey(b, suite).Public()
				cm, size := keys.Commitment(repeat(2), repeat(3)), 0
				for b.Loop() {
					size = 0
					for slot := range uint16(n) {
						w, err := keys.SealWrap(suite, public, repeat(1), 1, repeat(2), slot, cm, repeat(3), 0, [32]byte{})
						if err != nil {
							b.Fatal(err)
						}
						size += 10 + len(w.Enc) + len(w.CT)
					}
				}
				b.ReportMetric(float64(size), "wrap-bytes")
			})
		}
	}
}

func BenchmarkOpenWrap(b *testing.B) {
	for _, suite := range suites() {
		b.Run(fmt.Sprintf("suite=%d", suite), func(b *testing.B) {
			k, cm := newKey(b, suite), keys.Commitment(repeat(2), repeat(3))
			w, err := keys.SealWrap(suite, k.Public(), repeat(1), 1, repeat(2), 1, cm, repeat(3), 0, [32]byte{})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, _, _, _, err := keys.OpenWrap(k, repeat(1), 1, repeat(2), 1, cm, w); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
