package policy

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"hitoku.dev/attest"
)

func rule(name, wanted, seen string, ok bool, advice string) attest.Rule {
	if ok {
		advice = ""
	}
	return attest.Rule{Name: name, Wanted: wanted, Seen: seen, OK: ok, Advice: advice}
}

// Kind refuses simulated evidence, of the TEE or of a device beside it, unless it
// was asked for (security decision S11).
func Kind(c *attest.Claims, allowSimulated bool) attest.Rule {
	wanted, seen := "evidence that is not simulated", "not simulated"
	if allowSimulated {
		wanted = "evidence of hardware or of the simulation"
	}
	simulated := c.Simulated || slices.ContainsFunc(c.Devices, func(d attest.Claims) bool { return d.Simulated })
	if simulated {
		seen = "simulated evidence: no hardware protects the program"
	}
	return rule("evidence_kind", wanted, seen, !simulated || allowSimulated, "trust a simulated root only in tests, by naming it")
}

// Debug refuses a TEE, or a device beside it, whose memory can be read.
func Debug(c *attest.Claims, allow bool) attest.Rule {
	wanted, seen := "no debug TEE", "no debug TEE"
	if allow {
		wanted = "a TEE, in debug mode or not"
	}
	debug := c.Debug
	if c.Debug {
		seen = "a debug TEE: its memory can be read"
	}
	for i := range c.Devices {
		if c.Devices[i].Debug && !debug {
			debug, seen = true, fmt.Sprintf("device %d is in debug mode: its memory can be read", i+1)
		}
	}
	return rule("debug", wanted, seen, !debug || allow, "start the program without debug mode")
}

func (p *Policy) format(c *attest.Claims) attest.Rule {
	return rule("format", listOr(p.Formats, "no format is named"), orNone(c.Format), c.Format != "" && slices.Contains(p.Formats, c.Format),
		"name the format in `formats`, or its kind in `tees`")
}

func (p *Policy) tee(c *attest.Claims) attest.Rule {
	var names []string
	for _, t := range p.TEEs {
		names = append(names, string(t))
	}
	return rule("tee", listOr(names, ""), orNone(string(c.TEE)), c.TEE != "" && slices.Contains(p.TEEs, c.TEE), "this kind of TEE is not one that the policy names in `tees`")
}

// hasStatus reports whether the maker of the TEE publishes a status for its TCB.
// Where the TEE is not known, one is wanted: it fails closed.
func hasStatus(c *attest.Claims) bool {
	return c.TEE == attest.SGX || c.TEE == attest.TDX || c.TEE == ""
}

func tcbNote(c *attest.Claims) string {
	if len(c.SVNs) > 0 {
		return "tcb: the maker publishes no status for these versions: " + versions(c.SVNs) + "; name the lowest that you accept"
	}
	return "tcb: the maker publishes no status for the platform's software"
}

func (p *Policy) tcbStatus(c *attest.Claims) attest.Rule {
	if p.Closed && len(p.TCBStatuses) == 0 {
		return rule("tcb_status", "no TCB status is named", statusSeen(c), false, "name the statuses that you accept in `tcb.statuses`")
	}
	return TCBStatus(c, p.TCBStatuses)
}

// TCBStatus compares the overall status with those accepted, UpToDate when
// there are none. Unknown, Revoked and TCBNotSupported are always refused.
func TCBStatus(c *attest.Claims, accepted []string) attest.Rule {
	if len(accepted) == 0 {
		accepted = []string{"UpToDate"}
	}
	return rule("tcb_status", "TCB "+strings.Join(accepted, " or "), statusSeen(c), acceptable(c.TCB.Overall) && slices.Contains(accepted, c.TCB.Overall),
		"update the platform, or accept the status by name after reading the advisories")
}

// acceptable reports whether some policy may accept a status.
func acceptable(status string) bool {
	return status != "" && status != "Revoked" && status != "TCBNotSupported"
}

func statusSeen(c *attest.Claims) string {
	seen := c.TCB.Overall
	if seen == "" {
		seen = "not known"
	}
	if len(c.TCB.Advisories) > 0 {
		seen += " (" + strings.Join(c.TCB.Advisories, ", ") + ")"
	}
	return seen
}

