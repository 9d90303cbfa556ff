package eventlog

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"hitoku.dev/attest"
)

func TestReplayEveryBank(t *testing.T) {
	t.Parallel()
	w := newWorld(t, SHA1, SHA256, SHA384, SHA512).boot(1)
	l := w.parse()
	for _, alg := range w.algs {
		got := l.Replay(alg)
		if len(got) != len(w.registers[alg]) {
			t.Errorf("%v: %d registers, wanted %d", alg, len(got), len(w.registers[alg]))
		}
		for i, want := range w.registers[alg] {
			if !bytes.Equal(got[i], want) {
				t.Errorf("%v: PCR %d differs", alg, i)
			}
		}
	}
	if got := l.Replay(0x12); len(got) != 0 {
		t.Error("a bank that is not known was replayed")
	}
}

func TestReplayLegacy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, SHA1)
	w.legacy = true
	w.boot(1)
	l := w.parse()
	m, err := l.Match(w.pcrs(SHA1))
	if l.Kind != TCGSHA1 || err != nil || len(m.Facts()) != 0 {
		t.Errorf("%v %v", l.Kind, err)
	}
	if _, err := l.Match(Registers{Alg: SHA256}); err == nil {
		t.Error("a bank that is not in the log matched")
	}
}

func TestStartupLocality(t *testing.T) {
	t.Parallel()
	w := newWorld(t, SHA256).note(0, []byte("StartupLocality\x00\x03"))
	w.registers[SHA256][0] = append(make([]byte, 31), 3)
	w.extend(0, 8, []byte("version"))
	if l := w.parse(); l.Locality != 3 || !bytes.Equal(l.Replay(SHA256)[0], w.registers[SHA256][0]) {
		t.Error("PCR 0 does not begin with the locality")
	}
	for name, w := range map[string]*world{
		"late":     newWorld(t, SHA256).extend(0, 8, nil).note(0, []byte("StartupLocality\x00\x03")),
		"twice":    newWorld(t, SHA256).note(0, []byte("StartupLocality\x00\x03")).note(0, []byte("StartupLocality\x00\x03")),
		"unknown":  newWorld(t, SHA256).note(0, []byte("StartupLocality\x00\x07")),
		"register": newWorld(t, SHA256).note(1, []byte("StartupLocality\x00\x03")),
		"long":     newWorld(t, SHA256).note(0, []byte("StartupLocality\x00\x03\x03")),
	} {
		if _, err := Parse(w.raw()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, SHA256, SHA384).extend(0, 8, []byte("version"))
	edit := func(off int, b ...byte) []byte {
		raw := w.raw()
		copy(raw[off:], b)
		return raw
	}
	header := len(w.header())
	event := func(b ...byte) []byte { return append(w.header(), b...) }
	many := newWorld(t, SHA256)
	for range maxEvents + 1 {
		many.extend(0, 8, nil)
	}
	for name, tc := range map[string]struct {
		raw  []byte
		want string
	}{
		"nothing":          {nil, "no known format"},
		"text":             {[]byte("hello"), "no known format"},
		"version":          {edit(legacyHeader+16+4+1, 1), "version"},
		"no banks":         {edit(legacyHeader+16+8, 0), "0 hash algorithms"},
		"too many banks":   {edit(legacyHeader+16+8, 9), "9 hash algorithms"},
		"wrong size":       {edit(legacyHeader+16+14, 31), "digests of 31 bytes"},
		"bank twice":       {edit(legacyHeader+16+16, 0x0b, 0, 0x20), "twice"},
		"register":         {edit(header, 24), "register 24"},
		"digests":          {edit(header+8, 1), "1 digests"},
		"digest twice":     {edit(header+8+4+2+32, 0x0b), "twice"},
		"size of data":     {edit(len(w.raw())-7-4, 8), "8 bytes announced"},
		"huge size":        {edit(len(w.raw())-7-4, 0xff, 0xff, 0xff, 0xff), "announced"},
		"half an event":    {event(1, 0, 0, 0, 8), "ends early"},
		"padding then not": {append(event(0, 0, 0, 0, 0, 0, 0, 0), 1), "ends early"},
		"too many events":  {many.raw(), "more than"},
		"too large":        {append(w.raw(), make([]byte, maxTCG)...), "at most"},
		"json object":      {[]byte(`[{"imr":0,"event_type":1,"digest":""}]`), "digest of 0 bytes"},
		"json cut":         {[]byte(`[{"imr":0`), "event 1"},
		"json twice":       {[]byte(`[{"imr":0,"imr":1}]`), "twice"},
		"json register":    {[]byte(`[{"imr":4,"event_type":1}]`), "imr"},
		"json type":        {[]byte(`[{"imr":1}]`), "event_type"},
		"json version":     {[]byte(`[{"imr":1,"event_type":1,"version":3}]`), "version 3"},
		"json after":       {[]byte(`[{"imr":3,"event_type":134217729,"event":"a","event_payload":""}] 1`), "after the array"},
		"json colon":       {[]byte(`[{"imr":3,"event_type":134217729,"event":"a:b","event_payload":""}]`), "colon"},
		"json hex":         {[]byte(`[{"imr":3,"event_type":134217729,"event_payload":"g"}]`), "event_payload"},
		"json members":     {[]byte(`[{"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"9":0,"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"h":0}]`), "16 members"},
	} {
		_, err := Parse(tc.raw)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, wanted %q", name, err, tc.want)
		}
	}
}

