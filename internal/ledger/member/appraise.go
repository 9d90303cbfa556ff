package member

import (
	"errors"
	"fmt"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/attest/policy"
	"hitoku.dev/internal/ledger/wire"
)

// maxTime is the latest time that is judged, in seconds: the end of the year 9999.
const maxTime = 253402300799

// Appraise returns nil when a JOIN's evidence is good under a policy at time t, and an
// [attest.RefusedError] with every rule that failed otherwise. joinTime is the time of
// the JOIN's position. Times are in seconds since 1970, as the log states them. See
// [Judge].
func Appraise(j wire.Join, joinTime uint64, p wire.Policy, t uint64) error {
	v := Judge(j, joinTime, p, t)
	return refusal(j, v)
}

func refusal(j wire.Join, v attest.Verdict) error {
	if v.Accepted {
		return nil
	}
	return &attest.RefusedError{What: fmt.Sprintf("evidence for slot %d", j.Slot), Rules: v.Failed()}
}

// Judge is Appraise of section 4 with every rule in its result: the evidence verified
// with the JOIN's collateral at time t under a root of the policy; debug; one of the
// policy's programs; TCB status; evaluation number; age of the JOIN; and that the
// evidence is made over the JOIN's binding, of purpose `app`. What the binding must
// state is for [CheckBinding].
//
// It is a pure function of its arguments.
func Judge(j wire.Join, joinTime uint64, p wire.Policy, t uint64) attest.Verdict {
	result, rules := verify(&j, &p, t)
	c := &result.Claims
	binding, err := attest.ParseBinding(j.Binding)
	if err != nil {
		binding = nil
		rules = append(rules, failed("binding_format", "a binding in DER", err.Error(), ""))
	}
	rules = append(rules, programRules(p.Programs, c)...)
	if len(p.TCBStatuses) == 0 {
		rules = append(rules, failed("tcb_statuses", "a policy that lists a TCB status", "none", "list the statuses that are accepted"))
	}
	rules = append(rules, evaluation(c, p.MinEvaluation), age(joinTime, p.EvidenceAge, t))
	return policy.Judge(result, policy.Policy{
		TEEs:           []attest.TEE{attest.SGX, attest.TDX},
		AllowDebug:     p.Flags&wire.PolicyDebug != 0,
		AllowSimulated: p.Flags&wire.PolicySimulated != 0,
		TCBStatuses:    p.TCBStatuses,
		Binding:        &policy.Binding{Seen: binding, Purpose: attest.PurposeApp},
	}, rules...)
}

// verify verifies the evidence, and says what of the JOIN cannot be read.
func verify(j *wire.Join, p *wire.Policy, t uint64) (*attest.Result, []attest.Rule) {
	var rules []attest.Rule
	collateral, err := ParseCollateral(j.Collateral)
	if err != nil {
		collateral = new(dcap.Collateral)
		rules = append(rules, failed("collateral", "collateral in its canonical form", err.Error(), "write it as docs/collateral.md says, or leave it out"))
	}
	if t > maxTime {
		rules = append(rules, failed("time", "a time before the year 10000", fmt.Sprintf("%d seconds", t), "is the log's time right?"))
		t = maxTime
	}
	unread := func(err error) (*attest.Result, []attest.Rule) {
		return &attest.Result{Rules: []attest.Rule{failed("evidence_format", "an SGX or TDX quote", err.Error(), "other evidence is not taken by this version of the protocol")}}, rules
	}
	if len(j.Evidence) > MaxEvidence {
		return unread(fmt.Errorf("%d bytes, at most %d allowed", len(j.Evidence), MaxEvidence))
	}
	quote, err := dcap.ParseQuote(j.Evidence)
	if err != nil {
		return unread(err)
	}
	root, seen := findRoot(quote, collateral, p.Roots)
	trusted := attest.Rule{
		Name: "policy_root", Wanted: rootsWanted(p.Roots), Seen: seen, OK: root != nil,
		Advice: advice(root != nil, "is this evidence made on the platform that the ledger's policy means?"),
	}
	verifier := dcap.NewVerifier(root, collateral, p.Flags&wire.PolicySimulated != 0)
	result, err := verifier.Verify(j.Evidence, time.Unix(int64(t), 0).UTC())
	if err != nil {
		return unread(err)
	}
	if root == nil { // all that follows from it is noise
		result.Rules = nil
	}
	result.Rules = append([]attest.Rule{trusted}, result.Rules...)
	return result, rules
}

func rootsWanted(roots []wire.Hash) string {
	switch len(roots) {
	case 0:
		return "a root of the policy, which lists none"
	case 1:
		return fmt.Sprintf("a root with key sha256:%x", roots[0])
	}
	return fmt.Sprintf("one of %d roots, the first with key sha256:%x", len(roots), roots[0])
}

func evaluation(c *attest.Claims, lowest uint32) attest.Rule {
	ok := c.TCBEvaluation >= 0 && uint64(c.TCBEvaluation) >= uint64(lowest)
	return attest.Rule{
		Name: "tcb_evaluation", Wanted: fmt.Sprintf("TCB evaluation number %d or higher", lowest), Seen: fmt.Sprint(c.TCBEvaluation),
		OK: ok, Advice: advice(ok, "join with newer collateral"),
	}
}

// age judges the time since a JOIN. A JOIN that is newer than t has no age: t may be
// that of an anchor before it.
func age(joinTime, most, t uint64) attest.Rule {
	seconds := t - min(t, joinTime)
	ok := seconds <= most
	return attest.Rule{
		Name: "evidence_age", Wanted: fmt.Sprintf("a JOIN at most %d seconds old", most), Seen: fmt.Sprintf("%d seconds", seconds),
		OK: ok, Advice: advice(ok, "the node must join again with fresh evidence"),
	}
}

func failed(name, wanted, seen, advice string) attest.Rule {
	return attest.Rule{Name: name, Wanted: wanted, Seen: seen, Advice: advice}
}

func advice(ok bool, text string) string {
	if ok {
		return ""
	}
	return text
}

// ErrLogTime means that the log states times that the client's clock refutes.
var ErrLogTime = errors.New("the log's time is not the client's")

// clockSkew is how far ahead of a client's clock the log may be, in seconds.
const clockSkew = 300

// JudgeNow is [Judge] with a client's own clock. A JOIN that the log dates after now,
// by more than five minutes, is refused too: its age would be no age.
func JudgeNow(j wire.Join, joinTime uint64, p wire.Policy, now time.Time) (attest.Verdict, error) {
	t := uint64(max(now.Unix(), 0))
	if joinTime > t && joinTime-t > clockSkew {
		return attest.Verdict{}, fmt.Errorf("%w: the JOIN of slot %d is of second %d, and it is %d now; set the clock, or leave this ledger", ErrLogTime, j.Slot, joinTime, t)
	}
	return Judge(j, joinTime, p, t), nil
}

// AppraiseNow is [Appraise] with a client's own clock, see [JudgeNow].
func AppraiseNow(j wire.Join, joinTime uint64, p wire.Policy, now time.Time) error {
	v, err := JudgeNow(j, joinTime, p, now)
	if err != nil {
		return err
	}
	return refusal(j, v)
}
