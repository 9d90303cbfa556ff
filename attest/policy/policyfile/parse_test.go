package policyfile

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hitoku.dev/attest"
	"hitoku.dev/attest/policy"
)

const full = `# everything
version: 1
formats: [tdx-quote-v4, tdx-quote-v5]
tees: tdx
measurements:
  - "0102"
  - 0304
registers: {rtmr0: [aabb, 0012], host_data: 12}
signers: [cc]
product_id: 3
min_svn: 4
facts: {secure_boot: enabled, db: [a b, c]}
debug: true
simulated: true
tcb:
  statuses: [UpToDate, SWHardeningNeeded]
  advisories: [INTEL-SA-00615]
  min_evaluation: 17
  min_date: 2025-05-14
  min_svns: {microcode: 209, snp: 0}
max_evidence_age: 10m
max_collateral_age: 30d
collateral_grace: 36h
platforms: [aa, bb]
report_data: 0102
nonce: ff00
gpus: {min: 1, max: 8, registers: {vbios: "01"}, facts: {arch: HOPPER}}
switches: {max: 4}
`

func ptr[T any](v T) *T { return &v }

func wantFull() *policy.Policy {
	return &policy.Policy{
		Closed: true, Formats: []string{"tdx-quote-v4", "tdx-quote-v5"}, TEEs: []attest.TEE{attest.TDX}, Measurements: [][]byte{{1, 2}, {3, 4}},
		Registers: map[string][][]byte{"rtmr0": {{0xaa, 0xbb}, {0, 0x12}}, "host_data": {{0x12}}}, Signers: [][]byte{{0xcc}}, ProdID: ptr(uint16(3)), MinSVN: ptr(uint16(4)),
		Facts: map[string][]string{"secure_boot": {"enabled"}, "db": {"a b", "c"}}, AllowDebug: true, AllowSimulated: true,
		TCBStatuses: []string{"UpToDate", "SWHardeningNeeded"}, Advisories: []string{"INTEL-SA-00615"}, MinTCBEvaluation: 17, MinTCBDate: time.Date(2025, 5, 14, 0, 0, 0, 0, time.UTC),
		MinSVNs: map[string]uint64{"microcode": 209, "snp": 0}, MaxEvidenceAge: 10 * time.Minute, MaxCollateralAge: 720 * time.Hour, CollateralGrace: 36 * time.Hour,
		PlatformIDs: []string{"aa", "bb"}, ReportData: []byte{1, 2}, Nonce: []byte{0xff, 0},
		GPUs:     &policy.Devices{Min: 1, Max: 8, Registers: map[string][][]byte{"vbios": {{1}}}, Facts: map[string][]string{"arch": {"HOPPER"}}},
		Switches: &policy.Devices{Max: 4},
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	p, err := Parse([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantFull(), p); diff != "" {
		t.Error(diff)
	}
	text, err := Marshal(p, "line one", "evil\nversion: 2")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(text), "# line one\n# evil version: 2\nversion: 1\n") {
		t.Errorf("%s", text)
	}
	again, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, again); diff != "" {
		t.Error(diff)
	}
	// JSON is YAML: the same file in the other form.
	body, err := json.MarshalIndent(map[string]any{
		"version": 1, "tees": []string{"sgx"}, "measurements": "any", "tcb": map[string]any{"statuses": []string{"UpToDate"}},
	}, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	p, err = Parse(body)
	if err != nil || !p.AnyMeasurement || !p.Closed || p.TEEs[0] != attest.SGX {
		t.Errorf("%v %+v", err, p)
	}
	if text, err = Marshal(p); err != nil || !strings.Contains(string(text), "measurements: any") {
		t.Errorf("%v %s", err, text)
	}
	if _, err := Marshal(&policy.Policy{}); err == nil {
		t.Error("an open policy became a file")
	}
	if _, err := Marshal(&policy.Policy{Closed: true, Formats: []string{"no\nformat"}}); err == nil {
		t.Error("a file that cannot be read back was written")
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	cases := map[string][]string{ // text, and what the error must say
		"":                                       {"empty"},
		"[]":                                     {"line 1", "members"},
		"measurements: any":                      {"line 1", `"version" is missing`},
		"version: 2":                             {"line 1", "2 is not known"},
		"version: 1\nmeasurment: aa":             {"line 2", `unknown member "measurment"`},
		"version: 1\ndebug: true\ndebug: false":  {"line 3", `"debug" was already given in line 2`},
		"version: 1\n---\nversion: 1":            {"second document"},
		"version: 1\ntees: [vax]":                {"line 2", `"vax" is not known`},
		"version: 1\nmeasurements: [xyz]":        {"line 2", "hexadecimal"},
		"version: 1\nmeasurements: []":           {"line 2", "a list of 1 to"},
		"version: 1\nmeasurements: [aa, AA]":     {"line 2", "twice"},
		"version: 1\nmeasurements: {a: b}":       {"line 2", "hexadecimal"},
		"version: 1\nmeasurements: [any]":        {"line 2", "hexadecimal"},
		"version: 1\nregisters: {RTMR0: aa}":     {"line 2", "no name of a register"},
		"version: 1\nregisters: {rtmr0: any}":    {"line 2", "hexadecimal"},
		"version: 1\nproduct_id: 65536":          {"line 2", "0 to 65535"},
		"version: 1\nproduct_id: -1":             {"line 2", "0 to 65535"},
		"version: 1\nmin_svn: 0x10":              {"line 2", "decimal"},
		"version: 1\nmin_svn: 010":               {"line 2", "decimal"},
		"version: 1\nmin_svn: two":               {"line 2", "whole number"},
		"version: 1\ndebug: yes":                 {"line 2", "true or false"},
		"version: 1\ndebug: \"true\"":            {"line 2", "true or false"},
		"version: 1\ndebug: True":                {"line 2", "true or false"},
		"version: 1\ntcb: {statuses: [Revoked]}": {"line 2", "never accepted"},
		"version: 1\ntcb: {status: UpToDate}":    {"line 2", `tcb: unknown member "status"`},
		"version: 1\ntcb: {min_date: yesterday}": {"line 2", "no date"},
		"version: 1\ntcb: {min_svns: {UC: 1}}":   {"line 2", "no name of a part"},
		"version: 1\nmax_evidence_age: 10":       {"line 2", "duration"},
		"version: 1\nmax_evidence_age: -10m":     {"line 2", "duration"},
		"version: 1\nmax_evidence_age: xd":       {"line 2", "duration"},
		"version: 1\nplatforms: [AA]":            {"line 2", "lower-case"},
		"version: 1\nreport_data: [aa, bb]":      {"line 2", "wanted one value"},
		"version: 1\nfacts: {Boot: x}":           {"line 2", "no name of a fact"},
		"version: 1\ngpus: {min: 2, max: 1}":     {"line 2", "below min"},
		"version: 1\nfacts: {cmdline: " + strings.Repeat("x", maxText+1) + "}": {"line 2", "printable"},
		"version: 1\ngpus: 1":              {"line 2", "members"},
		"version: 1\ngpus: !!map {min: 1}": {"line 2", "members"},
		"version: 1\ndebug: &a true":       {"line 2", "true or false"},
		"version: 1\nsigners: !!str aa":    {"line 2", "hexadecimal"},
		"a: &a [x]\nb: *a":                 {"unknown member"},
		"version: 1\n? [a]\n: b":           {"line 2", "must be a word"},
		"version: 1\ntees: [tdx":           {"line"},
		strings.Repeat("#", maxFile+1):     {"at most"},
		"version: 1\nx: 1\ny: 2":           {"line 2", "line 3"},
	}
	for text, wanted := range cases {
		p, err := Parse([]byte(text))
		if err == nil {
			t.Errorf("%.60q was read as %+v", text, p)
			continue
		}
		for _, w := range wanted {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%.60q: error %q does not say %q", text, err, w)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(`{"version":1,"tees":["sgx"],"measurements":"any"}`))
	f.Add([]byte("version: 1\na: &a [*a]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		if !p.Closed {
			t.Fatal("a file's policy is open")
		}
		out, err := Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(out)
		if err != nil {
			t.Fatalf("%v in\n%s", err, out)
		}
		if diff := cmp.Diff(p, again); diff != "" {
			t.Error(diff)
		}
	})
}
