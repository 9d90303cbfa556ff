package faulttest

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"hitoku.dev/internal/ledger/api"
	"hitoku.dev/internal/ledger/ledgertest"
	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/replica"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
)

// told starts a ledger whose log tells stories, with two accounts of which the first has everything.
func told(t *testing.T) (c *ledgertest.Cluster, s *tellings, alice, bob *ledgertest.User) {
	t.Helper()
	s = newTellings()
	c = ledgertest.Start(t, ledgertest.Options{
		Executors: executors, Vaults: 1, Window: 4,
		Timing: replica.Timing{Stagger: 20, Resubmit: 100, Checkpoint: 50, VaultWait: 100, Lonely: 100},
		Log:    func(_ testing.TB, slot int) order.Log { return listener{s, slot} },
	})
	alice, bob = c.User(), c.User()
	if r := alice.Do(0, "construct", fmt.Sprintf(`{"total_supply":%d}`, supply)); r.Outcome.Code != ledger.CodeOK {
		t.Fatalf("construct: %+v", r)
	}
	return c, s, alice, bob
}

func pay(t *testing.T, c *ledgertest.Cluster, from, to *ledgertest.User, node int) {
	t.Helper()
	account := to.Account()
	r := from.Do(node, "transfer", fmt.Sprintf(`{"recipient":"%s","amount":1}`, hex.EncodeToString(account[:])))
	if r.Status != wire.StatusCommitted || r.Outcome.Code != ledger.CodeOK {
		t.Fatalf("payment: %+v", r)
	}
	c.Wait("all executors have committed it", func() bool {
		for _, n := range c.Nodes[:executors] {
			if r := n.Node(); r != nil && r.Replica().Err() == nil {
				if st := r.Replica().Status(); len(st.Forked) == 0 && st.Committed < from.FloorPosition {
					return false
				}
			}
		}
		return true
	})
}

// wantHalted waits until nodes have halted for a reason, serve nothing else and say that in their health.
func wantHalted(t *testing.T, c *ledgertest.Cluster, reason string, nodes ...int) {
	t.Helper()
	for _, i := range nodes {
		n := c.Nodes[i]
		c.Wait(fmt.Sprintf("slot %d halts", i), func() bool { return n.Replica().Err() != nil })
		if err := n.Replica().Err(); !strings.Contains(err.Error(), reason) {
			t.Errorf("slot %d has halted for %v, wanted %q", i, err, reason)
		}
		var h api.Health
		if status := n.Health(&h); status != http.StatusServiceUnavailable || h.Status != "halted" {
			t.Errorf("slot %d: health %d %+v, wanted 503 halted", i, status, h)
		}
		var refused *api.Error
		if err := n.Get("/api/v1/enclave_encryption_key", nil); !errors.As(err, &refused) || refused.Status != http.StatusServiceUnavailable {
			t.Errorf("slot %d: gives its key: %v", i, err)
		}
	}
}

// wantForked waits until a node serves nothing since the log was forked, and says that in its health.
func wantForked(t *testing.T, c *ledgertest.Cluster, i int) {
	t.Helper()
	n := c.Nodes[i]
	c.Wait(fmt.Sprintf("slot %d knows of the fork", i), func() bool { return n.Replica().Status().Cut != nil })
	var h api.Health
	if status := n.Health(&h); status != http.StatusServiceUnavailable || h.Status != "forked" || !strings.Contains(h.Reason, "fork") || len(h.Forked) == 0 {
		t.Errorf("slot %d: health %d %+v, wanted 503 forked", i, status, h)
	}
	var refused *api.Error
	if err := n.Get("/api/v1/enclave_encryption_key", nil); !errors.As(err, &refused) || refused.Status != http.StatusServiceUnavailable {
		t.Errorf("slot %d: gives its key: %v", i, err)
	}
}

// TestForkOfOne tells one executor another story. It commits nothing alone; a client that has seen the
// true one is refused there; and when the two sides hear of one another, they halt.
func TestForkOfOne(t *testing.T) {
	t.Parallel()
	c, s, alice, bob := told(t)
	pay(t, c, alice, bob, 0)
	main := s.told(0)
	other := main.branch(main.length())
	s.tell(other, 2)

	before := c.Nodes[2].Replica().Status().Committed
	account := bob.Account()
	command := alice.Command("transfer", fmt.Sprintf(`{"recipient":"%s","amount":2}`, hex.EncodeToString(account[:])))
	session, err := alice.Session(2)
	if err != nil {
		t.Fatal(err)
	}
	raw, _, err := session.Seal(wire.RequestCommands, wire.ModeLocal, command)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Nodes[2].Post("/api/v1/state", api.StateRequest{Request: raw}, nil); err != nil {
		t.Fatal(err)
	}
	c.Wait("the other story goes on", func() bool { return other.length() > main.length() })
	if _, err := c.Nodes[0].Replica().Rotate(); err != nil && !errors.Is(err, replica.ErrHalted) { // the true one, at the same positions
		t.Fatal(err)
	}
	wantHalted(t, c, "fork", 2)
	if n := c.Nodes[2].Replica().Status().Committed; n != before {
		t.Errorf("one of three has committed up to %d, from %d", n, before)
	}
	for _, i := range []int{0, 1} { // they go on, or have halted since they know that the log lies
		if err := c.Nodes[i].Replica().Err(); err != nil && !strings.Contains(err.Error(), "fork") {
			t.Errorf("slot %d: %v", i, err)
		}
	}
}

