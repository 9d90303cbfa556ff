package policy

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"hitoku.dev/attest"
)

// Change is one member of a policy file that would have to differ.
type Change struct {
	Member string // as in a policy file, for example "tcb.statuses"
	From   string // what the policy says now
	To     string // what it would have to say
	Risk   string // what a person should know before approving it
}

// Suggestion is the least change of a policy that would accept a result.
type Suggestion struct {
	// Policy is the policy with the changes made. It means something only when nothing is blocked.
	Policy  Policy
	Changes []Change // empty when the policy accepts as it is
	// Blocked are the failed rules that no policy can change: authenticity, freshness, and
	// statuses that must never be trusted.
	Blocked []attest.Rule
}

// Suggest returns the least change of p that would accept r, for a person to
// approve. It never relaxes what makes evidence authentic (the verifier's rules,
// and extra), what makes it fresh (nonce, report data, binding), or a TCB that is
// revoked, unsupported or unknown. A policy that is not closed is closed first,
// around exactly what was seen, since that is what a policy file can say.
func Suggest(r *attest.Result, p Policy, extra ...attest.Rule) Suggestion {
	c := &r.Claims
	s := Suggestion{Policy: clone(p)}
	for _, found := range append(verified(r), extra...) {
		if !found.OK {
			s.Blocked = append(s.Blocked, found)
		}
	}
	if !p.Closed {
		s.close(c)
	}
	for _, failed := range s.Policy.Rules(c) {
		if failed.OK {
			continue
		}
		if change, ok := s.Policy.relax(c, &failed); ok {
			s.Changes = append(s.Changes, change)
		} else {
			s.Blocked = append(s.Blocked, failed)
		}
	}
	if len(s.Blocked) > 0 {
		return s
	}
	for _, failed := range s.Policy.Rules(c) {
		if !failed.OK {
			s.Blocked = append(s.Blocked, failed)
		}
	}
	return s
}

// close writes into the policy what an open one accepts without a word.
func (s *Suggestion) close(c *attest.Claims) {
	p := &s.Policy
	if hasStatus(c) && len(p.TCBStatuses) == 0 {
		p.TCBStatuses = []string{"UpToDate"}
	}
	p.Closed = true
}

// relax changes the one member that a failed rule judges, as little as possible.
func (p *Policy) relax(c *attest.Claims, failed *attest.Rule) (Change, bool) {
	change := Change{From: failed.Wanted}
	done := func(member, to, risk string) (Change, bool) {
		change.Member, change.To, change.Risk = member, to, risk
		return change, true
	}
	switch failed.Name {
	case "evidence_kind":
		p.AllowSimulated = true
		return done("simulated", "true", "no hardware protects the program: for tests only")
	case "debug":
		p.AllowDebug = true
		return done("debug", "true", "the memory of the program can be read by the machine's owner: for development only")
	case "format":
		if c.Format == "" {
			return change, false
		}
		p.Formats = append(p.Formats, c.Format)
		return done("formats", strings.Join(p.Formats, ", "), "what this kind of evidence proves and does not is in docs/attestation.md")
	case "tee":
		if c.TEE == "" {
			return change, false
		}
		p.TEEs = append(p.TEEs, c.TEE)
		return done("tees", fmt.Sprint(p.TEEs), "what this kind of TEE proves and does not is in docs/attestation.md")
	case "tcb_status":
		if !acceptable(c.TCB.Overall) {
			return change, false
		}
		p.TCBStatuses = append(p.TCBStatuses, c.TCB.Overall)
		return done("tcb.statuses", strings.Join(p.TCBStatuses, ", "), "the maker says that this platform has known weaknesses: read its advisories "+listAnd(c.TCB.Advisories))
	case "advisories":
		p.Advisories = append(p.Advisories, p.untolerated(c)...)
		return done("tcb.advisories", strings.Join(p.Advisories, ", "), "each advisory is a published weakness of this platform")
	case "tcb_evaluation":
		p.MinTCBEvaluation = c.TCBEvaluation
		return done("tcb.min_evaluation", fmt.Sprint(c.TCBEvaluation), "an older evaluation does not know the newest weaknesses; this number should only rise")
	case "tcb_date":
		date := oldestLevel(c)
		if date.IsZero() {
			return change, false
		}
		p.MinTCBDate = date
		return done("tcb.min_date", date.UTC().Format(time.DateOnly), "weaknesses that became known after this date may be open")
	case "tcb_svns":
		return p.relaxSVNs(c, change)
	case "measurement":
		if len(c.Measurement) == 0 {
			return change, false
		}
		p.Measurements = append(p.Measurements, c.Measurement)
		return done("measurements", "this one too, "+hex.EncodeToString(c.Measurement), "this program will be trusted: is it one that you built or audited?")
	case "signer":
		if len(c.Signer) == 0 {
			return change, false
		}
		p.Signers = append(p.Signers, c.Signer)
		return done("signers", "this one too, "+hex.EncodeToString(c.Signer), "everything that this key signs will be trusted")
	case "isv_prod_id":
		p.ProdID = &c.ProdID
		return done("product_id", fmt.Sprint(c.ProdID), "this is another product of the signer")
	case "isv_svn":
		p.MinSVN = &c.SVN
		return done("min_svn", fmt.Sprint(c.SVN), "older versions have flaws that the signer has mended since")
	case "evidence_age":
		age, ok := p.accept(c.IssuedAt, &p.MaxEvidenceAge)
		change.Member, change.To, change.Risk = "max_evidence_age", age, "older evidence says less about now"
		return change, ok
	case "collateral_age":
		age, ok := p.accept(c.CollateralDate, &p.MaxCollateralAge)
		change.Member, change.To, change.Risk = "max_collateral_age", age, "older collateral does not know the newest weaknesses and revocations"
		return change, ok
	case "same_platform":
		if c.PlatformID == "" {
			return change, false
		}
		p.PlatformIDs = append(p.PlatformIDs, c.PlatformID)
		return done("platforms", strings.Join(p.PlatformIDs, ", "), "this is another machine than before")
	case "devices", "gpus", "switches":
		return p.relaxDevices(c, change, failed.Name)
	}
	if name, ok := strings.CutPrefix(failed.Name, "register_"); ok {
		value, err := hex.DecodeString(c.Measurements[name])
		if err != nil || len(value) == 0 {
			return change, false
		}
		p.Registers[name] = append(p.Registers[name], value)
		return done("registers."+name, "this value too, "+c.Measurements[name], "what this register measures differs from what was approved")
	}
	if name, ok := strings.CutPrefix(failed.Name, "fact_"); ok {
		value, known := c.Facts[name]
		if !known {
			return change, false
		}
		p.Facts[name] = append(p.Facts[name], value)
		return done("facts."+name, strings.Join(p.Facts[name], ", "), "the machine was booted in another way than was approved")
	}
	return change, false
}

