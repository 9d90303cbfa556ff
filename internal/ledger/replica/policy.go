package replica

import (
	"bytes"
	"fmt"

	"hitoku.dev/internal/ledger/control"
	"hitoku.dev/internal/ledger/wire"
)

// What may have become of a policy that was handed over.
const (
	PolicyWaiting = "waiting" // it is on its way to the log
	PolicyTaken   = "taken"   // it is on the log, and comes into force at its active_from
	PolicyRefused = "refused" // it cannot be taken any more
)

// PolicyFate is what became of the policy that was handed to this node last.
type PolicyFate struct {
	Version  uint64
	Status   string
	Position uint64 // of its record, when it was taken
	Reason   string // why it was refused
}

// Policies are what the log has taken, and what was handed to this node last.
type Policies struct {
	InForce    uint64 // version in force at the next position
	Newest     uint64 // version taken last
	ActiveFrom uint64 // position from which that one is in force
	Last       *PolicyFate
}

// policyState is the policy that was handed over last.
type policyState struct {
	update wire.PolicyUpdate
	policy wire.Policy
	flying bool // its record is signed and may become final
	fate   PolicyFate
}

// UpdatePolicy puts a signed policy on the log. What becomes of it, Policies tells: the log may
// have moved on before the record is final, and then it is sealed anew as long as it can be taken.
func (r *Replica) UpdatePolicy(u wire.PolicyUpdate) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.present() {
		return r.notRunning()
	}
	p, err := wire.ParsePolicy(u.Policy)
	if err != nil {
		return err
	}
	if s := &r.policy; s.fate.Status == PolicyWaiting {
		if bytes.Equal(s.update.Policy, u.Policy) {
			return nil
		}
		return fmt.Errorf("policy %d is on its way to the log; wait until it is taken or refused", s.fate.Version)
	}
	if err := control.CheckPolicy(r.ctl, p, u.Signatures, r.ctl.Position()+1); err != nil {
		return err
	}
	r.policy = policyState{update: u, policy: p, fate: PolicyFate{Version: p.Version, Status: PolicyWaiting}}
	r.sendPolicy()
	return nil
}

// sendPolicy signs the record of the policy that waits, where it is not on its way.
func (r *Replica) sendPolicy() {
	s := &r.policy
	if s.fate.Status != PolicyWaiting || s.flying || r.joining || !r.memberNow() {
		return
	}
	if err := control.CheckPolicy(r.ctl, s.policy, s.update.Signatures, r.ctl.Position()+1); err != nil {
		s.fate.Status, s.fate.Reason = PolicyRefused, err.Error()
		r.wake()
		return
	}
	s.flying = true
	r.sign(wire.TypePolicy, r.ctl.Epoch().Number, s.update.Encode())
}

// policyTaken notes that the log has taken a policy.
func (r *Replica) policyTaken(ev *control.Event) {
	s := &r.policy
	switch {
	case s.fate.Status != PolicyWaiting || ev.Policy.Version < s.fate.Version:
		return
	case ev.Policy.Hash() == s.policy.Hash():
		s.fate.Status, s.fate.Position = PolicyTaken, ev.Position
	default:
		s.fate.Status, s.fate.Reason = PolicyRefused, fmt.Sprintf("position %d holds another policy %d", ev.Position, ev.Policy.Version)
	}
	s.flying = false
}

// Policies returns the policies' state.
func (r *Replica) Policies() Policies {
	r.mu.Lock()
	defer r.mu.Unlock()
	newest := r.ctl.NewestPolicy().Policy
	p := Policies{InForce: r.ctl.Policy(r.ctl.Position() + 1).Version, Newest: newest.Version, ActiveFrom: newest.ActiveFrom}
	if r.policy.fate.Status != "" {
		fate := r.policy.fate
		p.Last = &fate
	}
	return p
}
