// Package erc20 is a fungible token: the calls of ERC-20 and of Anonify's example, without their defects.
//
// Who may read what: balanceOf and allowance answer about the caller's own account only, so nobody learns
// another's; totalSupply, owner and paused answer everybody. Each change of a balance notifies its account.
//
// The sum of all balances is the total supply after every command.
package erc20

import "hitoku.dev/ledger"

var (
	totalSupply = ledger.NewCell[uint64]("totalSupply")
	owner       = ledger.NewCell[ledger.AccountID]("owner")
	paused      = ledger.NewCell[bool]("paused")
	balances    = ledger.NewMap[ledger.AccountID, uint64]("balances")
	allowances  = ledger.NewMap2[ledger.AccountID, ledger.AccountID, uint64]("allowances") // owner, spender
)

// App takes signed commands only. AnonifyApp also takes those of accounts that are merely claimed, as
// Anonify's clients send them: for these clients and for tests.
var (
	App        = app("erc20", ledger.Signatures)
	AnonifyApp = app("erc20-anonify", ledger.AnyoneMayClaimAnyAccount)
)

func app(name string, access ledger.Access) *ledger.App {
	return &ledger.App{
		Name: name, Version: "1", Access: access,
		State: []ledger.Stored{totalSupply, owner, paused, balances, allowances},
		Commands: []ledger.CommandDef{
			ledger.Command("construct", construct),
			ledger.Command("transfer", running(transfer)),
			ledger.Command("approve", running(approve)),
			ledger.Command("increaseAllowance", running(increaseAllowance)).Alias("increase_allowance"),
			ledger.Command("decreaseAllowance", running(decreaseAllowance)).Alias("decrease_allowance"),
			ledger.Command("transferFrom", running(transferFrom)).Alias("transfer_from"),
			ledger.Command("mint", running(byOwner(mint))),
			ledger.Command("burn", running(burn)),
			ledger.Command("changeOwner", byOwner(changeOwner)).Alias("change_owner"),
			ledger.Command("pause", byOwner(func(ctx *ledger.Context, _ none) error { paused.Set(ctx, true); return nil })),
			ledger.Command("unpause", byOwner(func(ctx *ledger.Context, _ none) error { paused.Set(ctx, false); return nil })),
		},
		Queries: []ledger.QueryDef{
			ledger.Query("balanceOf", balanceOf).Alias("balance_of"),
			ledger.Query("allowance", allowance).Alias("approved"),
			ledger.Query("totalSupply", func(v *ledger.View, _ none) (uint64, error) { return totalSupply.Get(v), nil }).Alias("total_supply"),
			ledger.Query("owner", func(v *ledger.View, _ none) (ledger.AccountID, error) { return owner.Get(v), nil }),
			ledger.Query("paused", func(v *ledger.View, _ none) (bool, error) { return paused.Get(v), nil }),
		},
	}
}

type (
	none    struct{}
	payment struct {
		Recipient ledger.AccountID `json:"recipient"`
		Amount    uint64           `json:"amount"`
	}
	grant struct {
		Spender ledger.AccountID `json:"spender"`
		Amount  uint64           `json:"amount"`
	}
)

// running refuses a command before construct and while the token is paused.
func running[P any](run func(*ledger.Context, P) error) func(*ledger.Context, P) error {
	return func(ctx *ledger.Context, p P) error {
		_, constructed := owner.Lookup(ctx)
		ctx.Require(constructed, "not_constructed")
		ctx.Require(!paused.Get(ctx), "paused")
		return run(ctx, p)
	}
}

// byOwner refuses a command of anybody but the owner.
func byOwner[P any](run func(*ledger.Context, P) error) func(*ledger.Context, P) error {
	return func(ctx *ledger.Context, p P) error {
		is, constructed := owner.Lookup(ctx)
		ctx.Require(constructed && is == ctx.Caller(), "not_owner")
		return run(ctx, p)
	}
}

func construct(ctx *ledger.Context, p struct {
	TotalSupply uint64 `json:"total_supply"`
}) error {
	_, constructed := owner.Lookup(ctx)
	ctx.Require(!constructed, "already_constructed")
	owner.Set(ctx, ctx.Caller())
	totalSupply.Set(ctx, p.TotalSupply)
	setBalance(ctx, ctx.Caller(), p.TotalSupply)
	return nil
}

func transfer(ctx *ledger.Context, p payment) error { return move(ctx, ctx.Caller(), p.Recipient, p.Amount) }

func approve(ctx *ledger.Context, p grant) error { return setAllowance(ctx, ctx.Caller(), p.Spender, p.Amount) }

func increaseAllowance(ctx *ledger.Context, p grant) error {
	return setAllowance(ctx, ctx.Caller(), p.Spender, ctx.Add(allowances.Get(ctx, ctx.Caller(), p.Spender), p.Amount))
}

func decreaseAllowance(ctx *ledger.Context, p grant) error {
	now := allowances.Get(ctx, ctx.Caller(), p.Spender)
	ctx.Require(now >= p.Amount, "insufficient_allowance")
	return setAllowance(ctx, ctx.Caller(), p.Spender, now-p.Amount)
}

func transferFrom(ctx *ledger.Context, p struct {
	Owner     ledger.AccountID `json:"owner"`
	Recipient ledger.AccountID `json:"recipient"`
	Amount    uint64           `json:"amount"`
}) error {
	now := allowances.Get(ctx, p.Owner, ctx.Caller())
	ctx.Require(now >= p.Amount, "insufficient_allowance")
	setAllowance(ctx, p.Owner, ctx.Caller(), now-p.Amount)
	return move(ctx, p.Owner, p.Recipient, p.Amount)
}

func mint(ctx *ledger.Context, p struct {
	Amount    uint64            `json:"amount"`
	Recipient *ledger.AccountID `json:"recipient"` // absent: the owner
}) error {
	to := ctx.Caller()
	if p.Recipient != nil {
		to = *p.Recipient
	}
	totalSupply.Set(ctx, ctx.Add(totalSupply.Get(ctx), p.Amount))
	setBalance(ctx, to, ctx.Add(balances.Get(ctx, to), p.Amount))
	return nil
}

func burn(ctx *ledger.Context, p struct {
	Amount uint64 `json:"amount"`
}) error {
	now := balances.Get(ctx, ctx.Caller())
	ctx.Require(now >= p.Amount, "insufficient_balance")
	setBalance(ctx, ctx.Caller(), now-p.Amount)
	totalSupply.Set(ctx, ctx.Sub(totalSupply.Get(ctx), p.Amount))
	return nil
}

func changeOwner(ctx *ledger.Context, p struct {
	Owner ledger.AccountID `json:"owner"`
}) error {
	owner.Set(ctx, p.Owner)
	return nil
}

// move takes before it gives, and reads again in between: a transfer to oneself changes nothing.
func move(ctx *ledger.Context, from, to ledger.AccountID, amount uint64) error {
	now := balances.Get(ctx, from)
	ctx.Require(now >= amount, "insufficient_balance")
	setBalance(ctx, from, now-amount)
	setBalance(ctx, to, ctx.Add(balances.Get(ctx, to), amount))
	return nil
}
