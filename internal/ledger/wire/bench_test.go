package wire_test

import (
	"testing"

	"hitoku.dev/internal/ledger/wire"
)

func BenchmarkVerifyCommand(b *testing.B) {
	for _, scheme := range []string{"ed25519", "p256"} {
		b.Run(scheme, func(b *testing.B) {
			item := signedCommands(b)[scheme].Encode()
			b.ReportAllocs()
			for b.Loop() {
				s, err := wire.ParseSigned(item)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := s.VerifyCommand(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerifyRecord(b *testing.B) {
	raw := wire.SignRecord(header(), make([]byte, 16<<10), seeded(1)).Encode()
	key := public(seeded(1))
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		rec, err := wire.ParseRecord(raw)
		if err != nil || !rec.Verify(key) {
			b.Fatal(err)
		}
	}
}
