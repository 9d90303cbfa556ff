package keys_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/wire"
)

func dataHeader() wire.Header {
	return wire.Header{Type: wire.TypeData, Ledger: repeat(1), Epoch: 2, Incarnation: repeat(3), N: 4, PrevOwn: repeat(5), Anchor: 6, AnchorChain: repeat(7)}
}

// command is an encoded wire.Signed of a ledger; its signature does not hold.
func command(ledger wire.Hash, arguments string) []byte {
	key := repeat(2)
	c := wire.Command{Ledger: ledger, Application: "erc20", Scheme: wire.SchemeEd25519, Key: key[:], Nonce: 300, ExpiresAt: 9000, Name: "transfer", Arguments: []byte(arguments)}
	return wire.Signed{Body: c.Encode(), Signature: make([]byte, 64)}.Encode()
}

// encodeBatch is a batch of the ledger 1.
func encodeBatch(t testing.TB, items ...[]byte) []byte {
	t.Helper()
	b, err := wire.EncodeBatch(repeat(1), items)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sealData(t testing.TB, log [32]byte, h wire.Header, batch [][]byte, r keys.Recorder) wire.Data {
	t.Helper()
	d, err := keys.SealData(log, h, batch, r)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestData(t *testing.T) {
	t.Parallel()
	log, h, batch := repeat(8), dataHeader(), [][]byte{command(repeat(1), "one"), command(repeat(1), ""), command(repeat(1), strings.Repeat("Z", 3000))}
	d := sealData(t, log, h, batch, nil)
	got, err := keys.OpenData(log, h, d)
	if err != nil || len(got) != 3 || !bytes.Equal(got[2], batch[2]) || len(d.CT) != 4096+16 {
		t.Fatalf("%d items in %d bytes: %v", len(got), len(d.CT), err)
	}
	if again := sealData(t, log, h, batch, nil); again.Salt != d.Salt || !bytes.Equal(again.CT, d.CT) {
		t.Error("the same header and batch give other bytes")
	}
	if empty, err := keys.OpenData(log, h, sealData(t, log, h, nil, nil)); err != nil || len(empty) != 0 {
		t.Errorf("empty batch: %v", err)
	}
	edit := func(f func(*wire.Header)) wire.Header {
		h := dataHeader()
		f(&h)
		return h
	}
	for name, c := range map[string]struct {
		log [32]byte
		h   wire.Header
		d   wire.Data
	}{
		"key of another epoch": {repeat(9), h, d},
		"another sender":       {log, edit(func(h *wire.Header) { h.Incarnation[0]++ }), d},
		"another ledger":       {log, edit(func(h *wire.Header) { h.Ledger[0]++ }), d},
		"another epoch":        {log, edit(func(h *wire.Header) { h.Epoch++ }), d},
		"another number":       {log, edit(func(h *wire.Header) { h.N++ }), d},
		"another predecessor":  {log, edit(func(h *wire.Header) { h.PrevOwn[0]++ }), d},
		"another anchor":       {log, edit(func(h *wire.Header) { h.Anchor++ }), d},
		"another history":      {log, edit(func(h *wire.Header) { h.AnchorChain[0]++ }), d},
		"another salt":         {log, h, wire.Data{Salt: repeat(1), CT: d.CT}},
		"another record's ct":  {log, h, wire.Data{Salt: d.Salt, CT: sealData(t, log, h, batch[:1], nil).CT}},
		"nothing":              {log, h, wire.Data{}},
	} {
		if got, err := keys.OpenData(c.log, c.h, c.d); !errors.Is(err, keys.ErrOpen) || got != nil {
			t.Errorf("%s: %v, wanted ErrOpen", name, err)
		}
	}
	for i := range d.CT {
		changed := wire.Data{Salt: d.Salt, CT: bytes.Clone(d.CT)}
		changed.CT[i] ^= 1
		if _, err := keys.OpenData(log, h, changed); !errors.Is(err, keys.ErrOpen) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
}

// TestDataOfAMember is what a member that holds the key, but not to the rules, can seal: with another
// salt, another form of the batch. All is refused, and not only by the tag.
func TestDataOfAMember(t *testing.T) {
	t.Parallel()
	log, h := repeat(8), dataHeader()
	ex := func(k [32]byte, name string, items ...[]byte) [32]byte {
		out, err := hkdf.Expand(sha256.New, k[:], string(wire.Name(name, items...)), 32)
		if err != nil {
			t.Fatal(err)
		}
		return [32]byte(out)
	}
	sender := ex(log, "SENDER", h.Incarnation[:])
	saltOf := func(m []byte) wire.Hash {
		k := ex(sender, "SALT")
		mac := hmac.New(sha256.New, k[:])
		mac.Write(wire.Name("DATA", h.Encode(), m))
		return wire.Hash(mac.Sum(nil))
	}
	seal := func(salt wire.Hash, m []byte) wire.Data {
		k := ex(sender, "ENTRY", salt[:])
		block, err := aes.NewCipher(k[:])
		if err != nil {
			t.Fatal(err)
		}
		gcm, err := cipher.NewGCM(block)
		if err != nil {
			t.Fatal(err)
		}
		return wire.Data{Salt: salt, CT: gcm.Seal(nil, make([]byte, 12), m, append(h.Encode(), salt[:]...))}
	}
	one := command(repeat(1), "one")
	good := wire.Pad(encodeBatch(t, one), 1024)
	if d := sealData(t, log, h, [][]byte{one}, nil); d.Salt != saltOf(good) || !bytes.Equal(d.CT, seal(saltOf(good), good).CT) {
		t.Fatal("the test seals otherwise than the package")
	}
	if _, err := keys.OpenData(log, h, seal(saltOf(good), wire.Pad(encodeBatch(t), 1024))); !errors.Is(err, keys.ErrOpen) {
		t.Errorf("salt of another batch: %v, wanted ErrOpen", err)
	}
	if _, err := keys.OpenData(log, h, seal(repeat(1), good)); !errors.Is(err, keys.ErrOpen) {
		t.Errorf("salt of choice: %v, wanted ErrOpen", err)
	}
	many := make([][]byte, wire.MaxBatch+1)
	for i := range many {
		c := wire.Command{Ledger: repeat(1), Key: make([]byte, 20)}
		many[i] = wire.Signed{Body: c.Encode()}.Encode()
	}
	for name, m := range map[string][]byte{
		"no padding":       encodeBatch(t),
		"odd size":         good[:1023],
		"too large":        wire.Pad(nil, wire.MaxRecord),
		"padding not zero": append(bytes.Clone(good[:1023]), 1),
		"no list":          wire.Pad([]byte{1}, 1024),
		"too many":         wire.Pad(encodeBatch(t, many...), 32768),
		"no command":       wire.Pad(append(wire.U32(1), make([]byte, 25)...), 1024),
		"half a command":   wire.Pad(encodeBatch(t, one)[:100], 1024),
		"a byte more":      wire.Pad(append(encodeBatch(t, one), 0), 1024),
	} {
		if got, err := keys.OpenData(log, h, seal(saltOf(m), m)); !errors.Is(err, wire.ErrMalformed) || got != nil {
			t.Errorf("%s: %v, wanted ErrMalformed", name, err)
		}
	}
	if _, err := keys.SealData(log, h, many, nil); !errors.Is(err, keys.ErrTooLarge) {
		t.Errorf("sealed 1025 commands: %v", err)
	}
	large := command(repeat(1), strings.Repeat("Z", 30000))
	if _, err := keys.SealData(log, h, [][]byte{large, large, large}, nil); !errors.Is(err, keys.ErrTooLarge) {
		t.Errorf("sealed 90000 bytes: %v", err)
	}
	for name, item := range map[string][]byte{"no command": []byte("one"), "a command of another ledger": command(repeat(9), "one")} {
		if _, err := keys.SealData(log, h, [][]byte{one, item}, nil); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("sealed %s: %v", name, err)
		}
	}
}

// TestDataKeys seals many batches as crashed, rolled-back and cloned senders do: a number is used again
// with another batch, and a batch is sealed again. No key serves two plaintexts.
func TestDataKeys(t *testing.T) {
	t.Parallel()
	book := newBook()
	rapid.Check(t, func(rt *rapid.T) {
		h := dataHeader()
		h.N = uint64(rapid.IntRange(0, 3).Draw(rt, "n"))
		h.Incarnation[0] = rapid.ByteRange(0, 1).Draw(rt, "sender")
		log := repeat(rapid.ByteRange(1, 2).Draw(rt, "epoch"))
		var batch [][]byte
		for range rapid.IntRange(0, 2).Draw(rt, "count") {
			batch = append(batch, command(repeat(1), fmt.Sprint(rapid.IntRange(0, 3).Draw(rt, "command"))))
		}
		if _, err := keys.SealData(log, h, batch, book.record); err != nil {
			rt.Fatal(err)
		}
	})
	book.check(t)
	if book.repeats == 0 || len(book.seen) < 10 {
		t.Errorf("%d encryptions, %d repeated: the test shows nothing", book.sealed, book.repeats)
	}
}
