package replica

import "hitoku.dev/internal/ledger/control"

// A member whose TEE was broken can begin an epoch whose secret nobody opens: a commitment that is not that
// of the secret, or wraps that hold another one. Then nobody could begin the next one either, since its secret
// follows from this one's. When so many executors have raised an ALARM that the others are no quorum, nothing
// in the epoch can have been committed. Any member may then begin the next epoch from a zero init, with the
// administrators' approval, and the epoch is void: its positions are executed with the keys of the next one that
// is not, records sealed under its key are empty, and what was signed of its positions means nothing.

// void says whether an epoch that has ended is of no use.
func (r *Replica) void(number uint64) bool {
	e := r.ctl.EpochNumber(number)
	return e != nil && e.Void
}

// useful is the epoch whose keys hold for an epoch's positions.
func (r *Replica) useful(e *control.Epoch) *control.Epoch {
	for e.Void {
		e = r.ctl.EpochNumber(e.Number + 1)
	}
	return e
}

// stranded says whether this is a member of an epoch that most could not open, and that it has no key of.
func (r *Replica) stranded() bool {
	_, ok := r.ctl.Epoch().Member(r.iid)
	return r.halted == nil && ok && r.ctl.Stuck()
}

// stall keeps the executed state at the COMMIT of an epoch that did not open here, until it shows whether the
// others could open it.
func (x *executor) stall(ev *control.Event) {
	x.ready, x.stalled = false, true
	x.keep([]*control.Event{ev}, ev.Position-1)
}

// unstall looks, at a COMMIT that has just been followed, what to do about an epoch before it that did not open
// here, or that is void although it did.
func (r *Replica) unstall(ev *control.Event) error {
	x := &r.exec
	before := r.ctl.EpochNumber(r.ctl.Epoch().Number - 1)
	switch {
	case before.Number == 0:
	case x.stalled && !before.Void: // the others could open it: their state is the ledger's
		x.stalled = false
		if len(x.backlog) > 0 {
			x.keep(x.backlog[1:], x.backlog[0].Position)
		}
	case x.stalled && r.epochs[r.ctl.Epoch().Number] != nil:
		x.stalled, x.ready = false, true
		backlog := x.backlog
		x.keep(nil, ev.Position-1)
		for _, e := range backlog {
			x.position = e.Position - 1
			if err := r.run(e); err != nil {
				return err
			}
		}
		x.position = ev.Position - 1
	case x.ready && before.Void: // it was executed here with keys that most do not have
		first := before
		for r.void(first.Number - 1) {
			first = r.ctl.EpochNumber(first.Number - 1)
		}
		for _, b := range x.blocks {
			if b.check.Position < first.Position {
				continue
			}
			for _, h := range b.hashes { // they may be sealed again
				delete(r.queued, h)
			}
		}
		x.forget(first.Position - 1)
		x.lose(ev)
		x.keep(nil, ev.Position-1)
	}
	return nil
}
