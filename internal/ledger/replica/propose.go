package replica

import (
	"errors"
	"fmt"
	"slices"

	"hitoku.dev/internal/ledger/control"
	"hitoku.dev/internal/ledger/wire"
)

// proposalState is the change of members that this node would make.
type proposalState struct {
	since     int // tick at which the need was first seen, 0 while there is none
	approvals []wire.AdminSignature
	message   []byte // what the approvals are over
	failed    int    // own COMMITs of this epoch that were skipped
	notBefore int    // tick before which it does not try again
}

// Proposal is a change that waits for administrators.
type Proposal struct {
	Epoch   uint64
	T       wire.Hash
	Adds    []wire.Add
	Removes []wire.Remove
	// Message is what each administrator signs (Ed25519).
	Message []byte
	Have    int
	Need    int
	// Void says that most executors could not open the epoch in force.
	Void bool
}

// core builds the COMMIT that the log's present state calls for; needed says whether any is,
// and approve whether administrators must sign it.
func (r *Replica) core() (core wire.Core, needed, approve bool) {
	now := r.ctl.Epoch()
	position := r.ctl.Position() + 1
	policy := r.ctl.Policy(position)
	core = wire.Core{Epoch: now.Number + 1, Previous: now.T, PolicyVersion: policy.Version, Time: max(r.ctl.Time(), now.Time)}
	stuck := r.ctl.Stuck()
	approve = now.Number == 0 || stuck
	adds := map[uint16]bool{}
	for _, in := range r.ctl.Pending() {
		if err := r.ctl.Addable(in, policy, core.Time); err != nil {
			if r.refused[in.Slot] != in.JoinPosition {
				r.refused[in.Slot] = in.JoinPosition
				r.o.Log.Warn("a node that wants to join is refused", "slot", in.Slot, "reason", err)
			}
			continue
		}
		a := wire.Add{Slot: in.Slot, Incarnation: in.ID, JoinPosition: in.JoinPosition}
		if r.releasable(in.FileEpoch) != nil {
			a.Released = in.FileEpoch
		}
		core.Adds = append(core.Adds, a)
		adds[in.Slot] = true
		approve = approve || r.exec.kind == wire.KindVault && in.Kind == wire.KindExecutor
	}
	expendable := r.ctl.Expendable()
	for _, m := range now.Members {
		in := r.ctl.Incarnation(m.Incarnation)
		x, ok := r.removal(in, adds[m.Slot], core.Time, policy)
		if ok && control.Expends(in, x.Reason) {
			expendable--
			ok = expendable >= 0 // the others go only when administrators say so
		}
		if ok {
			core.Removes = append(core.Removes, x)
			approve = approve || x.Reason == wire.RemoveByAdmins
		} else {
			core.Keys = append(core.Keys, wire.MemberKey{Slot: m.Slot, Position: in.HPKE.Position})
		}
	}
	for _, a := range core.Adds {
		core.Keys = append(core.Keys, wire.MemberKey{Slot: a.Slot, Position: r.ctl.Incarnation(a.Incarnation).HPKE.Position})
	}
	slices.SortFunc(core.Keys, func(a, b wire.MemberKey) int { return int(a.Slot) - int(b.Slot) })
	rotation := r.ctl.Genesis().Rotation
	due := now.Number > 0 && rotation > 0 && r.ctl.Time() >= now.Time+rotation
	return core, len(core.Adds)+len(core.Removes) > 0 || due || stuck || r.rotateNow, approve
}

// removal says whether and why a member goes. A member is never removed alone for the age of
// its evidence while it is this node: it joins again instead.
func (r *Replica) removal(in *control.Incarnation, replaced bool, t uint64, policy wire.Policy) (wire.Remove, bool) {
	if replaced {
		return wire.Remove{Slot: in.Slot, Incarnation: in.ID, Reason: wire.RemoveReplaced}, true
	}
	reasons := []uint8{wire.RemoveClone, wire.RemoveExpired, wire.RemoveAlarm, wire.RemovePolicy}
	if in.ID == r.iid || r.forks[in.ID] != nil {
		reasons = nil
	}
	stuck := r.ctl.Stuck()
	if r.proposalRemoves[in.Slot] || stuck && in.ID == r.ctl.Epoch().Sender && in.ID != r.iid { // who has sealed what does not open
		return wire.Remove{Slot: in.Slot, Incarnation: in.ID, Reason: wire.RemoveByAdmins}, true
	}
	for _, reason := range reasons {
		if stuck && reason == wire.RemoveAlarm {
			continue // most have raised one
		}
		if ok, position := r.ctl.Reason(in, reason, t, policy); ok && (reason != wire.RemoveExpired || r.overdue(in)) {
			return wire.Remove{Slot: in.Slot, Incarnation: in.ID, Reason: reason, Position: position}, true
		}
	}
	return wire.Remove{}, false
}

// overdue says whether a member whose evidence is too old has had time to join again. After hours in
// which nobody wrote, the log's time steps over the age of everybody's evidence at once.
func (r *Replica) overdue(in *control.Incarnation) bool {
	x := r.late[in.ID]
	if x.join != in.JoinPosition {
		x = late{in.JoinPosition, r.ticks}
		r.late[in.ID] = x
	}
	return r.ticks-x.since >= r.o.Timing.VaultWait
}

// late is since which tick the evidence of a JOIN is known to be too old.
type late struct {
	join  uint64
	since int
}

