package nitro

import (
	"bytes"
	"crypto/x509"
	"errors"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// TestStrictMembers spoils one member of a payload that is then signed anew.
func TestStrictMembers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cases := map[string]struct {
		name  string
		value any
	}{
		"empty module id":             {"module_id", ""},
		"long module id":              {"module_id", strings.Repeat("i", 257)},
		"module id of bytes":          {"module_id", []byte("i-1")},
		"module id that is no UTF-8":  {"module_id", cbor.RawMessage("\x62\xff\xfe")},
		"module id in pieces":         {"module_id", cbor.RawMessage("\x7f\x61i\xff")},
		"no module id":                {"module_id", nil},
		"another digest":              {"digest", "SHA256"},
		"digest null":                 {"digest", nil},
		"timestamp zero":              {"timestamp", 0},
		"timestamp below zero":        {"timestamp", -1},
		"timestamp of text":           {"timestamp", "1"},
		"timestamp as a float":        {"timestamp", 1.5e12},
		"timestamp with a tag":        {"timestamp", cbor.RawMessage("\xc1\x01")},
		"timestamp beyond time":       {"timestamp", uint64(1) << 63},
		"timestamp null":              {"timestamp", nil},
		"no register":                 {"pcrs", map[uint]any{}},
		"registers null":              {"pcrs", nil},
		"registers in an array":       {"pcrs", []any{make([]byte, 48)}},
		"register 32":                 {"pcrs", map[uint]any{32: make([]byte, 48)}},
		"register -1":                 {"pcrs", map[int]any{-1: make([]byte, 48)}},
		"register named by text":      {"pcrs", map[string]any{"0": make([]byte, 48)}},
		"register of 47 bytes":        {"pcrs", map[uint]any{0: make([]byte, 47)}},
		"register of 65 bytes":        {"pcrs", map[uint]any{0: make([]byte, 65)}},
		"register of text":            {"pcrs", map[uint]any{0: strings.Repeat("a", 48)}},
		"register null":               {"pcrs", map[uint]any{0: nil}},
		"register twice":              {"pcrs", cbor.RawMessage(strings.Repeat("\x00\x58\x30"+strings.Repeat("a", 48), 2))},
		"registers without an end":    {"pcrs", cbor.RawMessage("\xbf\x00\x58\x20" + strings.Repeat("a", 32) + "\xff")},
		"thousands of registers":      {"pcrs", cbor.RawMessage("\xb9\xff\xff")},
		"empty certificate":           {"certificate", []byte{}},
		"long certificate":            {"certificate", make([]byte, 1025)},
		"certificate of text":         {"certificate", "cert"},
		"empty bundle":                {"cabundle", [][]byte{}},
		"bundle null":                 {"cabundle", nil},
		"bundle of nine":              {"cabundle", make([][]byte, 9)},
		"bundle with an empty member": {"cabundle", [][]byte{w.root.Raw, {}}},
		"bundle with a long member":   {"cabundle", [][]byte{make([]byte, 1025)}},
		"bundle without an end":       {"cabundle", cbor.RawMessage("\x9f\x41a\xff")},
		"empty public key":            {"public_key", []byte{}},
		"long public key":             {"public_key", make([]byte, 1025)},
		"public key of text":          {"public_key", "key"},
		"long user data":              {"user_data", make([]byte, 513)},
		"user data in pieces":         {"user_data", cbor.RawMessage("\x5f\x41a\xff")},
		"long nonce":                  {"nonce", make([]byte, 513)},
		"nonce of undefined":          {"nonce", cbor.RawMessage("\xf7")},
		"a member more":               {"extra", 1},
		"member named by a number":    {"", cbor.RawMessage("\x01")},
		"registers of a NitroTPM":     {"nitrotpm_pcrs", map[uint]any{0: make([]byte, 48)}},
		"a length that lies":          {"nonce", cbor.RawMessage("\x5a\xff\xff\xff\xff")},
		"a deep value":                {"nonce", cbor.RawMessage(strings.Repeat("\x81", 200) + "\x00")},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := Verify(w.document(with(w.members(), tc.name, tc.value)), w.options()); !errors.Is(err, ErrFormat) {
				t.Errorf("read: %v", err)
			}
		})
	}
	for _, name := range []string{"module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"} {
		if _, err := Parse(w.document(without(w.members(), name))); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
	for _, name := range []string{"nonce", "module_id"} {
		m := w.members()
		if _, err := Parse(w.document(append(m, pair{name, []byte("again")}))); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "twice") {
			t.Errorf("%s twice: %v", name, err)
		}
	}
}

