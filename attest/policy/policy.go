// Package policy judges the claims of verified evidence: it turns an
// [attest.Result] into an [attest.Verdict] with every rule in it, those of the
// verifier and those of the policy, not the first failure alone.
//
// The zero [Policy] is the default: the evidence must be authentic, its
// collateral fresh, its TEE no debug TEE and no simulation, and its TCB UpToDate
// where the maker publishes a status (Intel). Whatever a reader might expect and
// the policy does not name (measurement, signer, nonce …) stands in the verdict's
// list of what was not checked. A closed policy, which is what a policy file
// holds (attest/policy/policyfile), refuses what it does not name.
//
// [Suggest] answers the reverse question: what is the least that a person would
// have to write into the policy so that it accepts what it has refused?
//
// It trusts the verifier's result and the policy. It does not verify evidence by
// itself: a Result without rules, or with a rule that failed, is never accepted.
package policy

import (
	"slices"
	"time"

	"hitoku.dev/attest"
)

// Policy says what is wanted of a TEE. A member left empty is not judged, unless
// its comment says otherwise.
type Policy struct {
	// Closed refuses what is not named: the format, the measurement, TCB statuses, advisories and
	// devices. Values that the attester chooses (report data, nonce) and the machine are still
	// judged only where they are named.
	Closed bool

	Formats []string     // any of these, as [attest.Claims.Format]
	TEEs    []attest.TEE // any of these kinds

	Measurements [][]byte // any of these
	// AnyMeasurement lets a closed policy accept any program.
	AnyMeasurement bool
	// Registers are wanted by their names in [attest.Claims.Measurements] ("rtmr0", "pcr4",
	// "host_data", "mrconfigid" …); of each name any of the values.
	Registers map[string][][]byte
	Signers   [][]byte // any of these
	ProdID    *uint16
	MinSVN    *uint16
	// Facts are wanted by name, of each any of the values; a fact that is not known is refused.
	Facts map[string][]string

	// AllowDebug accepts a TEE whose memory can be read. Always judged.
	AllowDebug bool
	// AllowSimulated accepts evidence that leads to a simulated root. Always judged.
	AllowSimulated bool

	// TCBStatuses are the statuses accepted, in the maker's words; UpToDate when empty, none when
	// the policy is closed. Judged for SGX, for TDX and where the TEE is not known. Revoked and
	// TCBNotSupported are never accepted.
	TCBStatuses []string
	// Advisories are those that may stand beside the status. Nil: not judged, unless closed.
	Advisories []string
	// MinTCBEvaluation is the lowest evaluation number of the collateral that is accepted; above 0.
	MinTCBEvaluation int
	// MinTCBDate is the earliest date of the matching TCB level, of the platform and of every part
	// of it (TDX module, quoting enclave) that is not UpToDate.
	MinTCBDate time.Time
	// MinSVNs are the lowest versions by part, see [attest.Claims.SVNs]; a part that is not known is refused.
	MinSVNs map[string]uint64

	// At is the time of the judgement, which the ages need.
	At time.Time
	// MaxEvidenceAge and MaxCollateralAge count from [attest.Claims.IssuedAt] and CollateralDate;
	// a date that is not known, or that lies more than a minute ahead, is refused.
	MaxEvidenceAge   time.Duration
	MaxCollateralAge time.Duration
	// CollateralGrace is how long after its next update collateral may still be used. It is
	// carried here for the verifiers, which take it as an option; nothing here judges it.
	CollateralGrace time.Duration

	PlatformIDs []string // any of these, lower-case hexadecimal
	ReportData  []byte   // 64 bytes for SGX, TDX and SNP
	// Nonce must stand in the format's own member for it, or begin the report data.
	Nonce []byte
	// GPUs and Switches are wanted beside the TEE.
	GPUs     *Devices
	Switches *Devices
	// Binding, when set, says what the evidence must have been made over.
	Binding *Binding
}

// Devices says how many devices of a kind must have proved themselves beside the
// TEE, and how.
type Devices struct {
	Min int // at least so many; 1 makes one required, 0 merely allows them
	Max int // at most so many; 0 is no limit
	// Registers and Facts are wanted of every one.
	Registers map[string][][]byte
	Facts     map[string][]string
}

// Judge applies p to a verifier's result. Rules that the caller found by itself
// go in as extra, and decide like all others.
func Judge(r *attest.Result, p Policy, extra ...attest.Rule) attest.Verdict {
	c := &r.Claims
	rules := verified(r)
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
		NotChecked:   append(slices.Clone(r.NotChecked), p.notChecked(c)...),
	}
	for _, rule := range rules {
		v.Accepted = v.Accepted && rule.OK
	}
	return v
}

