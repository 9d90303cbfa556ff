package history

import (
	"fmt"

	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/internal/ledger/wire"
)

// commit takes the effect of a COMMIT: a new epoch.
func (h *History) commit(r wire.ControlRecord, rec wire.Record, sender *Join) error {
	c, err := wire.ParseCommit(rec.Body)
	if err != nil {
		return err
	}
	core, err := wire.ParseCore(c.CoreBytes)
	if err != nil {
		return err
	}
	now, policy := h.Newest(), h.Policy(r.Position)
	switch {
	case core.Epoch != now.Number+1 || core.Previous != now.T:
		return fmt.Errorf("COMMIT for epoch %d after %x; before it is epoch %d, %x", core.Epoch, core.Previous, now.Number, now.T)
	case core.PolicyVersion != policy.Version:
		return fmt.Errorf("COMMIT under policy %d; in force is %d", core.PolicyVersion, policy.Version)
	case core.Time < now.Time:
		return fmt.Errorf("COMMIT of time %d after time %d", core.Time, now.Time)
	}
	change := &change{h: h, core: core, policy: policy, sender: sender, members: map[uint16]Member{}, approve: now.Number == 0}
	if err := change.check(); err != nil {
		return fmt.Errorf("COMMIT: %w", err)
	}
	if _, ok := change.members[sender.Body.Slot]; now.Number == 0 && (!ok || change.members[sender.Body.Slot].Incarnation != rec.Header.Incarnation) {
		return fmt.Errorf("COMMIT: the first one does not add its sender")
	}
	if change.approve || len(c.Approvals) > 0 { // they are needed too where ALARMs, which are no control records, say so
		message := wire.ApproveMessage(h.ledger, core.Previous, core.Epoch, core.Adds, core.Removes)
		if err := wire.VerifyAdmins(policy, message, c.Approvals); err != nil {
			return fmt.Errorf("COMMIT: approval: %w", err)
		}
	}
	next := Epoch{Number: core.Epoch, T: wire.NextT(core.Previous, c.CoreBytes), Position: r.Position, Time: core.Time}
	if len(core.Keys) != len(change.members) || len(core.Keys) == 0 {
		return fmt.Errorf("COMMIT: keys of %d members, wanted %d", len(core.Keys), len(change.members))
	}
	for _, k := range core.Keys {
		m, ok := change.members[k.Slot]
		if !ok {
			return fmt.Errorf("COMMIT: key for slot %d, which has no member", k.Slot)
		}
		next.Members = append(next.Members, m)
	}
	for _, a := range core.Adds {
		delete(h.pending, a.Slot)
	}
	h.epochs = append(h.epochs, next)
	return nil
}

// change is the members that a core adds and removes.
type change struct {
	h       *History
	core    wire.Core
	policy  wire.Policy
	sender  *Join
	members map[uint16]Member // after the change
	approve bool              // administrators must approve
}

func (c *change) check() error {
	for _, m := range c.h.Newest().Members {
		c.members[m.Slot] = m
	}
	for _, r := range c.core.Removes {
		if m, ok := c.members[r.Slot]; !ok || m.Incarnation != r.Incarnation {
			return fmt.Errorf("it removes %x from slot %d, where it is not", r.Incarnation, r.Slot)
		}
		delete(c.members, r.Slot)
		c.approve = c.approve || r.Reason == wire.RemoveByAdmins
	}
	var narrowed wire.Policy
	if len(c.core.Adds) > 0 {
		var err error
		if narrowed, err = c.h.trust.narrow(c.policy); err != nil {
			return err
		}
	}
	for _, a := range c.core.Adds {
		if err := c.add(a, narrowed); err != nil {
			return fmt.Errorf("slot %d: %w", a.Slot, err)
		}
	}
	return nil
}

// add adds one member, whose evidence is judged as of the COMMIT.
func (c *change) add(a wire.Add, policy wire.Policy) error {
	j := c.h.joins[a.Incarnation]
	if j == nil || j.Body.Slot != a.Slot || j.Position != a.JoinPosition || c.h.pending[a.Slot] != a.Incarnation {
		return fmt.Errorf("incarnation %x does not wait there by a JOIN at position %d", a.Incarnation, a.JoinPosition)
	}
	if m, ok := c.members[a.Slot]; ok {
		return fmt.Errorf("incarnation %x is a member there", m.Incarnation)
	}
	if err := member.Appraise(j.Body, j.Time, policy, c.core.Time); err != nil {
		return err
	}
	c.members[a.Slot] = Member{Slot: a.Slot, Kind: j.Kind, Incarnation: a.Incarnation, Key: j.Body.Key}
	if c.sender.Kind == wire.KindVault && j.Kind == wire.KindExecutor {
		c.approve = true
	}
	return nil
}