func (p *Policy) advisories(c *attest.Claims) attest.Rule {
	wanted := "no advisory"
	if len(p.Advisories) > 0 {
		wanted = "no advisory but " + strings.Join(p.Advisories, ", ")
	}
	extra := p.untolerated(c)
	seen := listOr(known(c), "none")
	return rule("advisories", wanted, seen, len(extra) == 0, "read "+strings.Join(extra, ", ")+"; update the platform, or tolerate by name in `tcb.advisories`")
}

// known returns every advisory that the claims name: of the platform, and of the parts
// whose advisories attest/dcap tells as facts.
func known(c *attest.Claims) []string {
	out := slices.Clone(c.TCB.Advisories)
	for _, fact := range []string{"tdx_module_advisories", "qe_advisories"} {
		for _, a := range strings.Fields(c.Facts[fact]) {
			if !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

func (p *Policy) untolerated(c *attest.Claims) []string {
	var extra []string
	for _, a := range known(c) {
		if !slices.Contains(p.Advisories, a) {
			extra = append(extra, a)
		}
	}
	return extra
}

// TCBEvaluation refuses collateral of an evaluation older than the lowest accepted.
func TCBEvaluation(c *attest.Claims, lowest int) attest.Rule {
	return rule("tcb_evaluation", fmt.Sprintf("TCB evaluation number %d or higher", lowest), fmt.Sprint(c.TCBEvaluation), c.TCBEvaluation >= lowest,
		"fetch newer collateral")
}

func (p *Policy) tcbDate(c *attest.Claims) attest.Rule {
	seen := "not known"
	date := oldestLevel(c)
	if !date.IsZero() {
		seen = date.UTC().Format(time.DateOnly)
	}
	return rule("tcb_date", "a TCB level of "+p.MinTCBDate.UTC().Format(time.DateOnly)+" or later", seen, !date.IsZero() && !date.Before(p.MinTCBDate),
		"update the platform's firmware and microcode")
}

// oldestLevel is the earliest date among the TCB levels of the platform and of its
// parts that are not up to date, which attest/dcap tells as facts; zero when one is not known.
func oldestLevel(c *attest.Claims) time.Time {
	date := c.TCBDate
	for _, fact := range []string{"tdx_module_tcb_date", "qe_tcb_date"} {
		text, there := c.Facts[fact]
		if !there {
			continue
		}
		part, err := time.Parse(time.DateOnly, text)
		if err != nil {
			return time.Time{}
		}
		if part.Before(date) {
			date = part
		}
	}
	return date
}

func (p *Policy) svns(c *attest.Claims) attest.Rule {
	ok := true
	for part, lowest := range p.MinSVNs {
		seen, known := c.SVNs[part]
		ok = ok && known && seen >= lowest
	}
	seen := "not known"
	if len(c.SVNs) > 0 {
		seen = versions(c.SVNs)
	}
	return rule("tcb_svns", versions(p.MinSVNs)+", or higher", seen, ok, "update the platform's firmware and microcode")
}

func versions(parts map[string]uint64) string {
	var out []string
	for _, part := range sorted(parts) {
		out = append(out, fmt.Sprintf("%s %d", part, parts[part]))
	}
	return strings.Join(out, ", ")
}

func (p *Policy) measurement(c *attest.Claims) attest.Rule {
	if len(p.Measurements) == 0 {
		return rule("measurement", "no program is named", hexOrNone(c.Measurement), false, "name it in `measurements`, `registers` or `signers`; `measurements: any` accepts every program")
	}
	return Measurement(c, p.Measurements)
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
	return rule(name, listOr(wanted, "none is approved"), hexOrNone(seen), ok, advice)
}

// registerRules wants each named register to have one of its values.
func registerRules(prefix string, wanted map[string][][]byte, c *attest.Claims) []attest.Rule {
	var rules []attest.Rule
	for _, name := range sorted(wanted) {
		value, err := hex.DecodeString(c.Measurements[name])
		if err != nil {
			value = nil
		}
		rules = append(rules, oneOf(prefix+"register_"+name, value, wanted[name], "what the register measures differs from what was approved"))
	}
	return rules
}

func factRules(prefix string, wanted map[string][]string, c *attest.Claims) []attest.Rule {
	var rules []attest.Rule
	for _, name := range sorted(wanted) {
		seen, known := c.Facts[name]
		if !known {
			seen = "not known"
		}
		rules = append(rules, rule(prefix+"fact_"+name, listOr(wanted[name], "nothing"), seen, known && slices.Contains(wanted[name], seen),
			"the evidence, or the event log that replays to it, must say so; name the log with --event-log"))
	}
	return rules
}

// ProdID wants a product id.
func ProdID(c *attest.Claims, wanted uint16) attest.Rule {
	return rule("isv_prod_id", fmt.Sprintf("product id %d", wanted), fmt.Sprint(c.ProdID), c.ProdID == wanted, "the signer uses one key for several products; name the right one")
}

// SVN wants a security version that is not lower.
func SVN(c *attest.Claims, lowest uint16) attest.Rule {
	return rule("isv_svn", fmt.Sprintf("security version %d or higher", lowest), fmt.Sprint(c.SVN), c.SVN >= lowest, "run a newer build")
}

// clockSkew is how far ahead of the judge's clock a date may lie.
const clockSkew = time.Minute

func (p *Policy) age(name, what string, date time.Time, most time.Duration, advice string) attest.Rule {
	wanted := fmt.Sprintf("%s no older than %s", what, most)
	switch {
	case p.At.IsZero():
		return rule(name, wanted, "the time of the judgement is not known", false, advice)
	case date.IsZero():
		return rule(name, wanted, "it does not say when it was made", false, "this format has no date; a nonce proves freshness instead")
	}
	age := p.At.Sub(date)
	seen := fmt.Sprintf("made %s, %s old", date.UTC().Format(time.RFC3339), age.Truncate(time.Second))
	return rule(name, wanted, seen, age <= most && age >= -clockSkew, advice)
}

// Platform wants one machine (security decision S2).
func Platform(c *attest.Claims, id string) attest.Rule { return platform(c, []string{id}) }

func platform(c *attest.Claims, ids []string) attest.Rule {
	seen := c.PlatformID
	if seen == "" {
		seen = "not known"
	}
	return rule("same_platform", "platform "+strings.Join(ids, " or "), seen, c.PlatformID != "" && slices.Contains(ids, c.PlatformID), "the evidence is of another machine")
}

// ReportData wants what the evidence was made over: the 64 bytes of SGX, TDX and
// SNP, where a shorter value is padded with zero bytes at its end, or the user
// data of other formats.
func ReportData(c *attest.Claims, wanted []byte) attest.Rule {
	full := wanted
	if len(c.ReportData) == attest.ReportDataSize && len(wanted) < attest.ReportDataSize {
		full = make([]byte, attest.ReportDataSize)
		copy(full, wanted)
	}
	return rule("report_data", hexOrNone(full), hexOrNone(c.ReportData), len(wanted) > 0 && bytes.Equal(full, c.ReportData),
		"the evidence was made over something else")
}

// minNonce is the shortest nonce, in bytes, that is looked for in report data;
// a shorter one could be there by chance.
const minNonce = 8

// Nonce wants the challenge in the format's own member for it, or, where the
// format has none, at the beginning of the report data.
func Nonce(c *attest.Claims, wanted []byte) attest.Rule {
	const advice = "ask for evidence over this nonce"
	if c.Nonce != nil {
		return rule("nonce", hexOrNone(wanted), hexOrNone(c.Nonce), len(wanted) > 0 && bytes.Equal(c.Nonce, wanted), advice)
	}
	return rule("nonce", "report data that begin with "+hexOrNone(wanted), hexOrNone(c.ReportData),
		len(wanted) >= minNonce && bytes.HasPrefix(c.ReportData, wanted), advice)
}

func hexOrNone(b []byte) string { return orNone(hex.EncodeToString(b)) }

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func listOr(list []string, empty string) string {
	if len(list) == 0 {
		return empty
	}
	return strings.Join(list, " or ")
}
