package replica_test

import (
	"errors"
	"testing"
	"time"

	"hitoku.dev/internal/ledger/replica"
	"hitoku.dev/internal/ledger/wire"
)

// three starts three executors with some commands done; more slots stay empty.
func three(t *testing.T, o worldOptions) (*world, *user) {
	t.Helper()
	if o.executors == 0 {
		o.executors = 3
	}
	w := newWorld(t, o)
	for _, n := range w.nodes[:3] {
		n.start()
	}
	w.settle("three nodes run", w.allRunning)
	alice := w.user()
	alice.do(w.nodes[0], "construct", `{"total_supply":100}`)
	return w, alice
}

func snapshot(t *testing.T, n *node) replica.Snapshot {
	t.Helper()
	s, err := n.r.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestOutsiderCannotHalt: whoever has the key of a slot's operator, and no TEE, can be a pending
// incarnation. What it signs about the state is nothing to anybody.
func TestOutsiderCannotHalt(t *testing.T) {
	t.Parallel()
	w, alice := three(t, worldOptions{executors: 4})
	o := w.outsider(3)
	o.join("made up")
	w.deliver()
	c := snapshot(t, w.nodes[0]).Checkpoint
	lie := c
	lie.Digest[0] ^= 1
	none := c
	none.Position-- // an ACK, or another position that is no checkpoint's
	later := c
	later.Position += 1000
	for _, n := range w.nodes[:3] {
		for _, x := range []wire.Checkpoint{lie, none, later} {
			if err := n.r.Receive(o.id, o.sign(x)); errors.Is(err, replica.ErrHalted) {
				t.Fatalf("slot %d: %v", n.slot, err)
			}
		}
	}
	// The same before the position is there: it is noted for later.
	for i := uint64(1); i < 40; i++ {
		soon := c
		soon.Position += i
		for _, n := range w.nodes[:3] {
			_ = n.r.Receive(o.id, o.sign(soon)) // refused or forgotten
		}
	}
	if x := alice.do(w.nodes[1], "transfer", `{"recipient":"`+w.user().account()+`","amount":1}`); x.Outcome.Code != 0 {
		t.Fatalf("transfer: %+v", x)
	}
	w.running(t, w.nodes[:3]...)
	w.check()
}

// TestNewNodeOnLongLog: a node that was never there gets its state although the log holds more
// records than it keeps while it waits, and the ledger goes on meanwhile.
func TestNewNodeOnLongLog(t *testing.T) {
	t.Parallel()
	w, alice := three(t, worldOptions{executors: 4, limits: replica.Limits{Backlog: 4}})
	for range 12 {
		alice.do(w.nodes[0], "transfer", `{"recipient":"`+alice.account()+`","amount":1}`)
	}
	w.nodes[3].start()
	w.settle("the new node runs", w.allRunning)
	if got := alice.balance(w.nodes[3]); got != "100" {
		t.Fatalf("balance %s", got)
	}
	w.check()
}

// TestOldSnapshotIsRefused: a snapshot from before what the node has kept of the log would make
// it leave records out.
func TestOldSnapshotIsRefused(t *testing.T) {
	t.Parallel()
	w, alice := three(t, worldOptions{executors: 4, limits: replica.Limits{Backlog: 3}})
	n := w.nodes[3]
	n.start()
	var old replica.Snapshot
	for range 60 { // the new node becomes a member, and the test keeps states from it
		w.now = w.now.Add(time.Second)
		for _, x := range w.nodes[:3] {
			x.deliver(1 << 20)
			x.tick()
			x.submit(1 << 20)
		}
		n.deliver(1 << 20)
		if n.r.NeedsJoin() {
			_ = n.r.Join(t.Context()) // comes again
		}
		n.r.Tick()
		for _, s := range n.r.Outgoing() {
			w.append(s.Record)
		}
		w.deliver()
		for _, a := range w.nodes[:3] {
			for _, b := range w.nodes[:3] {
				a.gossip(b)
			}
		}
		if _, from, _ := n.r.Wants(); from != 0 {
			if s := snapshot(t, w.nodes[0]); s.Checkpoint.Position >= from {
				old = s
				break
			}
		}
	}
	if old.Tree == nil {
		t.Fatal("no snapshot that fits")
	}
	for range 6 {
		p := alice.send(w.nodes[0], alice.command("transfer", `{"recipient":"`+alice.account()+`","amount":1}`))
		if p == nil {
			t.Fatal("not taken")
		}
		for range 6 {
			for _, x := range w.nodes[:3] {
				x.deliver(1 << 20)
				x.tick()
				x.submit(1 << 20)
			}
			for _, a := range w.nodes[:3] {
				for _, b := range w.nodes[:3] {
					a.gossip(b)
				}
			}
		}
	}
	w.deliver()
	if err := n.r.Install(old); !errors.Is(err, replica.ErrTooOld) {
		t.Fatalf("a snapshot of position %d was taken: %v", old.Checkpoint.Position, err)
	}
	w.settle("the new node runs", w.allRunning)
	w.running(t, w.nodes...)
	w.check()
}

// TestCheckpointBeforeItsEpoch: a peer's checkpoint that comes before the COMMIT that makes the peer a
// member is not lost: it is refused, so that the peer brings it again.
func TestCheckpointBeforeItsEpoch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{executors: 2})
	a, b := w.nodes[0], w.nodes[1]
	a.start()
	b.start()
	for range 40 { // both join, and the first COMMIT reaches the log; b is not told of it
		w.now = w.now.Add(time.Second)
		for _, n := range w.nodes {
			if w.state().Epoch().Number == 0 {
				n.deliver(1 << 20)
			}
			n.tick()
			n.submit(1 << 20)
		}
		w.approve()
	}
	a.deliver(1 << 20)
	if a.r.Status().Epoch != 1 || b.r.Status().Epoch != 0 {
		t.Fatalf("epochs %d and %d", a.r.Status().Epoch, b.r.Status().Epoch)
	}
	a.gossip(b)
	b.deliver(1 << 20)
	a.gossip(b) // what was taken is not sent again
	if b.r.Status().Committed == 0 {
		t.Fatal("the checkpoint of the first epoch is lost")
	}
}

