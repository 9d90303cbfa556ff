package wire_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"hitoku.dev/internal/ledger/wire"
)

// signedOf is a command of the ledger 1 by the key 3.
func signedOf(name, arguments string, nonce, expires uint64) []byte {
	pk := public(seeded(3))
	c := wire.Command{Ledger: wire.Hash{1}, Application: "erc20", Scheme: wire.SchemeEd25519, Key: pk[:], Nonce: nonce, ExpiresAt: expires, Name: name, Arguments: []byte(arguments)}
	return wire.Signed{Body: c.Encode(), Signature: ed25519.Sign(seeded(3), c.Message())}.Encode()
}

// packedBatch is a batch as the codecs' tests know structures.
type packedBatch struct {
	Ledger wire.Hash
	Items  [][]byte
}

func (b packedBatch) Encode() []byte {
	out, err := wire.EncodeBatch(b.Ledger, b.Items)
	if err != nil {
		panic(err)
	}
	return out
}

// drawSigned is a command with a signature of its scheme's length, which need not hold.
func drawSigned(t *rapid.T, ledger wire.Hash) []byte {
	scheme, k := clientKey(t)
	c := wire.Command{Ledger: ledger, Application: name(t), Scheme: scheme, Key: k, Nonce: u64(t), ExpiresAt: u64(t), Name: name(t)}
	for range rapid.IntRange(0, 4).Draw(t, "parts") {
		c.Arguments = append(c.Arguments, rapid.StringMatching(`[0-9a-f]{0,70}|["{}:A-Z]{0,9}`).Draw(t, "part")...)
	}
	s := wire.Signed{Body: c.Encode(), Signature: []byte{}}
	if scheme != wire.SchemeNone {
		s.Signature = exactly(t, 64)
	}
	return s.Encode()
}

// parsedBatch parses a batch of the ledger 1.
func parsedBatch(b []byte) (packedBatch, error) {
	items, err := wire.ParseBatch(wire.Hash{1}, b)
	return packedBatch{wire.Hash{1}, items}, err
}

func TestPackedCommand(t *testing.T) {
	t.Parallel()
	account := strings.Repeat("0123456789abcdef", 4)
	for name, c := range map[string]struct {
		arguments string
		packed    int // bytes of the arguments
	}{
		"none":                           {"", 1},
		"no digits":                      {`{"Z":"Z"}`, 1 + 1 + 9},
		"a run of 15":                    {account[:15], 1 + 1 + 15},
		"a run of 16":                    {account[:16], 1 + 1 + 1 + 8},
		"a run of 17":                    {account[:17], 1 + 1 + 1 + 8 + 1 + 1},
		"two runs with a byte between":   {account[:16] + "-" + account[:18], 1 + 1 + 1 + 8 + 1 + 1 + 1 + 9},
		"upper case":                     {strings.ToUpper(account), 1 + 1 + 64},
		"an account in JSON":             {`{"to":"` + account + `"}`, 1 + 1 + 7 + 1 + 32 + 1 + 2},
		"a decimal number of 19 digits":  {`{"amount":1000000000000000000}`, 1 + 1 + 10 + 1 + 9 + 1 + 2},
		"a run that is all of 32768":     {strings.Repeat("a", wire.MaxArguments), 3 + 1 + 3 + wire.MaxArguments/2},
		"a run within letters of digits": {"x" + account + "g" + account[:4], 1 + 1 + 1 + 1 + 32 + 1 + 5},
	} {
		signed := signedOf("transfer", c.arguments, 5, 900)
		packed, err := wire.PackCommand(wire.Hash{1}, signed)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		// scheme, key, nonce, expires_at, application, name, arguments, signature
		if want := 1 + 32 + 1 + 2 + 1 + 5 + 1 + 8 + c.packed + 64; len(packed) != want {
			t.Errorf("%s: %d bytes, wanted %d", name, len(packed), want)
		}
		if bytes.Contains(packed, append([]byte{1}, make([]byte, 31)...)) {
			t.Errorf("%s: the ledger's id is inside", name)
		}
		back, err := wire.ParseBatch(wire.Hash{1}, append(wire.U32(1), packed...))
		if err != nil || len(back) != 1 || !bytes.Equal(back[0], signed) {
			t.Errorf("%s: %x comes back: %v", name, back, err)
		}
	}
}

