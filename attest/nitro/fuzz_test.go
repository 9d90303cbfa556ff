package nitro

import (
	"bytes"
	"crypto/x509"
	"runtime"
	"strings"
	"testing"
)

func FuzzParse(f *testing.F) {
	w := newWorld(f)
	f.Add(w.document(w.members()))
	f.Add(w.seal(w.payload(w.members()[:6], false)).marshal(true))
	f.Add([]byte("\x84\x44" + protectedES384 + "\xa0\x41\xa0\x40"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := Parse(raw)
		if err != nil {
			return
		}
		if !Recognise(raw) {
			t.Fatal("parsed, but not recognised")
		}
		if !bytes.Contains(raw, d.Signature) {
			t.Fatal("a signature that is not there")
		}
		if _, err := Verify(raw, w.options()); err != nil {
			t.Fatalf("parsed, but: %v", err)
		}
	})
}

// FuzzPayload reads the data as a signed payload, since no fuzzer finds a signature.
func FuzzPayload(f *testing.F) {
	w := newWorld(f)
	f.Add(w.payload(w.members(), true))
	f.Add(w.payload(w.members(), false))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if d, err := parseDocument(strict(), payload); err == nil {
			_ = d.claims()
			_ = (&sign1{Payload: payload}).signed()
			if d.ModuleID == "" || len(d.PCRs) == 0 || len(d.CABundle) == 0 || d.Timestamp.IsZero() {
				t.Fatalf("a document without a member that must be there: %+v", d)
			}
		}
	})
}

// TestHostileInputsStaySmall must not run beside other tests: they would be counted too.
func TestHostileInputsStaySmall(t *testing.T) {
	w := newWorld(t)
	seal := func(name string, value any) []byte { return w.document(with(w.members(), name, value)) }
	wide := make([][]byte, maxCABundle)
	for i := range wide {
		wide[i] = bytes.Repeat([]byte{0x30}, maxCertificate)
	}
	for name, raw := range map[string][]byte{
		"a bundle at its limits": seal("cabundle", wide),
		"many members":           w.seal([]byte("\xbf" + strings.Repeat("\x60\x00", 8000) + "\xff")).marshal(false),
		"nested arrays":          w.seal(bytes.Repeat([]byte{0x81}, maxPayload)).marshal(false),
		"nested in a member":     w.seal(append([]byte("\xa1\x65nonce"), bytes.Repeat([]byte{0x81}, 16000)...)).marshal(false),
		"a long array":           w.seal(append([]byte("\xa1\x68cabundle\x9a\x00\xff\xff\xff"), make([]byte, 16000)...)).marshal(false),
		"an honest document":     w.document(w.members()),
	} {
		f := func() { _, _ = Verify(raw, w.options()) }
		f()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%s: %d bytes allocated, at most 1 MiB is wanted", name, n)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	w := newWorld(b)
	raw := w.document(w.members())
	v := NewVerifier([]*x509.Certificate{w.root})
	b.ReportAllocs()
	for b.Loop() {
		if r, err := v.Verify(raw, now); err != nil || !r.OK() {
			b.Fatal("refused")
		}
	}
}
