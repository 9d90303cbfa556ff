// Package policy judges the claims of verified evidence: it turns an
// [attest.Result] into an [attest.Verdict] with every rule in it, those of the
// verifier and those of the policy, not the first failure alone.
//
// The zero [Policy] is the default: the evidence must be authentic, its
// collateral fresh, its TEE no debug TEE and no simulation, its TCB UpToDate.
// Whatever a reader might expect and the policy does not name (measurement,
// signer, nonce …) stands in the verdict's list of what was not checked.
//
// It trusts the verifier's result and the policy. It does not verify evidence by
// itself: a Result without rules, or with a rule that failed, is never accepted.
package policy

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"hitoku.dev/attest"
)

// Policy says what is wanted of a TEE. A member left empty is not judged, unless
// its comment says otherwise.
type Policy struct {
	Measurements [][]byte // any of these
	Signers      [][]byte // any of these
	ProdID       *uint16
	MinSVN       *uint16
	// AllowDebug accepts a TEE whose memory can be read. Always judged.
	AllowDebug bool
	// AllowSimulated accepts evidence that leads to a simulated root. Always judged.
	AllowSimulated bool
	// TCBStatuses are the statuses accepted, in the maker's words; UpToDate when empty. Revoked
	// and TCBNotSupported are never accepted.
	TCBStatuses []string
	// MinTCBEvaluation is the lowest evaluation number of the collateral that is accepted; above 0.
	MinTCBEvaluation int
	PlatformID       string // lower-case hexadecimal
	ReportData       []byte // 64 bytes
	// Binding, when set, says what the evidence must have been made over.
	Binding *Binding
}

// Judge applies p to a verifier's result. Rules that the caller found by itself
// go in as extra, and decide like all others.
func Judge(r *attest.Result, p Policy, extra ...attest.Rule) attest.Verdict {
	c := &r.Claims
	rules := slices.Clone(r.Rules)
	if len(rules) == 0 {
		rules = append(rules, attest.Rule{Name: "evidence", Wanted: "evidence that was verified", Seen: "no rule was applied"})
	}
	rules = append(rules, p.Rules(c)...)
	rules = append(rules, extra...)
	v := attest.Verdict{
		Format:       c.Format,
		Accepted:     true,
		Rules:        rules,
		TCB:          c.TCB,
		Debug:        c.Debug,
		Simulated:    c.Simulated,
		Measurements: c.Measurements,
		PlatformID:   c.PlatformID,
		NotChecked:   append(slices.Clone(r.NotChecked), p.notChecked()...),
	}
	for _, rule := range rules {
		v.Accepted = v.Accepted && rule.OK
	}
	return v
}

// Rules applies p alone, in a fixed order.
func (p *Policy) Rules(c *attest.Claims) []attest.Rule {
	rules := []attest.Rule{Kind(c, p.AllowSimulated), Debug(c, p.AllowDebug), TCBStatus(c, p.TCBStatuses)}
	if p.MinTCBEvaluation > 0 {
		rules = append(rules, TCBEvaluation(c, p.MinTCBEvaluation))
	}
	if len(p.Measurements) > 0 {
		rules = append(rules, Measurement(c, p.Measurements))
	}
	if len(p.Signers) > 0 {
		rules = append(rules, Signer(c, p.Signers))
	}
	if p.ProdID != nil {
		rules = append(rules, ProdID(c, *p.ProdID))
	}
	if p.MinSVN != nil {
		rules = append(rules, SVN(c, *p.MinSVN))
	}
	if p.PlatformID != "" {
		rules = append(rules, Platform(c, p.PlatformID))
	}
	if len(p.ReportData) > 0 {
		rules = append(rules, ReportData(c, p.ReportData))
	}
	if p.Binding != nil {
		rules = append(rules, p.Binding.Rules(c)...)
	}
	return rules
}

func (p *Policy) notChecked() []string {
	var out []string
	note := func(missing bool, text string) {
		if missing {
			out = append(out, text)
		}
	}
	note(len(p.Measurements) == 0, "measurement: any program is accepted")
	note(len(p.Signers) == 0, "signer: an image signed by anybody is accepted")
	note(len(p.Signers) > 0 && len(p.Measurements) == 0 && p.MinSVN == nil, "isv_svn: older versions of the signer's images are accepted")
	b := p.Binding
	note(len(p.ReportData) == 0 && (b == nil || b.Nonce == nil), "nonce: the evidence may have been made earlier than now")
	note(len(p.ReportData) == 0 && b == nil, "report_data: what the evidence was made over")
	note(p.PlatformID == "", "platform: any machine is accepted")
	note(p.MinTCBEvaluation <= 0, "tcb_evaluation: no lowest evaluation number was named")
	return out
}

