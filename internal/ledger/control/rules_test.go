package control_test

import (
	"testing"

	"hitoku.dev/internal/ledger/control"
	"hitoku.dev/internal/ledger/wire"
)

// TestPolicyAfterJoin: what waits to be added is judged by the policy of the COMMIT, not only by
// that of its JOIN.
func TestPolicyAfterJoin(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*world, *wire.Policy){
		"slot removed":     func(_ *world, p *wire.Policy) { p.Slots = append(p.Slots[:3:3], p.Slots[4]) },
		"operator changed": func(w *world, p *wire.Policy) { p.Slots[3].Operator = public(w.newKey()) },
		"kind changed":     func(_ *world, p *wire.Policy) { p.Slots[3].Kind = wire.KindVault },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, list := started(t, 0, 1, 2)
			late := w.process(3)
			w.take(late.join(good))
			w.update(list[0], func(p *wire.Policy) { change(w, p) })
			w.refuse(name, list[0].commit(w.core([]*process{late})))
			w.take(list[1].commit(w.core(nil))) // the ledger goes on without it
		})
	}
}

// TestQuorumStays: one COMMIT without administrators cannot remove so many that its sender's side
// becomes a quorum by itself.
func TestQuorumStays(t *testing.T) {
	t.Parallel()
	w, list := started(t, 0, 1, 2)
	w.now += 101 // older than evidence_age
	w.junk()
	w.take(list[0].join(good))
	w.refuse("two of three gone", list[0].commit(w.core(nil, w.remove(list[1], wire.RemoveExpired), w.remove(list[2], wire.RemoveExpired))))
	w.take(list[0].commit(w.core(nil, w.remove(list[1], wire.RemoveExpired))))
	w.refuse("one of two gone", list[0].commit(w.core(nil, w.remove(list[2], wire.RemoveExpired))))
	c := w.core(nil, w.remove(list[2], wire.RemoveByAdmins))
	w.refuse("without approval", list[0].commit(c))
	c = w.core(nil, w.remove(list[2], wire.RemoveByAdmins))
	w.take(list[0].commit(c, w.approvals(c)...))
}

// TestSuccessorsAreNoRemoval: all may be replaced at once, and a policy may go on from there.
func TestSuccessorsAreNoRemoval(t *testing.T) {
	t.Parallel()
	w, list := started(t, 0, 1, 2)
	a, b := w.process(1), w.process(2)
	w.take(a.join(good))
	w.take(b.join(good))
	w.refuse("for another reason than its successor", list[0].commit(w.core([]*process{a}, wire.Remove{Slot: 1, Incarnation: list[1].id, Reason: wire.RemoveByAdmins})))
	w.take(list[0].commit(w.core([]*process{a, b}, w.remove(list[1], wire.RemoveReplaced), w.remove(list[2], wire.RemoveReplaced))))
	w.refuse("from one that was replaced", list[1].data())
	w.take(a.data())
}

// TestClonesLeaveSuccessorsAlone: the proof that an incarnation ran twice does not touch the one that
// waits for its slot, and every other record of it is skipped.
func TestClonesLeaveSuccessorsAlone(t *testing.T) {
	t.Parallel()
	w, list := started(t, 0, 1, 2)
	next := w.process(2)
	w.take(next.join(good))
	first := list[2].data()
	list[2].n--
	second := list[2].checkpoint()
	w.take(first)
	ev := w.apply(second)
	if ev.Skipped == "" || ev.Clone == nil || ev.Clone.ID != list[2].id {
		t.Fatalf("no proof of a clone: %+v", ev)
	}
	w.refuse("from an expelled one", list[2].data())
	if p := w.s.Pending(); len(p) != 1 || p[0].ID != next.id {
		t.Fatalf("pending: %v", p)
	}
	w.take(list[0].commit(w.core([]*process{next}, w.remove(list[2], wire.RemoveReplaced))))
	// A pending one that runs twice is forgotten.
	x := w.process(3)
	w.take(x.join(good))
	x.n--
	w.refuse("a clone's", x.join(good))
	if len(w.s.Pending()) != 0 {
		t.Fatal("a clone waits")
	}
}

func TestSameRecordTwiceIsNoClone(t *testing.T) {
	t.Parallel()
	w, list := started(t, 0, 1, 2)
	r := list[1].data()
	w.take(r)
	for range 3 {
		if ev := w.apply(r); ev.Skipped == "" || ev.Clone != nil {
			t.Fatalf("%+v", ev)
		}
	}
	w.take(list[1].data())
}

func TestFirstEpochNeedsAnExecutor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v, e := w.process(4), w.process(0)
	w.take(v.join(good))
	c := w.core([]*process{v})
	w.refuse("a vault alone", v.commit(c, w.approvals(c)...))
	w.take(e.join(good))
	c = w.core([]*process{v})
	w.refuse("without its sender", e.commit(c, w.approvals(c)...))
	c = w.core([]*process{e, v})
	w.refuse("without approval", v.commit(c))
	c = w.core([]*process{e, v})
	w.take(v.commit(c, w.approvals(c)...))
}