func TestPadding(t *testing.T) {
	t.Parallel()
	w := newWorld(t, SHA384).extend(1, 8, []byte("version"))
	for _, fill := range []byte{0, 0xff} {
		l, err := Parse(append(w.raw(), bytes.Repeat([]byte{fill}, 4096)...))
		if err != nil || l.Padding != 4096 {
			t.Errorf("fill %#x: %v", fill, err)
		}
	}
}

func TestRemarkOnNoRegister(t *testing.T) {
	t.Parallel()
	w := newWorld(t, SHA256).separator(0).note(-1, []byte("Trust point"))
	if facts := w.facts(SHA256); facts == nil {
		t.Error("refused")
	}
	if _, err := Parse(newWorld(t, SHA256).extend(-1, evAction, nil).raw()); err == nil {
		t.Error("an event for no register was accepted")
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, SHA256).boot(1)
	l, signed := w.parse(), w.pcrs(SHA256)
	signed.Values[10] = SHA256.sum(nil)                // IMA
	signed.Values[17] = bytes.Repeat([]byte{0xff}, 32) // never started
	signed.Values[16], signed.Values[23] = make([]byte, 32), make([]byte, 32)
	signed9 := signed.Values[9]
	delete(signed.Values, 9)
	m, err := l.Match(signed)
	if err != nil || !slices.Equal(m.Unexplained, []int{10}) || !slices.Equal(m.Unsigned, []int{9}) {
		t.Fatalf("%v %+v", err, m)
	}
	signed.Values[9] = signed9
	for i := range signed.Values {
		if i == 10 || i > 15 {
			continue
		}
		old := signed.Values[i]
		signed.Values[i] = SHA256.sum(old)
		if facts, err := l.Facts(signed); err == nil || facts != nil {
			t.Errorf("PCR %d differs, accepted", i)
		}
		signed.Values[i] = old
	}
	if _, err := l.Match(Registers{Alg: SHA256, Values: map[int][]byte{23: make([]byte, 32)}}); err == nil {
		t.Error("nothing proved, accepted")
	}
}