// verified returns the verifier's rules; none is a failure too.
func verified(r *attest.Result) []attest.Rule {
	if len(r.Rules) == 0 {
		return []attest.Rule{{Name: "evidence", Wanted: "evidence that was verified", Seen: "no rule was applied"}}
	}
	return slices.Clone(r.Rules)
}

// Rules applies p alone, in a fixed order.
func (p *Policy) Rules(c *attest.Claims) []attest.Rule {
	rules := []attest.Rule{Kind(c, p.AllowSimulated), Debug(c, p.AllowDebug)}
	add := func(wanted bool, judge func() attest.Rule) {
		if wanted {
			rules = append(rules, judge())
		}
	}
	add(len(p.Formats) > 0 || p.Closed && len(p.TEEs) == 0, func() attest.Rule { return p.format(c) })
	add(len(p.TEEs) > 0, func() attest.Rule { return p.tee(c) })
	add(hasStatus(c), func() attest.Rule { return p.tcbStatus(c) })
	add(p.Advisories != nil || p.Closed, func() attest.Rule { return p.advisories(c) })
	add(p.MinTCBEvaluation > 0, func() attest.Rule { return TCBEvaluation(c, p.MinTCBEvaluation) })
	add(!p.MinTCBDate.IsZero(), func() attest.Rule { return p.tcbDate(c) })
	add(len(p.MinSVNs) > 0, func() attest.Rule { return p.svns(c) })
	add(p.judgesMeasurement(), func() attest.Rule { return p.measurement(c) })
	rules = append(rules, registerRules("", p.Registers, c)...)
	add(len(p.Signers) > 0, func() attest.Rule { return Signer(c, p.Signers) })
	add(p.ProdID != nil, func() attest.Rule { return ProdID(c, *p.ProdID) })
	add(p.MinSVN != nil, func() attest.Rule { return SVN(c, *p.MinSVN) })
	rules = append(rules, factRules("", p.Facts, c)...)
	add(p.MaxEvidenceAge > 0, func() attest.Rule {
		return p.age("evidence_age", "the evidence", c.IssuedAt, p.MaxEvidenceAge, "ask for fresh evidence")
	})
	add(p.MaxCollateralAge > 0, func() attest.Rule {
		return p.age("collateral_age", "the collateral", c.CollateralDate, p.MaxCollateralAge, "fetch newer collateral")
	})
	add(len(p.PlatformIDs) > 0, func() attest.Rule { return platform(c, p.PlatformIDs) })
	add(len(p.ReportData) > 0, func() attest.Rule { return ReportData(c, p.ReportData) })
	add(len(p.Nonce) > 0, func() attest.Rule { return Nonce(c, p.Nonce) })
	rules = append(rules, p.deviceRules(c)...)
	if p.Binding != nil {
		rules = append(rules, p.Binding.Rules(c)...)
	}
	return rules
}

// judgesMeasurement: a closed policy must say what may run, by a measurement, by registers or by a signer.
func (p *Policy) judgesMeasurement() bool {
	return len(p.Measurements) > 0 || p.Closed && !p.AnyMeasurement && len(p.Registers) == 0 && len(p.Signers) == 0
}

func (p *Policy) notChecked(c *attest.Claims) []string {
	var out []string
	note := func(missing bool, text string) {
		if missing {
			out = append(out, text)
		}
	}
	note(len(p.Measurements) == 0 && !p.judgesMeasurement(), "measurement: any program is accepted")
	note(len(p.Signers) == 0 && len(c.Signer) > 0, "signer: an image signed by anybody is accepted")
	note(len(p.Signers) > 0 && len(p.Measurements) == 0 && p.MinSVN == nil, "isv_svn: older versions of the signer's images are accepted")
	note(!hasStatus(c) && len(p.MinSVNs) == 0, tcbNote(c))
	b := p.Binding
	note(!p.judgesNonce(c), "nonce: the evidence may have been made earlier than now")
	note(len(p.ReportData) == 0 && b == nil && len(c.ReportData) > 0, "report_data: what the evidence was made over")
	note(len(p.PlatformIDs) == 0, "platform: any machine is accepted")
	note(p.MinTCBEvaluation <= 0 && hasStatus(c), "tcb_evaluation: no lowest evaluation number was named")
	note(len(c.Devices) > 0 && p.GPUs == nil && p.Switches == nil && !p.Closed && !isDevice(c.TEE), "devices: what runs on them")
	return out
}

// judgesNonce reports whether something fresh was compared.
func (p *Policy) judgesNonce(c *attest.Claims) bool {
	b := p.Binding
	return len(p.Nonce) > 0 || b != nil && b.Nonce != nil || len(p.ReportData) > 0 && c.Nonce == nil
}
