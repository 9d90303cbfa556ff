package keys_test

import (
	"crypto/hpke"
	"errors"
	"testing"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/wire"
)

// FuzzOpen gives bytes to what opens: as ciphertext, which never opens, and as the plaintext that a
// client has sealed to the node, of which only well-formed payloads come through.
func FuzzOpen(f *testing.F) {
	k, err := keys.ParseHPKE(wire.SuiteX25519, make([]byte, 32))
	if err != nil {
		f.Fatal(err)
	}
	o := options(k)
	f.Add(wire.Pad(o.Payload.Encode(), 1024))
	f.Add(wire.Pad(encodeBatch(f, command(repeat(1), "{}")), 1024))
	f.Add(wire.Pad(wire.Notice{Application: "a"}.Encode(), 2048))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := keys.OpenData(repeat(1), dataHeader(), wire.Data{CT: b}); !errors.Is(err, keys.ErrOpen) {
			t.Fatalf("DATA: %v", err)
		}
		if _, err := keys.OpenNotice(k, repeat(1), repeat(2), wire.SealedNotice{Enc: k.Public(), CT: b}); !errors.Is(err, keys.ErrOpen) {
			t.Fatalf("notification: %v", err)
		}
		q := wire.Request{Kind: wire.RequestCommands, KeyID: wire.RequestKeyID(k.Public()), NotAfter: 9, Bucket: uint32(len(b))}
		kem, err := wire.SuiteX25519.KEM()
		if err != nil {
			t.Fatal(err)
		}
		to, err := kem.NewPublicKey(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		ledger, iid := repeat(1), repeat(2)
		enc, s, err := hpke.NewSender(to, hpke.HKDFSHA256(), hpke.AES256GCM(), wire.Name("REQ", ledger[:], iid[:], q.KeyID[:]))
		if err != nil {
			t.Fatal(err)
		}
		q.Enc = enc
		if q.CT, err = s.Seal(q.Associated(), b); err != nil {
			t.Fatal(err)
		}
		p, _, err := keys.OpenRequest(k, ledger, iid, q)
		if err == nil && string(wire.Pad(p.Encode(), len(b))) != string(b) {
			t.Fatal("a payload is taken that encodes to other bytes")
		}
		if err != nil && !errors.Is(err, wire.ErrMalformed) {
			t.Fatalf("request: %v", err)
		}
	})
}