// propose commits when it is this node's turn.
func (r *Replica) propose() {
	if r.joined == 0 || r.joining || r.committing.core.Epoch != 0 || r.ticks < r.proposal.notBefore {
		return
	}
	now := r.ctl.Epoch()
	if now.Number > 0 && !r.memberNow() && !r.stranded() {
		return
	}
	if now.Number > 0 && r.exec.kind == wire.KindExecutor && !r.exec.ready && !r.stranded() {
		return // it could release nothing to those who come back: that is for who has the keys since
	}
	core, needed, approve := r.core()
	if !needed {
		r.proposal = proposalState{}
		return
	}
	if now.Number == 0 && (!slices.ContainsFunc(core.Adds, func(a wire.Add) bool { return a.Incarnation == r.iid }) || !r.addsExecutor(core)) {
		return
	}
	if r.proposal.since == 0 {
		r.proposal.since = r.ticks
	}
	var approvals []wire.AdminSignature
	if approve {
		message := wire.ApproveMessage(r.ctl.Ledger(), core.Previous, core.Epoch, core.Adds, core.Removes)
		if !slices.Equal(message, r.proposal.message) {
			r.proposal.message, r.proposal.approvals = message, nil
			r.wake()
		}
		approvals = r.proposal.approvals
		if len(approvals) < int(r.ctl.Policy(r.ctl.Position()+1).Threshold) {
			return
		}
	} else if r.ticks-r.proposal.since < r.patience(now) {
		return
	}
	if err := r.commit(core, approvals); err != nil {
		r.o.Log.Warn("cannot make the COMMIT", "epoch", core.Epoch, "reason", err)
	}
}

// addsExecutor says whether an executor is among those that a core adds: the first epoch needs one,
// since nobody has state after it but from another.
func (r *Replica) addsExecutor(core wire.Core) bool {
	return slices.ContainsFunc(core.Adds, func(a wire.Add) bool { return r.ctl.Incarnation(a.Incarnation).Kind == wire.KindExecutor })
}

// patience is how many ticks this node lets others commit first.
func (r *Replica) patience(now *control.Epoch) int {
	if r.rotateNow {
		return 0
	}
	if r.exec.kind == wire.KindVault {
		return r.o.Timing.VaultWait
	}
	rank := 0
	for _, m := range now.Members {
		if m.Incarnation == r.iid {
			break
		}
		if m.Kind == wire.KindExecutor {
			rank++
		}
	}
	return rank * r.o.Timing.Stagger
}

// Rotate asks for a COMMIT at the next tick. It returns the epoch that will end.
func (r *Replica) Rotate() (uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.running() {
		return 0, r.notRunning()
	}
	if !r.ctl.Allows(r.o.Slot, r.ctl.Time()) {
		return 0, fmt.Errorf("slot %d has rotated keys or joined too often; later, as the ledger's time goes by", r.o.Slot)
	}
	r.rotateNow = true
	return r.ctl.Epoch().Number, nil
}

// Remove asks for the removal of a slot's member, which administrators then approve.
func (r *Replica) Remove(slot uint16) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.present() && !r.stranded() { // also one that waits for administrators to say which history counts
		return r.notRunning()
	}
	if _, ok := r.ctl.Epoch().InSlot(slot); !ok {
		return fmt.Errorf("slot %d has no member", slot)
	}
	if slot == r.o.Slot {
		return errors.New("a node cannot remove itself; ask another one")
	}
	if r.proposalRemoves == nil {
		r.proposalRemoves = map[uint16]bool{}
	}
	r.proposalRemoves[slot] = true
	return nil
}

func (r *Replica) notRunning() error {
	if r.halted != nil {
		return r.halted
	}
	return ErrNotRunning
}

// Proposal returns the change that waits for administrators, false for none.
func (r *Replica) Proposal() (Proposal, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	core, needed, approve := r.core()
	if !needed || !approve || r.joined == 0 || core.Epoch == 1 && !r.addsExecutor(core) {
		return Proposal{}, false
	}
	policy := r.ctl.Policy(r.ctl.Position() + 1)
	p := Proposal{
		Epoch: core.Epoch, T: core.Previous, Adds: core.Adds, Removes: core.Removes, Need: int(policy.Threshold), Void: r.ctl.Stuck(),
		Message: wire.ApproveMessage(r.ctl.Ledger(), core.Previous, core.Epoch, core.Adds, core.Removes),
	}
	if slices.Equal(p.Message, r.proposal.message) {
		p.Have = len(r.proposal.approvals)
	}
	return p, true
}

// Approve takes administrators' signatures over the present proposal. Signatures over another
// one are refused.
func (r *Replica) Approve(signatures []wire.AdminSignature) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	core, needed, approve := r.core()
	if !needed || !approve {
		return errors.New("nothing waits for approval")
	}
	message := wire.ApproveMessage(r.ctl.Ledger(), core.Previous, core.Epoch, core.Adds, core.Removes)
	if !slices.Equal(message, r.proposal.message) {
		r.proposal.message, r.proposal.approvals = message, nil
	}
	policy := r.ctl.Policy(r.ctl.Position() + 1)
	for _, s := range signatures {
		if int(s.Index) >= len(policy.Admins) || !wire.VerifyEd25519(policy.Admins[s.Index], message, s.Signature) {
			return fmt.Errorf("administrator %d: the signature is not over the present proposal; fetch it again", s.Index)
		}
		if !slices.ContainsFunc(r.proposal.approvals, func(x wire.AdminSignature) bool { return x.Index == s.Index }) {
			r.proposal.approvals = append(r.proposal.approvals, s)
		}
	}
	slices.SortFunc(r.proposal.approvals, func(a, b wire.AdminSignature) int { return int(a.Index) - int(b.Index) })
	return nil
}
