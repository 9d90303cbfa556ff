package replica_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/replica"
	"hitoku.dev/internal/ledger/wire"
)

// on runs f with another log and other nodes in the world's place, and returns the log as it is then.
func (w *world) on(log []order.Entry, nodes []*node, f func()) []order.Entry {
	w.t.Helper()
	oldLog, oldNodes := w.log, w.nodes
	w.log, w.nodes = slices.Clone(log), nodes
	f()
	log = w.log
	w.log, w.nodes = oldLog, oldNodes
	return log
}

// alone lets a node follow a log that only it is shown, with one thing more in it, until it has signed a
// record there, and returns that record.
func (w *world) alone(n *node) (record []byte) {
	w.t.Helper()
	w.on(w.log, []*node{n}, func() {
		w.append([]byte("something that the others are not shown"))
		n.deliver(1 << 20)
		if _, err := n.r.Rotate(); err != nil {
			w.t.Fatal(err)
		}
		for range 100 {
			n.tick()
			if len(n.queue) > 0 {
				record = n.queue[0].Record
				return
			}
		}
	})
	if record == nil {
		w.t.Fatal("it signs nothing")
	}
	return record
}

// pay has a user pay itself at a node, which must succeed.
func (u *user) pay(n *node) {
	u.w.t.Helper()
	if x := u.do(n, "transfer", `{"recipient":"`+u.account()+`","amount":1}`); x.Outcome.Code != 0 || x.Status != wire.StatusCommitted {
		u.w.t.Fatalf("%+v", x)
	}
}

// TestOneHostCannotStopTheLedger: a host shows its own node a false log and posts what the node signs there
// to the true one. The node is suspended, the others go on, also when one of them starts anew and has to
// wait for administrators, who remove the one that forked.
func TestOneHostCannotStopTheLedger(t *testing.T) {
	t.Parallel()
	w, alice := three(t, worldOptions{executors: 3, vaults: 1})
	w.nodes[3].start()
	w.settle("the vault runs", w.allRunning)
	record := w.alone(w.nodes[2])
	w.append([]byte("junk")) // the record's anchor is a position of the true log
	w.append(record)
	w.nodes[2].kill() // its host shows it nothing more
	alice.pay(w.nodes[0])
	w.running(t, w.nodes[0], w.nodes[1], w.nodes[3])
	for _, n := range []*node{w.nodes[0], w.nodes[1], w.nodes[3]} {
		if st := n.r.Status(); !slices.Equal(st.Forked, []uint16{2}) || st.Cut != nil || !st.Running {
			t.Fatalf("slot %d: %+v", n.slot, st)
		}
	}
	// One of the two others starts anew: too few are left of those who were there before the fork.
	w.nodes[1].kill()
	w.nodes[1].start()
	w.settle("the ledger waits", func() bool { return w.nodes[0].r.Status().Cut != nil })
	for range 40 {
		w.round()
	}
	st := w.nodes[0].r.Status()
	if st.Running || st.Halted != nil || !strings.Contains(st.Cut.Error(), "slot 2 follows another history") {
		t.Fatalf("%+v", st)
	}
	if _, err := w.nodes[0].r.Snapshot(); !errors.Is(err, replica.ErrNotRunning) {
		t.Fatal("a snapshot of an open fork")
	}
	if err := w.nodes[0].r.Remove(2); err != nil {
		t.Fatal(err)
	}
	w.settle("administrators have settled it", w.allRunning)
	if st := w.nodes[0].r.Status(); st.Cut != nil || len(st.Forked) != 0 {
		t.Fatalf("%+v", st)
	}
	alice.pay(w.nodes[1])
	// The slot is not lost: its operator starts the node again, on the true log.
	w.nodes[2].start()
	w.settle("all run", w.allRunning)
	alice.pay(w.nodes[2])
	w.running(t, w.nodes...)
	w.check()
}

// TestForkedNodeStartsAnew: its operator settles the fork without administrators.
func TestForkedNodeStartsAnew(t *testing.T) {
	t.Parallel()
	w, alice := three(t, worldOptions{})
	record := w.alone(w.nodes[2])
	w.append([]byte("junk"))
	w.append(record)
	w.nodes[2].kill()
	w.nodes[2].start()
	w.settle("all run", func() bool { return w.allRunning() && len(w.nodes[0].r.Status().Forked) == 0 })
	alice.pay(w.nodes[2])
	w.check()
}

// TestOwnForkedRecord: a node that meets what it has signed on another history stops.
func TestOwnForkedRecord(t *testing.T) {
	t.Parallel()
	w, _ := three(t, worldOptions{})
	n := w.nodes[2]
	id, err := n.r.Keep()
	if err != nil {
		t.Fatal(err)
	}
	h := wire.Header{Type: wire.TypeData, Ledger: w.ledger, Epoch: 1, Incarnation: n.r.ID(), N: 1 << 20, Anchor: uint64(len(w.log)), AnchorChain: wire.Hash{1}}
	w.append(wire.SignRecord(h, wire.Data{}.Encode(), id.Key).Encode())
	n.deliver(1 << 20)
	if err := n.r.Err(); !errors.Is(err, replica.ErrHalted) || !strings.Contains(err.Error(), "has been forked; start the node again") {
		t.Fatalf("it goes on: %v", err)
	}
}

