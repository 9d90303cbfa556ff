package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest"
)

var judged = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// vm is what a verifier says of a confidential VM with a GPU beside it.
func vm() *attest.Result {
	return &attest.Result{
		Claims: attest.Claims{
			Format: "tdx-quote-v4", TEE: attest.TDX, Measurement: []byte{1, 2}, ReportData: append([]byte{1, 2, 3, 4, 5, 6, 7, 8}, make([]byte, 56)...),
			TCB: attest.TCB{Overall: "SWHardeningNeeded", Advisories: []string{"INTEL-SA-1"}}, TCBEvaluation: 17, TCBDate: judged.AddDate(-1, 0, 0),
			Measurements: map[string]string{"mrtd": "0102", "rtmr0": "aa"}, Facts: map[string]string{"secure_boot": "enabled"},
			PlatformID: "aa", IssuedAt: judged.Add(-90 * time.Minute), CollateralDate: judged.AddDate(0, 0, -3),
			SVNs: map[string]uint64{"microcode": 7},
			Devices: []attest.Claims{{
				Format: "nvidia-gpu-report", TEE: attest.NVIDIAGPU, Nonce: []byte{9}, Measurements: map[string]string{"vbios": "bb"}, Facts: map[string]string{"arch": "HOPPER"},
			}},
		},
		Rules: []attest.Rule{{Name: "quote_signature", Wanted: "signed", Seen: "signed", OK: true}},
	}
}

