package node_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"hitoku.dev/internal/ledger/api"
	"hitoku.dev/internal/ledger/ledgertest"
	"hitoku.dev/internal/ledger/replica"
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
	if n, err := c.Client().Verify(t.Context(), c.Nodes[0].URL); err != nil || !n.Evidence.Accepted {
		t.Errorf("the public client: %+v, %v", n, err)
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

// TestOutageWithSpoiledFiles: every executor's files are newer than the backup, and do not
// open; the records between come from the log once more.
func TestOutageWithSpoiledFiles(t *testing.T) {
	t.Parallel()
	c := ledgertest.Start(t, ledgertest.Options{Executors: 3, Vaults: 1})
	alice, bob := construct(t, c), c.User()
	mustCommit(t, alice.Do(1, "transfer", transfer(bob, 10)))
	c.Backup(0)
	for range 5 {
		mustCommit(t, alice.Do(1, "transfer", transfer(bob, 2)))
	}
	c.Stop()
	for i := range 3 {
		c.Nodes[i].Spoil(t)
	}
	c.Recover(3)
	for i := range 3 {
		if got := balance(t, bob, i, wire.ModeLocal); got != 20 {
			t.Errorf("slot %d: balance %d, wanted 20", i, got)
		}
	}
}

// TestRecover: the operator asks for the vault's backup by hand.
func TestRecover(t *testing.T) {
	t.Parallel()
	c := ledgertest.Start(t, ledgertest.Options{Executors: 1, Vaults: 1})
	alice := construct(t, c)
	c.Backup(0)
	var out api.Recovery
	if err := c.Nodes[0].Admin("POST", "/api/v1/recover", nil, &out); err != nil || out.Recovered || out.Position == 0 {
		t.Errorf("recover on a node with state: %+v, %v", out, err)
	}
	c.Nodes[0].Kill()
	c.Nodes[0].Lose(t)
	c.Nodes[0].Start()
	wantCode(t, c.Nodes[0].Admin("POST", "/api/v1/recover", nil, nil), http.StatusConflict, api.CodeConflict)
	c.Wait("an approval", func() bool { return c.Approve(1) })
	c.WaitRunning()
	if got := balance(t, alice, 0, wire.ModeLocal); got != supply {
		t.Errorf("balance %d, wanted %d", got, supply)
	}
}

func wantCode(t *testing.T, err error, status int, code string) {
	t.Helper()
	var e *api.Error
	if !errors.As(err, &e) || e.Status != status || e.Code != code {
		t.Errorf("%v (%T), wanted %d %s", err, err, status, code)
	}
}

// TestRemoval: administrators remove a member, which stops and says why; the others go on.
func TestRemoval(t *testing.T) {
	t.Parallel()
	c := ledgertest.Start(t, ledgertest.Options{Executors: 3, Vaults: 1})
	alice, bob := construct(t, c), c.User()
	if err := c.Nodes[0].Admin("POST", "/api/v1/removals", api.Removal{Slot: 2}, nil); err != nil {
		t.Fatal(err)
	}
	c.Wait("an approval", func() bool { return c.Approve(0) })
	removed := c.Nodes[2].Replica()
	c.Wait("the member has stopped", func() bool { return removed.Err() != nil })
	var h api.Health
	wantCode(t, c.Nodes[2].Get("/api/v1/members", nil), http.StatusServiceUnavailable, api.CodeHalted)
	if status := c.Nodes[2].Health(&h); status != http.StatusServiceUnavailable || h.Status != "halted" || h.Reason == "" {
		t.Errorf("health %d %+v, wanted halted with a reason", status, h)
	}
	mustCommit(t, alice.Do(1, "transfer", transfer(bob, 10)))
	var m api.Members
	if err := c.Nodes[0].Get("/api/v1/members", &m); err != nil || len(m.Members) != 3 {
		t.Errorf("%d members, %v; wanted 3", len(m.Members), err)
	}
	c.Nodes[2].Kill()
	if err := c.Nodes[2].Err(); !errors.Is(err, replica.ErrHalted) {
		t.Errorf("Run returned %v, wanted %v", err, replica.ErrHalted)
	}
	c.Nodes[2].Start()
	c.WaitRunning()
	if got := balance(t, bob, 2, wire.ModeLocal); got != 10 {
		t.Errorf("balance %d, wanted 10", got)
	}
}

var number = ledger.NewCell[uint64]("number")

// counter is an application whose command adds step.
func counter(step uint64) *ledger.App {
	return &ledger.App{
		Name: "counter", Version: "1", State: []ledger.Stored{number},
		Commands: []ledger.CommandDef{ledger.Command("add", func(ctx *ledger.Context, _ struct{}) {
			number.Set(ctx, number.Get(ctx)+step)
		})},
	}
}

// TestDiverged: executors whose states differ halt and name the position; nothing of it is
// answered.
func TestDiverged(t *testing.T) {
	t.Parallel()
	c := ledgertest.Start(t, ledgertest.Options{Executors: 2, Apps: []*ledger.App{counter(1)}, AppsOf: func(slot int) []*ledger.App {
		return []*ledger.App{counter(uint64(slot))}
	}})
	u := c.User()
	s, err := u.Session(0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Send(u.Command("add", "{}"))
	wantCode(t, err, http.StatusServiceUnavailable, api.CodeHalted)
	for i, n := range c.Nodes {
		c.Wait("the node halts", func() bool { return n.Replica().Err() != nil })
		if err := n.Replica().Err(); !strings.Contains(err.Error(), "diverged at position") {
			t.Errorf("slot %d: %v", i, err)
		}
	}
}
