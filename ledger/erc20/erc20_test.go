package erc20_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"hitoku.dev/ledger"
	"hitoku.dev/ledger/erc20"
	"hitoku.dev/ledger/ledgertest"
)

var alice, bob, carol = ledgertest.Account("alice"), ledgertest.Account("bob"), ledgertest.Account("carol")

type args map[string]any

// token is a constructed one: alice owns it and has 100.
func token(t *testing.T) *ledgertest.Ledger {
	t.Helper()
	l := ledgertest.New(t, erc20.App)
	l.Must(alice, "construct", args{"total_supply": 100})
	return l
}

func balances(t *testing.T, l *ledgertest.Ledger, a, b, c uint64) {
	t.Helper()
	for who, want := range map[ledger.AccountID]uint64{alice: a, bob: b, carol: c} {
		l.Answers(who, "balanceOf", nil, fmt.Sprint(want))
	}
	l.Answers(carol, "totalSupply", nil, fmt.Sprint(a+b+c))
}

// TestEveryCall is each call once, under both of its names, with the numbers of Anonify's tests.
func TestEveryCall(t *testing.T) {
	t.Parallel()
	l := token(t)
	balances(t, l, 100, 0, 0)
	l.Must(alice, "transfer", args{"recipient": bob, "amount": 30})
	balances(t, l, 70, 30, 0)
	l.Must(bob, "burn", args{"amount": 20})
	balances(t, l, 70, 10, 0)
	l.Must(alice, "mint", args{"amount": 50})
	l.Must(alice, "mint", args{"amount": "5", "recipient": carol})
	balances(t, l, 120, 10, 5)

	l.Must(alice, "approve", args{"spender": bob, "amount": 30})
	l.Answers(alice, "allowance", args{"spender": bob}, "30")
	l.Answers(alice, "approved", args{"spender": carol}, "0")
	l.Answers(carol, "allowance", args{"spender": bob}, "0")
	l.Must(bob, "transferFrom", args{"owner": alice, "recipient": carol, "amount": 20})
	l.Must(bob, "transfer_from", args{"owner": alice, "recipient": carol, "amount": 1})
	balances(t, l, 99, 10, 26)
	l.Answers(alice, "allowance", args{"spender": bob}, "9")
	l.Must(alice, "increaseAllowance", args{"spender": bob, "amount": 2})
	l.Must(alice, "increase_allowance", args{"spender": bob, "amount": 2})
	l.Must(alice, "decreaseAllowance", args{"spender": bob, "amount": 3})
	l.Must(alice, "decrease_allowance", args{"spender": bob, "amount": 3})
	l.Answers(alice, "allowance", args{"spender": bob}, "7")

	l.Answers(bob, "owner", nil, `"`+alice.String()+`"`)
	l.Must(alice, "changeOwner", args{"owner": bob})
	l.Must(bob, "change_owner", args{"owner": carol})
	l.Answers(bob, "owner", nil, `"`+carol.String()+`"`)
	l.Must(carol, "mint", args{"amount": 1})
	l.Answers(carol, "balance_of", nil, "27")
	l.Answers(carol, "total_supply", nil, "136")
}

// TestMoneyBugs are the ways in which such applications lost or made money.
func TestMoneyBugs(t *testing.T) {
	t.Parallel()
	const all = uint64(math.MaxUint64)
	l := token(t)
	l.Must(alice, "transfer", args{"recipient": alice, "amount": 60})
	balances(t, l, 100, 0, 0)
	l.Refuses(bob, "construct", args{"total_supply": 7}, ledger.CodeRefused, "already_constructed")
	l.Refuses(alice, "construct", args{"total_supply": 7}, ledger.CodeRefused, "already_constructed")
	l.Refuses(alice, "transfer", args{"recipient": bob, "amount": 101}, ledger.CodeRefused, "insufficient_balance")
	l.Refuses(alice, "burn", args{"amount": 101}, ledger.CodeRefused, "insufficient_balance")
	l.Refuses(alice, "mint", args{"amount": all}, ledger.CodeOverflow, "sum is out of range")
	l.Refuses(bob, "mint", args{"amount": 1}, ledger.CodeRefused, "not_owner")
	l.Refuses(bob, "changeOwner", args{"owner": bob}, ledger.CodeRefused, "not_owner")

	// An allowance is overwritten, not added to, is worth no more than the balance, and is the spender's.
	l.Must(alice, "approve", args{"spender": bob, "amount": all})
	l.Refuses(alice, "increaseAllowance", args{"spender": bob, "amount": 1}, ledger.CodeOverflow, "sum is out of range")
	l.Refuses(bob, "transferFrom", args{"owner": alice, "recipient": bob, "amount": 101}, ledger.CodeRefused, "insufficient_balance")
	l.Answers(alice, "allowance", args{"spender": bob}, fmt.Sprint(all))
	l.Must(alice, "approve", args{"spender": bob, "amount": 40})
	l.Must(alice, "approve", args{"spender": bob, "amount": 30})
	l.Answers(alice, "allowance", args{"spender": bob}, "30")
	l.Refuses(carol, "transferFrom", args{"owner": alice, "recipient": carol, "amount": 1}, ledger.CodeRefused, "insufficient_allowance")
	l.Refuses(bob, "transferFrom", args{"owner": alice, "recipient": bob, "amount": 31}, ledger.CodeRefused, "insufficient_allowance")
	l.Refuses(alice, "decreaseAllowance", args{"spender": bob, "amount": 31}, ledger.CodeRefused, "insufficient_allowance")
	l.Must(bob, "transferFrom", args{"owner": alice, "recipient": alice, "amount": 10})
	balances(t, l, 100, 0, 0)
	l.Answers(alice, "allowance", args{"spender": bob}, "20")
	l.Must(alice, "approve", args{"spender": bob, "amount": 0})
	l.Refuses(bob, "transferFrom", args{"owner": alice, "recipient": bob, "amount": 1}, ledger.CodeRefused, "insufficient_allowance")
}

