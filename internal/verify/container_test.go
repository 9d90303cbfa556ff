package verify

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest/cmw"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/attest/snp"
	"hitoku.dev/attest/snp/snptest"
)

// quote returns bytes that are recognised as a quote; nothing in them is signed.
func quote(t testing.TB, n byte) []byte {
	t.Helper()
	raw, err := (&dcap.Quote{
		Header:   dcap.Header{Version: dcap.Version3, KeyType: dcap.KeyTypeECDSAP256, QEVendorID: dcap.IntelQEVendorID()},
		Report:   dcap.ReportBody{MREnclave: [32]byte{n}},
		CertType: dcap.CertPPIDRSA3072, CertData: make([]byte, 404),
	}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func asJSON(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func numbers(raw []byte) []int {
	out := make([]int, len(raw))
	for i, b := range raw {
		out[i] = int(b)
	}
	return out
}

// wrap returns a wrapper of RFC 9999 with each value under a label.
func wrap(values ...[]byte) *cmw.Message {
	c := &cmw.Collection{}
	for i, v := range values {
		record := &cmw.Record{Type: "application/vnd.test", Value: v, Indicator: cmw.Evidence}
		c.Items = append(c.Items, cmw.Item{Label: cmw.Label{Text: fmt.Sprintf("item%d", i)}, Message: cmw.Message{Record: record}})
	}
	return &cmw.Message{Collection: c}
}

func TestFind(t *testing.T) {
	t.Parallel()
	q, other := quote(t, 1), quote(t, 2)
	text := base64.StdEncoding.EncodeToString(q)
	wrapJSON, err := wrap(q, []byte("something else")).JSON()
	if err != nil {
		t.Fatal(err)
	}
	wrapCBOR, err := wrap([]byte("something else"), q).CBOR()
	if err != nil {
		t.Fatal(err)
	}
	log := `[{"imr":0,"event_type":1,"digest":"` + strings.Repeat("00", 48) + `","event":"","event_payload":""}]`
	deep := asJSON(t, map[string]any{"quote": text})
	for range maxWraps {
		deep = asJSON(t, map[string]any{"in": json.RawMessage(deep)})
	}
	many := make(map[string]any)
	for i := range maxMembers + 1 {
		many[fmt.Sprint(i)] = i
	}
	cases := map[string]struct {
		raw  []byte
		want string // of where it was found; an error when it begins with "!"
		logs int
	}{
		"bare":              {raw: q, want: "a SGX or TDX quote"},
		"bytes after":       {raw: append(bytes.Clone(q), make([]byte, 99)...), want: "a SGX or TDX quote"},
		"hexadecimal":       {raw: []byte(hex.EncodeToString(q) + "\n"), want: "in hexadecimal text"},
		"0X":                {raw: []byte("0X" + hex.EncodeToString(q)), want: "in hexadecimal text"},
		"other arrays":      {raw: asJSON(t, map[string]any{"quote": text, "list": []any{map[string]any{"name": strings.Repeat("x", 99)}}}), want: "in base64 text"},
		"0x":                {raw: []byte("0x" + hex.EncodeToString(q)), want: "in hexadecimal text"},
		"upper case":        {raw: []byte(strings.ToUpper(hex.EncodeToString(q))), want: "in hexadecimal text"},
		"base64":            {raw: []byte(text), want: "in base64 text"},
		"base64 in lines":   {raw: []byte(text[:76] + "\r\n" + text[76:]), want: "in base64 text"},
		"base64url":         {raw: []byte(base64.RawURLEncoding.EncodeToString(q)), want: "in base64 text"},
		"unpadded base64":   {raw: []byte(base64.RawStdEncoding.EncodeToString(q)), want: "in base64 text"},
		"base64 of hex":     {raw: []byte(base64.StdEncoding.EncodeToString([]byte(hex.EncodeToString(q)))), want: "in hexadecimal text in base64 text"},
		"JSON":              {raw: asJSON(t, map[string]any{"quote": text, "other": 7}), want: `in base64 text in member "quote"`},
		"JSON, hexadecimal": {raw: asJSON(t, map[string]any{"x": hex.EncodeToString(q)}), want: `in hexadecimal text in member "x"`},
		"JSON, numbers":     {raw: asJSON(t, map[string]any{"quote": numbers(q)}), want: `in member "quote"`},
		"JSON, nested":      {raw: asJSON(t, map[string]any{"a": map[string]any{"quote": text}}), want: `in member "quote" of a JSON object in member "a"`},
		"JSON, pretty":      {raw: []byte("{\n \"quote\": \"" + text + "\"\n}\n"), want: "in base64 text"},
		"twice the same":    {raw: asJSON(t, map[string]any{"quote": text, "copy": text}), want: "in base64 text"},
		"with its log":      {raw: asJSON(t, map[string]any{"quote": text, "event_log": log}), want: "in base64 text", logs: 1},
		"log as JSON":       {raw: asJSON(t, map[string]any{"quote": text, "event_log": json.RawMessage(log)}), want: "in base64 text", logs: 1},
		"log in base64":     {raw: asJSON(t, map[string]any{"quote": text, "l": base64.StdEncoding.EncodeToString([]byte(log))}), want: "in base64 text", logs: 1},
		"wrapper, JSON":     {raw: wrapJSON, want: `in a wrapper of RFC 9999, label "item0"`},
		"wrapper, CBOR":     {raw: wrapCBOR, want: `in a wrapper of RFC 9999, label "item1"`},
		"empty":             {want: "!no evidence"},
		"text":              {raw: []byte("hello"), want: "!no evidence"},
		"long text":         {raw: []byte(strings.Repeat("hello ", 99)), want: "!no evidence"},
		"broken base64":     {raw: []byte(text[:99] + "*" + text[99:]), want: "!no evidence"},
		"broken JSON":       {raw: []byte(`{"quote":"` + text + `"`), want: "!no evidence"},
		"two objects":       {raw: []byte(`{"quote":"` + text + `"}{}`), want: "!no evidence"},
		"cut JSON":          {raw: []byte(`{"quote":"` + text), want: "!no evidence"},
		"not UTF-8":         {raw: []byte("{\"quote\":\"" + text + "\xff\"}"), want: "!no evidence"},
		"numbers too large": {raw: asJSON(t, map[string]any{"quote": append(numbers(q), 256)}), want: "!no evidence"},
		"negative numbers":  {raw: asJSON(t, map[string]any{"quote": append(numbers(q), -1)}), want: "!no evidence"},
		"fractions":         {raw: asJSON(t, map[string]any{"quote": make([]float64, 99)}), want: "!no evidence"},
		"two quotes":        {raw: asJSON(t, map[string]any{"quote": text, "z": hex.EncodeToString(other)}), want: "!two pieces of evidence"},
		"member twice":      {raw: []byte(`{"quote":"` + text + `","quote":"` + text + `"}`), want: "!stands twice"},
		"member twice, escaped": {
			raw: []byte(`{"quote":"` + text + `","\u0071uote":"` + hex.EncodeToString(other) + `"}`), want: "!stands twice",
		},
		"too deep":         {raw: deep, want: "!no evidence"},
		"too many members": {raw: asJSON(t, many), want: "!more than"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pieces, logs, err := find(tc.raw)
			if want, isError := strings.CutPrefix(tc.want, "!"); isError {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v, wanted an error with %q", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			where := pieces[0].where()
			if len(pieces) != 1 || !bytes.HasPrefix(pieces[0].raw, q) || !strings.Contains(strings.ReplaceAll(where, " of a JSON object", ""), strings.ReplaceAll(tc.want, " of a JSON object", "")) || len(logs) != tc.logs {
				t.Errorf("%d pieces, %s, %d logs", len(pieces), where, len(logs))
			}
		})
	}
}

// TestFindAround: names of members may stand around the evidence that they belong to.
func TestFindAround(t *testing.T) {
	t.Parallel()
	report := snptest.New(t, time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)).Report(snp.Milan, 3).Marshal()
	tsm := map[string]any{"provider": "sev_guest", "outblob": report}
	gpus := []any{map[string]any{"arch": "HOPPER", "evidence": base64.StdEncoding.EncodeToString([]byte("\x11\xe0\x01\xff and more"))}}
	for name, tc := range map[string]struct {
		in   map[string]any
		want []string
	}{
		"the evidence":      {tsm, []string{"SEV-SNP report"}},
		"one around it":     {map[string]any{"tee": "snp", "tee-evidence": tsm}, []string{"SEV-SNP report"}},
		"two around it":     {map[string]any{"a": map[string]any{"b": tsm}}, []string{"SEV-SNP report"}},
		"broken":            {map[string]any{"provider": "sev_guest", "outblob": []byte("no report")}, []string{"SEV-SNP report"}},
		"a list of devices": {map[string]any{"evidence": tsm, "gpus": gpus}, []string{"SEV-SNP report", "NVIDIA device report"}},
	} {
		pieces, logs, err := find(asJSON(t, tc.in))
		var seen []string
		for i := range pieces {
			seen = append(seen, pieces[i].format.name)
		}
		if err != nil || len(logs) > 0 || !slices.Equal(seen, tc.want) {
			t.Errorf("%s: %v %q, %d logs", name, err, seen, len(logs))
		}
	}
	in := asJSON(t, map[string]any{"tee-evidence": tsm})
	if p, _, err := find(in); err != nil || len(p[0].in) == 0 {
		t.Errorf("taken as a whole: %v %+v", err, p)
	}
}

// TestFindDevices: evidence of devices may lie beside that of one TEE, and alone.
func TestFindDevices(t *testing.T) {
	t.Parallel()
	device := format{name: "device", device: true, recognise: func(raw []byte) bool { return bytes.HasPrefix(raw, []byte("device")) }}
	f := &finder{formats: append(formats(), device), seen: make(map[[32]byte]bool)}
	raw, err := wrap([]byte("device 1"), quote(t, 1), []byte("device 2")).CBOR()
	if err != nil {
		t.Fatal(err)
	}
	f.look(raw, nil)
	pieces, err := f.sorted()
	if err != nil || len(pieces) != 3 || pieces[0].format.device || !pieces[1].format.device {
		t.Errorf("%v %+v", err, pieces)
	}
	for i := range maxPieces + 1 {
		f.look(fmt.Appendf(nil, "device %d", 10+i), nil)
	}
	if _, err := f.sorted(); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("%v", err)
	}
}

func FuzzFind(f *testing.F) {
	q := quote(f, 1)
	f.Add(q)
	f.Add([]byte(hex.EncodeToString(q)))
	f.Add([]byte(`{"quote":"` + base64.StdEncoding.EncodeToString(q) + `","event_log":"[]"}`))
	f.Add(asJSON(f, map[string]any{"quote": numbers(q)}))
	raw, err := wrap(q).CBOR()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		pieces, _, err := find(raw)
		if err == nil && len(pieces) == 0 {
			t.Error("nothing was found, without an error")
		}
		for _, p := range pieces {
			if !p.format.recognise(p.raw) || len(p.in) > maxWraps+1 {
				t.Errorf("%s", p.where())
			}
		}
	})
}

func TestRenumber(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		first int
		want  string
	}{
		{"root_trusted", 1, "device_1_root_trusted"},
		{"root_trusted", 3, "device_3_root_trusted"},
		{"device_1_chain", 3, "device_3_chain"},
		{"device_4_chain", 3, "device_6_chain"},
		{"nonce: text", 2, "device_2_nonce: text"},
		{"device_kind", 2, "device_2_device_kind"},
		{"device_0_kind", 2, "device_2_device_0_kind"},
	} {
		if got := renumber(tc.name, tc.first); got != tc.want {
			t.Errorf("%s became %s, wanted %s", tc.name, got, tc.want)
		}
	}
}