// exact names exactly what vm shows.
func exact() Policy {
	return Policy{
		Closed: true, At: judged, Formats: []string{"tdx-quote-v4"}, TEEs: []attest.TEE{attest.TDX}, Measurements: [][]byte{{1, 2}},
		Registers: map[string][][]byte{"rtmr0": {{0xaa}}}, Facts: map[string][]string{"secure_boot": {"enabled"}},
		TCBStatuses: []string{"SWHardeningNeeded"}, Advisories: []string{"INTEL-SA-1"}, MinTCBEvaluation: 17, MinTCBDate: judged.AddDate(-1, 0, 0),
		MinSVNs: map[string]uint64{"microcode": 7}, MaxEvidenceAge: 2 * time.Hour, MaxCollateralAge: 96 * time.Hour, PlatformIDs: []string{"aa"},
		ReportData: []byte{1, 2, 3, 4, 5, 6, 7, 8}, Nonce: []byte{1, 2, 3, 4, 5, 6, 7, 8},
		GPUs: &Devices{Min: 1, Max: 1, Registers: map[string][][]byte{"vbios": {{0xbb}}}, Facts: map[string][]string{"arch": {"HOPPER"}}},
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		claims func(c *attest.Claims)
		policy func(p *Policy)
		failed []string
		stays  bool // no change of the policy may accept it
	}{
		"everything named": {},
		"nothing named": {
			policy: func(p *Policy) { *p = Policy{Closed: true} },
			failed: []string{"format", "tcb_status", "advisories", "measurement", "devices"},
		},
		"format":                {claims: func(c *attest.Claims) { c.Format = "tdx-quote-v5" }, failed: []string{"format"}},
		"no format":             {claims: func(c *attest.Claims) { c.Format = "" }, failed: []string{"format"}, stays: true},
		"kind of TEE":           {claims: func(c *attest.Claims) { c.TEE = attest.SGX }, failed: []string{"tee"}},
		"kind of TEE not known": {claims: func(c *attest.Claims) { c.TEE = "" }, failed: []string{"tee"}, stays: true},
		"measurement":           {claims: func(c *attest.Claims) { c.Measurement = []byte{9} }, failed: []string{"measurement"}},
		"no measurement":        {claims: func(c *attest.Claims) { c.Measurement = nil }, failed: []string{"measurement"}, stays: true},
		"register":              {claims: func(c *attest.Claims) { c.Measurements["rtmr0"] = "ab" }, failed: []string{"register_rtmr0"}},
		"register not there":    {claims: func(c *attest.Claims) { delete(c.Measurements, "rtmr0") }, failed: []string{"register_rtmr0"}, stays: true},
		"register not hex":      {claims: func(c *attest.Claims) { c.Measurements["rtmr0"] = "zz" }, failed: []string{"register_rtmr0"}, stays: true},
		"fact":                  {claims: func(c *attest.Claims) { c.Facts["secure_boot"] = "disabled" }, failed: []string{"fact_secure_boot"}},
		"fact not known":        {claims: func(c *attest.Claims) { c.Facts = nil }, failed: []string{"fact_secure_boot"}, stays: true},
		"status":                {claims: func(c *attest.Claims) { c.TCB.Overall = "OutOfDate" }, failed: []string{"tcb_status"}},
		"revoked":               {claims: func(c *attest.Claims) { c.TCB.Overall = "Revoked" }, failed: []string{"tcb_status"}, stays: true},
		"not supported":         {claims: func(c *attest.Claims) { c.TCB.Overall = "TCBNotSupported" }, failed: []string{"tcb_status"}, stays: true},
		"status not known":      {claims: func(c *attest.Claims) { c.TCB.Overall = "" }, failed: []string{"tcb_status"}, stays: true},
		"SNP needs no status":   {claims: func(c *attest.Claims) { c.TEE, c.TCB.Overall = attest.SEVSNP, "" }, policy: func(p *Policy) { p.TEEs = []attest.TEE{attest.SEVSNP} }},
		"advisory":              {claims: func(c *attest.Claims) { c.TCB.Advisories = append(c.TCB.Advisories, "INTEL-SA-2") }, failed: []string{"advisories"}},
		"advisory of a part":    {claims: func(c *attest.Claims) { c.Facts["qe_advisories"] = "INTEL-SA-1 INTEL-SA-3" }, failed: []string{"advisories"}},
		"evaluation":            {claims: func(c *attest.Claims) { c.TCBEvaluation = 16 }, failed: []string{"tcb_evaluation"}},
		"date of the level":     {claims: func(c *attest.Claims) { c.TCBDate = c.TCBDate.Add(-1) }, failed: []string{"tcb_date"}},
		"date of a part":        {claims: func(c *attest.Claims) { c.Facts["tdx_module_tcb_date"] = "2020-01-01" }, failed: []string{"tcb_date"}},
		"newer date of a part":  {claims: func(c *attest.Claims) { c.Facts["qe_tcb_date"] = "2099-01-01" }},
		"part without a date":   {claims: func(c *attest.Claims) { c.Facts["qe_tcb_date"] = "soon" }, failed: []string{"tcb_date"}, stays: true},
		"no date of the level":  {claims: func(c *attest.Claims) { c.TCBDate = time.Time{} }, failed: []string{"tcb_date"}, stays: true},
		"part":                  {claims: func(c *attest.Claims) { c.SVNs["microcode"] = 6 }, failed: []string{"tcb_svns"}},
		"part not known":        {claims: func(c *attest.Claims) { c.SVNs = nil }, failed: []string{"tcb_svns"}, stays: true},
		"old evidence":          {claims: func(c *attest.Claims) { c.IssuedAt = judged.Add(-121 * time.Minute) }, failed: []string{"evidence_age"}},
		"evidence of tomorrow":  {claims: func(c *attest.Claims) { c.IssuedAt = judged.Add(2 * time.Minute) }, failed: []string{"evidence_age"}, stays: true},
		"evidence without date": {claims: func(c *attest.Claims) { c.IssuedAt = time.Time{} }, failed: []string{"evidence_age"}, stays: true},
		"old collateral":        {claims: func(c *attest.Claims) { c.CollateralDate = judged.AddDate(0, 0, -5) }, failed: []string{"collateral_age"}},
		"no time of judgement":  {policy: func(p *Policy) { p.At = time.Time{} }, failed: []string{"evidence_age", "collateral_age"}, stays: true},
		"platform":              {claims: func(c *attest.Claims) { c.PlatformID = "ab" }, failed: []string{"same_platform"}},
		"no platform":           {claims: func(c *attest.Claims) { c.PlatformID = "" }, failed: []string{"same_platform"}, stays: true},
		"report data":           {policy: func(p *Policy) { p.ReportData = []byte{1} }, failed: []string{"report_data"}, stays: true},
		"nonce":                 {policy: func(p *Policy) { p.Nonce = []byte{1, 2, 3, 4, 5, 6, 7, 9} }, failed: []string{"nonce"}, stays: true},
		"nonce by chance":       {policy: func(p *Policy) { p.Nonce = []byte{1} }, failed: []string{"nonce"}, stays: true},
		"nonce of the format": {
			claims: func(c *attest.Claims) { c.Nonce = []byte{5} }, policy: func(p *Policy) { p.Nonce = []byte{5} },
		},
		"other nonce of the format": {claims: func(c *attest.Claims) { c.Nonce = []byte{} }, failed: []string{"nonce"}, stays: true},
		"no GPU":                    {claims: func(c *attest.Claims) { c.Devices = nil }, failed: []string{"gpus"}},
		"too many GPUs":             {claims: func(c *attest.Claims) { c.Devices = append(c.Devices, c.Devices[0]) }, failed: []string{"gpus"}},
		"another device":            {claims: func(c *attest.Claims) { c.Devices = append(c.Devices, attest.Claims{TEE: attest.TPM}) }, failed: []string{"devices"}, stays: true},
		"a switch, not named":       {claims: func(c *attest.Claims) { c.Devices = append(c.Devices, attest.Claims{TEE: nvidiaSwitch}) }, failed: []string{"devices"}},
		"a switch": {
			claims: func(c *attest.Claims) { c.Devices = append(c.Devices, attest.Claims{TEE: nvidiaSwitch}) }, policy: func(p *Policy) { p.Switches = &Devices{Max: 4} },
		},
		"no switch":         {policy: func(p *Policy) { p.Switches = &Devices{Min: 1} }, failed: []string{"switches"}},
		"a GPU alone":       {claims: func(c *attest.Claims) { c.TEE = attest.NVIDIAGPU }, policy: func(p *Policy) { p.GPUs, p.TEEs = nil, []attest.TEE{attest.NVIDIAGPU} }},
		"GPU not named":     {policy: func(p *Policy) { p.GPUs = nil }, failed: []string{"devices"}},
		"register of a GPU": {claims: func(c *attest.Claims) { c.Devices[0].Measurements = nil }, failed: []string{"device_1_register_vbios"}, stays: true},
		"fact of a GPU":     {claims: func(c *attest.Claims) { c.Devices[0].Facts = nil }, failed: []string{"device_1_fact_arch"}, stays: true},
		"debug of a GPU":    {claims: func(c *attest.Claims) { c.Devices[0].Debug = true }, failed: []string{"debug"}},
		"simulated GPU":     {claims: func(c *attest.Claims) { c.Devices[0].Simulated = true }, failed: []string{"evidence_kind"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, p := vm(), exact()
			if tc.claims != nil {
				tc.claims(&r.Claims)
			}
			if tc.policy != nil {
				tc.policy(&p)
			}
			v := Judge(r, p)
			if got := failed(&v); !slices.Equal(got, tc.failed) || v.Accepted != (tc.failed == nil) {
				t.Errorf("failed %v, wanted %v", got, tc.failed)
			}
			for _, f := range v.Failed() {
				if f.Wanted == "" || f.Seen == "" || f.Advice == "" {
					t.Errorf("a failure without reason: %+v", f)
				}
			}
			before := Judge(r, p)
			s := Suggest(r, p)
			if tc.stays != (len(s.Blocked) > 0) || !tc.stays && len(s.Changes) != len(tc.failed) {
				t.Fatalf("changes %+v, blocked %+v", s.Changes, s.Blocked)
			}
			for _, c := range s.Changes {
				if c.Member == "" || c.From == "" || c.To == "" || c.Risk == "" {
					t.Errorf("a change without reason: %+v", c)
				}
			}
			if v := Judge(r, s.Policy); !tc.stays && !v.Accepted {
				t.Errorf("the suggested policy refuses: %v", failed(&v))
			}
			if again := Judge(r, p); len(failed(&again)) != len(failed(&before)) {
				t.Error("a suggestion changed the policy that it was asked about")
			}
		})
	}
}

