package control

import (
	"fmt"

	"hitoku.dev/internal/ledger/wire"
)

// join takes the effect of a JOIN: it makes the incarnation pending in its slot,
// or renews a member's evidence.
func (s *State) join(ev *Event, j wire.Join, anchor Mark) error {
	h := ev.Record.Header
	slot, err := CheckJoin(s.ledger, s.Policy(ev.Position), s.genesis.Suite, h, j)
	if err != nil {
		return skip(ev, "JOIN: %v", err)
	}
	in := ev.Sender
	if in != nil && (in.Slot != j.Slot || in.RemovedAt != 0) {
		return skip(ev, "JOIN: incarnation %x was in slot %d", in.ID[:8], in.Slot)
	}
	if s.member(in) { // it renews its evidence, so the new one must be as good as the first
		if err := s.appraise(j, ev.Time, s.Policy(ev.Position), ev.Time); err != nil {
			return skip(ev, "JOIN of a member: %v", err)
		}
	}
	if !s.spend(j.Slot, ev.Time) {
		return skip(ev, "JOIN: slot %d has asked for too much; one more every %d s", j.Slot, refill)
	}
	if in == nil {
		in = &Incarnation{ID: h.Incarnation, Slot: j.Slot, Kind: slot.Kind, Key: j.Key, Recent: []Signed{{h.N, ev.Hash}}}
		s.incarnations[in.ID] = in
		ev.Sender = in
	}
	if in.JoinPosition != 0 && in.JoinPosition != in.AddedBy {
		s.drop(in.JoinPosition)
	}
	in.JoinPosition, in.JoinTime, in.FileEpoch = ev.Position, ev.Time, j.FileEpoch
	in.HPKE = HPKEKey{ev.Position, j.HPKE}
	in.effective(h, ev.Hash)
	s.joins[ev.Position] = j
	s.keep(ev)
	if !s.member(in) {
		if old, ok := s.pending[j.Slot]; ok && old != in.ID {
			s.incarnations[old].RemovedAt = ev.Position
			s.drop(s.incarnations[old].JoinPosition)
		}
		s.pending[j.Slot] = in.ID
	}
	ev.Join = &j
	return nil
}

// CheckJoin applies the rule of a JOIN that needs no verifier of evidence: slot,
// operator, key and binding. It returns the slot's line in the policy.
func CheckJoin(ledger wire.Hash, p wire.Policy, suite wire.Suite, h wire.Header, j wire.Join) (wire.Slot, error) {
	slot, ok := p.Slot(j.Slot)
	if !ok {
		return slot, fmt.Errorf("slot %d is not in policy %d", j.Slot, p.Version)
	}
	if !wire.VerifyEd25519(slot.Operator, wire.OperatorMessage(ledger, j.Slot, j.Key, j.HPKE), j.OperatorSig) {
		return slot, fmt.Errorf("slot %d: the operator's signature does not hold", j.Slot)
	}
	if err := suite.CheckPublic(j.HPKE); err != nil {
		return slot, err
	}
	subject := wire.ReportSubject(ledger, j.Slot, j.Key, j.HPKE, j.PolicyVersion, h.Anchor, h.AnchorChain)
	return slot, wire.CheckBinding(j.Binding, subject, h.AnchorChain)
}

// commit takes the effect of a COMMIT when every rule of section 4 holds.
func (s *State) commit(ev *Event, anchor Mark) error {
	c, err := wire.ParseCommit(ev.Record.Body)
	if err != nil {
		return skip(ev, "%v", err)
	}
	core, err := wire.ParseCore(c.CoreBytes)
	if err != nil {
		return skip(ev, "%v", err)
	}
	next, err := s.Check(ev.Sender, core, c.Approvals, ev.Position, anchor.Time)
	if err != nil {
		return skip(ev, "COMMIT: %v", err)
	}
	if err := checkWraps(core, c.Wraps); err != nil {
		return skip(ev, "COMMIT: %v", err)
	}
	if s.voluntary(core) && !s.spend(ev.Sender.Slot, ev.Time) {
		return skip(ev, "COMMIT: slot %d has asked for too much; one more every %d s", ev.Sender.Slot, refill)
	}
	next.T, next.Position, next.Sender = wire.NextT(core.Previous, c.CoreBytes), ev.Position, ev.Sender.ID
	s.Epoch().Void = s.Stuck()
	for _, r := range core.Removes {
		in := s.incarnations[r.Incarnation]
		in.RemovedAt, in.RemovedFor = ev.Position, r.Reason
	}
	for _, a := range core.Adds {
		delete(s.pending, a.Slot)
		in := s.incarnations[a.Incarnation]
		in.AddedAt, in.AddedBy = ev.Position, a.JoinPosition
	}
	s.epochs = append(s.epochs, *next)
	for _, m := range next.Members {
		s.incarnations[m.Incarnation].Alarm = 0
	}
	s.keep(ev)
	ev.Commit, ev.Core = &c, &core
	return nil
}

