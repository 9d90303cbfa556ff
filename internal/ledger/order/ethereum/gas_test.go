package ethereum

import (
	"encoding/json"
	"testing"
	"time"

	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/order/ethereum/fakechain"
	"hitoku.dev/internal/ledger/order/ordertest"
)

// cancun and osaka are about what a record of random bytes costs (docs/ledger-chain.md), and dear is a fork on which new
// storage costs five times as much.
func cancun(n int) uint64 { return 61_000 + 24*uint64(n) + uint64(n)*uint64(n)/(32*32*512) }
func osaka(n int) uint64  { return max(cancun(n), 21_000+40*uint64(n+132)) }
func dear(n int) uint64   { return osaka(n) + 200_000 - min(200_000, 16*uint64(n)) }

func TestGasLimit(t *testing.T) {
	t.Parallel()
	for name, cost := range map[string]func(int) uint64{"cancun": cancun, "osaka": osaka, "dear": dear} {
		for _, longest := range []int{1, 20_000, 120_000, 1 << 20} {
			g := gasPrices{short: cost(1), full: cost(longest)}
			for _, n := range []int{1, 31, 32, 300, 1024, 5000, 19_999, 65_700, 119_999, 120_000, 1 << 20} {
				if n > longest {
					continue
				}
				got, want := g.limit(n, longest), cost(n)
				if got < want+17_100 {
					t.Errorf("%s, %d of %d bytes: a limit of %d for %d gas; nothing is left for the contract's first record", name, n, longest, got, want)
				}
				if name != "dear" && longest == 120_000 && n >= 65_700 && got > want+want/16+20_000 {
					t.Errorf("%s, %d of %d bytes: a limit of %d for %d gas", name, n, longest, got, want)
				}
			}
		}
	}
	unknown, lost := gasPrices{}, gasPrices{short: cancun(1), full: cancun(120_000), lost: true}
	for _, n := range []int{1, 65_700, 120_000} {
		if got := unknown.limit(n, 120_000); got != submitGas(n) || got < osaka(n) {
			t.Errorf("%d bytes where nobody could tell: %d, wanted %d", n, got, submitGas(n))
		}
		if got := lost.limit(n, 120_000); got < submitGas(n) {
			t.Errorf("%d bytes after one was lost: %d, wanted at least %d", n, got, submitGas(n))
		}
	}
	twice := gasPrices{short: 3_000_000, full: 30_000_000, lost: true}
	if got := twice.limit(120_000, 120_000); got < 37_500_000 {
		t.Errorf("what costs more than is known here gets %d", got)
	}
}

// sentGas is the gas that the newest transaction names.
func sentGas(t *testing.T, l *Log) uint64 {
	t.Helper()
	if err := l.sender.acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer l.sender.release()
	return l.sender.list[len(l.sender.list)-1].tx.gas
}

func record(n int, size int) order.Submission {
	s := ordertest.Submission(1, uint64(n))
	s.Record = append(s.Record, make([]byte, size-len(s.Record))...)
	return s
}

// TestGasLearned names what the chain says, for long records and for short ones after them.
func TestGasLearned(t *testing.T) {
	t.Parallel()
	for name, cost := range map[string]func(int) uint64{"cancun": cancun, "osaka": osaka, "dear": dear} {
		o := testOptions()
		o.Gas = cost
		w := newWorld(t, o, 2)
		w.endpoints[0].Set(func(b *fakechain.Behaviour) { // one that cannot tell is passed over
			b.Lie = func(method string, _ []json.RawMessage, r json.RawMessage) json.RawMessage {
				if method == "eth_estimateGas" {
					return json.RawMessage(`"0x1"`)
				}
				return r
			}
		})
		l := w.open(nil)
		for i, size := range []int{5000, 100, 2500, 200} {
			if err := l.Submit(t.Context(), record(i, size)); err != nil {
				t.Fatal(err)
			}
			if got, enough := sentGas(t, l), submitGas(size); got < cost(size) || got >= enough {
				t.Errorf("%s, %d bytes: %d gas is named, wanted %d to %d", name, size, got, cost(size), enough)
			}
		}
		w.chain.Mine(1)
		ordertest.Collect(t, l, 0, 4)
		if n := w.endpoints[1].Calls("eth_estimateGas"); n != 2 {
			t.Errorf("%s: asked %d times, wanted 2", name, n)
		}
	}
}

// TestGasNotTold goes on with what is enough, and asks again later.
func TestGasNotTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testOptions(), 1)
	l := w.open(nil)
	for n := range uint64(3) {
		w.submit(l, n)
		if n == 1 {
			w.pass(gasRetry)
		}
	}
	if got := sentGas(t, l); got != submitGas(len(ordertest.Submission(1, 2).Record)) {
		t.Errorf("%d gas is named", got)
	}
	if n := w.endpoints[0].Calls("eth_estimateGas"); n != 2 {
		t.Errorf("asked %d times, wanted 2", n)
	}
}

// TestGasTooLittle has an endpoint say less than a record costs: it is lost, the operator hears of it, and the next one is
// given enough.
func TestGasTooLittle(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.Gas = dear
	w := newWorld(t, o, 1)
	w.endpoints[0].Set(func(b *fakechain.Behaviour) {
		b.Lie = func(method string, _ []json.RawMessage, r json.RawMessage) json.RawMessage {
			if method == "eth_estimateGas" {
				return json.RawMessage(`"0x5300"`)
			}
			return r
		}
	})
	l := w.open(nil)
	w.submit(l, 0)
	w.chain.Mine(1)
	w.until("telling that the record is lost", w.told("too little gas"))
	w.until("forgetting", func() bool { return l.Status().Pending == 0 })
	w.submit(l, 0)
	w.chain.Mine(1)
	ordertest.Collect(t, l, 0, 1)
	w.pass(time.Hour)
	w.submit(l, 1)
	w.chain.Mine(1)
	ordertest.Collect(t, l, 0, 2)
}
