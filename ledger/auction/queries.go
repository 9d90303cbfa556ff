package auction

import "hitoku.dev/ledger"

// public is what a caller is told of a lot. Winner is there for the seller and the winner.
type public struct {
	Lot         uint64
	Seller      account
	Item        string
	Reserve     uint64
	ClosesAt    uint64
	SecondPrice bool
	Closed      bool
	Sold        bool
	Price       uint64
	Winner      *account
}

func publish(v *ledger.View, id uint64, l lot) public {
	p := public{
		Lot: id, Seller: l.Seller, Item: l.Item, Reserve: l.Reserve, ClosesAt: l.ClosesAt, SecondPrice: l.SecondPrice,
		Closed: l.Closed, Sold: l.Winner != nil, Price: l.Price,
	}
	if l.Winner != nil && (v.Caller() == l.Seller || v.Caller() == *l.Winner) {
		p.Winner = l.Winner
	}
	return p
}

func tell(v *ledger.View, p struct{ Lot uint64 }) public {
	l, known := lots.Lookup(v, p.Lot)
	v.Require(known, "unknown_lot")
	return publish(v, p.Lot, l)
}

// list gives up to 20 lots with numbers above After.
func list(v *ledger.View, p struct{ After *uint64 }) []public {
	after := uint64(0)
	if p.After != nil {
		after = *p.After
	}
	page := []public{}
	for id, l := range lots.After(v, after) {
		if len(page) == 20 {
			break
		}
		page = append(page, publish(v, id, l))
	}
	return page
}

func ownBid(v *ledger.View, p struct{ Lot uint64 }) uint64 { return bids.Get(v, p.Lot, v.Caller()) }
