// Package erc20 is a fungible token: the calls of ERC-20 and of Anonify's example, without their defects.
//
// Who may read what: balanceOf and allowance answer about the caller's own account only, so nobody learns
// another's; totalSupply, owner and paused answer everybody. Each change of a balance notifies its account.
// The sum of all balances is the total supply after every command.
package erc20

import "hitoku.dev/ledger"

type account = ledger.AccountID

var (
	totalSupply = ledger.NewCell[uint64]("totalSupply")
	owner       = ledger.NewCell[account]("owner")
	paused      = ledger.NewCell[bool]("paused")
	balances    = ledger.NewMap[account, uint64]("balances")
	allowances  = ledger.NewMap[pair, uint64]("allowances")
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
			ledger.Command("pause", byOwner(pause)),
			ledger.Command("unpause", byOwner(unpause)),
		},
		Queries: []ledger.QueryDef{
			ledger.Query("balanceOf", ledger.ReadOwn(balances)).Alias("balance_of"),
			ledger.Query("allowance", allowance).Alias("approved"),
			ledger.Query("totalSupply", ledger.Read(totalSupply)).Alias("total_supply"),
			ledger.Query("owner", ledger.Read(owner)),
			ledger.Query("paused", ledger.Read(paused)),
		},
	}
}

type (
	pair    struct{ Owner, Spender account }
	balance struct{ Balance uint64 } // the notification of an account
	payment struct {
		Recipient account
		Amount    uint64
	}
	grant struct {
		Spender account
		Amount  uint64
	}
)

func construct(ctx *ledger.Context, p struct{ TotalSupply uint64 }) {
	ctx.Require(!owner.Has(ctx), "already_constructed")
	owner.Set(ctx, ctx.Caller())
	issue(ctx, ctx.Caller(), p.TotalSupply)
}

func transfer(ctx *ledger.Context, p payment) {
	take(ctx, ctx.Caller(), p.Amount)
	give(ctx, p.Recipient, p.Amount)
}

func approve(ctx *ledger.Context, p grant) {
	allowances.Set(ctx, pair{ctx.Caller(), p.Spender}, p.Amount)
}

func increaseAllowance(ctx *ledger.Context, p grant) {
	ledger.Credit(ctx, allowances, pair{ctx.Caller(), p.Spender}, p.Amount)
}

func decreaseAllowance(ctx *ledger.Context, p grant) {
	ledger.Debit(ctx, allowances, pair{ctx.Caller(), p.Spender}, p.Amount, "insufficient_allowance")
}

func transferFrom(ctx *ledger.Context, p struct {
	Owner, Recipient account
	Amount           uint64
}) {
	ledger.Debit(ctx, allowances, pair{p.Owner, ctx.Caller()}, p.Amount, "insufficient_allowance")
	take(ctx, p.Owner, p.Amount)
	give(ctx, p.Recipient, p.Amount)
}

func mint(ctx *ledger.Context, p struct {
	Recipient *account // absent: the owner
	Amount    uint64
}) {
	if to := p.Recipient; to != nil {
		issue(ctx, *to, p.Amount)
	} else {
		issue(ctx, ctx.Caller(), p.Amount)
	}
}

func burn(ctx *ledger.Context, p struct{ Amount uint64 }) {
	take(ctx, ctx.Caller(), p.Amount)
	totalSupply.Set(ctx, ctx.Sub(totalSupply.Get(ctx), p.Amount))
}

func changeOwner(ctx *ledger.Context, p struct{ Owner account }) { owner.Set(ctx, p.Owner) }
func pause(ctx *ledger.Context, _ struct{})                      { paused.Set(ctx, true) }
func unpause(ctx *ledger.Context, _ struct{})                    { paused.Set(ctx, false) }

func allowance(v *ledger.View, p struct{ Spender account }) uint64 {
	return allowances.Get(v, pair{v.Caller(), p.Spender})
}

func issue(ctx *ledger.Context, to account, amount uint64) {
	totalSupply.Set(ctx, ctx.Add(totalSupply.Get(ctx), amount))
	give(ctx, to, amount)
}

func take(ctx *ledger.Context, from account, amount uint64) {
	ctx.Notify(from, balance{ledger.Debit(ctx, balances, from, amount, "insufficient_balance")})
}

func give(ctx *ledger.Context, to account, amount uint64) {
	ctx.Notify(to, balance{ledger.Credit(ctx, balances, to, amount)})
}

func running[P any](run func(*ledger.Context, P)) func(*ledger.Context, P) {
	return func(ctx *ledger.Context, p P) {
		ctx.Require(owner.Has(ctx) && !paused.Get(ctx), "not_running")
		run(ctx, p)
	}
}

func byOwner[P any](run func(*ledger.Context, P)) func(*ledger.Context, P) {
	return func(ctx *ledger.Context, p P) {
		ctx.Require(owner.Has(ctx) && owner.Get(ctx) == ctx.Caller(), "not_owner")
		run(ctx, p)
	}
}
