package attest

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
)

func testBinding() *Binding {
	return &Binding{Purpose: PurposeAppTLS, Subject: [32]byte{1}, Nonce: bytes.Repeat([]byte{2}, NonceSize), AccountRoot: [32]byte{3}}
}

func TestReportDataCoversEveryMember(t *testing.T) {
	t.Parallel()
	seen := map[[ReportDataSize]byte]string{}
	for name, edit := range map[string]func(*Binding){
		"as it is":     func(*Binding) {},
		"purpose":      func(b *Binding) { b.Purpose = PurposeNode },
		"subject":      func(b *Binding) { b.Subject[31] = 1 },
		"nonce":        func(b *Binding) { b.Nonce[31] = 1 },
		"account root": func(b *Binding) { b.AccountRoot[31] = 1 },
		"config":       func(b *Binding) { b.ConfigID = make([]byte, 32) },
	} {
		b := testBinding()
		edit(b)
		data := b.ReportData()
		if other, ok := seen[data]; ok {
			t.Errorf("%s and %s have the same report data", name, other)
		}
		seen[data] = name
	}
	// The value is part of the protocol: it may never change.
	data := testBinding().ReportData()
	const want = "5076c030cd74931a17c0b65d430fa209272e1fe178f0eb87ae5526752a4886bb9512a3341403f83ce3390f2a5cd5cb996976aa9f50418068730c0bb1bff7d61e"
	if got := hex.EncodeToString(data[:]); got != want {
		t.Errorf("report data %s, wanted %s", got, want)
	}
}

func TestBindingHasOneEncoding(t *testing.T) {
	t.Parallel()
	b := testBinding()
	b.ConfigID = bytes.Repeat([]byte{4}, 32)
	der, err := b.MarshalDER()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseBinding(der)
	if err != nil || got.ReportData() != b.ReportData() {
		t.Fatalf("%+v %v", got, err)
	}
	for n := range der {
		if _, err := ParseBinding(der[:n]); err == nil {
			t.Errorf("accepted at %d bytes", n)
		}
	}
	for name, bad := range map[string][]byte{
		"byte after":  append(slices.Clone(der), 0),
		"huge":        make([]byte, maxBindingSize+1),
		"long length": slices.Concat([]byte{0x30, 0x82, 0, der[1]}, der[2:]),
	} {
		if _, err := ParseBinding(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, edit := range map[string]func(*Binding){
		"no purpose":      func(b *Binding) { b.Purpose = "" },
		"unknown purpose": func(b *Binding) { b.Purpose = "tls" },
		"short nonce":     func(b *Binding) { b.Nonce = b.Nonce[1:] },
		"short config":    func(b *Binding) { b.ConfigID = []byte{1} },
	} {
		b := testBinding()
		edit(b)
		if _, err := b.MarshalDER(); err == nil {
			t.Errorf("%s: written", name)
		}
	}
}

func TestVerdictErr(t *testing.T) {
	t.Parallel()
	v := Verdict{Accepted: true}
	if v.Err() != nil {
		t.Error("an accepted verdict has an error")
	}
	v = Verdict{Rules: []Rule{{Name: "a", OK: true}, {Name: "b", Wanted: "x", Seen: "y", Advice: "z"}}}
	var refused *RefusedError
	if err := v.Err(); !errors.As(err, &refused) || len(refused.Rules) != 1 || !strings.Contains(err.Error(), "b: wanted x, seen y (z)") {
		t.Errorf("%v", err)
	}
	if (&Result{}).OK() {
		t.Error("a result without rules is good")
	}
}

func FuzzParseBinding(f *testing.F) {
	for _, config := range [][]byte{nil, make([]byte, 32)} {
		b := testBinding()
		b.ConfigID = config
		der, err := b.MarshalDER()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	f.Add([]byte{0x30, 0})
	f.Fuzz(func(t *testing.T, der []byte) {
		b, err := ParseBinding(der)
		if err != nil {
			return
		}
		again, err := b.MarshalDER()
		if err != nil || !bytes.Equal(again, der) {
			t.Fatalf("two encodings: %v", err)
		}
	})
}
