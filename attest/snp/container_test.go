package snp_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"hitoku.dev/attest/snp"
)

func tsmJSON(t testing.TB, out, aux []byte) []byte {
	t.Helper()
	doc, err := json.MarshalIndent(map[string]any{"provider": "sev_guest", "generation": 4, "outblob": out, "auxblob": aux}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestContainers(t *testing.T) {
	t.Parallel()
	w := world()
	for _, p := range snp.Products() {
		for version := uint32(3); version <= snp.MaxVersion; version++ {
			report := w.Report(p, version)
			bare := w.Sign(report)
			table := w.Table(report)
			leaf := w.Leaf(report).Cert.Raw
			page := append(append(slices.Clone(bare), table...), make([]byte, 4096)...)
			response := append(make([]byte, 32), bare...)
			response[4], response[5] = snp.ReportSize&0xff, snp.ReportSize>>8
			c := w.Collateral(report)
			for name, tc := range map[string]struct {
				raw  []byte
				with *snp.Collateral
				seen string
			}{
				"bare":            {bare, c, "a bare report"},
				"with zeros":      {append(slices.Clone(bare), make([]byte, 2816)...), c, "2816 zero bytes after its end ignored"},
				"with noise":      {append(slices.Clone(bare), bytes.Repeat([]byte{7}, 100)...), c, "100 bytes after its end ignored"},
				"extended":        {append(slices.Clone(bare), table...), nil, "certificate table"},
				"extended, pages": {page, nil, "certificate table"},
				"response":        {response, c, "a bare report"},
				"full response":   {append(slices.Clone(response), make([]byte, 2784)...), c, "zero bytes"},
				"tsm":             {tsmJSON(t, bare, table), nil, "configfs-tsm"},
				"tsm, no aux":     {tsmJSON(t, bare, nil), c, "configfs-tsm"},
				"trustee":         {trusteeJSON(t, bare, snp.CertVCEK, leaf), &snp.Collateral{Certs: [][]byte{w.Line(p).ASK.Cert.Raw}}, "trustee"},
				"trustee, alone":  {trusteeJSON(t, bare, "", nil), c, "trustee"},
			} {
				if !snp.Recognise(tc.raw) {
					t.Errorf("%s: not recognised", name)
				}
				r := verify(t, tc.raw, options(w, tc.with))
				if !r.OK() {
					t.Errorf("%s version %d, %s: %+v", p, version, name, r.Rules)
				}
				if seen := ruleOf(t, r, "report_format").Seen; !strings.Contains(seen, tc.seen) {
					t.Errorf("%s: seen %q, wanted %q in it", name, seen, tc.seen)
				}
				e, err := snp.Read(tc.raw)
				if err != nil || !bytes.Equal(e.Raw, bare) || e.Report.ChipID != report.ChipID {
					t.Errorf("%s: read %v", name, err)
				}
			}
		}
	}
}

func TestNotRecognised(t *testing.T) {
	t.Parallel()
	w := world()
	bare := w.Sign(w.Report(snp.Milan, 3))
	edit := func(at int, v byte) []byte {
		raw := slices.Clone(bare)
		raw[at] = v
		return raw
	}
	quote := make([]byte, 5000)
	quote[0], quote[2] = 3, 2 // an SGX quote of version 3, ECDSA P-256
	for name, raw := range map[string][]byte{
		"nothing": nil, "short": bare[:snp.ReportSize-1], "version 1": edit(0, 1), "version 6": edit(0, 6), "SGX quote": quote,
		"JSON of something else": []byte(`{"quote":"AAAA"}`), "text": []byte("attestation_report"), "long": make([]byte, snp.MaxEvidence+1),
		"TDX of configfs-tsm": []byte(`{"provider":"tdx_guest","outblob":"AAAA"}`),
	} {
		if snp.Recognise(raw) {
			t.Errorf("%s: recognised", name)
		}
		if _, err := snp.Verify(raw, snp.Options{At: now}); !errors.Is(err, snp.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBadJSON refuses what is ambiguous or not of the form, without a rule: these bytes are no evidence.
func TestBadJSON(t *testing.T) {
	t.Parallel()
	w := world()
	report := w.Report(snp.Genoa, 3)
	bare := w.Sign(report)
	good := string(trusteeJSON(t, bare, snp.CertVCEK, w.Leaf(report).Cert.Raw))
	tsm := string(tsmJSON(t, bare, nil))
	replace := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %s in the document", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	for name, doc := range map[string]string{
		"no report":             `{"attestation_report_":1,"x":"attestation_report"}`,
		"null report":           `{"attestation_report":null}`,
		"array report":          `{"attestation_report":[]}`,
		"cut":                   good[:len(good)-1],
		"bytes after":           good + "x",
		"two objects":           good + good,
		"report twice":          replace(`{"attestation_report":`, `{"attestation_report":{},"attestation_report":`),
		"member twice":          replace(`"vmpl":0`, `"vmpl":0,"vmpl":0`),
		"member twice, escaped": replace(`"vmpl":0`, `"vmpl":0,"\u0076mpl":0`),
		"two names":             replace(`"key_info":0`, `"key_info":0,"_author_key_en":0`),
		"missing":               replace(`,"vmpl":0`, ``),
		"null":                  replace(`"vmpl":0`, `"vmpl":null`),
		"text for a number":     replace(`"vmpl":0`, `"vmpl":"0"`),
		"fraction":              replace(`"vmpl":0`, `"vmpl":0.0`),
		"negative":              replace(`"vmpl":0`, `"vmpl":-0`),
		"exponent":              replace(`"vmpl":0`, `"vmpl":0e1`),
		"too large":             replace(`"vmpl":0`, `"vmpl":4294967296`),
		"byte of 256":           replace(`"family_id":[241`, `"family_id":[256`),
		"byte too many":         replace(`"family_id":[241`, `"family_id":[241,241`),
		"byte too few":          replace(`"family_id":[241,`, `"family_id":[`),
		"object for bytes":      replace(`"family_id":[`, `"family_id":{},"x":[`),
		"TCB without a part":    replace(`"bootloader":4,`, ``),
		"TCB twice":             replace(`"bootloader":4`, `"bootloader":4,"bootloader":4`),
		"version 1":             replace(`"version":3`, `"version":1`),
		"chain is an object":    replace(`"cert_chain":[`, `"cert_chain":{"a":[`) + "}",
		"kind is a number":      replace(`"cert_type":"VCEK"`, `"data":[1]`),
		"tsm outblob twice":     strings.Replace(tsm, `"outblob"`, `"outblob":"AA==","outblob"`, 1),
		"tsm not base64":        `{"provider":"sev_guest","outblob":"A!"}`,
		"tsm loose base64":      `{"provider":"sev_guest","outblob":"AB=="}`,
		"tsm number":            `{"provider":"sev_guest","outblob":5}`,
		"tsm other provider":    `{"provider":"x","outblob":"AA==","note":"sev_guest"}`,
		"tsm short":             `{"provider":"sev_guest","outblob":"AAAA"}`,
		"many members":          `{"attestation_report":{` + manyMembers(200) + `}}`,
		"deep":                  `{"attestation_report":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`,
	} {
		if _, err := snp.Verify([]byte(doc), snp.Options{At: now, Roots: w.Roots()}); !errors.Is(err, snp.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What the members do not say is ignored; what they say wrongly breaks the signature.
	for name, doc := range map[string]string{
		"unknown member":  replace(`"vmpl":0`, `"vmpl":0,"extra":{"a":[1,"}",{}]}`),
		"older names":     replace(`"key_info":0`, `"_author_key_en":0`),
		"unknown kind":    replace(`"cert_chain":[`, `"cert_chain":[{"cert_type":{"OTHER":"ecae0c0f-9502-43b1-afa2-0ae2e0d565b6"},"data":[1,2]},`),
		"null mitigation": replace(`"launch_mit_vector":null,`, ``),
		"spread out":      strings.ReplaceAll(good, ",", " ,\n\t"),
	} {
		r := verify(t, []byte(doc), options(w, &snp.Collateral{Certs: [][]byte{w.Line(snp.Genoa).ASK.Cert.Raw}}))
		if !r.OK() {
			t.Errorf("%s: %+v", name, r.Rules)
		}
	}
	r := verify(t, []byte(replace(`"guest_svn":7`, `"guest_svn":8`)), options(w, w.Collateral(report)))
	if !slices.Equal(failedNames(r), []string{"report_signature"}) {
		t.Errorf("failed %v", failedNames(r))
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"m` + strings.Repeat("x", i) + `":0`)
	}
	return b.String()
}

func TestCertTable(t *testing.T) {
	t.Parallel()
	entries := []snp.CertEntry{{Kind: snp.CertVLEK, Data: []byte{1, 2}}, {GUID: [16]byte{9}, Data: []byte{3}}, {Kind: snp.CertCRL, Data: []byte{4}}}
	raw, err := snp.MarshalCertTable(entries)
	if err != nil {
		t.Fatal(err)
	}
	got, err := snp.ParseCertTable(append(slices.Clone(raw), 0, 0, 0))
	if err != nil || len(got) != 3 || got[0].Kind != snp.CertVLEK || got[1].Kind != "" || got[1].GUID != [16]byte{9} || got[2].Kind != snp.CertCRL || !bytes.Equal(got[0].Data, []byte{1, 2}) {
		t.Fatalf("read %+v: %v", got, err)
	}
	// The VLEK's GUID in the order in which it is written.
	if !bytes.HasPrefix(raw, []byte{0xa8, 0x07, 0x4b, 0xc2, 0xa2, 0x5a, 0x48, 0x3e, 0xaa, 0xe6, 0x39, 0xc0, 0x45, 0xa0, 0xb8, 0xa1}) {
		t.Errorf("GUID % x", raw[:16])
	}
	put := func(at int, v ...byte) []byte {
		out := slices.Clone(raw)
		copy(out[at:], v)
		return out
	}
	for name, bad := range map[string][]byte{
		"empty":               nil,
		"no end":              raw[:72],
		"cut":                 raw[:len(raw)-1],
		"outside":             put(16, 0xff),
		"offset overflows":    put(16, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
		"inside the table":    put(16, 10),
		"empty entry":         put(20, 0),
		"overlap":             put(16+24, 96),
		"too many":            bytes.Repeat(append(bytes.Repeat([]byte{1}, 16), 0, 0, 0, 0, 1, 0, 0, 0), 40),
		"oversized":           make([]byte, 65<<10),
		"zero in its offsets": put(16, 0),
	} {
		if _, err := snp.ParseCertTable(bad); err == nil {
			t.Errorf("%s: read", name)
		}
	}
	if _, err := snp.MarshalCertTable([]snp.CertEntry{{Kind: "x"}}); err == nil {
		t.Error("an unknown kind was written")
	}
	if _, err := snp.MarshalCertTable([]snp.CertEntry{{Kind: snp.CertARK, Data: make([]byte, 65<<10)}}); err == nil {
		t.Error("an oversized table was written")
	}
}

func TestKDSPaths(t *testing.T) {
	t.Parallel()
	chip := [64]byte{0: 0xab, 63: 0x01}
	tcb := snp.TCBParts{Bootloader: 3, TEE: 0, SNP: 8, Microcode: 115}.Version(snp.Milan)
	if tcb != 0x7308000000000003 {
		t.Errorf("TCB %v", tcb)
	}
	path, err := snp.VCEKPath(snp.Milan, &chip, tcb)
	if want := "/vcek/v1/Milan/ab" + strings.Repeat("0", 124) + "01?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115"; err != nil || path != want {
		t.Errorf("path %s: %v", path, err)
	}
	for name, f := range map[string]func() (string, error){
		"unknown product": func() (string, error) { return snp.VCEKPath("Rome", &chip, tcb) },
		"masked":          func() (string, error) { return snp.VCEKPath(snp.Milan, new([64]byte), tcb) },
		"long for Turin":  func() (string, error) { return snp.VCEKPath(snp.Turin, &chip, tcb) },
	} {
		if path, err := f(); err == nil {
			t.Errorf("%s: %s", name, path)
		}
	}
	for got, want := range map[string]string{
		snp.VLEKPath(snp.Milan, tcb):       "/vlek/v1/Milan/cert?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115",
		snp.ChainPath(snp.Genoa, snp.VCEK): "/vcek/v1/Genoa/cert_chain",
		snp.ChainPath(snp.Genoa, snp.VLEK): "/vlek/v1/Genoa/cert_chain",
		snp.CRLPath(snp.Turin, snp.VCEK):   "/vcek/v1/Turin/crl",
		string(snp.ProductOf(0x19, 0xa0)):  "Genoa",
		string(snp.ProductOf(0x19, 0x0f)):  "Milan",
		string(snp.ProductOf(0x1a, 0x11)):  "Turin",
		string(snp.ProductOf(0x1a, 0x50)):  "",
		snp.SigningKey(5).String():         "reserved(5)",
		snp.TCBVersion(1).String():         "0x0000000000000001",
		snp.Firmware{Build: 9}.String():    "0.0.9",
	} {
		if got != want {
			t.Errorf("%s, wanted %s", got, want)
		}
	}
}

// TestParseReport refuses what is no report, and reserved bits, which Verify puts into a rule.
func TestParseReport(t *testing.T) {
	t.Parallel()
	w := world()
	raw := w.Sign(w.Report(snp.Turin, 4))
	if _, err := snp.ParseReport(raw); err != nil {
		t.Fatal(err)
	}
	for name, at := range map[string]int{
		"version": 0, "key information": 0x4c, "behind the CPUID": 0x18b, "firmware": 0x1eb, "committed firmware": 0x1ef, "mitigations": 0x1f8,
		"before the signature": 0x29f, "r too long": 0x2a0 + 48, "s too long": 0x2a0 + 72 + 71, "behind the signature": 0x4a0 - 1, "TCB of a Turin": 0x184,
	} {
		bad := slices.Clone(raw)
		bad[at] = 0x80
		if _, err := snp.ParseReport(bad); !errors.Is(err, snp.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := snp.Read(bad); !errors.Is(err, snp.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := snp.ParseReport(raw[:100]); !errors.Is(err, snp.ErrFormat) {
		t.Error(err)
	}
}

// TestUnknownEntries ignores entries of other kinds and says so.
func TestUnknownEntries(t *testing.T) {
	t.Parallel()
	w := world()
	report := w.Report(snp.Milan, 3)
	table, err := snp.MarshalCertTable([]snp.CertEntry{
		{GUID: [16]byte{0xec, 0xae}, Data: make([]byte, 8)},
		{Kind: snp.CertVCEK, Data: w.Leaf(report).Cert.Raw}, {Kind: snp.CertASK, Data: w.Line(snp.Milan).ASK.Cert.Raw},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := verify(t, append(w.Sign(report), table...), options(w, nil))
	if seen := ruleOf(t, r, "report_format").Seen; !r.OK() || !strings.Contains(seen, "1 entries of unknown kind") {
		t.Errorf("seen %q: %+v", seen, r.Rules)
	}
	many := bytes.Repeat(append(bytes.Repeat([]byte{1}, 16), 0, 16, 0, 0, 1, 0, 0, 0), 17)
	if _, err := snp.ParseCertTable(append(many, make([]byte, 8192)...)); err == nil {
		t.Error("17 entries were read")
	}
}

// TestForeignCollateral passes over certificates of other makers, and refuses too many.
func TestForeignCollateral(t *testing.T) {
	t.Parallel()
	w := world()
	report := w.Report(snp.Milan, 3)
	c := w.Collateral(report)
	foreign := w.Line(snp.Milan).Authority("Some CA", 9, nil)
	c.Certs = append([][]byte{foreign.Cert.Raw}, c.Certs...)
	if r := verify(t, w.Sign(report), options(w, c)); !r.OK() {
		t.Errorf("%+v", r.Rules)
	}
	c.Certs = append(c.Certs, slices.Repeat([][]byte{foreign.Cert.Raw}, 64)...)
	if r := verify(t, w.Sign(report), options(w, c)); r.OK() || !strings.Contains(ruleOf(t, r, "vcek_chain").Seen, "more than 64 certificates") {
		t.Errorf("%+v", r.Rules)
	}
}
