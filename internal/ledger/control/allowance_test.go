package control_test

import (
	"math"
	"testing"

	"hitoku.dev/internal/ledger/wire"
)

// long is a DATA record of so many bytes.
func (p *process) long(size int) wire.Record {
	empty := len(p.record(wire.TypeData, wire.Data{}.Encode()).Encode())
	p.n--
	return p.record(wire.TypeData, wire.Data{CT: make([]byte, size-empty)}.Encode())
}

// TestEntryMax: a record is as long as the genesis allows, and no longer.
func TestEntryMax(t *testing.T) {
	t.Parallel()
	w, list := started(t, 0, 1, 2)
	most := int(w.s.Genesis().EntryMax)
	r := list[0].long(most)
	if n := len(r.Encode()); n != most {
		t.Fatalf("the test's record has %d bytes, wanted %d", n, most)
	}
	w.take(r)
	w.refuse("one byte more", list[0].long(most+1))
}

// control is the positions of the control records.
func (w *world) control() map[uint64]wire.RecordType {
	w.t.Helper()
	out := map[uint64]wire.RecordType{}
	var last uint64
	for _, c := range w.s.Control().Records {
		rec, err := wire.ParseRecord(c.Record)
		if err != nil || c.Position <= last {
			w.t.Fatalf("position %d after %d: %v", c.Position, last, err)
		}
		last = c.Position
		out[c.Position] = rec.Header.Type
	}
	return out
}

// TestJunkJoins: JOINs that nobody is added by do not stay, and those that count do.
func TestJunkJoins(t *testing.T) {
	t.Parallel()
	w, list := started(t, 0, 1, 2)
	before := len(w.control())
	kept := w.s.Control().Records
	first := string(kept[0].Record)
	for range 20 {
		w.take(w.process(3).join("made up"))
	}
	if n := len(w.control()); n != before+1 {
		t.Fatalf("%d control records, wanted %d and one that waits", n, before)
	}
	x := w.process(3)
	for range 3 { // it joins again before it is added
		w.take(x.join(good))
	}
	w.take(list[0].commit(w.core([]*process{x})))
	added := w.s.Incarnation(x.id).AddedBy
	for range 5 { // and renews its evidence after
		w.take(x.join(good))
	}
	c := w.control()
	in := w.s.Incarnation(x.id)
	if len(c) != before+3 || c[added] != wire.TypeJoin || c[in.JoinPosition] != wire.TypeJoin || in.JoinPosition == added {
		t.Fatalf("%d control records, wanted %d: the JOIN that added, the COMMIT, the newest JOIN: %v", len(c), before+3, c)
	}
	y := w.process(3) // a pending one that runs twice goes
	w.take(y.join(good))
	y.n--
	w.refuse("a clone's", y.join(good))
	if n := len(w.control()); n != before+3 {
		t.Fatalf("%d control records", n)
	}
	if string(kept[0].Record) != first || len(kept) != before {
		t.Fatal("what was given to a reader has changed")
	}
}

// TestAllowance: the operator of one slot cannot make the control records grow without end.
func TestAllowance(t *testing.T) {
	t.Parallel()
	w, list := started(t, 0, 1, 2)
	for range 32 {
		w.take(w.process(3).join(good))
	}
	w.refuse("a JOIN too many", w.process(3).join(good))
	w.take(list[1].join(good)) // another slot's
	w.now += 599
	w.junk()
	w.refuse("too early", w.process(3).join(good))
	w.now++
	w.take(w.process(3).join(good))
	w.refuse("only one more", w.process(3).join(good))

	// Rotations that are not due: slot 0 has spent one on its JOIN, which has come back by now.
	for range 32 {
		w.take(list[0].commit(w.core(nil)))
	}
	if w.s.Allows(0, w.now) {
		t.Fatal("it may go on")
	}
	w.refuse("a rotation too many", list[0].commit(w.core(nil)))
	w.take(list[2].commit(w.core(nil))) // another's
	// What changes members is not counted.
	x := w.process(1)
	w.take(x.join(good))
	w.take(list[0].commit(w.core([]*process{x}, w.remove(list[1], wire.RemoveReplaced))))

	// A log that states absurd times breaks nothing.
	w.now = math.MaxUint64 - 1
	w.junk()
	for i := range 40 {
		if ev := w.apply(w.process(3).join(good)); ev.Skipped != "" && i < 32 {
			t.Fatalf("JOIN %d: %s", i, ev.Skipped)
		}
	}
}
