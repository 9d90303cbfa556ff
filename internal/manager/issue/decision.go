package issue

import (
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/policy"
	"hitoku.dev/internal/manager/ca"
)

// NonceLifetime is how long a nonce may be answered.
const NonceLifetime = 10 * time.Minute

// Outcome is what becomes of a request.
type Outcome string

// The outcomes.
const (
	Issue   Outcome = "ISSUE"
	Denied  Outcome = "DENIED"
	Pending Outcome = "PENDING" // on Decision.TaskID; the requester comes back with fresh evidence
)

// Decision is the answer to a request.
type Decision struct {
	Outcome Outcome
	TaskID  string        // of the open task, when pending
	Reason  string        // one sentence for the requester's log
	Rules   []attest.Rule // every rule that was applied, in order
	Leaf    ca.Leaf       // the template, when issued
	// Freshness is "nonce", or "none" for CCM's own key binding.
	Freshness string
}

// Failed returns the rules that did not hold.
func (d *Decision) Failed() []attest.Rule {
	var failed []attest.Rule
	for _, r := range d.Rules {
		if !r.OK {
			failed = append(failed, r)
		}
	}
	return failed
}

// Refused is the decision on a request that could not even be read.
func Refused(rules []attest.Rule) *Decision {
	d := &Decision{Outcome: Denied, Rules: rules}
	d.Reason = reason(d.Failed())
	return d
}

// Account is what a decision needs to know about the account.
type Account struct {
	ID       string
	TestOnly bool     // simulated evidence is accepted
	RootSPKI [32]byte // SHA-256 of the account root's SubjectPublicKeyInfo
	// BareBinding admits CCM's own report data, SHA-256(SPKI) and zeros, once per key (S1).
	BareBinding bool
	// TCBStatuses are the statuses accepted, UpToDate when empty.
	TCBStatuses []string
	// MinTCBEvaluation is the lowest evaluation number of collateral that is accepted (S12).
	MinTCBEvaluation int
}

// Nonce is a challenge that was taken out of the store for this decision.
type Nonce struct {
	Value  []byte
	NodeID string // the node that it was handed to; empty before enrolment
	// Before enrolment: the zone, the platform and its key that it was handed out for.
	ZoneID, PlatformID, PlatformKey string
	Purpose                         attest.Purpose
	Expires                         time.Time
}

// decider collects rules. A failed rule is cured by the task that it names, or not at all.
type decider struct {
	rules []attest.Rule
	fatal bool
	task  string
}

func (d *decider) add(r attest.Rule) {
	if r.OK {
		r.Advice = ""
	} else {
		d.fatal = true
	}
	d.rules = append(d.rules, r)
}

func (d *decider) rule(name, wanted, seen string, ok bool, advice string) {
	d.add(attest.Rule{Name: name, Wanted: wanted, Seen: seen, OK: ok, Advice: advice})
}

// curable is a rule whose failure waits for an open task, if there is one.
func (d *decider) curable(name, wanted, seen string, ok bool, task, advice string) {
	if ok || task == "" {
		d.rule(name, wanted, seen, ok, advice)
		return
	}
	d.rules = append(d.rules, attest.Rule{Name: name, Wanted: wanted, Seen: seen, Advice: "approve task " + task})
	if d.task == "" {
		d.task = task
	}
}

func (d *decider) decide(what string) *Decision {
	out := &Decision{Rules: d.rules}
	switch failed := out.Failed(); {
	case d.fatal:
		out.Outcome, out.Reason = Denied, what+" refused: "+reason(failed)
	case len(failed) > 0:
		out.Outcome, out.TaskID, out.Reason = Pending, d.task, what+" waits for task "+d.task+": "+reason(failed)
	default:
		out.Outcome, out.Reason = Issue, what+" issued"
	}
	return out
}

