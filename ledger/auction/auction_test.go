package auction_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"hitoku.dev/ledger"
	"hitoku.dev/ledger/auction"
	"hitoku.dev/ledger/ledgertest"
)

type args map[string]any

var (
	bank, seller = ledgertest.Account("bank"), ledgertest.Account("seller")
	a, b, c      = ledgertest.Account("a"), ledgertest.Account("b"), ledgertest.Account("c")
)

// house has a bank; a, b and c have 1000 each.
func house(t *testing.T) *ledgertest.Ledger {
	t.Helper()
	l := ledgertest.New(t, auction.App)
	l.Must(bank, "setup", nil)
	for _, who := range []ledger.AccountID{a, b, c} {
		l.Must(bank, "deposit", args{"account": who, "amount": 1000})
	}
	return l
}

func open(l *ledgertest.Ledger, reserve uint64, second bool) string {
	return string(l.Must(seller, "open", args{
		"item": "a painting", "reserve": reserve, "closes_at": l.Block.Time + 60, "second_price": second,
	}).Result)
}

func TestPrices(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		second  bool
		reserve uint64
		bids    []uint64 // of a, b, c; 0: none
		price   uint64
		winner  *ledger.AccountID
	}{
		{"first price", false, 10, []uint64{50, 80, 70}, 80, &b},
		{"second price", true, 10, []uint64{50, 80, 70}, 70, &b},
		{"second price in another order", true, 10, []uint64{80, 50, 70}, 70, &a},
		{"second price, one bid: the reserve", true, 10, []uint64{0, 0, 70}, 10, &c},
		{"first price, one bid", false, 10, []uint64{0, 0, 70}, 70, &c},
		{"no bid", true, 10, []uint64{0, 0, 0}, 0, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := house(t)
			id := open(l, test.reserve, test.second)
			bidders := []ledger.AccountID{a, b, c}
			for i, amount := range test.bids {
				if amount > 0 {
					l.Must(bidders[i], "bid", args{"lot": id, "amount": amount})
					l.Answers(bidders[i], "funds", nil, fmt.Sprint(1000-amount))
				}
			}
			if sold := string(l.Must(seller, "close", args{"lot": id}).Result); sold != fmt.Sprint(test.winner != nil) {
				t.Errorf("sold: %s", sold)
			}
			for _, who := range bidders {
				want := uint64(1000)
				if test.winner != nil && who == *test.winner {
					want -= test.price
				}
				l.Answers(who, "funds", nil, fmt.Sprint(want))
				l.Answers(who, "ownBid", args{"lot": id}, "0")
			}
			l.Answers(seller, "funds", nil, fmt.Sprint(test.price))
			for _, who := range []ledger.AccountID{seller, a, b, c, bank} {
				var told struct {
					Price  uint64
					Sold   bool
					Winner *ledger.AccountID
				}
				if err := json.Unmarshal(l.Ask(who, "lot", args{"lot": id}).Result, &told); err != nil {
					t.Fatal(err)
				}
				mayKnow := test.winner != nil && (who == seller || who == *test.winner)
				if told.Price != test.price || told.Sold != (test.winner != nil) || (told.Winner != nil) != mayKnow {
					t.Errorf("%.4s is told %+v", who, told)
				}
			}
		})
	}
}

func TestBidsCanBeChangedAndWithdrawn(t *testing.T) {
	t.Parallel()
	l := house(t)
	id := open(l, 10, false)
	l.Must(a, "bid", args{"lot": id, "amount": 600})
	l.Must(a, "bid", args{"lot": id, "amount": 900}) // what is set aside counts
	l.Answers(a, "funds", nil, "100")
	l.Must(a, "bid", args{"lot": id, "amount": 20})
	l.Answers(a, "funds", nil, "980")
	l.Answers(a, "ownBid", args{"lot": id}, "20")
	l.Answers(b, "ownBid", args{"lot": id}, "0")
	l.Must(a, "withdraw", args{"lot": id})
	l.Answers(a, "funds", nil, "1000")
	l.Refuses(a, "withdraw", args{"lot": id}, ledger.CodeRefused, "no_bid")
	l.Must(a, "redeem", args{"amount": 1000})
	if len(l.Events) != 1 || l.Events[0].Account != bank || string(l.Events[0].Payload) != `{"account":"`+a.String()+`","amount":1000}` {
		t.Errorf("events %s", l.Events)
	}
	l.Answers(a, "funds", nil, "0")
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	l := house(t)
	id := open(l, 10, false)
	refuses := func(who ledger.AccountID, name string, a args, word string) {
		t.Helper()
		l.Refuses(who, name, a, ledger.CodeRefused, word)
	}
	refuses(a, "setup", args{}, "already_set_up")
	refuses(a, "deposit", args{"account": a, "amount": 1}, "not_bank")
	refuses(a, "redeem", args{"amount": 1001}, "insufficient_funds")
	refuses(a, "open", args{"item": "", "reserve": 0, "closes_at": l.Block.Time, "second_price": true}, "closes_in_the_past")
	refuses(a, "bid", args{"lot": "7", "amount": 1}, "unknown_lot")
	refuses(a, "bid", args{"lot": id, "amount": 9}, "below_reserve")
	refuses(a, "bid", args{"lot": id, "amount": 1001}, "insufficient_funds")
	refuses(seller, "bid", args{"lot": id, "amount": 10}, "own_lot")
	refuses(a, "close", args{"lot": "7"}, "unknown_lot")
	refuses(a, "close", args{"lot": id}, "not_yet")
	if out := l.Ask(a, "lot", args{"lot": 7}); out.Code != ledger.CodeRefused || out.Message != "unknown_lot" {
		t.Errorf("unknown lot: %+v", out)
	}
	l.Refuses(a, "open", args{"item": strings.Repeat("x", 201), "reserve": 0, "closes_at": 1, "second_price": true},
		ledger.CodeBadArguments, `member "item": 201 bytes, want at most 200`)
	l.Block.Time += 60
	refuses(a, "bid", args{"lot": id, "amount": 10}, "closed")
	l.Must(c, "close", args{"lot": id}) // by time: anybody
	refuses(seller, "close", args{"lot": id}, "closed")
}