// TestPackedOfAnotherLedger: what was signed for another ledger does not become a command of this one.
func TestPackedOfAnotherLedger(t *testing.T) {
	t.Parallel()
	signed := signedOf("transfer", "{}", 5, 900)
	if _, err := wire.PackCommand(wire.Hash{2}, signed); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("packed for another ledger: %v", err)
	}
	b, err := wire.EncodeBatch(wire.Hash{1}, [][]byte{signed})
	if err != nil {
		t.Fatal(err)
	}
	back, err := wire.ParseBatch(wire.Hash{2}, b)
	if err != nil {
		t.Fatal(err)
	}
	s, err := wire.ParseSigned(back[0])
	if err != nil {
		t.Fatal(err)
	}
	if c, err := s.VerifyCommand(); !errors.Is(err, wire.ErrSignature) || c.Ledger != (wire.Hash{2}) {
		t.Errorf("a command that was signed for another ledger: %v", err)
	}
}

// TestPackedChanged: every changed bit of a packed command is refused, or gives a command whose
// signature does not hold.
func TestPackedChanged(t *testing.T) {
	t.Parallel()
	for name, s := range signedCommands(t) {
		if name == "none" {
			continue // it proves nothing
		}
		b, err := wire.EncodeBatch(wire.Hash{1}, [][]byte{s.Encode()})
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			for bit := range 8 {
				changed := bytes.Clone(b)
				changed[i] ^= 1 << bit
				back, err := wire.ParseBatch(wire.Hash{1}, changed)
				for _, item := range back {
					var x wire.Signed
					if x, err = wire.ParseSigned(item); err == nil {
						_, err = x.VerifyCommand()
					}
				}
				if !errors.Is(err, wire.ErrMalformed) && !errors.Is(err, wire.ErrSignature) {
					t.Fatalf("%s: bit %d of byte %d changed: %v", name, bit, i, err)
				}
			}
		}
	}
}

func TestNotPacked(t *testing.T) {
	t.Parallel()
	all := signedCommands(t)
	short := wire.Signed{Body: all["ed25519"].Body, Signature: all["ed25519"].Signature[1:]}
	signedNone := wire.Signed{Body: all["none"].Body, Signature: make([]byte, 64)}
	for name, b := range map[string][]byte{
		"nothing":                    nil,
		"no command":                 []byte("transfer"),
		"a query":                    wire.Signed{Body: []byte{2}}.Encode(),
		"signature of 63 bytes":      short.Encode(),
		"signature with scheme 0":    signedNone.Encode(),
		"bytes after the end":        append(all["ed25519"].Encode(), 0),
		"a command and no signature": wire.Signed{Body: all["ed25519"].Body}.Encode(),
	} {
		if _, err := wire.PackCommand(wire.Hash{1}, b); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s is packed: %v", name, err)
		}
		if _, err := wire.EncodeBatch(wire.Hash{1}, [][]byte{all["p256"].Encode(), b}); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("a batch with %s: %v", name, err)
		}
	}
}

// packedParts builds packed commands by hand, so that each part can be of another form.
type packedParts struct{ scheme, key, nonce, expires, application, name, arguments, signature []byte }

func goodParts() packedParts {
	return packedParts{[]byte{0}, make([]byte, 20), []byte{5}, []byte{0x84, 7}, []byte("\x05erc20"), []byte("\x04name"), []byte("\x02\x02{}"), nil}
}

func (p packedParts) bytes() []byte {
	return bytes.Join([][]byte{p.scheme, p.key, p.nonce, p.expires, p.application, p.name, p.arguments, p.signature}, nil)
}

