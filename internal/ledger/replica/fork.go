package replica

import (
	"crypto/ed25519"
	"fmt"
	"slices"

	"hitoku.dev/internal/ledger/control"
	"hitoku.dev/internal/ledger/wire"
)

// fork is a member that follows another history than this node, as a signature of it shows. Somebody
// shows different logs to different nodes: perhaps its own host to it alone, perhaps the log to many.
// One host must not be able to stop the ledger for good, and two histories must not both go on. So
// from then on, and until the fork is settled, a position counts as committed only when more than half
// of the executors of the epoch up to which both agree have signed it: an incarnation follows one
// history, so no other history has such a majority. Incarnations that came later may run on both sides.
//
// It is settled when the slot's operator has put another incarnation in its place on this history, or
// administrators have removed it here.
type fork struct {
	in     *control.Incarnation
	agreed uint64 // position up to which it is known to follow this history
	signed bool   // a checkpoint or an answer in mode fresh shows it, which this node was sent
}

// foreign notes that a member follows another history. An error means that this node must stop: it is the
// one that is shown a false log, as far as it can know.
func (r *Replica) foreign(in *control.Incarnation, position uint64, signed bool) error {
	if in == nil || in.AddedAt == 0 || r.settled(in) {
		return nil // anybody with the key of a slot's operator can be a pending one
	}
	if in.ID == r.iid {
		return fmt.Errorf("a record that this node has signed is of another history than the log that it is shown, as of position %d: the log has been forked; start the node again (a vault, which keeps its incarnation, with an empty folder)", position)
	}
	f := r.forks[in.ID]
	if f == nil {
		f = &fork{in: in, agreed: in.Agreed}
		for _, b := range slices.Backward(r.exec.blocks) {
			if _, ok := b.signatures[in.ID]; ok {
				f.agreed = max(f.agreed, b.check.Position)
				break
			}
		}
		r.forks[in.ID] = f
		r.o.Log.Error("the log has been forked: a member follows another history", "slot", in.Slot, "incarnation", fmt.Sprintf("%x", in.ID[:8]),
			"position", position, "agreed", f.agreed, "serves", r.cut() == nil)
		r.wake()
	}
	f.signed = f.signed || signed
	elsewhere := 0
	now := r.ctl.Epoch()
	for _, m := range now.Members {
		if x := r.forks[m.Incarnation]; x != nil && x.signed && m.Kind == wire.KindExecutor {
			elsewhere++
		}
	}
	if elsewhere >= now.Quorum() && r.exec.kind == wire.KindExecutor {
		return fmt.Errorf("%d of %d executors have signed another history, slot %d at position %d: the log that this node is shown has been forked from theirs",
			elsewhere, now.Executors(), in.Slot, position)
	}
	return nil
}

// reconsider looks at the checkpoints that came before a position was followed: some may be of another history.
func (r *Replica) reconsider(ev *control.Event) error {
	early := r.exec.early[ev.Position]
	for id, c := range early {
		if c.Checkpoint.Chain == ev.Chain {
			continue
		}
		delete(early, id)
		if err := r.foreign(r.ctl.Incarnation(id), ev.Position, true); err != nil {
			return err
		}
	}
	return nil
}

// settled says whether a member that follows another history has gone as it must.
func (r *Replica) settled(in *control.Incarnation) bool {
	m, held := r.ctl.Epoch().InSlot(in.Slot)
	return in.Settled() || in.RemovedAt != 0 && held && m.Incarnation != in.ID
}

// settleForks forgets the forks that a COMMIT has settled.
func (r *Replica) settleForks() {
	for id, f := range r.forks {
		if r.settled(f.in) {
			delete(r.forks, id)
			r.o.Log.Info("a fork is settled", "slot", f.in.Slot)
		}
	}
}

// base is the epoch whose executors decide while a fork is open.
func (r *Replica) base(f *fork) *control.Epoch {
	if e := r.ctl.EpochAt(f.agreed); e.Number > 0 {
		return e
	}
	return r.ctl.EpochNumber(1) // one that forked before it had acknowledged its first epoch
}

// decides counts those of a base's executors that ok says yes to, and that follow this history as far as
// is known; enough says whether they are more than half.
func (r *Replica) decides(base *control.Epoch, ok func(wire.Hash) bool) (n int, enough bool) {
	for _, m := range base.Members {
		if m.Kind == wire.KindExecutor && r.forks[m.Incarnation] == nil && ok(m.Incarnation) {
			n++
		}
	}
	return n, n >= base.Quorum()
}

// cut says why nothing can be committed on this history until administrators have settled a fork: too few
// are left of those who were there before it. Then this node serves and signs nothing.
func (r *Replica) cut() error {
	now := r.ctl.Epoch()
	for _, f := range r.forks {
		if f.in.Kind != wire.KindExecutor {
			continue
		}
		base := r.base(f)
		if n, enough := r.decides(base, func(id wire.Hash) bool { _, ok := now.Member(id); return ok }); !enough {
			return fmt.Errorf("the log has been forked: slot %d follows another history since position %d, and only %d of the %d executors of then are on this one; "+
				"look which history is the ledger's, and have administrators remove the slots that follow the other", f.in.Slot, f.agreed, n, base.Executors())
		}
	}
	return nil
}

// fromBefore says whether enough of those who were there before each open fork have signed a block.
func (r *Replica) fromBefore(b *block) bool {
	for _, f := range r.forks {
		if f.in.Kind != wire.KindExecutor || b.check.Position <= f.agreed {
			continue
		}
		if _, enough := r.decides(r.base(f), func(id wire.Hash) bool { _, ok := b.signatures[id]; return ok }); !enough {
			return false
		}
	}
	return true
}

// vow signs the own checkpoint of a block, where this is a member of its epoch and no fork keeps it from that.
func (r *Replica) vow(b *block) {
	if r.executorAt(b.check.Position, r.iid) && r.cut() == nil {
		b.signatures[r.iid] = [64]byte(ed25519.Sign(r.id.Key, wire.CheckpointMessage(r.ctl.Ledger(), r.iid, b.check)))
	}
}

// countersign signs what was executed while a fork kept this node from signing.
func (r *Replica) countersign() {
	x := &r.exec
	if !r.running() || len(x.blocks) == 0 {
		return
	}
	if _, ok := x.blocks[len(x.blocks)-1].signatures[r.iid]; ok {
		return
	}
	signed := false
	for _, b := range x.blocks {
		if _, ok := b.signatures[r.iid]; !ok && b.check.Position > x.committed {
			r.vow(b)
			_, ok = b.signatures[r.iid]
			signed = signed || ok
		}
	}
	if signed {
		r.advance()
		r.wake()
	}
}

func (r *Replica) forkedSlots() []uint16 {
	var out []uint16
	for _, f := range r.forks {
		out = append(out, f.in.Slot)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
