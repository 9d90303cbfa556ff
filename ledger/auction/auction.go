// Package auction is a house of sealed-bid auctions: of the first price or the second, with bids that
// nobody reads before or after the end, the seller included.
//
// Money comes in through the house's bank, the account that called setup: it credits accounts for what
// they paid outside. A bid sets its amount aside; at the end the winner's price goes to the seller and
// the rest goes back to the bidders. Equal highest bids are decided by lot, drawn from the ledger's
// randomness. Funds and amounts set aside together are always what the bank brought in less what was
// redeemed.
//
// Who may read what: funds and ownBid answer about the caller's own; lot and lots tell everybody what is
// for sale, and afterwards whether and at what price it was sold; the winner's account is told to the
// seller and the winner. How many bids there are, and the losing ones, are told to nobody.
package auction

import "hitoku.dev/ledger"

type account = ledger.AccountID

// MaxBids bounds the bids on a lot, so that closing it stays within the limits of one command.
const MaxBids = 200

var (
	bank   = ledger.NewCell[account]("bank")
	newest = ledger.NewCell[uint64]("newest")
	funds  = ledger.NewMap[account, uint64]("funds")
	lots   = ledger.NewMap[uint64, lot]("lots")
	bids   = ledger.NewMap2[uint64, account, uint64]("bids") // lot, bidder
)

// lot is what is for sale.
type lot struct {
	Seller      account
	Item        string
	Reserve     uint64
	ClosesAt    uint64 // Unix seconds
	SecondPrice bool
	Bids        uint16
	Closed      bool
	Winner      *account // nil: not sold
	Price       uint64
}

// App is the application.
var App = &ledger.App{
	Name: "auction", Version: "1",
	// A bidder's commands may overtake each other on their way.
	Window: 16,
	State:  []ledger.Stored{bank, newest, funds, lots, bids},
	Commands: []ledger.CommandDef{
		ledger.Command("setup", setup),
		ledger.Command("deposit", deposit),
		ledger.Command("redeem", redeem),
		ledger.CommandWithResult("open", open),
		ledger.Command("bid", bid),
		ledger.Command("withdraw", withdraw),
		ledger.CommandWithResult("close", closeLot),
	},
	Queries: []ledger.QueryDef{
		ledger.Query("funds", ledger.ReadOwn(funds)),
		ledger.Query("ownBid", ownBid),
		ledger.Query("lot", tell),
		ledger.Query("lots", list),
	},
}

func setup(ctx *ledger.Context, _ struct{}) {
	ctx.Require(!bank.Has(ctx), "already_set_up")
	bank.Set(ctx, ctx.Caller())
}

func deposit(ctx *ledger.Context, p struct {
	Account account
	Amount  uint64
}) {
	ctx.Require(bank.Has(ctx) && bank.Get(ctx) == ctx.Caller(), "not_bank")
	ledger.Credit(ctx, funds, p.Account, p.Amount)
}

// redeemed tells the bank whom to pay outside.
type redeemed struct {
	Account account
	Amount  uint64
}

func redeem(ctx *ledger.Context, p struct{ Amount uint64 }) {
	ledger.Debit(ctx, funds, ctx.Caller(), p.Amount, "insufficient_funds")
	ctx.Notify(bank.Get(ctx), redeemed{ctx.Caller(), p.Amount})
}

func open(ctx *ledger.Context, p struct {
	Item        string `max:"200"`
	Reserve     uint64
	ClosesAt    uint64
	SecondPrice bool
}) uint64 {
	ctx.Require(p.ClosesAt > ctx.Time(), "closes_in_the_past")
	id := ctx.Add(newest.Get(ctx), 1)
	newest.Set(ctx, id)
	lots.Set(ctx, id, lot{Seller: ctx.Caller(), Item: p.Item, Reserve: p.Reserve, ClosesAt: p.ClosesAt, SecondPrice: p.SecondPrice})
	return id
}

// running is a lot that still takes bids.
func running(ctx *ledger.Context, id uint64) lot {
	l, known := lots.Lookup(ctx, id)
	ctx.Require(known, "unknown_lot")
	ctx.Require(!l.Closed && ctx.Time() < l.ClosesAt, "closed")
	return l
}

func bid(ctx *ledger.Context, p struct{ Lot, Amount uint64 }) {
	l := running(ctx, p.Lot)
	ctx.Require(ctx.Caller() != l.Seller, "own_lot")
	ctx.Require(p.Amount > 0 && p.Amount >= l.Reserve, "below_reserve")
	before, again := bids.Lookup(ctx, p.Lot, ctx.Caller())
	if again {
		ledger.Credit(ctx, funds, ctx.Caller(), before)
	} else {
		ctx.Require(l.Bids < MaxBids, "too_many_bids")
		l.Bids++
		lots.Set(ctx, p.Lot, l)
	}
	ledger.Debit(ctx, funds, ctx.Caller(), p.Amount, "insufficient_funds")
	bids.Set(ctx, p.Lot, ctx.Caller(), p.Amount)
}

func withdraw(ctx *ledger.Context, p struct{ Lot uint64 }) {
	l := running(ctx, p.Lot)
	amount, is := bids.Lookup(ctx, p.Lot, ctx.Caller())
	ctx.Require(is, "no_bid")
	bids.Delete(ctx, p.Lot, ctx.Caller())
	ledger.Credit(ctx, funds, ctx.Caller(), amount)
	l.Bids--
	lots.Set(ctx, p.Lot, l)
}
