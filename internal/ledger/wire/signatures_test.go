package wire_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"math/big"
	"slices"
	"testing"

	"hitoku.dev/attest"
	"hitoku.dev/internal/ledger/wire"
)

// p256 is a P-256 key made from one byte.
func p256(n byte) *ecdsa.PrivateKey {
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{n}, 32))
	if err != nil {
		panic(err)
	}
	return k
}

// compressed is the 33-byte form of a public key.
func compressed(k *ecdsa.PrivateKey) []byte {
	b, err := k.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	return append([]byte{2 + b[64]&1}, b[1:33]...)
}

// signP256 is r ‖ s, with s in the lower half when low is true and in the upper one when it is not.
func signP256(t testing.TB, k *ecdsa.PrivateKey, message []byte, low bool) []byte {
	digest := sha256.Sum256(message)
	der, err := k.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	var v struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &v); err != nil {
		t.Fatal(err)
	}
	r, s := v.R, v.S
	n := elliptic.P256().Params().N
	if (s.Cmp(new(big.Int).Rsh(n, 1)) <= 0) != low {
		s.Sub(n, s)
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

func header() wire.Header {
	return wire.Header{Type: wire.TypeAck, Ledger: wire.Hash{1}, Epoch: 2, Incarnation: wire.IncarnationID(public(seeded(1))), N: 3, PrevOwn: wire.Hash{4}, Anchor: 5, AnchorChain: wire.Hash{6}}
}

// TestRecordSignature changes every byte of a record: no change keeps a signature that holds.
func TestRecordSignature(t *testing.T) {
	t.Parallel()
	b := wire.SignRecord(header(), []byte("body"), seeded(1)).Encode()
	good, err := wire.ParseRecord(b)
	if err != nil || !good.Verify(public(seeded(1))) {
		t.Fatalf("the record does not verify: %v", err)
	}
	if good.Verify(public(seeded(2))) {
		t.Error("the record verifies under another key")
	}
	for i := range b {
		for bit := range 8 {
			changed := bytes.Clone(b)
			changed[i] ^= 1 << bit
			if rec, err := wire.ParseRecord(changed); err == nil && (rec.Verify(public(seeded(1))) || rec.Hash() == good.Hash()) {
				t.Fatalf("bit %d of byte %d changed: still holds", bit, i)
			}
		}
	}
}

func TestCheckpointSignature(t *testing.T) {
	t.Parallel()
	ledger, iid := wire.Hash{9}, wire.IncarnationID(public(seeded(1)))
	c := wire.SignedCheckpoint{Checkpoint: wire.Checkpoint{Position: 7, Chain: wire.Hash{1}, Digest: wire.Hash{2}, Outcomes: wire.Hash{3}, Epoch: wire.Hash{4}}}
	c.Signature = [64]byte(ed25519.Sign(seeded(1), wire.CheckpointMessage(ledger, iid, c.Checkpoint)))
	if !c.Verify(ledger, public(seeded(1))) {
		t.Fatal("the checkpoint does not verify")
	}
	if c.Verify(wire.Hash{8}, public(seeded(1))) || c.Verify(ledger, public(seeded(2))) {
		t.Error("the checkpoint verifies for another ledger or key")
	}
	b := c.Encode()
	for i := range b {
		changed := bytes.Clone(b)
		changed[i] ^= 4
		if x, err := wire.ParseSignedCheckpoint(changed); err == nil && x.Verify(ledger, public(seeded(1))) {
			t.Fatalf("byte %d changed: still holds", i)
		}
	}
}

// signedCommands are commands of every scheme.
func signedCommands(t testing.TB) map[string]wire.Signed {
	c := wire.Command{Ledger: wire.Hash{1}, Application: "erc20", Nonce: 5, ExpiresAt: 900, Name: "transfer", Arguments: []byte(`{"amount":"1"}`)}
	out := map[string]wire.Signed{}
	pk := public(seeded(3))
	c.Scheme, c.Key = wire.SchemeEd25519, pk[:]
	out["ed25519"] = wire.Signed{Body: c.Encode(), Signature: ed25519.Sign(seeded(3), c.Message())}
	c.Scheme, c.Key = wire.SchemeP256, compressed(p256(5))
	out["p256"] = wire.Signed{Body: c.Encode(), Signature: signP256(t, p256(5), c.Message(), true)}
	c.Scheme, c.Key = wire.SchemeNone, make([]byte, 20)
	out["none"] = wire.Signed{Body: c.Encode()}
	return out
}

func TestCommandSignature(t *testing.T) {
	t.Parallel()
	for name, s := range signedCommands(t) {
		c, err := s.VerifyCommand()
		if err != nil || c.Name != "transfer" {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := s.VerifyQuery(); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: as a query: %v", name, err)
		}
		if name == "none" {
			continue // it proves nothing: see TestRefusedSignatures
		}
		b := s.Encode()
		for i := range b {
			for bit := range 8 {
				changed := bytes.Clone(b)
				changed[i] ^= 1 << bit
				x, err := wire.ParseSigned(changed)
				if err == nil {
					_, err = x.VerifyCommand()
				}
				if !errors.Is(err, wire.ErrMalformed) && !errors.Is(err, wire.ErrSignature) {
					t.Fatalf("%s: bit %d of byte %d changed: %v", name, bit, i, err)
				}
			}
		}
	}
}

func TestQuerySignature(t *testing.T) {
	t.Parallel()
	pk := public(seeded(3))
	q := wire.Query{Kind: wire.KindCounter, Ledger: wire.Hash{1}, Application: "erc20", Scheme: wire.SchemeEd25519, Key: pk[:], ID: [16]byte{1}, NotAfter: 9}
	s := wire.Signed{Body: q.Encode(), Signature: ed25519.Sign(seeded(3), q.Message())}
	if _, err := s.VerifyQuery(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.VerifyCommand(); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("as a command: %v", err)
	}
	// A signature for a command does not serve a query with the same bytes.
	s.Signature = ed25519.Sign(seeded(3), wire.Name("COMMAND", s.Body))
	if _, err := s.VerifyQuery(); !errors.Is(err, wire.ErrSignature) {
		t.Errorf("signed as a command: %v, wanted ErrSignature", err)
	}
}

func TestRefusedSignatures(t *testing.T) {
	t.Parallel()
	all := signedCommands(t)
	body := func(name string) (wire.Command, wire.Signed) {
		c, _ := all[name].VerifyCommand()
		return c, wire.Signed{Body: bytes.Clone(all[name].Body), Signature: bytes.Clone(all[name].Signature)}
	}
	rekey := func(name string, key []byte) wire.Signed {
		c, s := body(name)
		c.Key = key
		s.Body = c.Encode()
		return s
	}
	_, none := body("none")
	none.Signature = make([]byte, 64)
	_, short := body("ed25519")
	short.Signature = short.Signature[:63]
	_, absent := body("ed25519")
	absent.Signature = nil
	high, highSigned := body("p256")
	highSigned.Signature = signP256(t, p256(5), high.Message(), false)
	_, zero := body("p256")
	zero.Signature = make([]byte, 64)
	offCurve := bytes.Repeat([]byte{0xff}, 33)
	offCurve[0] = 2
	uncompressed := compressed(p256(5))
	uncompressed[0] = 4
	for name, c := range map[string]struct {
		s    wire.Signed
		want error
	}{
		"scheme none with a signature": {none, wire.ErrMalformed},
		"signature of 63 bytes":        {short, wire.ErrMalformed},
		"no signature":                 {absent, wire.ErrMalformed},
		"s in the upper half":          {highSigned, wire.ErrSignature},
		"r and s zero":                 {zero, wire.ErrSignature},
		"key not on the curve":         {rekey("p256", offCurve), wire.ErrSignature},
		"key with another first byte":  {rekey("p256", uncompressed), wire.ErrSignature},
		"key of another length":        {rekey("p256", make([]byte, 32)), wire.ErrMalformed},
		"scheme none with 32 bytes":    {rekey("none", make([]byte, 32)), wire.ErrMalformed},
		"no command":                   {wire.Signed{Body: []byte{1}}, wire.ErrMalformed},
	} {
		if _, err := c.s.VerifyCommand(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, wanted %v", name, err, c.want)
		}
	}
}

// smallOrder are encodings of the eight points of small order, and those that are not canonical.
var smallOrder = []string{
	"0100000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000080",
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0000000000000000000000000000000000000000000000000000000000000080",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
}

// TestSmallOrder forges: under a key of small order the standard library takes a signature with the
// neutral point and zero for at least every eighth message.
func TestSmallOrder(t *testing.T) {
	t.Parallel()
	forged := 0
	for _, s := range smallOrder {
		raw, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		key := [32]byte(raw)
		for i := range 64 {
			message := []byte{byte(i)}
			signature := [64]byte{1} // R is the neutral point, S is 0
			if ed25519.Verify(key[:], message, signature[:]) {
				forged++
			}
			if wire.VerifyEd25519(key, message, signature) {
				t.Fatalf("a signature under %s holds", s)
			}
		}
		p := wire.Policy{Threshold: 1, Admins: [][32]byte{key}}
		if _, err := wire.ParsePolicy(p.Encode()); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("policy with administrator %s: %v", s, err)
		}
		j := wire.Join{Key: key}
		if _, err := wire.ParseJoin(j.Encode()); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("JOIN with key %s: %v", s, err)
		}
	}
	if forged == 0 {
		t.Error("the standard library takes none of the forgeries: the test shows nothing")
	}
}

