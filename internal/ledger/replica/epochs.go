package replica

import (
	"errors"
	"io"
	"slices"

	"hitoku.dev/internal/ledger/control"
	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/wire"
)

// epochKeys are an epoch's keys. Parts are erased as section 4 says.
type epochKeys struct {
	keys.Epoch
	endsAt uint64 // position after which log and snap go, 0 while the epoch is in force
}

// entered handles an effective COMMIT: the wrap, the keys, and what is erased.
func (r *Replica) entered(ev *control.Event) error {
	e := r.ctl.Epoch()
	if old := r.epochs[e.Number-1]; old != nil {
		old.endsAt = ev.Position + r.ctl.Genesis().Window
		if e.Removal {
			old.endsAt = ev.Position
		}
		old.EraseInit()
	}
	if own := r.committing; own.core.Epoch == e.Number {
		r.committing = commitState{}
	}
	r.proposal = proposalState{}
	r.rotateNow = false
	clear(r.late)
	r.settleForks()
	m, ok := e.Member(r.iid)
	if !ok {
		if ev.Core != nil && slices.ContainsFunc(ev.Core.Removes, func(x wire.Remove) bool { return x.Incarnation == r.iid }) {
			return r.halt(errors.New("this incarnation was removed from the ledger; start the node again to join anew"))
		}
		return nil
	}
	if r.epochs[e.Number] != nil { // a vault that followed from the start knows it already
		return nil
	}
	if r.keptTo > e.Number {
		return nil // or had it once, longer ago than it retains
	}
	s, released, err := r.unwrap(ev, e, m)
	if err != nil {
		r.o.Log.Error("cannot open the epoch's secret", "epoch", e.Number, "reason", err)
		r.alarm = e.Number
		return nil
	}
	r.epochs[e.Number] = &epochKeys{Epoch: keys.FromSecret(s, e.Number)}
	keys.Erase(s[:])
	if released != nil {
		r.exec.released = released
	}
	r.o.Log.Info("epoch", "number", e.Number, "members", len(e.Members), "position", ev.Position)
	return nil
}

// unwrap opens the own wrap of a COMMIT. released is nil when it releases nothing.
func (r *Replica) unwrap(ev *control.Event, e *control.Epoch, m control.Member) (s [32]byte, released *Released, err error) {
	i := slices.IndexFunc(ev.Commit.Wraps, func(w wire.Wrap) bool { return w.Slot == m.Slot })
	w := ev.Commit.Wraps[i]
	for _, k := range r.hpke {
		if k.position != ev.Core.Keys[i].Position {
			continue
		}
		s, x, snap, tail, err := keys.OpenWrap(k.key, r.ctl.Ledger(), e.Number, e.T, m.Slot, ev.Commit.Commitment, w)
		if x != 0 {
			released = &Released{Epoch: x, Snap: snap, Tail: tail}
		}
		return s, released, err
	}
	return s, nil, errors.New("no private key for the wrap")
}

// raiseAlarm tells the others that the wrap of the epoch in force does not open, until that is final.
func (r *Replica) raiseAlarm() {
	e := r.ctl.Epoch().Number
	if in := r.ctl.Incarnation(r.iid); r.alarm == 0 || r.alarm != e || r.alarming || r.joining || in.Alarm != 0 {
		return
	}
	r.alarming = true
	r.sign(wire.TypeAlarm, e, wire.Alarm{Epoch: e, Slot: r.o.Slot}.Encode())
}

// acked makes the key of an own final ACK or JOIN the only one that is kept.
func (r *Replica) acked(position uint64, public []byte) {
	for i, k := range r.hpke {
		if string(k.key.Public()) == string(public) {
			r.hpke[i].position = position
			for _, old := range r.hpke[:i] {
				old.key.Erase()
			}
			r.hpke = r.hpke[i:]
			return
		}
	}
}

