package replica_test

import (
	"crypto/ed25519"
	"testing"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/wire"
)

// rotate posts a COMMIT of an outsider who knows the epoch's keys. Only the slots in good get a wrap of what
// cm commits to; cm is spoiled when there are none.
func (o *outsider) rotate(k keys.Epoch, good ...uint16) (number uint64) {
	w := o.w
	w.t.Helper()
	s := w.state()
	core := wire.Core{Epoch: k.Number + 1, Previous: s.Epoch().T, Time: max(s.Time(), s.Epoch().Time)}
	for _, m := range s.Epoch().Members {
		core.Keys = append(core.Keys, wire.MemberKey{Slot: m.Slot, Position: s.Incarnation(m.Incarnation).HPKE.Position})
	}
	next, secret := wire.NextT(core.Previous, core.Encode()), keys.NextSecret(k.Init, [32]byte{1})
	c := wire.Commit{CoreBytes: core.Encode(), Commitment: keys.Commitment(next, secret)}
	opens := map[uint16]bool{}
	for _, slot := range good {
		opens[slot] = true
	}
	if len(good) == 0 {
		c.Commitment[0] ^= 1
	}
	for _, m := range s.Epoch().Members {
		x := secret
		if len(good) > 0 && !opens[m.Slot] {
			x = [32]byte{2}
		}
		wrap, err := keys.SealWrap(wire.SuiteX25519, s.Incarnation(m.Incarnation).HPKE.Key, w.ledger, core.Epoch, next, m.Slot, c.Commitment, x, 0, [32]byte{})
		if err != nil {
			w.t.Fatal(err)
		}
		c.Wraps = append(c.Wraps, wrap)
	}
	o.post(o.record(wire.TypeCommit, k.Number, c.Encode()))
	return core.Epoch
}

// approvals are two administrators' over a core.
func (w *world) approvals(core wire.Core) (out []wire.AdminSignature) {
	message := wire.ApproveMessage(w.ledger, core.Previous, core.Epoch, core.Adds, core.Removes)
	for i, a := range w.admins[:2] {
		out = append(out, wire.AdminSignature{Index: uint8(i), Signature: [64]byte(ed25519.Sign(a, message))})
	}
	return out
}

// unapproved is some rounds of honest hosts while the administrators sleep.
func (w *world) unapproved(rounds int) {
	for range rounds {
		for _, n := range w.nodes {
			n.deliver(1 << 20)
			n.tick()
			n.submit(1 << 20)
		}
		w.deliver()
		for _, a := range w.nodes {
			for _, b := range w.nodes {
				a.gossip(b)
			}
		}
	}
}

// TestEpochThatNobodyOpens: a member whose TEE was broken begins an epoch whose secret nobody, or only one
// other, can open. Nothing is committed in it; administrators' approval begins the next one without it, and
// no state and no command is lost.
func TestEpochThatNobodyOpens(t *testing.T) {
	t.Parallel()
	for name, good := range map[string][]uint16{"a wrong commitment": nil, "one other opens it": {0, 3}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, alice, o, k := broken(t)
			bob := w.user()
			alice.pay(w.nodes[1])
			// On its way in the epoch before: it stays effective within the window.
			late := bob.send(w.nodes[1], bob.command("transfer", `{"recipient":"`+bob.account()+`","amount":0}`))
			w.nodes[1].tick()
			number := o.rotate(k, good...)
			w.nodes[1].submit(1 << 20)
			committed := w.nodes[0].r.Status().Committed
			w.unapproved(8)
			inside := alice.command("transfer", `{"recipient":"`+alice.account()+`","amount":0}`)
			var lost *pending
			if st := w.nodes[0].r.Status(); st.Running != (good != nil) {
				t.Fatalf("%+v", st)
			} else if st.Running { // sealed with a key that most do not have
				lost = alice.send(w.nodes[0], inside)
			}
			w.unapproved(60)
			s := w.state()
			if !s.Stuck() || s.Epoch().Number != number {
				t.Fatalf("epoch %d, stuck %v", s.Epoch().Number, s.Stuck())
			}
			for _, n := range w.nodes[:3] {
				if st := n.r.Status(); st.Committed > committed || st.Halted != nil || n.slot > 0 && st.Running {
					t.Fatalf("slot %d: %+v", n.slot, st)
				}
				p, ok := n.r.Proposal()
				if !ok || !p.Void || len(p.Removes) != 1 || p.Removes[0].Incarnation != o.id || p.Removes[0].Reason != wire.RemoveByAdmins {
					t.Fatalf("slot %d proposes %+v, %v", n.slot, p, ok)
				}
			}
			w.settle("administrators begin the next epoch", w.allRunning)
			if s := w.state(); !s.EpochNumber(number).Void || s.Epoch().Number < number+1 {
				t.Fatalf("epoch %d is not void", number)
			}
			if _, ok := w.state().Epoch().Member(o.id); ok {
				t.Fatal("who has sealed it is a member")
			}
			w.settle("the late command has its outcome", func() bool { done, _ := bob.poll(late); return done })
			if x := late.result; x.Status != wire.StatusCommitted || x.Outcome.Code != 0 {
				t.Fatalf("%+v", x)
			}
			if lost != nil {
				if done, _ := alice.poll(lost); done {
					t.Fatalf("a command of the void epoch: %+v", lost.result)
				}
			}
			again := alice.send(w.nodes[0], inside)
			w.settle("it is executed once", func() bool { done, _ := alice.poll(again); return done })
			if x := again.result; x.Status != wire.StatusCommitted || x.Outcome.Code != 0 {
				t.Fatalf("%+v", x)
			}
			for _, n := range w.nodes[:3] {
				n.kill()
				n.start()
				w.settle("it is back", w.allRunning)
				if got := alice.balance(n); got != "100" {
					t.Fatalf("balance %s", got)
				}
			}
			alice.pay(w.nodes[2])
			w.running(t, w.nodes[:3]...)
			w.check()
		})
	}
}

