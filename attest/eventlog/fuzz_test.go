package eventlog

import (
	"bytes"
	"slices"
	"testing"
)

func FuzzParse(f *testing.F) {
	f.Add(newWorld(f, SHA1, SHA256).boot(1).raw())
	f.Add(append(newWorld(f, SHA384).variables(1, 1).separator(1).raw(), 0xff, 0xff, 0xff, 0xff))
	legacy := newWorld(f, SHA1)
	legacy.legacy = true
	f.Add(legacy.boot(0).raw())
	var list []jsonEvent
	w := newWorld(f, SHA384)
	w.guest(&list, 1)
	w.guest(&list, 2)
	f.Add(w.json(list))
	for _, template := range []string{imaNG, imaSig} {
		binaryList, ascii, _ := ima(f, SHA256, 3, 1, template)
		f.Add(binaryList)
		f.Add(ascii)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := Parse(raw)
		if err != nil {
			return
		}
		if !Recognise(raw) {
			t.Fatal("parsed, but not recognised")
		}
		for _, alg := range []Alg{SHA1, SHA256, SHA384} {
			for _, layout := range []Layout{PCRs, RTMR} {
				signed := Registers{Layout: layout, Alg: alg, Values: l.Replay(alg)}
				if m, err := l.Match(signed); err == nil {
					_ = m.Facts()
				}
			}
		}
	})
}

// TestFlipEveryByte: a flip is either refused, or it changes nothing that a register
// covers, so that the facts stay or vanish.
func TestFlipEveryByte(t *testing.T) {
	t.Parallel()
	w := newWorld(t, SHA256, SHA384).boot(1)
	raw, signed := w.raw(), w.pcrs(SHA384)
	honest := w.facts(SHA384)
	for i := range raw {
		flipped := slices.Clone(raw)
		flipped[i] ^= 1 << (i % 8)
		l, err := Parse(flipped)
		if err != nil {
			continue
		}
		facts, err := l.Facts(signed)
		if err != nil {
			continue
		}
		for name, value := range facts {
			if honest[name] != value {
				t.Errorf("byte %d: %s became %q", i, name, value)
			}
		}
	}
}

func TestTruncateEverywhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, SHA384).boot(1)
	raw, signed := w.raw(), w.pcrs(SHA384)
	for n := range raw {
		l, err := Parse(raw[:n])
		if err != nil {
			continue
		}
		if _, err := l.Facts(signed); err == nil && len(bytes.TrimRight(raw[n:], "\x00")) > 0 {
			t.Errorf("accepted at %d of %d bytes", n, len(raw))
		}
	}
}