func checkWraps(core wire.Core, wraps []wire.Wrap) error {
	if len(wraps) != len(core.Keys) {
		return fmt.Errorf("%d wraps for %d members", len(wraps), len(core.Keys))
	}
	for i, w := range wraps {
		if w.Slot != core.Keys[i].Slot {
			return fmt.Errorf("wrap for slot %d, wanted slot %d", w.Slot, core.Keys[i].Slot)
		}
	}
	return nil
}

// Check applies the rules of a COMMIT's core at a position, anchored at a position
// of the time given. It returns the epoch that the core makes, without T and position.
func (s *State) Check(sender *Incarnation, core wire.Core, approvals []wire.AdminSignature, position, anchorTime uint64) (*Epoch, error) {
	now := s.Epoch()
	policy := s.Policy(position)
	switch {
	case core.Epoch != now.Number+1 || core.Previous != now.T:
		return nil, fmt.Errorf("for epoch %d after %x; in force is epoch %d, %x", core.Epoch, core.Previous[:8], now.Number, now.T[:8])
	case core.PolicyVersion != policy.Version:
		return nil, fmt.Errorf("under policy %d; in force is %d", core.PolicyVersion, policy.Version)
	case core.Time != max(anchorTime, now.Time):
		return nil, fmt.Errorf("time %d, wanted %d", core.Time, max(anchorTime, now.Time))
	}
	approve, removed, err := s.checkRemoves(core, policy)
	if err != nil {
		return nil, err
	}
	members := make(map[uint16]Member, len(now.Members)+len(core.Adds))
	for _, m := range now.Members {
		if !removed[m.Incarnation] {
			members[m.Slot] = m
		}
	}
	if now.Number == 0 || s.Stuck() {
		approve = true
	}
	for _, a := range core.Adds {
		in := s.incarnations[a.Incarnation]
		if in == nil || s.pending[a.Slot] != a.Incarnation || in.JoinPosition != a.JoinPosition {
			return nil, fmt.Errorf("adds %x to slot %d, which does not wait there by position %d", a.Incarnation[:8], a.Slot, a.JoinPosition)
		}
		if _, ok := members[a.Slot]; ok {
			return nil, fmt.Errorf("adds to slot %d, which has a member", a.Slot)
		}
		if a.Released != 0 && (a.Released != in.FileEpoch || a.Released > now.Number) {
			return nil, fmt.Errorf("releases the files of epoch %d to slot %d, which asked for %d", a.Released, a.Slot, in.FileEpoch)
		}
		if err := s.Addable(in, policy, core.Time); err != nil {
			return nil, fmt.Errorf("slot %d: %w", a.Slot, err)
		}
		members[a.Slot] = Member{Slot: a.Slot, Kind: in.Kind, Incarnation: in.ID}
		if sender.Kind == wire.KindVault && in.Kind == wire.KindExecutor {
			approve = true
		}
	}
	next := &Epoch{Number: core.Epoch, Time: core.Time, Removal: len(core.Removes) > 0}
	if err := s.checkKeys(core, members, next); err != nil {
		return nil, err
	}
	if _, ok := next.Member(sender.ID); now.Number == 0 && (!ok || next.Executors() == 0) {
		return nil, fmt.Errorf("the first COMMIT does not add its sender and an executor")
	}
	if approve {
		message := wire.ApproveMessage(s.ledger, core.Previous, core.Epoch, core.Adds, core.Removes)
		if err := wire.VerifyAdmins(policy, message, approvals); err != nil {
			return nil, fmt.Errorf("approval: %w", err)
		}
	} else if len(approvals) != 0 {
		return nil, fmt.Errorf("%d approvals where none is needed", len(approvals))
	}
	return next, nil
}

// Addable says what keeps a pending incarnation from being added under a policy at time t: its slot,
// kind and operator are not (any more) those of the policy, or its evidence is not accepted.
func (s *State) Addable(in *Incarnation, policy wire.Policy, t uint64) error {
	j := s.Join(in)
	slot, ok := policy.Slot(in.Slot)
	switch {
	case !ok:
		return fmt.Errorf("it is not in policy %d", policy.Version)
	case slot.Kind != in.Kind:
		return fmt.Errorf("it joined as kind %d, policy %d says %d", in.Kind, policy.Version, slot.Kind)
	case !wire.VerifyEd25519(slot.Operator, wire.OperatorMessage(s.ledger, j.Slot, j.Key, j.HPKE), j.OperatorSig):
		return fmt.Errorf("the operator of policy %d did not sign its JOIN", policy.Version)
	}
	return s.appraise(j, in.JoinTime, policy, t)
}