// ack sends a fresh HPKE key, once an epoch.
func (r *Replica) ack() {
	e := r.ctl.Epoch().Number
	in := r.ctl.Incarnation(r.iid)
	if !r.memberNow() || in.AckEpoch >= e || r.acking == e || r.joining {
		return
	}
	k, err := keys.NewHPKE(r.ctl.Genesis().Suite, r.o.Random)
	if err != nil {
		_ = r.halt(err)
		return
	}
	r.hpke = append(r.hpke, privateKey{key: k})
	r.acking = e
	r.sign(wire.TypeAck, e, wire.Ack{Epoch: e, HPKE: k.Public()}.Encode())
}

// erase drops what section 4 says at the position followed.
func (r *Replica) erase() {
	p, now := r.ctl.Position(), r.ctl.Epoch()
	for n, e := range r.epochs {
		if r.exec.kind == wire.KindVault {
			if n+r.o.Retention < now.Number {
				e.Erase()
				delete(r.epochs, n)
			}
			continue
		}
		if e.endsAt == 0 || n >= now.Number {
			continue
		}
		if p >= e.endsAt && !r.exec.behind(e.endsAt) {
			e.EraseLog()
			e.EraseSnap()
			if next := r.ctl.EpochNumber(n + 1); next != nil && r.exec.committed >= next.Position {
				e.Erase()
				delete(r.epochs, n)
			}
		}
	}
}

// commitState is an own COMMIT in flight.
type commitState struct {
	core wire.Core
}

// commit builds and sends a COMMIT from a core that Check accepts.
func (r *Replica) commit(core wire.Core, approvals []wire.AdminSignature) error {
	now := r.ctl.Epoch()
	var init [32]byte
	if now.Number > 0 && !r.ctl.Stuck() { // of an epoch that most could not open, none is taken
		e := r.epochs[now.Number]
		if e == nil || !e.HasInit() {
			return errors.New("the epoch's secret is not there")
		}
		init = e.Init
	}
	var fresh [32]byte
	if _, err := io.ReadFull(r.o.Random, fresh[:]); err != nil {
		return err
	}
	coreBytes := core.Encode()
	t := wire.NextT(core.Previous, coreBytes)
	s := keys.NextSecret(init, fresh)
	keys.Erase(fresh[:])
	c := wire.Commit{CoreBytes: coreBytes, Approvals: approvals, Commitment: keys.Commitment(t, s)}
	for _, k := range core.Keys {
		in := r.bySlot(core, k.Slot)
		var x uint64
		var snap [32]byte
		var tail []keys.Epoch
		for _, a := range core.Adds {
			if a.Slot == k.Slot && a.Released != 0 {
				x, snap, tail = a.Released, r.epochs[a.Released].Snap, r.releasable(a.Released)
			}
		}
		w, err := keys.SealWrap(r.ctl.Genesis().Suite, in.HPKE.Key, r.ctl.Ledger(), core.Epoch, t, k.Slot, c.Commitment, s, x, snap, tail...)
		if err != nil {
			return err
		}
		c.Wraps = append(c.Wraps, w)
	}
	keys.Erase(s[:])
	r.committing = commitState{core: core}
	r.sign(wire.TypeCommit, now.Number, c.Encode())
	return nil
}

// bySlot returns who will hold a slot after core.
func (r *Replica) bySlot(core wire.Core, slot uint16) *control.Incarnation {
	for _, a := range core.Adds {
		if a.Slot == slot {
			return r.ctl.Incarnation(a.Incarnation)
		}
	}
	m, _ := r.ctl.Epoch().InSlot(slot)
	return r.ctl.Incarnation(m.Incarnation)
}

// releasable returns the keys of the epochs from x up to the one in force, nil when one of them is
// gone: then files sealed in epoch x are of no use.
func (r *Replica) releasable(x uint64) []keys.Epoch {
	now := r.ctl.Epoch().Number
	first := r.epochs[x]
	if x == 0 || x > now || first == nil || !first.HasSnap() || now-x >= keys.MaxTail {
		return nil
	}
	var out []keys.Epoch
	for n := x; n <= now; n++ {
		e := r.epochs[n]
		switch {
		case r.void(n):
			out = append(out, keys.Epoch{Number: n}) // most have no key of it, and nobody needs one
		case e == nil || !e.HasLog():
			return nil
		default:
			out = append(out, e.Epoch)
		}
	}
	return out
}