func rule(name, wanted, seen string, ok bool, advice string) attest.Rule {
	if ok {
		advice = ""
	}
	return attest.Rule{Name: name, Wanted: wanted, Seen: seen, OK: ok, Advice: advice}
}

// Kind refuses simulated evidence unless it was asked for (security decision S11).
func Kind(c *attest.Claims, allowSimulated bool) attest.Rule {
	wanted, seen := "evidence that is not simulated", "not simulated"
	if allowSimulated {
		wanted = "evidence of hardware or of the simulation"
	}
	if c.Simulated {
		seen = "simulated evidence: no hardware protects the program"
	}
	return rule("evidence_kind", wanted, seen, !c.Simulated || allowSimulated, "trust a simulated root only in tests, by naming it")
}

// Debug refuses a TEE whose memory can be read.
func Debug(c *attest.Claims, allow bool) attest.Rule {
	wanted, seen := "no debug TEE", "no debug TEE"
	if allow {
		wanted = "a TEE, in debug mode or not"
	}
	if c.Debug {
		seen = "a debug TEE: its memory can be read"
	}
	return rule("debug", wanted, seen, !c.Debug || allow, "start the program without debug mode")
}

// TCBStatus compares the overall status with those accepted, UpToDate when
// there are none. Unknown, Revoked and TCBNotSupported are always refused.
func TCBStatus(c *attest.Claims, accepted []string) attest.Rule {
	if len(accepted) == 0 {
		accepted = []string{"UpToDate"}
	}
	s := c.TCB.Overall
	ok := s != "" && s != "Revoked" && s != "TCBNotSupported" && slices.Contains(accepted, s)
	seen := s
	if s == "" {
		seen = "not known"
	}
	if len(c.TCB.Advisories) > 0 {
		seen += " (" + strings.Join(c.TCB.Advisories, ", ") + ")"
	}
	return rule("tcb_status", "TCB "+strings.Join(accepted, " or "), seen, ok,
		"update the platform, or accept the status by name after reading the advisories")
}

// TCBEvaluation refuses collateral of an evaluation older than the lowest accepted.
func TCBEvaluation(c *attest.Claims, lowest int) attest.Rule {
	return rule("tcb_evaluation", fmt.Sprintf("TCB evaluation number %d or higher", lowest), fmt.Sprint(c.TCBEvaluation), c.TCBEvaluation >= lowest,
		"fetch newer collateral")
}

// Measurement wants one of the given measurements.
func Measurement(c *attest.Claims, any [][]byte) attest.Rule {
	return oneOf("measurement", c.Measurement, any, "is this the image that you meant? Compare with `hitoku inspect IMAGE`")
}

// Signer wants one of the given signers.
func Signer(c *attest.Claims, any [][]byte) attest.Rule {
	return oneOf("signer", c.Signer, any, "the image was signed with another key")
}

func oneOf(name string, seen []byte, any [][]byte, advice string) attest.Rule {
	var wanted []string
	ok := false
	for _, m := range any {
		wanted = append(wanted, hexOrNone(m))
		ok = ok || len(m) > 0 && bytes.Equal(m, seen)
	}
	if len(wanted) == 0 {
		wanted = []string{"none is approved"}
	}
	return rule(name, strings.Join(wanted, " or "), hexOrNone(seen), ok, advice)
}

// ProdID wants a product id.
func ProdID(c *attest.Claims, wanted uint16) attest.Rule {
	return rule("isv_prod_id", fmt.Sprintf("product id %d", wanted), fmt.Sprint(c.ProdID), c.ProdID == wanted, "the signer uses one key for several products; name the right one")
}

// SVN wants a security version that is not lower.
func SVN(c *attest.Claims, lowest uint16) attest.Rule {
	return rule("isv_svn", fmt.Sprintf("security version %d or higher", lowest), fmt.Sprint(c.SVN), c.SVN >= lowest, "run a newer build")
}

// Platform wants one machine (security decision S2).
func Platform(c *attest.Claims, id string) attest.Rule {
	seen := c.PlatformID
	if seen == "" {
		seen = "not known"
	}
	return rule("same_platform", "platform "+id, seen, id != "" && c.PlatformID == id, "the evidence is of another machine")
}

// ReportData wants the 64 bytes that the evidence was made over.
func ReportData(c *attest.Claims, wanted []byte) attest.Rule {
	return rule("report_data", hexOrNone(wanted), hexOrNone(c.ReportData), len(wanted) == attest.ReportDataSize && bytes.Equal(wanted, c.ReportData),
		"the evidence was made over something else")
}

func hexOrNone(b []byte) string {
	if len(b) == 0 {
		return "none"
	}
	return hex.EncodeToString(b)
}