// TestForkBroughtTogether puts a record of the one story into the other: it suspends who signed it, and stops
// nobody else.
func TestForkBroughtTogether(t *testing.T) {
	t.Parallel()
	c, s, alice, bob := told(t)
	pay(t, c, alice, bob, 0)
	main := s.told(0)
	other := main.branch(main.length())
	other.append([]byte("something that the others were not shown"))
	s.tell(other, 2)
	c.Wait("it is heard", func() bool { return c.Nodes[2].Replica().Status().Position == uint64(other.length()) })
	if _, err := c.Nodes[2].Replica().Rotate(); err != nil {
		t.Fatal(err)
	}
	c.Wait("the record of the other story", func() bool { return other.length() > main.length()+1 })
	last, err := listener{s, 2}.Read(t.Context(), uint64(main.length()+1), 1)
	if err != nil || len(last) != 1 {
		t.Fatal(last, err)
	}
	for main.length() < other.length() { // its anchor must be a position that the main one has
		main.append([]byte("junk"))
	}
	main.append(last[0].Record)
	for _, i := range []int{0, 1, vault} {
		n := c.Nodes[i]
		c.Wait(fmt.Sprintf("slot %d knows of the fork", i), func() bool { return slices.Equal(n.Replica().Status().Forked, []uint16{2}) })
		var h api.Health
		if status := n.Health(&h); status != http.StatusOK || !slices.Equal(h.Forked, []uint16{2}) {
			t.Errorf("slot %d: health %d %+v, wanted that it serves and names slot 2", i, status, h)
		}
	}
	account := bob.Account()
	r := alice.Do(0, "transfer", fmt.Sprintf(`{"recipient":"%s","amount":1}`, hex.EncodeToString(account[:])))
	if r.Status != wire.StatusCommitted || r.Outcome.Code != ledger.CodeOK {
		t.Fatalf("payment: %+v", r)
	}
	for other.length() < main.length() {
		other.append([]byte("junk"))
	}
	wantHalted(t, c, "fork", 2)
}

// TestLogTakenBack takes away the log's end, with acknowledged commands, and starts every node again.
func TestLogTakenBack(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		junk int // records that the host puts in place of those that it took
	}{
		{"the log is shorter than the state", 0},
		{"the log has grown again", 40},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, s, alice, bob := told(t)
			pay(t, c, alice, bob, 0)
			c.Backup(0)
			main := s.told(0)
			keep := main.length()
			for range 10 {
				pay(t, c, alice, bob, 1)
			}
			c.Stop()
			shorter := main.branch(keep)
			for range tc.junk {
				shorter.append([]byte("junk"))
			}
			s.tell(shorter)
			for _, n := range c.Nodes {
				n.Start()
			}
			c.Wait("the executors refuse", func() bool {
				c.Approve(vault)
				halted := 0
				for _, n := range c.Nodes[:executors] {
					if n.Replica().Err() != nil {
						halted++
					} else if n.Replica().Status().Running {
						t.Fatalf("slot %d runs, and ten payments that were acknowledged are gone", n.Slot)
					}
				}
				return halted == executors
			})
			wantHalted(t, c, "rolled back", 0, 1, 2)
		})
	}
}

// TestLogTakenBackWhileRunning puts other records in place of the log's end, of which one executor that has
// lost its files is told only. It serves nothing when it sees what the others write; they keep what they have executed.
func TestLogTakenBackWhileRunning(t *testing.T) {
	t.Parallel()
	c, s, alice, bob := told(t)
	pay(t, c, alice, bob, 0)
	keep := s.told(0).length()
	for range 5 {
		pay(t, c, alice, bob, 1)
	}
	full := s.told(0)
	shorter := full.branch(keep)
	s.tell(shorter)
	for shorter.length() < full.length() {
		shorter.append([]byte("junk"))
	}
	c.Nodes[2].Kill()
	c.Nodes[2].Lose(t)
	c.Nodes[2].Start()
	c.Wait("it has heard the other story", func() bool { return c.Nodes[2].Replica().Status().Position >= uint64(full.length()) })
	pay(t, c, alice, bob, 0)
	pay(t, c, alice, bob, 1)
	wantForked(t, c, 2)
	for i := range 2 {
		if r := bob.Query(i, "balanceOf", "{}", wire.ModeLocal); string(r.Outcome.Result) != "8" {
			t.Errorf("slot %d: %+v, wanted the eight payments", i, r)
		}
	}
}
