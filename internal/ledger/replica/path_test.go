package replica_test

import (
	"testing"

	"hitoku.dev/internal/ledger/wire"
)

func TestOneNode(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{executors: 1})
	w.startAll()
	alice, bob := w.user(), w.user()
	if x := alice.do(w.nodes[0], "construct", `{"total_supply":100}`); x.Status != wire.StatusCommitted || x.Outcome.Code != 0 {
		t.Fatalf("construct: %+v", x)
	}
	if x := alice.do(w.nodes[0], "transfer", `{"recipient":"`+bob.account()+`","amount":30}`); x.Outcome.Code != 0 {
		t.Fatalf("transfer: %+v", x)
	}
	if got := alice.balance(w.nodes[0]); got != "70" {
		t.Fatalf("balance %s", got)
	}
	if got := bob.balance(w.nodes[0]); got != "30" {
		t.Fatalf("balance %s", got)
	}
	w.check()
}

func TestThreeNodesAndVault(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{executors: 3, vaults: 1})
	w.startAll()
	alice, bob := w.user(), w.user()
	alice.do(w.nodes[0], "construct", `{"total_supply":100}`)
	for i := range 5 {
		if x := alice.do(w.nodes[i%3], "transfer", `{"recipient":"`+bob.account()+`","amount":10}`); x.Outcome.Code != 0 {
			t.Fatalf("transfer %d: %+v", i, x)
		}
	}
	for _, n := range w.nodes[:3] {
		if got := alice.balance(n); got != "50" {
			t.Fatalf("slot %d: balance %s", n.slot, got)
		}
	}
	// A node restarts, with its own files.
	before := w.nodes[0].r.Status().Epoch
	w.nodes[1].kill()
	w.nodes[1].start()
	w.settle("node 1 is back", func() bool { return w.nodes[1].r.Status().Running && w.nodes[1].r.Status().Epoch > before })
	w.settle("and has committed", w.allRunning)
	if got := bob.balance(w.nodes[1]); got != "50" {
		t.Fatalf("balance %s", got)
	}
	// All nodes stop; the vault and two administrators bring them back.
	for _, n := range w.nodes {
		n.kill()
	}
	for _, n := range w.nodes {
		n.start()
	}
	w.settle("all nodes are back", w.allRunning)
	if got := bob.balance(w.nodes[2]); got != "50" {
		t.Fatalf("balance %s", got)
	}
	if x := alice.do(w.nodes[0], "transfer", `{"recipient":"`+bob.account()+`","amount":50}`); x.Outcome.Code != 0 {
		t.Fatalf("transfer: %+v", x)
	}
	w.check()
}