// Expendable is how many executors of the epoch in force one COMMIT may remove for other reasons than
// a successor and administrators: a quorum stays. Else whoever shows a node a log of its own, on which
// others say nothing until their evidence is too old, would make it a quorum by itself.
func (s *State) Expendable() int { return s.Epoch().Executors() - s.Epoch().Quorum() }

// Expends says whether a removal counts for Expendable.
func Expends(in *Incarnation, reason uint8) bool {
	return in.Kind == wire.KindExecutor && reason != wire.RemoveReplaced && reason != wire.RemoveByAdmins
}

// checkKeys fills next.Members in slot order and compares the keys named.
func (s *State) checkKeys(core wire.Core, members map[uint16]Member, next *Epoch) error {
	if len(core.Keys) != len(members) || len(members) == 0 {
		return fmt.Errorf("keys of %d members, wanted %d", len(core.Keys), len(members))
	}
	for _, k := range core.Keys {
		m, ok := members[k.Slot]
		if !ok {
			return fmt.Errorf("key for slot %d, which has no member", k.Slot)
		}
		if in := s.incarnations[m.Incarnation]; in.HPKE.Position != k.Position {
			return fmt.Errorf("slot %d: key of position %d, its newest is of position %d", k.Slot, k.Position, in.HPKE.Position)
		}
		next.Members = append(next.Members, m)
	}
	return nil
}

// checkRemoves checks that each removal is of a member and true to its reason, and
// says whether administrators must approve.
func (s *State) checkRemoves(core wire.Core, policy wire.Policy) (approve bool, removed map[wire.Hash]bool, err error) {
	removed = map[wire.Hash]bool{}
	expendable := s.Expendable()
	added := map[uint16]bool{}
	for _, a := range core.Adds {
		added[a.Slot] = true
	}
	for _, r := range core.Removes {
		in := s.incarnations[r.Incarnation]
		if m, ok := s.Epoch().Member(r.Incarnation); !ok || m.Slot != r.Slot {
			return false, nil, fmt.Errorf("removes %x from slot %d, where it is not", r.Incarnation[:8], r.Slot)
		}
		ok, position := s.Reason(in, r.Reason, core.Time, policy)
		if r.Reason == wire.RemoveReplaced {
			ok = added[r.Slot]
		}
		if !ok || r.Position != position {
			return false, nil, fmt.Errorf("removes slot %d for reason %d at position %d, which is not so", r.Slot, r.Reason, r.Position)
		}
		if r.Reason != wire.RemoveReplaced && added[r.Slot] {
			return false, nil, fmt.Errorf("removes slot %d, to which it adds, for reason %d", r.Slot, r.Reason)
		}
		if Expends(in, r.Reason) {
			expendable--
		}
		if expendable < 0 {
			return false, nil, fmt.Errorf("leaves no quorum of the %d executors", s.Epoch().Executors())
		}
		approve = approve || r.Reason == wire.RemoveByAdmins
		removed[r.Incarnation] = true
	}
	return approve, removed, nil
}

// Reason says whether a reason for removing a member holds at time t, and the
// position that shows it. For a replacement it looks at no more than the JOIN. One that follows another
// history goes for no reason but a successor and administrators: which history is the ledger's is for
// people to say, and its slot must count until they have (package replica, fork.go).
func (s *State) Reason(in *Incarnation, reason uint8, t uint64, policy wire.Policy) (ok bool, position uint64) {
	if in.Forked != 0 && reason != wire.RemoveReplaced && reason != wire.RemoveByAdmins {
		return false, 0
	}
	switch reason {
	case wire.RemoveReplaced:
		id, waits := s.pending[in.Slot]
		return waits && id != in.ID, 0
	case wire.RemoveClone:
		return in.Expelled != 0, in.Expelled
	case wire.RemoveExpired:
		return t > in.JoinTime && t-in.JoinTime > policy.EvidenceAge, in.JoinPosition
	case wire.RemoveAlarm:
		return in.Alarm != 0, in.Alarm
	case wire.RemoveByAdmins:
		return true, 0
	case wire.RemovePolicy:
		slot, listed := policy.Slot(in.Slot)
		return !listed || slot.Kind != in.Kind || s.appraise(s.Join(in), in.JoinTime, policy, in.JoinTime) != nil, in.JoinPosition
	}
	return false, 0
}
