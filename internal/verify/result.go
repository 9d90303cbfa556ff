package verify

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/ear"
	"hitoku.dev/attest/policy"
	"hitoku.dev/attest/policy/policyfile"
)

// KindResult is a token that another verifier signed.
const KindResult = "result"

// FormatEAR is the format of such a token.
const FormatEAR = "ear-jwt"

// judgeResult judges a signed attestation result: whether the named verifier
// signed it, whether it still holds, and what it says.
func (r *Report) judgeResult(raw []byte, o *Options) error {
	r.Kind = KindResult
	rules := []attest.Rule{}
	rule := func(name, wanted, seen string, ok bool, advice string) {
		if ok {
			advice = ""
		}
		rules = append(rules, attest.Rule{Name: name, Wanted: wanted, Seen: seen, OK: ok, Advice: advice})
	}
	const wanted = "a result that the named verifier signed and that holds at the time"
	var result *ear.Result
	if o.ResultKey == nil {
		rule("root_trusted", "the key of a verifier that you trust", "none was named", false, "name the verifier's public key with --ear-key")
	} else {
		var err error
		result, err = ear.Verify(bytes.TrimSpace(raw), o.ResultKey, o.At)
		seen := "signed"
		if err != nil {
			seen, result = err.Error(), nil
		} else {
			seen = fmt.Sprintf("made by %s %s at %s", result.Verifier.Developer, result.Verifier.Build, result.Time().Format(time.RFC3339))
		}
		rule("result_signature", wanted, seen, err == nil, "ask the verifier for a new result, and check whose key you named")
	}
	v := attest.Verdict{Format: FormatEAR, NotChecked: []string{"evidence: it is not in a result; the verifier that signed it is trusted for all it says"}}
	if result != nil {
		for _, name := range slices.Sorted(maps.Keys(result.Submods)) {
			a := result.Submods[name]
			rule("result_status", fmt.Sprintf("status affirming of %q", name), string(a.Status), a.Status == ear.Affirming, "the verifier found something wrong; ask it for its report")
			if a.Verdict != nil && len(result.Submods) == 1 {
				v.Measurements, v.Debug, v.Simulated = a.Verdict.Measurements, a.Verdict.Debug, a.Verdict.Simulated
				v.TCB = attest.TCB{Overall: a.Verdict.TCB, Advisories: a.Verdict.Advisories}
			}
			if o.Nonce != nil {
				nonce, err := base64.RawURLEncoding.DecodeString(a.Nonce)
				rule("nonce", hex.EncodeToString(o.Nonce), fmt.Sprintf("%x", nonce), err == nil && len(nonce) > 0 && bytes.Equal(nonce, o.Nonce), "ask for evidence over this nonce")
			}
		}
		if o.Nonce == nil {
			v.NotChecked = append(v.NotChecked, "nonce: the evidence may have been made earlier than now")
		}
	}
	if result != nil && result.Expires == 0 {
		v.NotChecked = append(v.NotChecked, "age: the result does not say until when it holds")
	}
	if wanted := o.demands(); len(wanted) > 0 {
		rule("policy", "evidence that can be judged by "+strings.Join(wanted, ", "), "a result of another verifier, without its evidence", false,
			"judge the evidence itself; of a result only its signer, its time and its nonce can be judged")
	}
	v.Rules, v.Accepted = rules, true
	for _, rule := range rules {
		v.Accepted = v.Accepted && rule.OK
	}
	r.Verdict = v
	r.result.Rules = rules
	return nil
}

// demands names what the caller wants of the evidence and a result cannot show. What
// would be accepted besides (statuses, debug mode) is no demand.
func (o *Options) demands() (list []string) {
	p := &o.Policy
	for _, d := range []struct {
		name   string
		wanted bool
	}{
		{"a policy file", p.Closed},
		{"format", len(p.Formats)+len(p.TEEs) > 0},
		{"measurement", len(p.Measurements) > 0},
		{"registers", len(p.Registers) > 0},
		{"signer", len(p.Signers) > 0 || p.ProdID != nil || p.MinSVN != nil},
		{"facts", len(p.Facts) > 0},
		{"TCB", p.MinTCBEvaluation > 0 || !p.MinTCBDate.IsZero() || len(p.MinSVNs) > 0 || p.Advisories != nil},
		{"age", p.MaxEvidenceAge > 0 || p.MaxCollateralAge > 0},
		{"platform", len(p.PlatformIDs) > 0},
		{"report data", len(p.ReportData) > 0 || p.Binding != nil},
		{"devices", p.GPUs != nil || p.Switches != nil || len(o.With)+len(o.RIMs) > 0},
		{"event log", o.EventLog != ""},
		{"name or zone", o.Name != "" || o.Zone != nil},
	} {
		if d.wanted {
			list = append(list, d.name)
		}
	}
	return list
}

// resultLife is how long a result may be used.
const resultLife = time.Hour

// EAR returns the verdict as a signed attestation result (draft-ietf-rats-ear).
func (r *Report) EAR(key crypto.Signer, build string, policyIDs ...string) (string, error) {
	p := &r.policy
	result := ear.FromVerdict(&r.Verdict, &r.Claims, ear.Options{
		At: r.At, Life: resultLife, Verifier: ear.VerifierID{Developer: "https://hitoku.dev", Build: build}, PolicyIDs: policyIDs,
		Nonce: p.Nonce, Named: len(p.Measurements) > 0 || len(p.Registers) > 0 || len(p.Signers) > 0 || r.Image != "",
	})
	return result.Sign(key)
}

// SuggestedPolicy returns a policy file that would accept what was judged, with
// the changes and their risks in its comment, for a person to approve. The error
// names the rules that no policy can change.
func (r *Report) SuggestedPolicy() ([]byte, error) {
	s := policy.Suggest(&r.result, r.policy)
	if len(s.Blocked) > 0 {
		return nil, fmt.Errorf("no policy can accept this: %w", &attest.RefusedError{What: r.Target, Rules: s.Blocked})
	}
	return policyfile.Marshal(&s.Policy, r.comment(&s)...)
}
