package replica_test

import (
	"strings"
	"testing"
	"time"
)

// TestTooManyRotations: a node that is asked for new keys without end says so, sends nothing that would be
// skipped, and may again when time has gone by.
func TestTooManyRotations(t *testing.T) {
	t.Parallel()
	w, alice := three(t, worldOptions{})
	n := w.nodes[0]
	turn := func() error {
		e := n.r.Status().Epoch
		_, err := n.r.Rotate()
		if err == nil {
			w.settle("a new epoch", func() bool { return n.r.Status().Epoch > e })
		}
		return err
	}
	done := 0
	for ; turn() == nil; done++ {
		if done > 100 {
			t.Fatal("there is no end")
		}
	}
	if _, err := n.r.Rotate(); done < 20 || err == nil || !strings.Contains(err.Error(), "too often") {
		t.Fatalf("after %d rotations: %v", done, err)
	}
	if _, err := w.nodes[1].r.Rotate(); err != nil {
		t.Fatalf("another node: %v", err)
	}
	alice.pay(n)
	w.now = w.now.Add(20 * time.Minute)
	alice.pay(n)
	if err := turn(); err != nil {
		t.Fatalf("later: %v", err)
	}
	w.check()
}

// TestCrashLoop: a node that starts again and again is not let in any more for a while, does not fill the
// log meanwhile, and comes back.
func TestCrashLoop(t *testing.T) {
	t.Parallel()
	w, alice := three(t, worldOptions{})
	n := w.nodes[2]
	for range 40 {
		n.kill()
		n.start()
		for range 4 {
			w.round()
		}
	}
	before := len(w.log)
	for range 30 {
		w.round()
	}
	if n.r.Status().Member || len(w.log) > before+20 {
		t.Fatalf("it is a member, or fills the log: %d positions in 30 rounds", len(w.log)-before)
	}
	alice.pay(w.nodes[0])
	w.now = w.now.Add(20 * time.Minute)
	alice.pay(w.nodes[0])
	w.settle("it is back", w.allRunning)
	alice.pay(n)
	w.check()
}