// TestIdleLedgerKeepsItsMembers: nobody writes for longer than evidence may be old; then the first
// command steps the log's time over it. Nobody is removed, whoever is slow to join again.
func TestIdleLedgerKeepsItsMembers(t *testing.T) {
	t.Parallel()
	w, alice := three(t, worldOptions{evidenceAge: 1000})
	w.now = w.now.Add(5000 * time.Second)
	p := alice.send(w.nodes[0], alice.command("transfer", `{"recipient":"`+alice.account()+`","amount":1}`))
	if p == nil {
		t.Fatal("not taken")
	}
	for range 12 { // the host hands over nothing from node 2 for a while
		for _, n := range w.nodes[:2] {
			n.deliver(1 << 20)
			n.tick()
			n.submit(1 << 20)
		}
	}
	w.settle("the command is executed", func() bool { done, _ := alice.poll(p); return done })
	w.settle("all run", w.allRunning)
	w.running(t, w.nodes...)
	if n := len(w.state().Epoch().Members); n != 3 {
		t.Fatalf("%d members", n)
	}
}

// TestLoneForkIsNoQuorum: the host shows one node a log of its own, on which the others say nothing and
// time goes by. It removes one of them for its old evidence and can commit nothing there.
func TestLoneForkIsNoQuorum(t *testing.T) {
	t.Parallel()
	w, alice := three(t, worldOptions{evidenceAge: 1000})
	n := w.nodes[0]
	committed := n.r.Status().Committed
	w.nodes[1].kill()
	w.nodes[2].kill()
	for range 100 {
		w.now = w.now.Add(100 * time.Second)
		alice.send(n, alice.command("transfer", `{"recipient":"`+alice.account()+`","amount":1}`))
		w.append([]byte("time goes by"))
		n.deliver(1 << 20)
		n.tick()
		n.submit(1 << 20)
	}
	if st := n.r.Status(); st.Committed != committed || st.Executed <= committed {
		t.Fatalf("executed to %d, committed to %d, wanted %d", st.Executed, st.Committed, committed)
	}
	if e := w.state().Epoch(); e.Quorum() != 2 {
		t.Fatalf("a quorum of %d among %d", e.Quorum(), len(e.Members))
	}
}