func TestVerifyAdmins(t *testing.T) {
	t.Parallel()
	p := wire.Policy{Threshold: 2}
	admins := []ed25519.PrivateKey{seeded(1), seeded(2), seeded(3)}
	for _, a := range admins {
		p.Admins = append(p.Admins, public(a))
	}
	message := []byte("message")
	by := func(indices ...int) (out []wire.AdminSignature) {
		for _, i := range indices {
			out = append(out, wire.AdminSignature{Index: uint8(i), Signature: [64]byte(ed25519.Sign(admins[i%3], message))})
		}
		return out
	}
	for name, c := range map[string]struct {
		signatures []wire.AdminSignature
		want       error
		ok         bool
	}{
		"two":         {by(0, 2), nil, true},
		"three":       {by(0, 1, 2), nil, true},
		"one":         {by(1), nil, false},
		"none":        {nil, nil, false},
		"twice":       {by(1, 1), wire.ErrMalformed, false},
		"falling":     {by(2, 1), wire.ErrMalformed, false},
		"not there":   {by(0, 3), wire.ErrMalformed, false},
		"one bad":     {append(by(0, 1), wire.AdminSignature{Index: 2}), wire.ErrSignature, false},
		"exchanged":   {[]wire.AdminSignature{{Index: 0, Signature: by(1)[0].Signature}, {Index: 1, Signature: by(0)[0].Signature}}, wire.ErrSignature, false},
		"other words": {[]wire.AdminSignature{{Index: 0, Signature: [64]byte(ed25519.Sign(admins[0], []byte("other")))}, by(1)[0]}, wire.ErrSignature, false},
	} {
		err := wire.VerifyAdmins(p, message, c.signatures)
		if (err == nil) != c.ok || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckBinding(t *testing.T) {
	t.Parallel()
	subject, nonce := wire.Hash{1}, wire.Hash{2}
	encode := func(edit func(*attest.Binding)) []byte {
		b := attest.Binding{Purpose: attest.PurposeApp, Subject: subject, Nonce: nonce[:], AccountRoot: wire.Hash{3}}
		edit(&b)
		der, err := b.MarshalDER()
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	good := encode(func(*attest.Binding) {})
	if err := wire.CheckBinding(good, subject, nonce); err != nil {
		t.Fatal(err)
	}
	for name, der := range map[string][]byte{
		"nothing":       nil,
		"other purpose": encode(func(b *attest.Binding) { b.Purpose = attest.PurposeNode }),
		"other subject": encode(func(b *attest.Binding) { b.Subject[0]++ }),
		"other nonce":   encode(func(b *attest.Binding) { b.Nonce = slices.Repeat([]byte{9}, 32) }),
		"a byte more":   append(bytes.Clone(good), 0),
	} {
		if err := wire.CheckBinding(der, subject, nonce); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v, wanted ErrMalformed", name, err)
		}
	}
}

func TestCheckPublic(t *testing.T) {
	t.Parallel()
	for _, suite := range []wire.Suite{wire.SuiteX25519, wire.SuiteHybrid} {
		kem, err := suite.KEM()
		if err != nil {
			t.Fatal(err)
		}
		k, err := kem.NewPrivateKey(bytes.Repeat([]byte{3}, 32))
		if err != nil {
			t.Fatal(err)
		}
		b := k.PublicKey().Bytes()
		if err := suite.CheckPublic(b); err != nil {
			t.Fatal(err)
		}
		zero := append(bytes.Clone(b[:len(b)-32]), make([]byte, 32)...)
		for name, bad := range map[string][]byte{"none": nil, "short": b[1:], "long": append(bytes.Clone(b), 0), "small order": zero} {
			if err := suite.CheckPublic(bad); !errors.Is(err, wire.ErrMalformed) {
				t.Errorf("suite %d, %s: %v, wanted ErrMalformed", suite, name, err)
			}
		}
	}
	if err := wire.Suite(3).CheckPublic(make([]byte, 32)); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("suite 3: %v", err)
	}
}