// TestSuggestForOpenPolicy wants the default turned into a file that accepts what was seen and nothing else.
func TestSuggestForOpenPolicy(t *testing.T) {
	t.Parallel()
	r := vm()
	s := Suggest(r, Policy{At: judged})
	if len(s.Blocked) > 0 {
		t.Fatalf("blocked %+v", s.Blocked)
	}
	if !s.Policy.Closed || !slices.Equal(s.Policy.TCBStatuses, []string{"UpToDate", "SWHardeningNeeded"}) {
		t.Errorf("%+v", s.Policy)
	}
	if v := Judge(r, s.Policy); !v.Accepted {
		t.Errorf("refused: %v", failed(&v))
	}
	other := vm()
	other.Claims.Measurement = []byte{3}
	if v := Judge(other, s.Policy); !slices.Equal(failed(&v), []string{"measurement"}) {
		t.Errorf("another program: %v", failed(&v))
	}
}

// TestSuggestNeverTouchesAuthenticity: what a verifier or the caller refused stays refused.
func TestSuggestNeverTouchesAuthenticity(t *testing.T) {
	t.Parallel()
	r := vm()
	r.Rules = append(r.Rules, attest.Rule{Name: "pck_chain", Wanted: "a chain", Seen: "another root"})
	s := Suggest(r, exact(), attest.Rule{Name: "names", Wanted: "a", Seen: "b"})
	if len(s.Blocked) != 2 || s.Blocked[0].Name != "pck_chain" || s.Blocked[1].Name != "names" {
		t.Errorf("blocked %+v", s.Blocked)
	}
	if s := Suggest(&attest.Result{Claims: r.Claims}, exact()); len(s.Blocked) == 0 {
		t.Error("a result without rules can be accepted")
	}
	p := exact()
	p.Binding = &Binding{Purpose: attest.PurposeApp}
	if s := Suggest(vm(), p); len(s.Blocked) != 1 || s.Blocked[0].Name != "binding" {
		t.Errorf("blocked %+v", s.Blocked)
	}
}

func TestNotCheckedFollowsTheTEE(t *testing.T) {
	t.Parallel()
	r := vm()
	r.Claims.TEE, r.Claims.TCB = attest.SEVSNP, attest.TCB{}
	v := Judge(r, Policy{})
	all := strings.Join(v.NotChecked, "\n")
	if !v.Accepted || !strings.Contains(all, "tcb: the maker publishes no status for these versions: microcode 7") || strings.Contains(all, "tcb_evaluation") || strings.Contains(all, "signer") {
		t.Errorf("accepted %v, not checked:\n%s", v.Accepted, all)
	}
	v = Judge(r, Policy{MinSVNs: map[string]uint64{"microcode": 7}})
	if strings.Contains(strings.Join(v.NotChecked, "\n"), "tcb:") {
		t.Errorf("not checked: %q", v.NotChecked)
	}
}