func TestNothingMovesBeforeConstructAndWhilePaused(t *testing.T) {
	t.Parallel()
	moves := map[string]args{
		"transfer": {"recipient": bob, "amount": 0}, "approve": {"spender": bob, "amount": 1},
		"increaseAllowance": {"spender": bob, "amount": 1}, "decreaseAllowance": {"spender": bob, "amount": 0},
		"transferFrom": {"owner": bob, "recipient": bob, "amount": 0}, "mint": {"amount": 1}, "burn": {"amount": 0},
	}
	l := ledgertest.New(t, erc20.App)
	for name, a := range moves {
		l.Refuses(alice, name, a, ledger.CodeRefused, "not_running")
	}
	l.Refuses(ledger.AccountID{}, "pause", nil, ledger.CodePolicyRefused, `application "erc20" does not take scheme 0 for this account`)
	l.Refuses(alice, "pause", nil, ledger.CodeRefused, "not_owner")
	l.Must(alice, "construct", args{"total_supply": 100})
	l.Refuses(bob, "pause", nil, ledger.CodeRefused, "not_owner")
	l.Must(alice, "pause", nil)
	l.Answers(bob, "paused", nil, "true")
	for name, a := range moves {
		l.Refuses(alice, name, a, ledger.CodeRefused, "not_running")
	}
	l.Refuses(bob, "unpause", nil, ledger.CodeRefused, "not_owner")
	l.Must(alice, "unpause", nil)
	l.Answers(bob, "paused", nil, "false")
	for name, a := range moves {
		l.Must(alice, name, a)
	}
}

func TestNotifications(t *testing.T) {
	t.Parallel()
	l := token(t)
	check := func(want ...string) {
		t.Helper()
		var got []string
		for _, e := range l.Events {
			got = append(got, fmt.Sprintf("%.4s %s", e.Account, e.Payload))
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("events %q, want %q", got, want)
		}
	}
	check(fmt.Sprintf(`%.4s {"balance":100}`, alice))
	l.Must(alice, "transfer", args{"recipient": bob, "amount": 30})
	check(fmt.Sprintf(`%.4s {"balance":70}`, alice), fmt.Sprintf(`%.4s {"balance":30}`, bob))
	l.Do(alice, "transfer", args{"recipient": bob, "amount": 71})
	check()
}

// TestAnonifyAccounts speaks as Anonify's clients do: claimed accounts of 20 bytes, written as numbers.
func TestAnonifyAccounts(t *testing.T) {
	t.Parallel()
	l := ledgertest.New(t, erc20.AnonifyApp)
	me, _ := ledger.AccountOf(ledger.SchemeNone, make([]byte, 20))
	l.Must(me, "construct", `{"total_supply":100}`)
	l.Must(me, "transfer", `{"recipient":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,255],"amount":30}`)
	you, _ := ledger.AccountOf(ledger.SchemeNone, []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 255})
	l.Answers(me, "balance_of", "{}", "70")
	l.Answers(you, "balance_of", "{}", "30")
	l.Must(alice, "approve", args{"spender": you, "amount": 1}) // signed commands are taken beside
}

// TestRandomOperations runs 10,000 operations against a reference model: every outcome, every balance and
// allowance, and the sum of balances after each.
func TestRandomOperations(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 20))
			l, m := ledgertest.New(t, erc20.App), newModel()
			for i := range 10_000 {
				op := m.draw(r)
				want := m.apply(op)
				out := l.Do(op.caller, op.name, op.args)
				if got := word(out); got != want {
					t.Fatalf("operation %d, %s %v: %q, want %q", i, op.name, op.args, got, want)
				}
				m.check(t, l, i%50 == 0)
			}
		})
	}
}

func word(out ledger.Outcome) string {
	if out.Code == ledger.CodeRefused {
		return out.Message
	}
	return ledger.CodeWord(out.Code)
}