func TestAppend(t *testing.T) {
	t.Parallel()
	w := newWorld(t, SHA256).boot(1)
	last := func(l *Log, signed Registers) (*attest.Result, attest.Rule) {
		r := &attest.Result{Claims: attest.Claims{Facts: map[string]string{FactGCETechnology: "signed elsewhere"}}}
		Append(r, l, nil, signed)
		return r, r.Rules[len(r.Rules)-1]
	}
	r, rule := last(w.parse(), w.pcrs(SHA256))
	if !rule.OK || r.Claims.Facts[FactSecureBoot] != "enabled" || r.Claims.Facts[FactGCETechnology] != "signed elsewhere" {
		t.Errorf("%+v", r)
	}
	if _, rule = last(nil, w.pcrs(SHA256)); rule.OK || rule.Advice == "" || rule.Name != RuleReplay {
		t.Errorf("%+v", rule)
	}
	// A log without the events of a register that firmware always extends.
	short := newWorld(t, SHA256).separator(0)
	signed := short.pcrs(SHA256)
	signed.Values[7] = SHA256.sum(nil)
	if r, rule = last(short.parse(), signed); rule.OK || len(r.Claims.Facts) != 1 || !strings.Contains(rule.Seen, "PCR 7") {
		t.Errorf("%+v", rule)
	}
}

func TestAppendTDX(t *testing.T) {
	t.Parallel()
	w := newWorld(t, SHA384).variables(1, 1).separator(1).separator(2).extend(3, evIPL, []byte("kernel"))
	r := &attest.Result{Claims: attest.Claims{TEE: attest.TDX, Measurements: make(map[string]string)}}
	for i, v := range w.rtmrs().Values {
		r.Claims.Measurements[fmt.Sprintf("rtmr%d", i-1)] = fmt.Sprintf("%x", v)
	}
	AppendTDX(r, w.parse(), nil)
	if !r.OK() || r.Claims.Facts[FactSecureBoot] != "enabled" || r.Claims.Facts[FactSeparators] != "complete" {
		t.Errorf("%+v", r)
	}
	other := &attest.Result{Claims: attest.Claims{TEE: attest.SEVSNP}}
	AppendTDX(other, w.parse(), nil)
	if other.OK() {
		t.Error("a log was judged against evidence of another TEE")
	}
	mrtd := newWorld(t, SHA384).separator(0).separator(1)
	if _, err := mrtd.parse().Match(mrtd.rtmrs()); err == nil || !strings.Contains(err.Error(), "MRTD") {
		t.Errorf("events for MRTD: %v", err)
	}
}

func TestIMA(t *testing.T) {
	t.Parallel()
	for _, alg := range []Alg{SHA256, SHA384} {
		for _, template := range []string{imaNG, imaSig} {
			list, ascii, pcr := ima(t, alg, 20, 1, template)
			longer, _, _ := ima(t, alg, 25, 1, template)
			for name, raw := range map[string][]byte{"binary": list, "ascii": ascii, "grown": longer} {
				l, err := Parse(raw)
				if err != nil {
					t.Fatalf("%s %s: %v", template, name, err)
				}
				facts, err := l.Facts(Registers{Alg: alg, Values: map[int][]byte{10: pcr}})
				if err != nil || facts[FactIMAEntries] != "20" || facts[FactIMAViolations] != "1" {
					t.Errorf("%s %s: %v %v", template, name, err, facts)
				}
				if _, err := l.Facts(Registers{Alg: alg, Values: map[int][]byte{10: alg.sum(pcr)}}); err == nil {
					t.Error("another PCR 10 was accepted")
				}
				if _, err := l.Facts(Registers{Alg: alg, Values: map[int][]byte{9: pcr}}); err == nil {
					t.Error("an unsigned PCR 10 was accepted")
				}
			}
		}
	}
}

func TestMemoryOfHostileLogs(t *testing.T) {
	w := newWorld(t, SHA256)
	for range maxEvents {
		w.extend(8, evIPL, nil)
	}
	for name, raw := range map[string][]byte{
		"events": w.raw(), "json string": []byte(`[{"event_payload":"` + strings.Repeat("a", maxJSON-30) + `"}]`),
		"json events": []byte("[" + strings.Repeat(`{"imr":1,"event_type":134217729},`, maxJSON/40) + "{}]"), "json nesting": []byte(`[{"x":` + strings.Repeat("[", 9000)),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		l, err := Parse(raw)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
			t.Errorf("%s: %d bytes for %d (%v %v)", name, used, len(raw), l != nil, err)
		}
	}
}
