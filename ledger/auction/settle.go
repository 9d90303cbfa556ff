package auction

import "hitoku.dev/ledger"

// ended is the notification of the seller and of every bidder.
type ended struct {
	Lot   uint64
	Sold  bool
	Won   bool // to a bidder: the lot is his
	Price uint64
}

// closeLot ends a lot: its seller at any time, everybody once its time has come. The result says whether
// it was sold.
func closeLot(ctx *ledger.Context, p struct{ Lot uint64 }) bool {
	l, known := lots.Lookup(ctx, p.Lot)
	ctx.Require(known, "unknown_lot")
	ctx.Require(!l.Closed, "closed")
	ctx.Require(ctx.Caller() == l.Seller || ctx.Time() >= l.ClosesAt, "not_yet")

	winner, price := decide(ctx, p.Lot, l)
	for bidder, amount := range bids.Of(ctx, p.Lot) {
		won := winner != nil && bidder == *winner
		if won {
			amount = ctx.Sub(amount, price)
			ledger.Credit(ctx, funds, l.Seller, price)
		}
		ledger.Credit(ctx, funds, bidder, amount)
		bids.Delete(ctx, p.Lot, bidder)
		ctx.Notify(bidder, ended{Lot: p.Lot, Sold: true, Won: won, Price: price})
	}
	l.Closed, l.Bids, l.Winner, l.Price = true, 0, winner, price
	lots.Set(ctx, p.Lot, l)
	ctx.Notify(l.Seller, ended{Lot: p.Lot, Sold: winner != nil, Price: price})
	return winner != nil
}

// decide finds who bid most, by lot among equals, and what he pays: his own bid, or the second highest
// and at least the reserve.
func decide(ctx *ledger.Context, id uint64, l lot) (winner *account, price uint64) {
	var highest, second uint64
	var first []account
	for bidder, amount := range bids.Of(ctx, id) {
		switch {
		case amount > highest:
			highest, second, first = amount, highest, []account{bidder}
		case amount == highest:
			second, first = amount, append(first, bidder)
		default:
			second = max(second, amount)
		}
	}
	if len(first) == 0 {
		return nil, 0
	}
	winner = &first[0]
	if len(first) > 1 {
		winner = &first[ctx.Random().Below(uint64(len(first)))]
	}
	if l.SecondPrice {
		return winner, max(second, l.Reserve)
	}
	return winner, highest
}
