package replica

import (
	"fmt"

	"hitoku.dev/internal/ledger/control"
	"hitoku.dev/internal/ledger/order"
)

// Apply follows final positions, in order. An error means that the node has halted.
func (r *Replica) Apply(entries ...order.Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range entries {
		if r.halted != nil {
			return r.halted
		}
		if err := r.follow(e); err != nil {
			return r.halt(err)
		}
	}
	if len(entries) > 0 {
		r.wake()
	}
	return nil
}

func (r *Replica) follow(e order.Entry) error {
	ev, err := r.ctl.Apply(e)
	if err != nil {
		return err
	}
	r.stats.Positions++
	if ev.Skipped != "" {
		r.stats.Skipped++
	}
	if ev.Record.Header.Incarnation == r.iid {
		r.own(ev)
	}
	if ev.Clone != nil {
		r.o.Log.Error("a node runs twice", "slot", ev.Clone.Slot, "position", ev.Position)
		if ev.Clone.ID == r.iid {
			return fmt.Errorf("this incarnation runs twice: position %d proves it", ev.Position)
		}
	}
	if err := r.reconsider(ev); err != nil {
		return err
	}
	if ev.Fork != nil {
		if err := r.foreign(ev.Fork, ev.Record.Header.Anchor, false); err != nil {
			return err
		}
	}
	if ev.Skipped == "" {
		if err := r.effective(ev); err != nil {
			return err
		}
	}
	r.exec.followed(r.ctl)
	r.expire()
	r.erase()
	return nil
}

// own notes what became of an own record.
func (r *Replica) own(ev *control.Event) {
	r.settle(ev)
	if ev.Record.Header.N >= r.id.N { // signed by this incarnation before a restart
		r.id.N = ev.Record.Header.N + 1
	}
	if ev.Skipped != "" {
		return
	}
	if len(r.flights) == 0 {
		r.prevOwn = ev.Hash
	}
	switch {
	case ev.Join != nil:
		r.joined, r.joining = ev.Position, false
		r.acked(ev.Position, ev.Join.HPKE)
	case ev.Ack != nil:
		r.acking = 0
		r.acked(ev.Position, ev.Ack.HPKE)
	case ev.Alarm != nil:
		r.alarming = false
	}
}

func (r *Replica) effective(ev *control.Event) error {
	switch {
	case ev.Commit != nil:
		if err := r.entered(ev); err != nil {
			return err
		}
		for _, x := range ev.Core.Removes {
			delete(r.proposalRemoves, x.Slot)
		}
		return r.execute(ev)
	case ev.Data != nil:
		return r.execute(ev)
	case ev.Policy != nil:
		r.policyTaken(ev)
	case ev.Check != nil:
		return r.witness(ev.Sender.ID, *ev.Check)
	}
	return nil
}

// Tick is the passing of a fixed time: it flushes commands, proposes, acknowledges, and hands
// over again what was lost.
func (r *Replica) Tick() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.halted != nil {
		return
	}
	r.ticks++
	r.countersign()
	r.raiseAlarm()
	r.ack()
	r.propose()
	r.sendPolicy()
	r.flush()
	r.testify()
	r.resubmit()
	r.requests.tidy(r)
	r.exec.tidy(r.ticks)
}

// NeedsJoin says whether the node should join: it has no place yet, or its evidence has used
// up half of the time that the policy allows it.
func (r *Replica) NeedsJoin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.halted != nil || r.joining {
		return false
	}
	if !r.ctl.Allows(r.o.Slot, max(r.ctl.Time(), uint64(max(0, r.o.Now().Unix())))) {
		return false // it would be skipped
	}
	in := r.ctl.Incarnation(r.iid)
	if in == nil {
		return true
	}
	age := r.ctl.Policy(r.ctl.Position() + 1).EvidenceAge
	return in.RemovedAt == 0 && r.ctl.Time() > in.JoinTime+age/2
}

// Stats counts what the node did.
type Stats struct {
	Positions, Skipped, Commands, Batches, Queries uint64
	Open, Verify, Execute, Seal                    int64 // nanoseconds, by the clock of Options
}

// Stats returns the counts.
func (r *Replica) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats
}
