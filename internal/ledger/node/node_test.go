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
