package policy

import (
	"bytes"
	"slices"
	"testing"

	"hitoku.dev/attest"
)

func honest() (*attest.Result, *attest.Binding) {
	b := &attest.Binding{Purpose: attest.PurposeAppTLS, Subject: [32]byte{1}, Nonce: bytes.Repeat([]byte{2}, 32), AccountRoot: [32]byte{3}}
	data := b.ReportData()
	return &attest.Result{
		Claims: attest.Claims{
			Format: "sgx-quote-v3", Measurement: []byte{1, 2}, Signer: []byte{3, 4}, ProdID: 5, SVN: 6, ReportData: data[:],
			PlatformID: "aa", TCB: attest.TCB{Overall: "UpToDate"}, TCBEvaluation: 18,
		},
		Rules: []attest.Rule{{Name: "quote_signature", Wanted: "signed", Seen: "signed", OK: true}},
	}, b
}

func failed(v *attest.Verdict) []string {
	var names []string
	for _, r := range v.Failed() {
		names = append(names, r.Name)
	}
	return names
}

func ptr[T any](v T) *T { return &v }

func TestJudge(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		claims func(*attest.Result)
		policy func(p *Policy, b *attest.Binding)
		extra  []attest.Rule
		failed []string
	}{
		"default":                   {},
		"no rules":                  {claims: func(r *attest.Result) { r.Rules = nil }, failed: []string{"evidence"}},
		"failed verification":       {claims: func(r *attest.Result) { r.Rules[0].OK = false }, failed: []string{"quote_signature"}},
		"extra rule":                {extra: []attest.Rule{{Name: "names"}}, failed: []string{"names"}},
		"debug":                     {claims: func(r *attest.Result) { r.Claims.Debug = true }, failed: []string{"debug"}},
		"debug allowed":             {claims: func(r *attest.Result) { r.Claims.Debug = true }, policy: func(p *Policy, _ *attest.Binding) { p.AllowDebug = true }},
		"simulated":                 {claims: func(r *attest.Result) { r.Claims.Simulated = true }, failed: []string{"evidence_kind"}},
		"simulated allowed":         {claims: func(r *attest.Result) { r.Claims.Simulated = true }, policy: func(p *Policy, _ *attest.Binding) { p.AllowSimulated = true }},
		"unknown TCB":               {claims: func(r *attest.Result) { r.Claims.TCB.Overall = "" }, failed: []string{"tcb_status"}},
		"TCB out of date":           {claims: func(r *attest.Result) { r.Claims.TCB.Overall = "OutOfDate" }, failed: []string{"tcb_status"}},
		"TCB out of date accepted":  {claims: func(r *attest.Result) { r.Claims.TCB.Overall = "OutOfDate" }, policy: func(p *Policy, _ *attest.Binding) { p.TCBStatuses = []string{"OutOfDate"} }},
		"UpToDate not named":        {policy: func(p *Policy, _ *attest.Binding) { p.TCBStatuses = []string{"OutOfDate"} }, failed: []string{"tcb_status"}},
		"revoked is never accepted": {claims: func(r *attest.Result) { r.Claims.TCB.Overall = "Revoked" }, policy: func(p *Policy, _ *attest.Binding) { p.TCBStatuses = []string{"Revoked"} }, failed: []string{"tcb_status"}},
		"measurement":               {policy: func(p *Policy, _ *attest.Binding) { p.Measurements = [][]byte{{9}, {1, 2}} }},
		"other measurement":         {policy: func(p *Policy, _ *attest.Binding) { p.Measurements = [][]byte{{1, 2, 3}} }, failed: []string{"measurement"}},
		"empty measurement":         {claims: func(r *attest.Result) { r.Claims.Measurement = nil }, policy: func(p *Policy, _ *attest.Binding) { p.Measurements = [][]byte{{}} }, failed: []string{"measurement"}},
		"signer":                    {policy: func(p *Policy, _ *attest.Binding) { p.Signers = [][]byte{{3, 4}} }},
		"other signer":              {policy: func(p *Policy, _ *attest.Binding) { p.Signers = [][]byte{{3}} }, failed: []string{"signer"}},
		"product":                   {policy: func(p *Policy, _ *attest.Binding) { p.ProdID = ptr(uint16(5)) }},
		"other product":             {policy: func(p *Policy, _ *attest.Binding) { p.ProdID = ptr(uint16(0)) }, failed: []string{"isv_prod_id"}},
		"version":                   {policy: func(p *Policy, _ *attest.Binding) { p.MinSVN = ptr(uint16(6)) }},
		"older version":             {policy: func(p *Policy, _ *attest.Binding) { p.MinSVN = ptr(uint16(7)) }, failed: []string{"isv_svn"}},
		"evaluation":                {policy: func(p *Policy, _ *attest.Binding) { p.MinTCBEvaluation = 18 }},
		"older evaluation":          {policy: func(p *Policy, _ *attest.Binding) { p.MinTCBEvaluation = 19 }, failed: []string{"tcb_evaluation"}},
		"platform":                  {policy: func(p *Policy, _ *attest.Binding) { p.PlatformIDs = []string{"aa"} }},
		"other platform":            {policy: func(p *Policy, _ *attest.Binding) { p.PlatformIDs = []string{"bb", "ab"} }, failed: []string{"same_platform"}},
		"report data":               {policy: func(p *Policy, b *attest.Binding) { d := b.ReportData(); p.ReportData = d[:] }},
		"other report data":         {policy: func(p *Policy, _ *attest.Binding) { p.ReportData = make([]byte, 64) }, failed: []string{"report_data"}},
		"binding": {policy: func(p *Policy, b *attest.Binding) {
			p.Binding = &Binding{Seen: b, Purpose: attest.PurposeAppTLS, Subject: &[32]byte{1}, AccountRoot: &[32]byte{3}, Nonce: bytes.Repeat([]byte{2}, 32), ConfigID: []byte{}}
		}},
		"no binding": {policy: func(p *Policy, _ *attest.Binding) { p.Binding = &Binding{Purpose: attest.PurposeAppTLS} }, failed: []string{"binding"}},
		"every member of the binding differs": {policy: func(p *Policy, b *attest.Binding) {
			p.Binding = &Binding{Seen: b, Purpose: attest.PurposeNode, Subject: &[32]byte{}, AccountRoot: &[32]byte{}, Nonce: []byte{}, ConfigID: []byte{1}}
		}, failed: []string{"purpose", "key_binding", "account", "nonce", "config"}},
		"binding of other evidence": {policy: func(p *Policy, b *attest.Binding) {
			b.Nonce = make([]byte, 32)
			p.Binding = &Binding{Seen: b, Purpose: attest.PurposeAppTLS}
		}, failed: []string{"binding"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, b := honest()
			var p Policy
			if tc.claims != nil {
				tc.claims(r)
			}
			if tc.policy != nil {
				tc.policy(&p, b)
			}
			v := Judge(r, p, tc.extra...)
			if got := failed(&v); !slices.Equal(got, tc.failed) || v.Accepted != (len(tc.failed) == 0) {
				t.Errorf("accepted %v, failed %v, wanted %v", v.Accepted, got, tc.failed)
			}
		})
	}
}

func TestNotCheckedNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	r, b := honest()
	v := Judge(r, Policy{})
	if len(v.NotChecked) != 6 {
		t.Errorf("not checked by default: %q", v.NotChecked)
	}
	v = Judge(r, Policy{
		Measurements: [][]byte{{1, 2}}, Signers: [][]byte{{3, 4}}, PlatformIDs: []string{"aa"}, MinTCBEvaluation: 1,
		Binding: &Binding{Seen: b, Purpose: attest.PurposeAppTLS, Nonce: b.Nonce},
	})
	if len(v.NotChecked) != 0 || !v.Accepted {
		t.Errorf("not checked: %q", v.NotChecked)
	}
}