// TestMaliciousCommits: a member whose program does not keep the rules.
func TestMaliciousCommits(t *testing.T) {
	t.Parallel()
	w, list := started(t, 0, 1, 2, 4)
	bad, fine := w.process(3), w.process(1)
	w.take(bad.join("made up"))
	w.take(fine.join(good))
	w.take(list[2].ack())
	vault := list[3]
	by := list[0]
	change := func(f func(*wire.Core)) wire.Record {
		c := w.core(nil)
		f(&c)
		return by.commit(c)
	}
	w.refuse("an add without good evidence", by.commit(w.core([]*process{bad})))
	w.refuse("an add beside the member", by.commit(func() wire.Core {
		c := w.core(nil)
		c.Adds = w.core([]*process{fine}).Adds
		return c
	}()))
	w.refuse("a removal without reason", by.commit(w.core(nil, w.remove(list[2], wire.RemoveExpired))))
	w.refuse("no clone", by.commit(w.core(nil, w.remove(list[2], wire.RemoveClone))))
	w.refuse("no alarm", by.commit(w.core(nil, w.remove(list[2], wire.RemoveAlarm))))
	w.refuse("the policy has no fault", by.commit(w.core(nil, w.remove(list[2], wire.RemovePolicy))))
	w.refuse("no successor", by.commit(w.core(nil, w.remove(list[2], wire.RemoveReplaced))))
	w.refuse("nobody approved", by.commit(w.core(nil, w.remove(list[2], wire.RemoveByAdmins))))
	w.refuse("a stale key", change(func(c *wire.Core) { c.Keys[2].Position = w.s.Incarnation(list[2].id).JoinPosition }))
	w.refuse("a member without key", change(func(c *wire.Core) { c.Keys = c.Keys[1:] }))
	w.refuse("an earlier epoch", change(func(c *wire.Core) { c.Epoch-- }))
	w.refuse("another T", change(func(c *wire.Core) { c.Previous[0] ^= 1 }))
	w.refuse("another time", change(func(c *wire.Core) { c.Time++ }))
	w.refuse("another policy", change(func(c *wire.Core) { c.PolicyVersion++ }))
	short := body(w.core(nil), nil)
	short.Wraps = short.Wraps[1:]
	w.refuse("a member without wrap", by.record(wire.TypeCommit, short.Encode()))
	swapped := body(w.core(nil), nil)
	swapped.Wraps[0].Slot = 3
	w.refuse("a wrap for another slot", by.record(wire.TypeCommit, swapped.Encode()))
	c := w.core(nil)
	w.refuse("approvals where none is needed", by.commit(c, w.approvals(c)...))
	released := w.core([]*process{fine}, w.remove(list[1], wire.RemoveReplaced))
	released.Adds[0].Released = 1
	w.refuse("keys that nobody asked for", by.commit(released))
	w.refuse("a vault alone adds an executor", vault.commit(w.core([]*process{fine}, w.remove(list[1], wire.RemoveReplaced))))
	wrong := w.core([]*process{fine}, w.remove(list[1], wire.RemoveReplaced))
	other := wrong
	other.Adds = nil
	w.refuse("approvals of another change", vault.commit(wrong, w.approvals(other)...))
	one := w.core([]*process{fine}, w.remove(list[1], wire.RemoveReplaced))
	w.refuse("one approval of two", vault.commit(one, w.approvals(one)[:1]...))
	w.refuse("from one who waits", fine.commit(w.core([]*process{fine}, w.remove(list[1], wire.RemoveReplaced))))
	last := w.core([]*process{fine}, w.remove(list[1], wire.RemoveReplaced))
	w.take(vault.commit(last, w.approvals(last)...))
}

// TestRenewedEvidence: a member that joins again needs good evidence at that time; one that waits may
// join with anything, and is judged when it is added.
func TestRenewedEvidence(t *testing.T) {
	t.Parallel()
	w, list := started(t, 0, 1, 2)
	w.refuse("a member with bad evidence", list[1].join("made up"))
	w.take(list[1].join(good))
	x := w.process(3)
	w.take(x.join(good))
	w.take(x.join("made up"))
	w.refuse("the older evidence", list[0].commit(w.core([]*process{x})))
	w.now += 101
	w.take(list[0].join(good))
	w.refuse("one whose evidence is too old", list[0].commit(w.core([]*process{x})))
}

// TestSavedState: a state that was written down and read goes on as the one that was not, from every
// position.
func TestSavedState(t *testing.T) {
	t.Parallel()
	w := story(t)
	for cut := range w.log {
		s, err := control.New(w.file, appraise)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range w.log {
			if i == cut {
				b, err := s.Marshal()
				if err != nil {
					t.Fatal(err)
				}
				if s, err = control.Load(w.file, appraise, b); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.Apply(e); err != nil {
				t.Fatal(err)
			}
		}
		if digest(s) != digest(w.s) {
			t.Fatalf("saved after position %d: %s\nwanted %s", cut, digest(s), digest(w.s))
		}
	}
}
