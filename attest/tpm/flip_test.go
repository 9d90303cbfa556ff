package tpm

import (
	"bytes"
	"crypto/x509"
	"runtime"
	"slices"
	"strings"
	"testing"

	"hitoku.dev/attest/eventlog"
)

// flipAll calls try with data in which one bit was changed, for every byte.
func flipAll(data []byte, try func(i int, flipped []byte)) {
	for i := range data {
		flipped := slices.Clone(data)
		flipped[i] ^= 1 << (i % 8)
		try(i, flipped)
	}
}

// certified is a world whose evidence rests on a certificate, in protobuf.
func certified(t testing.TB) (w *world, e *Evidence, o Options) {
	w = newWorld(t)
	e = w.evidence(eventlog.SHA256)
	e.AKCert, e.Intermediates = w.akCert.Raw, [][]byte{w.ca.Raw}
	return w, e, Options{At: now, Roots: []*x509.Certificate{w.root}}
}

func TestFlipEveryByte(t *testing.T) {
	t.Parallel()
	w, e, o := certified(t)
	raw := e.protobuf()
	honest, err := Verify(raw, o)
	if err != nil || !honest.OK() {
		t.Fatalf("the honest evidence was refused: %v %v", err, honest)
	}
	attributes := bytes.Index(raw, w.public()) + 4
	flipAll(raw, func(i int, flipped []byte) {
		if i >= attributes && i < attributes+4 {
			return // a certificate covers the key, not its attributes; TestRefusals has those that matter
		}
		if r, err := Verify(flipped, o); err == nil && r.OK() {
			t.Errorf("byte %d changed from %#02x to %#02x, accepted", i, raw[i], flipped[i])
		}
	})
}

// TestFlipEveryByteOfAzure changes the runtime data; attest/snp flips every byte of a report.
func TestFlipEveryByteOfAzure(t *testing.T) {
	t.Parallel()
	a := newAzure(t)
	report := a.snp(nil)
	e, err := Parse(a.json(map[string]any{"hcl_report": report, "vcek": a.vcek.Raw}))
	a.must(err)
	o := a.options()
	r, hardware := o.hardware(e.Azure)
	if !r.OK() {
		t.Fatalf("the honest report was refused: %v", r.Rules)
	}
	begin := hclHeader + hclHardware + 8 // before it are headers that nobody signs
	flipAll(report[begin:begin+hclRuntime-8+len(a.runtime)], func(i int, flipped []byte) {
		h, err := ParseHCL(slices.Concat(report[:begin], flipped, report[begin+len(flipped):]))
		if err == nil && reportData(h, hardware).OK {
			t.Errorf("byte %d of the runtime data changed, accepted", i)
		}
	})
	for i := hclHeader; i < begin; i += 61 {
		changed := slices.Clone(report)
		changed[i] ^= 1
		if r, err := Verify(a.json(map[string]any{"hcl_report": changed, "vcek": a.vcek.Raw}), o); err == nil && r.OK() && i < begin-8 {
			t.Errorf("byte %d of the report changed, accepted", i)
		}
	}
}

func TestTruncateEverywhere(t *testing.T) {
	t.Parallel()
	_, e, o := certified(t)
	raw := e.protobuf()
	for n := range raw {
		if r, err := Verify(raw[:n], o); err == nil && r.OK() {
			t.Errorf("accepted at %d of %d bytes", n, len(raw))
		}
	}
	a := newAzure(t)
	text := a.json(map[string]any{"hcl_report": a.snp(nil), "vcek": a.vcek.Raw})
	for n := range text {
		if r, err := Verify(text[:n], a.options()); err == nil && r.OK() {
			t.Errorf("accepted at %d of %d bytes of JSON", n, len(text))
		}
	}
}

func TestStructuresTruncated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	q := w.quote(eventlog.SHA256)
	public := w.public()
	for name, tc := range map[string]struct {
		raw   []byte
		parse func([]byte) error
	}{
		"attest":    {q.Attest, func(b []byte) error { _, err := ParseAttest(b); return err }},
		"signature": {q.Signature, func(b []byte) error { _, err := ParseSignature(b); return err }},
		"public":    {public, func(b []byte) error { _, err := ParsePublic(b); return err }},
	} {
		for n := range tc.raw {
			if tc.parse(tc.raw[:n]) == nil {
				t.Errorf("%s: accepted at %d of %d bytes", name, n, len(tc.raw))
			}
		}
		if tc.parse(append(slices.Clone(tc.raw), 0)) == nil {
			t.Errorf("%s: accepted with a byte after the end", name)
		}
		if tc.parse(make([]byte, 1<<16)) == nil {
			t.Errorf("%s: zeros accepted", name)
		}
	}
}

func TestMemoryOfHostileEvidence(t *testing.T) {
	w := newWorld(t)
	quote := w.evidence(eventlog.SHA256).protobuf()
	for name, raw := range map[string][]byte{
		"numbers":  []byte(`{"report":[` + strings.Repeat("1,", maxJSON/2-40) + `1],"message":0,"pcrs":0}`),
		"text":     []byte(`{"report":"` + strings.Repeat("A", maxJSON-60) + `","message":0,"pcrs":0}`),
		"nesting":  []byte(`{"x":` + strings.Repeat("[", 9000)),
		"members":  []byte(`{"message":0,"pcrs":0,"report":` + strings.Repeat(`{"a":`, 9000)),
		"protobuf": append(slices.Clone(quote), bytes.Repeat([]byte{0x78, 1}, maxFields)...),
		"certs":    append(slices.Clone(quote), bytes.Repeat([]byte{fieldIntermediates<<3 | 2, 0}, maxFields)...),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Parse(raw)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 || err == nil {
			t.Errorf("%s: %d bytes for %d, error %v", name, used, len(raw), err)
		}
	}
}
