package node_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"hitoku.dev/internal/ledger/ledgertest"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
)

const supply = 1_000_000

// construct makes the token, owned by a new account.
func construct(t *testing.T, c *ledgertest.Cluster) *ledgertest.User {
	t.Helper()
	u := c.User()
	mustCommit(t, u.Do(0, "construct", fmt.Sprintf(`{"total_supply":%d}`, supply)))
	return u
}

func mustCommit(t *testing.T, r wire.Result) {
	t.Helper()
	if r.Status != wire.StatusCommitted || r.Outcome.Code != ledger.CodeOK {
		t.Fatalf("status %d, code %d (%s): %s", r.Status, r.Outcome.Code, ledger.CodeWord(r.Outcome.Code), r.Outcome.Message)
	}
}

// balance asks a node for the account's own balance.
func balance(t *testing.T, u *ledgertest.User, i int, mode uint8) uint64 {
	t.Helper()
	r := u.Query(i, "balanceOf", "{}", mode)
	if r.Status != wire.StatusAnswer {
		t.Fatalf("status %d, code %s: %s", r.Status, ledger.CodeWord(r.Outcome.Code), r.Outcome.Message)
	}
	var n uint64
	if err := json.Unmarshal(r.Outcome.Result, &n); err != nil {
		t.Fatalf("%q: %v", r.Outcome.Result, err)
	}
	return n
}

func transfer(to *ledgertest.User, amount uint64) string {
	return fmt.Sprintf(`{"recipient":"%x","amount":%d}`, to.Account(), amount)
}

func TestOneExecutor(t *testing.T) {
	t.Parallel()
	c := ledgertest.Start(t, ledgertest.Options{})
	alice, bob := construct(t, c), c.User()
	mustCommit(t, alice.Do(0, "transfer", transfer(bob, 250)))
	if got := balance(t, bob, 0, wire.ModeLocal); got != 250 {
		t.Errorf("balance %d, wanted 250", got)
	}
	if got := balance(t, alice, 0, wire.ModeFresh); got != supply-250 {
		t.Errorf("balance %d, wanted %d", got, supply-250)
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()
	c := ledgertest.Start(t, ledgertest.Options{Executors: 3, Vaults: 1})
	alice, bob := construct(t, c), c.User()
	for i := range 3 {
		mustCommit(t, alice.Do(i, "transfer", transfer(bob, 10)))
	}
	for i := range 3 {
		if got := balance(t, bob, i, wire.ModeFresh); got != 30 {
			t.Errorf("slot %d: balance %d, wanted 30", i, got)
		}
	}
}

func TestRestart(t *testing.T) {
	t.Parallel()
	c := ledgertest.Start(t, ledgertest.Options{Executors: 3, Vaults: 1})
	alice, bob := construct(t, c), c.User()
	mustCommit(t, alice.Do(1, "transfer", transfer(bob, 10)))
	c.Nodes[2].Kill()
	mustCommit(t, alice.Do(0, "transfer", transfer(bob, 10)))
	c.Nodes[2].Start()
	c.WaitRunning()
	if got := balance(t, bob, 2, wire.ModeLocal); got != 20 {
		t.Errorf("balance %d, wanted 20", got)
	}
	mustCommit(t, alice.Do(2, "transfer", transfer(bob, 10)))
}

func TestLateJoiner(t *testing.T) {
	t.Parallel()
	c := ledgertest.Start(t, ledgertest.Options{Executors: 2, Late: 1})
	alice, bob := construct(t, c), c.User()
	mustCommit(t, alice.Do(1, "transfer", transfer(bob, 10)))
	c.Nodes[2].Start()
	c.WaitRunning()
	if got := balance(t, bob, 2, wire.ModeLocal); got != 10 {
		t.Errorf("balance %d, wanted 10", got)
	}
	mustCommit(t, alice.Do(2, "transfer", transfer(bob, 10)))
}

// TestOutage: all processes end at once; the vault and administrators bring them back. One
// executor has its files, one has lost them, and one has files that were changed.
func TestOutage(t *testing.T) {
	t.Parallel()
	c := ledgertest.Start(t, ledgertest.Options{Executors: 3, Vaults: 1})
	alice, bob := construct(t, c), c.User()
	mustCommit(t, alice.Do(1, "transfer", transfer(bob, 10)))
	c.Backup(0)
	mustCommit(t, alice.Do(1, "transfer", transfer(bob, 10)))
	c.Stop()
	c.Nodes[1].Lose(t)
	c.Nodes[2].Spoil(t)
	c.Recover(3)
	for i := range 3 {
		if got := balance(t, bob, i, wire.ModeLocal); got != 20 {
			t.Errorf("slot %d: balance %d, wanted 20", i, got)
		}
	}
	mustCommit(t, alice.Do(2, "transfer", transfer(bob, 10)))
}

// TestOutageWithoutFiles: no executor has files; the state comes from the vault's backup.
func TestOutageWithoutFiles(t *testing.T) {
	t.Parallel()
	c := ledgertest.Start(t, ledgertest.Options{Executors: 3, Vaults: 2})
	alice, bob := construct(t, c), c.User()
	mustCommit(t, alice.Do(1, "transfer", transfer(bob, 10)))
	c.Backup(0)
	mustCommit(t, alice.Do(1, "transfer", transfer(bob, 10)))
	c.Stop()
	for i := range 3 {
		c.Nodes[i].Lose(t)
	}
	c.Recover(4)
	for i := range 3 {
		if got := balance(t, bob, i, wire.ModeLocal); got != 20 {
			t.Errorf("slot %d: balance %d, wanted 20", i, got)
		}
	}
	mustCommit(t, alice.Do(2, "transfer", transfer(bob, 10)))
}
