package control_test

import (
	"testing"

	"hitoku.dev/internal/ledger/wire"
)

// foreign is a record that a process has signed on another history.
func (p *process) foreign() wire.Record {
	r := p.data()
	r.Header.AnchorChain[0] ^= 1
	return wire.SignRecord(r.Header, r.Body, p.key)
}

// TestForkedMemberIsSuspended: a member's record of another history suspends it, and nobody else. It
// goes when its operator or administrators say so, and for no other reason.
func TestForkedMemberIsSuspended(t *testing.T) {
	t.Parallel()
	w, list := started(t, 0, 1, 2)
	bad := list[2]
	agreed := w.s.Incarnation(bad.id).Agreed
	w.take(bad.ack())
	if got := w.s.Incarnation(bad.id).Agreed; got <= agreed {
		t.Fatalf("agreed %d, before %d", got, agreed)
	}
	ev := w.apply(bad.foreign())
	if ev.Skipped == "" || ev.Fork == nil || ev.Fork.ID != bad.id || w.s.Incarnation(bad.id).Forked != ev.Position {
		t.Fatalf("%+v", ev)
	}
	if ev := w.apply(bad.foreign()); ev.Skipped == "" || ev.Fork != nil {
		t.Fatalf("noted twice: %+v", ev)
	}
	w.refuse("a good record of a suspended one", bad.data())
	w.refuse("a new JOIN of a suspended one", bad.join(good))
	w.take(list[0].data())
	if f := w.s.Forked(); len(f) != 1 || f[0].ID != bad.id {
		t.Fatalf("forked: %v", f)
	}
	w.now += 101 // older than evidence_age
	w.junk()
	w.take(list[0].join(good))
	w.take(list[1].join(good))
	for _, reason := range []uint8{wire.RemoveExpired, wire.RemoveClone, wire.RemoveAlarm, wire.RemovePolicy} {
		c := w.core(nil, wire.Remove{Slot: 2, Incarnation: bad.id, Reason: reason, Position: w.s.Incarnation(bad.id).JoinPosition})
		w.refuse("removed without administrators", list[0].commit(c))
	}
	c := w.core(nil, w.remove(bad, wire.RemoveByAdmins))
	w.refuse("without approval", list[0].commit(c))
	c = w.core(nil, w.remove(bad, wire.RemoveByAdmins))
	w.take(list[0].commit(c, w.approvals(c)...))
	if f := w.s.Forked(); len(f) != 0 {
		t.Fatalf("not settled: %v", f)
	}
	if ev := w.apply(bad.foreign()); ev.Skipped == "" || ev.Fork != nil {
		t.Fatalf("of one that was removed: %+v", ev)
	}
}

// TestForkedMemberIsReplaced: the slot's operator starts the node anew, on this history.
func TestForkedMemberIsReplaced(t *testing.T) {
	t.Parallel()
	w, list := started(t, 0, 1, 2)
	w.refuse("of another history", list[2].foreign())
	next := w.process(2)
	w.take(next.join(good))
	w.take(list[0].commit(w.core([]*process{next}, w.remove(list[2], wire.RemoveReplaced))))
	if f := w.s.Forked(); len(f) != 0 {
		t.Fatalf("not settled: %v", f)
	}
	w.take(next.data())
	// Who only waits cannot be suspended, and suspends nobody.
	x := w.process(3)
	w.take(x.join(good))
	if ev := w.apply(x.foreign()); ev.Fork != nil {
		t.Fatalf("%+v", ev)
	}
	w.take(list[0].commit(w.core([]*process{x})))
}