// packedRefused are forms of packed commands that no writer writes.
func packedRefused() map[string][]byte {
	with := func(f func(*packedParts)) []byte { p := goodParts(); f(&p); return p.bytes() }
	arguments := func(s string) []byte { return with(func(p *packedParts) { p.arguments = []byte(s) }) }
	return map[string][]byte{
		"another scheme":                         with(func(p *packedParts) { p.scheme = []byte{3} }),
		"a key that ends":                        append([]byte{1}, make([]byte, minPacked-1)...),
		"nonce in more bytes than it needs":      with(func(p *packedParts) { p.nonce = []byte{0x85, 0} }),
		"nonce of 65 bits":                       with(func(p *packedParts) { p.nonce = append(bytes.Repeat([]byte{0xff}, 9), 2) }),
		"nonce of eleven bytes":                  with(func(p *packedParts) { p.nonce = append(bytes.Repeat([]byte{0x80}, 10), 1) }),
		"application of 65 bytes":                with(func(p *packedParts) { p.application = append([]byte{65}, bytes.Repeat([]byte("a"), 65)...) }),
		"application that is not UTF-8":          with(func(p *packedParts) { p.application = []byte{1, 0xff} }),
		"name that is not UTF-8":                 with(func(p *packedParts) { p.name = []byte{2, 0xc0, 0x80} }),
		"length of a name in two bytes":          with(func(p *packedParts) { p.name = []byte("\x84\x00name") }),
		"arguments of 32769 bytes":               arguments("\x81\x80\x02"),
		"arguments that end":                     arguments("\x03\x03{}"),
		"arguments longer than they say":         arguments("\x02\x03{} "),
		"arguments in two parts as they are":     arguments("\x02\x01{\x00\x01}"),
		"digits as they are":                     arguments("\x10\x100123456789abcdef"),
		"a short run of digits as digits":        arguments("\x0e\x00\x07\x01\x23\x45\x67\x89\xab\xcd"),
		"a run of digits cut short":              arguments("\x14\x00\x08\x01\x23\x45\x67\x89\xab\xcd\xef\x0400aa"),
		"a run of digits begun late":             arguments("\x12\x0200\x08\x01\x23\x45\x67\x89\xab\xcd\xef"),
		"more digits than the arguments have":    arguments("\x10\x00\x09\x01\x23\x45\x67\x89\xab\xcd\xef\x00"),
		"no digits in their turn":                arguments("\x04\x02{}\x00\x02{}"),
		"an empty part after empty arguments":    arguments("\x00\x00"),
		"signature with scheme 0":                with(func(p *packedParts) { p.signature = make([]byte, 64) }),
		"signature that ends":                    with(func(p *packedParts) { p.scheme, p.key, p.signature = []byte{1}, make([]byte, 32), make([]byte, 63) }),
		"a key of scheme 2 with that of another": with(func(p *packedParts) { p.scheme, p.signature = []byte{2}, make([]byte, 64) }),
	}
}

// minPacked is the shortest packed command: without application, name, arguments and signature.
const minPacked = 26

func TestPackedRefused(t *testing.T) {
	t.Parallel()
	if _, err := wire.ParseBatch(wire.Hash{1}, append(wire.U32(1), goodParts().bytes()...)); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	for name, b := range packedRefused() {
		b = append(b, make([]byte, max(0, minPacked-len(b)))...)
		if items, err := wire.ParseBatch(wire.Hash{1}, append(wire.U32(1), b...)); !errors.Is(err, wire.ErrMalformed) || items != nil {
			t.Errorf("%s: %x, %v", name, items, err)
		}
	}
	if _, err := wire.ParseBatch(wire.Hash{1}, append(wire.U32(2), goodParts().bytes()...)); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("a count above the items: %v", err)
	}
	if _, err := wire.ParseBatch(wire.Hash{1}, make([]byte, wire.MaxRecord+1)); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("a batch above its limit: %v", err)
	}
}

// packedVectors are packed commands of every scheme, and forms of them that are refused.
func packedVectors(t testing.TB) (out []packedVector) {
	ledger := wire.Hash{1}
	add := func(signed []byte) {
		b, err := wire.PackCommand(ledger, signed)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, packedVector{Ledger: hx(ledger[:]), Packed: hx(b), Signed: hx(signed), Valid: true})
	}
	all := signedCommands(t)
	for _, name := range []string{"ed25519", "p256", "none"} {
		add(all[name].Encode())
	}
	digits := strings.Repeat("0123456789abcdef", 4)
	for _, arguments := range []string{"", digits[:15], digits[:16], digits[:17], digits[:16] + "-" + digits[:19], `{"recipient":"` + digits + `","amount":1000000000000000000}`, strings.ToUpper(digits), strings.Repeat("Z", 300)} {
		add(signedOf("transfer", arguments, 1<<64-1, 127))
	}
	refused := packedRefused()
	for _, name := range slices.Sorted(maps.Keys(refused)) {
		b := refused[name]
		if _, err := wire.ParseBatch(ledger, slices.Concat(wire.U32(1), b)); !errors.Is(err, wire.ErrMalformed) {
			t.Fatalf("%s: %v", name, err)
		}
		out = append(out, packedVector{Ledger: hx(ledger[:]), Packed: hx(b), Reason: name})
	}
	return out
}