func reason(failed []attest.Rule) string {
	var parts []string
	for _, r := range failed {
		part := r.Name + ": wanted " + r.Wanted + ", seen " + r.Seen
		if r.Advice != "" {
			part += " (" + r.Advice + ")"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "; ")
}

// evidence takes over what the verifier found and says whether such evidence is accepted here.
func (d *decider) evidence(e *attest.Result, a *Account) {
	for _, r := range e.Rules {
		d.add(r)
	}
	if len(e.Rules) == 0 {
		d.rule("evidence", "evidence that was verified", "no rule applied", false, "")
	}
	p := policy.Policy{AllowSimulated: a.TestOnly, TCBStatuses: a.TCBStatuses, MinTCBEvaluation: a.MinTCBEvaluation}
	for _, r := range p.Rules(&e.Claims) {
		d.add(r)
	}
}

// binding checks what the evidence was made over: this key, for this purpose, in answer to
// this account's nonce. It returns the freshness.
func (d *decider) binding(req *Request, e *attest.Result, purpose attest.Purpose, a *Account, keyUsed bool) string {
	if req.Binding == nil {
		return d.bareBinding(req, e, a, keyUsed)
	}
	p := policy.Binding{Seen: req.Binding, Purpose: purpose, Subject: &req.SPKIHash, AccountRoot: &a.RootSPKI}
	for _, r := range p.Rules(&e.Claims) {
		d.add(r)
	}
	d.keyUnused(req, keyUsed)
	return "nonce"
}

func (d *decider) keyUnused(req *Request, used bool) {
	seen := "a new key"
	if used {
		seen = "a certificate over key " + short(req.SPKIHash[:]) + " exists"
	}
	d.rule("key_unused", "a key that has no certificate yet", seen, !used, "make a new key for each certificate")
}

// bareBinding is CCM's own form: report data = SHA-256(SPKI) and 32 zero bytes.
func (d *decider) bareBinding(req *Request, e *attest.Result, a *Account, keyUsed bool) string {
	seen, want := "no binding beside the evidence", "a binding of purpose, key, nonce and account"
	if a.BareBinding {
		want += ", or none (allowed by the account)"
	}
	d.rule("binding", want, seen, a.BareBinding, "use Hitoku's guest, or let the account accept bindings without a nonce")
	bare := append(req.SPKIHash[:], make([]byte, 32)...)
	d.rule("key_binding", "report data "+short(bare)+", the hash of this key", "report data "+short(e.Claims.ReportData), equal(bare, e.Claims.ReportData),
		"make evidence for each key; it cannot be carried over to another")
	d.keyUnused(req, keyUsed)
	if a.BareBinding {
		d.rule("freshness", "a nonce, or none (allowed by the account)", "none", true, "")
	}
	return "none"
}

// nonce checks the challenge that the binding answers. A nonce that was already answered is no
// longer in the store, so it is not told apart from one that never was.
func (d *decider) nonce(req *Request, n *Nonce, at time.Time, purpose attest.Purpose, node, zone, platform string) {
	if req.Binding == nil {
		return
	}
	const advice = "ask for a new nonce and make new evidence"
	wanted := "an unanswered nonce of this account, handed to this node for purpose " + string(purpose)
	seen, ok := "", false
	switch {
	case n == nil:
		seen = "nonce " + short(req.Binding.Nonce) + ", which is unknown, was handed to another node or for another purpose, or was answered before"
	case !equal(n.Value, req.Binding.Nonce):
		seen = "nonce " + short(req.Binding.Nonce) + ", which is another one"
	case !at.Before(n.Expires):
		seen = "a nonce that expired at " + n.Expires.UTC().Format(time.RFC3339)
	case n.NodeID != node || n.PlatformID != platform:
		seen = "a nonce handed to another node"
	case n.ZoneID != zone:
		seen = "a nonce for another zone"
	case n.Purpose != purpose:
		seen = "a nonce for purpose " + string(n.Purpose)
	default:
		seen, ok = "nonce "+short(n.Value), true
	}
	d.rule("nonce_fresh", wanted, seen, ok, advice)
}

func equal(a, b []byte) bool {
	return len(a) == len(b) && subtle.ConstantTimeCompare(a, b) == 1
}

// short shows the first eight bytes of a digest.
func short(b []byte) string {
	if len(b) == 0 {
		return "none"
	}
	return hex.EncodeToString(b[:min(8, len(b))]) + "…"
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return fmt.Sprintf("%q", names)
}
