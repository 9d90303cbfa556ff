package nvgpu

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestParseReport(t *testing.T) {
	t.Parallel()
	m := newMaker(t)
	u := m.gpu(1)
	raw := u.report()
	r, err := ParseReport(raw)
	if err != nil || r.Nonce != u.nonce || len(r.Measurements) != 40 || r.Measurements[39].Index != 40 || r.Measurements[0].Type != 1 || len(r.Opaque) != len(u.opaque) ||
		r.DriverVersion() != "590.12" || r.VBIOSVersion() != "96.00.A5.00.01" || len(r.Signature) != 96 || !bytes.Equal(append(bytes.Clone(r.Signed), r.Signature...), raw) {
		t.Fatalf("%v %+v", err, r)
	}
	set := func(edit func(b []byte) []byte) []byte { return edit(bytes.Clone(raw)) }
	at := func(i int, v byte) []byte { return set(func(b []byte) []byte { b[i] = v; return b }) }
	const head, block = RequestSize, RequestSize + headerSize
	spoilt := func(edit func(u *unit)) []byte {
		v := *u
		v.measurements, v.opaque = slices.Clone(u.measurements), slices.Clone(u.opaque)
		edit(&v)
		return v.report()
	}
	for name, raw := range map[string][]byte{
		"nothing":               nil,
		"SPDM 1.2":              at(0, 0x12),
		"another request":       at(1, 0xe1),
		"not signed":            at(2, 0),
		"one measurement":       at(3, 1),
		"slot 8":                at(36, 8),
		"another version":       at(head, 0x10),
		"an error response":     at(head+1, 0x7f),
		"no measurement":        at(head+4, 0),
		"too many":              at(head+4, 0xff),
		"fewer":                 at(head+4, 39),
		"more":                  at(head+4, 41),
		"long record":           at(head+7, 0xff),
		"short record":          at(head+5, raw[head+5]-1),
		"index zero":            at(block, 0),
		"index twice":           at(block, 2),
		"another specification": at(block+1, 2),
		"block too long":        at(block+2, 52),
		"value too long":        at(block+5, 49),
		"empty value":           spoilt(func(u *unit) { u.measurements[0] = nil }),
		"long value":            spoilt(func(u *unit) { u.measurements[0] = make([]byte, 257) }),
		"opaque field twice":    spoilt(func(u *unit) { u.opaque = append(u.opaque, u.opaque[0]) }),
		"many opaque fields": spoilt(func(u *unit) {
			for i := range uint16(70) {
				u.opaque = append(u.opaque, field{100 + i, nil})
			}
		}),
		"bytes after it":           append(bytes.Clone(raw), 0, 1),
		"too many zeros":           append(bytes.Clone(raw), make([]byte, MaxReport)...),
		"too long":                 spoilt(func(u *unit) { u.opaque = append(u.opaque, field{200, make([]byte, MaxReport)}) }),
		"without signature":        raw[:len(raw)-96],
		"signature of one curve":   raw[:len(raw)-32],
		"the request alone":        raw[:head],
		"the head of the response": raw[:block],
	} {
		if _, err := ParseReport(raw); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: read: %v", name, err)
		}
	}
	if r, err := ParseReport(append(bytes.Clone(raw), 0, 0, 0)); err != nil || r.Trailing != 3 {
		t.Errorf("with zeros after it: %v", err)
	}
}

func TestOpaqueText(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		kind uint16
		data string
		fact string
		want string
	}{
		{fieldVBIOSVersion, "\x00\xa5\x00\x96\x01\x00\x00\x00", "vbios_version", "96.00.A5.00.01"},
		{fieldVBIOSVersion, "96.10.5a.00.01", "vbios_version", "96.10.5A.00.01"},
		{fieldVBIOSVersion, "", "vbios_version", ""},
		{fieldDriverVersion, "1\xff", "driver_version", "31ff"},
		{fieldNVDEC0, "\xaa", "nvdec0", "enabled"},
		{fieldNVDEC0, "\xaa\xaa", "nvdec0", "aaaa"},
		{fieldFeatureFlag, "\x00\x00", "feature_flag", "spt"},
		{fieldFeatureFlag, "\x01\x01", "feature_flag", "0101"},
		{fieldFeatureFlag, "", "feature_flag", ""},
		{fieldPDI, "12345678abcdefghx", "switch_pdis", "3132333435363738,6162636465666768,78"},
		{fieldChipSKUMod, "0\x00", "chip_sku_mod", "0"},
		{fieldProjectSKUMod, "\x00", "project_sku_mod", ""},
		{fieldDisabledPorts, "\xec\x00", "disabled_ports", "ec00"},
		{fieldPositionID, "\x02\x00", "position_id", "0200"},
		{fieldSwitchGPUPDIs, strings.Repeat("a", 128), "gpu_pdis", strings.TrimSuffix(strings.Repeat("6161616161616161,", 8), ",")},
	} {
		r := &Report{Opaque: map[uint16][]byte{tc.kind: []byte(tc.data)}}
		if got := r.facts(false)[tc.fact]; got != tc.want {
			t.Errorf("field %d %q: %q, wanted %q", tc.kind, tc.data, got, tc.want)
		}
	}
}