// TestStuckNeedsAdministrators: nobody ends an epoch that most cannot open by itself.
func TestStuckNeedsAdministrators(t *testing.T) {
	t.Parallel()
	w, _, o, k := broken(t)
	number := o.rotate(k)
	w.unapproved(20)
	s := w.state()
	core := wire.Core{Epoch: number + 1, Previous: s.Epoch().T, Time: max(s.Time(), s.Epoch().Time)}
	for _, m := range s.Epoch().Members {
		core.Keys = append(core.Keys, wire.MemberKey{Slot: m.Slot, Position: s.Incarnation(m.Incarnation).HPKE.Position})
	}
	if _, err := s.Check(s.Incarnation(o.id), core, nil, s.Position()+1, s.Time()); err == nil {
		t.Fatal("a COMMIT without approval ends it")
	}
	w.unapproved(200)
	if n := w.state().Epoch().Number; n != number {
		t.Fatalf("epoch %d, wanted %d", n, number)
	}
	w.settle("with approval", w.allRunning)
	w.check()
}

// TestFirstEpochThatNobodyOpens: there is no state yet, and all begin from nothing in the next one.
func TestFirstEpochThatNobodyOpens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{executors: 4, vaults: 1})
	o := w.outsider(3)
	for _, n := range []*node{w.nodes[0], w.nodes[1], w.nodes[2], w.nodes[4]} {
		n.start()
	}
	o.join(goodEvidence)
	w.unapproved(3)
	s := w.state()
	core := wire.Core{Epoch: 1, Previous: s.Epoch().T, Time: s.Time()}
	for _, in := range s.Pending() {
		core.Adds = append(core.Adds, wire.Add{Slot: in.Slot, Incarnation: in.ID, JoinPosition: in.JoinPosition})
		core.Keys = append(core.Keys, wire.MemberKey{Slot: in.Slot, Position: in.HPKE.Position})
	}
	if len(core.Adds) != 5 {
		t.Fatalf("%d wait", len(core.Adds))
	}
	c := wire.Commit{CoreBytes: core.Encode(), Approvals: w.approvals(core)}
	for _, k := range core.Keys {
		c.Wraps = append(c.Wraps, wire.Wrap{Slot: k.Slot, Enc: []byte("enc"), CT: []byte("ct")})
	}
	o.post(o.record(wire.TypeCommit, 0, c.Encode()))
	w.settle("the second epoch", w.allRunning)
	if s := w.state(); !s.EpochNumber(1).Void {
		t.Fatal("epoch 1 is not void")
	}
	alice := w.user()
	if x := alice.do(w.nodes[0], "construct", `{"total_supply":100}`); x.Outcome.Code != 0 {
		t.Fatalf("%+v", x)
	}
	alice.pay(w.nodes[2])
	w.nodes[1].kill()
	w.nodes[1].start()
	w.settle("it is back", w.allRunning)
	alice.pay(w.nodes[1])
	w.check()
}