// TestTies draws among equal bids: everybody wins now and then, and the same ledger gives the same winner.
func TestTies(t *testing.T) {
	t.Parallel()
	draw := func() (winners []int) {
		l := house(t)
		for range 30 {
			id := open(l, 1, true)
			for _, who := range []ledger.AccountID{a, b, c} {
				l.Must(who, "bid", args{"lot": id, "amount": 10})
			}
			l.Must(seller, "close", args{"lot": id})
			winners = append(winners, slices.IndexFunc(l.Events[:3], func(e ledger.Event) bool { return strings.Contains(string(e.Payload), `"won":true`) }))
		}
		return winners
	}
	first := draw()
	if !slices.Equal(first, draw()) {
		t.Error("the same ledger drew other winners")
	}
	for i := range 3 {
		if !slices.Contains(first, i) {
			t.Errorf("bidder %d never won a tie in %v", i, first)
		}
	}
}

// TestFullLot closes a lot with as many bids as there may be: all is settled in one command.
func TestFullLot(t *testing.T) {
	t.Parallel()
	l := house(t)
	id := open(l, 1, true)
	for i := range auction.MaxBids {
		who := ledgertest.Account(fmt.Sprint("bidder ", i))
		l.Must(bank, "deposit", args{"account": who, "amount": 1000})
		l.Must(who, "bid", args{"lot": id, "amount": 100 + i})
	}
	l.Refuses(a, "bid", args{"lot": id, "amount": 1}, ledger.CodeRefused, "too_many_bids")
	l.Must(seller, "close", args{"lot": id})
	l.Answers(seller, "funds", nil, fmt.Sprint(100+auction.MaxBids-2))
}

func TestLotsArePaged(t *testing.T) {
	t.Parallel()
	l := house(t)
	for range 25 {
		open(l, 1, false)
	}
	for after, want := range map[int]int{0: 20, 20: 5, 25: 0} {
		var page []json.RawMessage
		if err := json.Unmarshal(l.Ask(a, "lots", args{"after": after}).Result, &page); err != nil || len(page) != want {
			t.Errorf("after %d: %d lots (%v), want %d", after, len(page), err, want)
		}
	}
	if out := l.Ask(a, "lots", nil); !out.OK() || !strings.HasPrefix(string(out.Result), `[{"lot":1,"seller":"`) {
		t.Errorf("lots: %s %v", out.Result, out.Err())
	}
}

// TestMoneyStays runs random commands: what the bank brought in is what accounts have and have set aside.
func TestMoneyStays(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	l := house(t)
	who := []ledger.AccountID{a, b, c, seller}
	sold := 0
	for range 3000 {
		lot := 1 + r.IntN(5)
		switch r.IntN(8) {
		case 0:
			l.Do(who[r.IntN(4)], "open", args{"item": "x", "reserve": r.IntN(50), "closes_at": l.Block.Time + 50, "second_price": r.IntN(2) == 0})
		case 1:
			if out := l.Do(who[r.IntN(4)], "close", args{"lot": lot + int(l.Block.Position)/300}); string(out.Result) == "true" {
				sold++
			}
		case 2:
			l.Do(who[r.IntN(4)], "withdraw", args{"lot": lot + int(l.Block.Position)/300})
		default:
			l.Do(who[r.IntN(4)], "bid", args{"lot": lot + int(l.Block.Position)/300, "amount": r.IntN(600)})
		}
		l.Block.Time++
		total := uint64(0)
		for _, w := range who {
			total += number(t, l.Ask(w, "funds", nil))
			for id := range 20 {
				total += number(t, l.Ask(w, "ownBid", args{"lot": id}))
			}
		}
		if total != 3000 {
			t.Fatalf("position %d: %d altogether, want 3000", l.Block.Position, total)
		}
	}
	if sold < 3 {
		t.Errorf("%d lots sold: the run proves little", sold)
	}
}

func number(t *testing.T, out ledger.Outcome) (n uint64) {
	t.Helper()
	if err := json.Unmarshal(out.Result, &n); err != nil {
		t.Fatalf("%s: %v", out.Result, out.Err())
	}
	return n
}