// TestStrictContainers wants ErrFormat for what only resembles evidence.
func TestStrictContainers(t *testing.T) {
	t.Parallel()
	m := newMaker(t)
	u := m.gpu(1)
	good := string(list(u))
	member := strings.Trim(good, "[]")
	report := hex.EncodeToString(u.report())
	var many []string
	for range MaxDevices + 1 {
		many = append(many, `{"evidence":"`+base64.StdEncoding.EncodeToString(u.report())+`"}`)
	}
	for name, raw := range map[string]string{
		"nothing":                  "",
		"text":                     "hello",
		"number":                   "1",
		"empty list":               "[]",
		"empty object":             "{}",
		"list of nothing":          `[{}]`,
		"list in a list":           "[" + good + "]",
		"list without end":         good[:len(good)-1],
		"object without end":       good[:len(good)-2],
		"comma at the end":         "[" + member + ",]",
		"no comma":                 "[" + member + member + "]",
		"text after it":            good + "x",
		"NUL after it":             good + "\x00",
		"no evidence":              `[{"arch":"HOPPER"}]`,
		"empty list inside":        `{"evidence_list":[]}`,
		"two lists":                `{"evidence_list":[` + member + `],"device_evidence_list":[` + member + `]}`,
		"list and evidence":        `{"evidence_list":[` + member + `],` + member[1:],
		"member not known":         "[" + strings.Replace(member, `"arch"`, `"Arch"`, 1) + "]",
		"member twice":             "[" + strings.Replace(member, `{`, `{"arch":"HOPPER",`, 1) + "]",
		"escape":                   "[" + strings.Replace(member, `"HOPPER"`, `"\u0048OPPER"`, 1) + "]",
		"member with an escape":    "[" + strings.Replace(member, `"arch"`, `"\u0061rch"`, 1) + "]",
		"number as a value":        "[" + strings.Replace(member, `"HOPPER"`, `1`, 1) + "]",
		"null":                     "[" + strings.Replace(member, `"HOPPER"`, `null`, 1) + "]",
		"no colon":                 "[" + strings.Replace(member, `"arch":`, `"arch"`, 1) + "]",
		"another version":          "[" + strings.Replace(member, `{`, `{"version":"2.0",`, 1) + "]",
		"another claims version":   `{"claims_version":"9","evidence_list":[` + member + `]}`,
		"evidence of no base64":    `[{"evidence":"EeAB/!"}]`,
		"evidence of other base64": `[{"evidence":"EeAB/w"}]`,
		"evidence with a tail":     `[{"evidence":"` + base64.StdEncoding.EncodeToString(append(u.report(), 1)) + `"}]`,
		"evidence too long":        `[{"evidence":"` + base64.StdEncoding.EncodeToString(append(u.report(), make([]byte, MaxReport)...)) + `"}]`,
		"certificate of no base64": `[{"certificate":"!",` + member[1:] + "]",
		"contradicting nonces":     `{"nonce":"00","evidence_list":[` + member + `]}`,
		"contradicting archs":      `{"arch":"LS10","evidence_list":[` + member + `]}`,
		"too many devices":         "[" + strings.Join(many, ",") + "]",
		"too long":                 good + strings.Repeat(" ", MaxSize),
		"odd hexadecimal":          report[:len(report)-1],
		"hexadecimal and a digit":  report + "0",
		"long hexadecimal":         report + strings.Repeat("0", 2*MaxReport),
		"hexadecimal in capitals":  "11E001FF" + report[8:],
		"binary cut off":           string(u.report()[:500]),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := Verify([]byte(raw), m.options()); !errors.Is(err, ErrFormat) {
				t.Errorf("read: %v", err)
			}
		})
	}
	for _, raw := range []string{"", "[", "[{", `{"a":"EeAB/"}`, `{"arch":"HOPPER"}`, `{"nonce":"00"}`, "\x11\xe0\x01", "11e0", `["EeAB/"]`, `{"evidence"}`} {
		if Recognise([]byte(raw)) {
			t.Errorf("%q recognised", raw)
		}
	}
}