// TestStrictEnvelope spoils the COSE object, or the frame of the payload.
func TestStrictEnvelope(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	honest := w.payload(w.members(), true)
	sealed := w.seal(honest)
	good := sealed.marshal(false)
	object := func(protected, unprotected string, payload, signature []byte) []byte {
		out := appendBytes([]byte{0x84}, []byte(protected))
		out = append(out, unprotected...)
		out = appendBytes(out, payload)
		return appendBytes(out, signature)
	}
	if !bytes.Equal(object(protectedES384, "\xa0", honest, sealed.Signature), good) {
		t.Fatal("the honest object differs")
	}
	for name, raw := range map[string][]byte{
		"bytes after it":            append(bytes.Clone(good), 0),
		"twice":                     append(bytes.Clone(good), good...),
		"too long":                  append(bytes.Clone(good), make([]byte, MaxSize)...),
		"two tags":                  append([]byte{0xd2, 0xd2}, good...),
		"another tag":               append([]byte{0xd1}, good...),
		"the long form of the tag":  append([]byte{0xd8, 18}, good...),
		"an array of no length":     append(append([]byte{0x9f}, good[1:]...), 0xff),
		"the long form of four":     append([]byte{0x98, 4}, good[1:]...),
		"three members":             append([]byte{0x83}, good[1:]...),
		"five members":              append(append([]byte{0x85}, good[1:]...), 0),
		"a map":                     append([]byte{0xa4}, good[1:]...),
		"ES256":                     object("\xa1\x01\x26", "\xa0", honest, sealed.Signature),
		"no algorithm":              object("", "\xa0", honest, sealed.Signature),
		"a header more":             object("\xa2\x01\x38\x22\x04\x41a", "\xa0", honest, sealed.Signature),
		"an unprotected header":     object(protectedES384, "\xa1\x04\x41a", honest, sealed.Signature),
		"unprotected null":          object(protectedES384, "\xf6", honest, sealed.Signature),
		"unprotected without end":   object(protectedES384, "\xbf\xff", honest, sealed.Signature),
		"the long form of no map":   object(protectedES384, "\xb8\x00", honest, sealed.Signature),
		"no payload":                object(protectedES384, "\xa0", nil, sealed.Signature),
		"a long payload":            object(protectedES384, "\xa0", make([]byte, maxPayload+1), sealed.Signature),
		"a short signature":         object(protectedES384, "\xa0", honest, sealed.Signature[:95]),
		"a long signature":          object(protectedES384, "\xa0", honest, append(bytes.Clone(sealed.Signature), 0)),
		"payload that is no map":    w.seal([]byte{0x80}).marshal(false),
		"payload of 24 members":     w.seal(append([]byte{0xb8, 24}, honest[1:]...)).marshal(false),
		"payload without end":       w.seal(honest[:len(honest)-1]).marshal(false),
		"payload and more":          w.seal(append(bytes.Clone(honest), 0)).marshal(false),
		"payload with a tag":        w.seal(append([]byte{0xc1}, honest...)).marshal(false),
		"a pair without a value":    w.seal(append(bytes.Clone(honest[:len(honest)-1]), "\x61a\xff"...)).marshal(false),
		"fewer members than it has": w.seal(append([]byte{0xa8}, w.payload(w.members(), false)[1:]...)).marshal(false),
		"more members than it has":  w.seal(append([]byte{0xaa}, w.payload(w.members(), false)[1:]...)).marshal(false),
		"an end in a definite map":  w.seal(append(w.payload(w.members(), false), 0xff)).marshal(false),
		"payload as text":           bytes.Replace(good, []byte("\xa0\x59"), []byte("\xa0\x79"), 1),
		"no bytes":                  nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := Verify(raw, w.options()); !errors.Is(err, ErrFormat) {
				t.Errorf("read: %v", err)
			}
		})
	}
}

func TestRecognise(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"", "\xd2", "\x84\x44", "{}", "\x84\x43\xa1\x01\x26\xa0"} {
		if Recognise([]byte(raw)) {
			t.Errorf("%q recognised", raw)
		}
	}
}

func TestFlipEveryByteAndTruncate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	pcrs := map[uint]any{0: bytes.Repeat([]byte{1}, 48), 1: bytes.Repeat([]byte{2}, 48), 2: bytes.Repeat([]byte{3}, 48)}
	m := with(w.members(), "pcrs", pcrs)
	raw := w.document(m)
	v := NewVerifier([]*x509.Certificate{w.root})
	if r, err := v.Verify(raw, now); err != nil || !r.OK() {
		t.Fatal("the honest document was refused")
	}
	flipped := bytes.Clone(raw)
	for i := range raw {
		flipped[i] ^= 1 << (i % 8)
		if r, err := v.Verify(flipped, now); err == nil && r.OK() {
			t.Errorf("byte %d changed from %#02x to %#02x, accepted", i, raw[i], flipped[i])
		}
		flipped[i] = raw[i]
		if r, err := v.Verify(raw[:i:i], now); err == nil && r.OK() {
			t.Errorf("accepted at %d of %d bytes", i, len(raw))
		}
	}
}

// TestVerifierRemembersOnlyWhatHeld judges a good document after a bad one with the same certificates.
func TestVerifierRemembersOnlyWhatHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v := NewVerifier([]*x509.Certificate{w.root})
	m := w.members()
	good := w.document(m)
	bad := bytes.Clone(w.leaf.Raw)
	bad[len(bad)-1] ^= 1
	for range 3 {
		if r, err := v.Verify(w.document(with(w.members(), "certificate", bad)), now); err != nil || r.OK() {
			t.Fatal("a certificate with a bad signature was accepted")
		}
		if r, err := v.Verify(good, now); err != nil || !r.OK() {
			t.Fatal("the honest document was refused")
		}
		if r, err := v.Verify(good, now.AddDate(0, 0, 1)); err != nil || r.OK() {
			t.Fatal("accepted a day later")
		}
	}
}
