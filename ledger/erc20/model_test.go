package erc20_test

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"hitoku.dev/ledger"
	"hitoku.dev/ledger/ledgertest"
)

// model is the token in plain words: big integers in maps, no ledger.
type model struct {
	accounts    []ledger.AccountID
	constructed bool
	paused      bool
	owner       ledger.AccountID
	supply      *big.Int
	balance     map[ledger.AccountID]*big.Int
	allowance   map[[2]ledger.AccountID]*big.Int
}

func newModel() *model {
	m := &model{supply: new(big.Int), balance: map[ledger.AccountID]*big.Int{}, allowance: map[[2]ledger.AccountID]*big.Int{}}
	for i := range 6 {
		m.accounts = append(m.accounts, ledgertest.Account(fmt.Sprint("account ", i)))
	}
	for _, a := range m.accounts {
		m.balance[a] = new(big.Int)
		for _, b := range m.accounts {
			m.allowance[[2]ledger.AccountID{a, b}] = new(big.Int)
		}
	}
	return m
}

type operation struct {
	name           string
	caller, to, by ledger.AccountID
	amount         *big.Int
	args           args
}

func (m *model) draw(r *rand.Rand) operation {
	names := []string{"construct", "transfer", "transfer", "transfer", "transfer", "approve", "approve", "increaseAllowance",
		"decreaseAllowance", "transferFrom", "transferFrom", "transferFrom", "mint", "mint", "burn", "changeOwner", "pause", "unpause", "unpause"}
	who := func() ledger.AccountID { return m.accounts[r.IntN(len(m.accounts))] }
	o := operation{name: names[r.IntN(len(names))], caller: who(), to: who(), by: who(), amount: new(big.Int)}
	if m.constructed && r.IntN(2) == 0 && (o.name == "mint" || o.name == "pause" || o.name == "unpause" || o.name == "changeOwner") {
		o.caller = m.owner
	}
	switch n := uint64(r.IntN(100)); {
	case r.IntN(40) == 0:
		o.amount.SetUint64(math.MaxUint64 - n)
	case r.IntN(10) == 0:
		o.amount.Set(m.balance[o.caller])
	default:
		o.amount.SetUint64(n)
	}
	amount := o.amount.String()
	o.args = map[string]args{
		"construct": {"total_supply": amount}, "mint": {"amount": amount, "recipient": o.to}, "burn": {"amount": amount},
		"transfer": {"recipient": o.to, "amount": amount}, "transferFrom": {"owner": o.by, "recipient": o.to, "amount": amount},
		"approve": {"spender": o.to, "amount": amount}, "increaseAllowance": {"spender": o.to, "amount": amount},
		"decreaseAllowance": {"spender": o.to, "amount": amount}, "changeOwner": {"owner": o.to}, "pause": {}, "unpause": {},
	}[o.name]
	return o
}

// apply does the operation, or says the word by which it is refused and does nothing.
func (m *model) apply(o operation) string {
	owner := m.constructed && o.caller == m.owner
	switch o.name {
	case "construct":
		if m.constructed {
			return "already_constructed"
		}
		m.constructed, m.owner = true, o.caller
		m.supply.Set(o.amount)
		m.balance[o.caller].Set(o.amount)
		return "ok"
	case "changeOwner", "pause", "unpause":
		if !owner {
			return "not_owner"
		}
		if o.name == "changeOwner" {
			m.owner = o.to
		} else {
			m.paused = o.name == "pause"
		}
		return "ok"
	}
	if !m.constructed || m.paused {
		return "not_running"
	}
	allowance := m.allowance[[2]ledger.AccountID{o.caller, o.to}]
	switch o.name {
	case "approve":
		allowance.Set(o.amount)
	case "increaseAllowance":
		return grow(o.amount, allowance)
	case "decreaseAllowance":
		return shrink(o.amount, "insufficient_allowance", allowance)
	case "mint":
		if !owner {
			return "not_owner"
		}
		return grow(o.amount, m.supply, m.balance[o.to])
	case "burn":
		return shrink(o.amount, "insufficient_balance", m.balance[o.caller], m.supply)
	case "transfer":
		return m.move(o.caller, o.to, o.amount)
	case "transferFrom":
		granted := m.allowance[[2]ledger.AccountID{o.by, o.caller}]
		if granted.Cmp(o.amount) < 0 {
			return "insufficient_allowance"
		}
		word := m.move(o.by, o.to, o.amount)
		if word == "ok" {
			granted.Sub(granted, o.amount)
		}
		return word
	}
	return "ok"
}

func (m *model) move(from, to ledger.AccountID, amount *big.Int) string {
	if m.balance[from].Cmp(amount) < 0 {
		return "insufficient_balance"
	}
	m.balance[from].Sub(m.balance[from], amount)
	m.balance[to].Add(m.balance[to], amount)
	return "ok"
}

func grow(amount *big.Int, numbers ...*big.Int) string {
	for _, n := range numbers {
		if new(big.Int).Add(n, amount).BitLen() > 64 {
			return "overflow"
		}
	}
	for _, n := range numbers {
		n.Add(n, amount)
	}
	return "ok"
}

func shrink(amount *big.Int, word string, numbers ...*big.Int) string {
	if numbers[0].Cmp(amount) < 0 {
		return word
	}
	for _, n := range numbers {
		n.Sub(n, amount)
	}
	return "ok"
}

// check asks the ledger for every balance, and with all also for every allowance.
func (m *model) check(t *testing.T, l *ledgertest.Ledger, all bool) {
	t.Helper()
	sum := new(big.Int)
	for _, a := range m.accounts {
		answer := string(l.Ask(a, "balanceOf", nil).Result)
		n, _ := new(big.Int).SetString(answer, 10)
		if n == nil || n.Cmp(m.balance[a]) != 0 {
			t.Fatalf("balance of %.8s is %s, want %s", a, answer, m.balance[a])
		}
		sum.Add(sum, n)
		for _, b := range m.accounts {
			if all {
				l.Answers(a, "allowance", args{"spender": b}, m.allowance[[2]ledger.AccountID{a, b}].String())
			}
		}
	}
	if supply := string(l.Ask(m.accounts[0], "totalSupply", nil).Result); supply != sum.String() {
		t.Fatalf("total supply is %s, sum of balances %s", supply, sum)
	}
}