// TestForkByCheckpoint: what a node on a false log says to its peers stops none of them, and what they say
// stops it.
func TestForkByCheckpoint(t *testing.T) {
	t.Parallel()
	w, alice := three(t, worldOptions{})
	bad := w.nodes[2]
	qid := [16]byte{1}
	var vouch replica.FreshAnswer
	other := w.on(w.log, []*node{bad}, func() {
		w.append([]byte("something that the others are not shown"))
		p := alice.send(bad, alice.command("transfer", `{"recipient":"`+alice.account()+`","amount":1}`))
		if p == nil {
			t.Fatal("not taken")
		}
		for range 40 {
			w.round()
		}
		if st := bad.r.Status(); st.Executed <= st.Committed {
			t.Fatalf("%+v", st)
		}
		var err error
		if vouch, err = bad.r.Fresh(qid); err != nil {
			t.Fatal(err)
		}
	})
	alice.nonce--
	for uint64(len(w.log)) < bad.r.Status().Executed {
		w.append([]byte("junk"))
	}
	for _, n := range w.nodes[:2] {
		n.deliver(1 << 20)
		if err := n.r.CheckFresh(bad.r.ID(), qid, vouch); err == nil || errors.Is(err, replica.ErrHalted) {
			t.Fatalf("slot %d: %v, wanted a refusal", n.slot, err)
		}
		for _, c := range bad.r.Checkpoints(0, 1000) {
			if err := n.r.Receive(c.Incarnation, c.SignedCheckpoint); err != nil {
				t.Fatal(err)
			}
		}
	}
	nodes := w.nodes
	w.nodes = nodes[:2]
	for range 3 {
		alice.pay(nodes[0])
	}
	if st := nodes[0].r.Status(); !slices.Equal(st.Forked, []uint16{2}) || st.Cut != nil {
		t.Fatalf("%+v", st)
	}
	for _, n := range nodes[:2] {
		n.gossip(bad)
	}
	if err := bad.r.Err(); err != nil {
		t.Fatalf("it has not followed to there: %v", err)
	}
	w.on(other, []*node{bad}, func() {
		for range 60 {
			w.append([]byte("junk"))
		}
		bad.deliver(1 << 20)
	})
	if err := bad.r.Err(); !errors.Is(err, replica.ErrHalted) || !strings.Contains(err.Error(), "forked") {
		t.Fatalf("the one on the false log goes on: %v", err)
	}
	w.running(t, nodes[:2]...)
}

// TestTwoHistoriesDoNotBothGoOn: who has the log and one host shows two logs, and starts the one slot's node
// on both, so that each has a majority. When the honest nodes hear of one another, neither side commits
// anything more, until administrators say which history counts.
func TestTwoHistoriesDoNotBothGoOn(t *testing.T) {
	t.Parallel()
	w, alice := three(t, worldOptions{})
	one, two := w.nodes[1], w.nodes[2]
	w.nodes[0].kill()
	left, right := []*node{{w: w, slot: 0, kind: wire.KindExecutor}, one}, []*node{{w: w, slot: 0, kind: wire.KindExecutor}, two}
	bob := w.user()
	run := func(log []order.Entry, nodes []*node, u *user) []order.Entry {
		return w.on(log, nodes, func() {
			w.append([]byte("to " + u.account()))
			nodes[0].start()
			w.settle("a majority runs on each side", w.allRunning)
			if x := u.do(nodes[1], "transfer", `{"recipient":"`+u.account()+`","amount":0}`); x.Status != wire.StatusCommitted {
				t.Fatalf("%+v", x)
			}
		})
	}
	a, b := run(w.log, left, alice), run(w.log, right, bob)
	one.gossip(two)
	two.gossip(one)
	quiet := func(log []order.Entry, nodes []*node) []order.Entry {
		n := nodes[1]
		return w.on(log, nodes, func() {
			for range 5 { // the shorter log gets to where the other's checkpoints are
				w.append([]byte("junk"))
				w.round()
			}
			committed := n.r.Status().Committed
			for range 60 {
				w.append([]byte("junk"))
				w.round()
				one.gossip(two)
				two.gossip(one)
			}
			if _, err := nodes[0].r.Rotate(); err == nil { // its host has told it of nothing
				for range 60 {
					w.round()
				}
			}
			if st := n.r.Status(); st.Cut == nil || st.Committed != committed {
				t.Fatalf("slot %d commits on: %+v, before %d", n.slot, st, committed)
			}
			w.running(t, n)
		})
	}
	a, b = quiet(a, left), quiet(b, right)
	b = quiet(b, right)
	w.on(a, left, func() {
		if err := one.r.Remove(2); err != nil {
			t.Fatal(err)
		}
		w.settle("administrators have settled it", func() bool { return one.r.Status().Running })
		alice.pay(one)
	})
	w.now = w.now.Add(time.Second)
	quiet(b, right)
}