func (p *Policy) relaxSVNs(c *attest.Claims, change Change) (Change, bool) {
	for part, lowest := range p.MinSVNs {
		seen, known := c.SVNs[part]
		if !known {
			return change, false
		}
		p.MinSVNs[part] = min(lowest, seen)
	}
	change.Member, change.To, change.Risk = "tcb.min_svns", versions(p.MinSVNs), "older firmware has flaws that the maker has mended since"
	return change, true
}

// relaxDevices changes how many devices are wanted; those of a kind that a policy
// has no member for cannot be accepted.
func (p *Policy) relaxDevices(c *attest.Claims, change Change, name string) (Change, bool) {
	named := 0
	for _, class := range p.classes() {
		n := class.count(c)
		named += n
		w := class.wanted
		if name == "devices" && (w != nil || n == 0) || name != "devices" && name != class.member {
			continue
		}
		if w == nil {
			w = new(Devices)
		}
		w.Min = min(w.Min, n)
		if w.Max > 0 || w.Min == 0 {
			w.Max = max(w.Max, n)
		}
		if class.kind == nvidiaSwitch {
			p.Switches = w
		} else {
			p.GPUs = w
		}
		change.Member = class.member
		change.To += fmt.Sprintf("%s: min %d, max %d ", class.member, w.Min, w.Max)
	}
	change.To, change.Risk = strings.TrimSpace(change.To), "a device without evidence sees plain data"
	return change, named == len(c.Devices)
}

// accept raises an age to the next full hour above what was seen.
func (p *Policy) accept(date time.Time, most *time.Duration) (string, bool) {
	if p.At.IsZero() || date.IsZero() || date.Sub(p.At) > clockSkew {
		return "", false
	}
	*most = p.At.Sub(date).Truncate(time.Hour) + time.Hour
	return most.String(), true
}

func listAnd(list []string) string {
	if len(list) == 0 {
		return "(none is listed)"
	}
	return strings.Join(list, ", ")
}

// clone copies what relax changes in place.
func clone(p Policy) Policy {
	p.Formats, p.TEEs, p.PlatformIDs = slices.Clone(p.Formats), slices.Clone(p.TEEs), slices.Clone(p.PlatformIDs)
	p.TCBStatuses, p.Advisories = slices.Clone(p.TCBStatuses), slices.Clone(p.Advisories)
	p.Measurements, p.Signers = slices.Clone(p.Measurements), slices.Clone(p.Signers)
	p.MinSVNs = maps.Clone(p.MinSVNs)
	p.Registers = cloneLists(p.Registers)
	p.Facts = cloneLists(p.Facts)
	for _, d := range []**Devices{&p.GPUs, &p.Switches} {
		if *d != nil {
			copied := **d
			*d = &copied
		}
	}
	return p
}

func cloneLists[V any](m map[string][]V) map[string][]V {
	out := maps.Clone(m)
	for k, v := range out {
		out[k] = slices.Clone(v)
	}
	return out
}
