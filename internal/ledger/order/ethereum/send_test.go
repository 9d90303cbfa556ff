package ethereum

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/order/ethereum/fakechain"
	"hitoku.dev/internal/ledger/order/ordertest"
)

// TestRestartWithUnsentTransactions closes a log whose transactions nobody has any more, and opens it again.
func TestRestartWithUnsentTransactions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testOptions(), 1)
	l := w.open(nil)
	for n := range uint64(3) {
		w.submit(l, n)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	w.chain.Forget()
	l = w.open(nil)
	w.until("sending again", func() bool { return w.chain.Pool() == 3 })
	w.submit(l, 3)
	w.chain.Mine(1)
	ordertest.Collect(t, l, 0, 4)
	w.until("forgetting", func() bool { return l.Status().Pending == 0 })
	if w.chain.Transactions() != 4 {
		t.Fatalf("%d transactions for 4 records", w.chain.Transactions())
	}
}

// TestSameRecordTwice submits a record that is on its way already.
func TestSameRecordTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testOptions(), 1)
	l := w.open(nil)
	w.submit(l, 0)
	w.submit(l, 0)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = w.open(nil)
	w.submit(l, 0)
	w.chain.Mine(2)
	ordertest.Collect(t, l, 0, 1)
	if n := w.chain.Transactions(); n != 1 {
		t.Fatalf("%d transactions for one record", n)
	}
}

// TestStuckTransaction lets the base fee rise above what was offered.
func TestStuckTransaction(t *testing.T) {
	t.Parallel()
	for name, fees := range map[string]Fees{"dynamic": {}, "legacy": {Legacy: true, Price: 2 * gwei}} {
		w := newWorld(t, testOptions(), 2)
		l := w.open(func(c *Config) { c.Fees = fees })
		w.submit(l, 0)
		w.submit(l, 1)
		w.chain.SetBaseFee(10 * gwei)
		w.chain.Mine(1)
		if w.chain.Positions() != 0 {
			t.Fatal("a transaction below the base fee was mined")
		}
		w.until(name+": raising the fee until it is enough", func() bool {
			w.pass(61 * time.Second)
			w.chain.Mine(1)
			return w.chain.Positions() == 2
		})
		ordertest.Collect(t, l, 0, 2)
		if w.chain.Transactions() != 2 {
			t.Fatalf("%s: %d transactions for 2 records", name, w.chain.Transactions())
		}
	}
}

// TestFeeLimit keeps below the highest price, whatever the chain wants.
func TestFeeLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testOptions(), 1)
	l := w.open(func(c *Config) { c.Fees.Max = 5 * gwei })
	w.submit(l, 0)
	w.chain.SetBaseFee(5*gwei + 1)
	for range 20 {
		w.pass(2 * time.Minute)
		calls := w.endpoints[0].Calls("eth_getTransactionCount")
		w.until("looking", func() bool { return w.endpoints[0].Calls("eth_getTransactionCount") > calls })
	}
	w.chain.Mine(1)
	if w.chain.Positions() != 0 {
		t.Fatal("more was paid than the limit")
	}
	w.chain.SetBaseFee(4 * gwei)
	w.chain.Mine(1)
	ordertest.Collect(t, l, 0, 1)
}

// TestGap loses what was remembered and what was in the pool, but for a later transaction.
func TestGap(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testOptions(), 1)
	l := w.open(nil)
	for n := range uint64(3) {
		w.submit(l, n)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	w.chain.Forget()
	for _, nonce := range []uint64{0, 1} {
		if err := FolderStore(w.folder).Remove(nonce); err != nil {
			t.Fatal(err)
		}
	}
	l = w.open(nil)
	w.until("sending what is left", func() bool { return w.chain.Pool() == 1 })
	w.chain.Mine(1)
	if w.chain.Positions() != 0 {
		t.Fatal("a transaction over a gap was mined")
	}
	w.pass(2 * time.Minute)
	w.until("filling the gap", func() bool { return w.chain.Pool() == 3 })
	w.chain.Mine(1)
	if got := ordertest.Collect(t, l, 0, 1); string(got[0].Record) != string(ordertest.Submission(1, 2).Record) {
		t.Fatalf("%q is there", got[0].Record)
	}
}

// TestForeignNonce uses the key in a second program.
func TestForeignNonce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testOptions(), 1)
	l := w.open(nil)
	w.submit(l, 0)
	other := w.open(func(c *Config) { c.Store = FolderStore(t.TempDir()) })
	if err := other.Submit(t.Context(), ordertest.Submission(2, 0)); err != nil {
		t.Fatal(err)
	}
	w.chain.Mine(1)
	ordertest.Collect(t, l, 0, 2)
	// Now the first one's idea of the next nonce is old.
	w.submit(l, 1)
	w.chain.Mine(1)
	ordertest.Collect(t, l, 0, 3)
}

// TestLostRecord has the contract refuse a record that every endpoint took.
func TestLostRecord(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.Allowed = [][20]byte{{1}}
	w := newWorld(t, o, 1)
	l := w.open(nil)
	w.submit(l, 0)
	w.chain.Mine(2)
	w.until("telling that the record is lost", w.told("the contract refused it"))
	if s := l.Status(); s.Pending != 0 || s.Position != 0 {
		t.Fatalf("%+v", s)
	}
}

// TestRefused has the only endpoint refuse transactions for a reason of its own.
func TestRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testOptions(), 1)
	other := fakechain.New(fakechain.Options{ChainID: 7, BaseFee: gwei})
	w.endpoints[0].Set(func(b *fakechain.Behaviour) {
		b.Chain = other
		b.Lie = func(method string, _ []json.RawMessage, r json.RawMessage) json.RawMessage {
			if method == "eth_chainId" {
				return json.RawMessage(`"0x539"`)
			}
			return r
		}
	})
	l := w.open(nil)
	if err := l.Submit(t.Context(), ordertest.Submission(1, 0)); err == nil || !strings.Contains(err.Error(), "invalid transaction") {
		t.Fatalf("Submit: %v", err)
	}
	if s := l.Status(); s.Pending != 0 {
		t.Fatalf("%d transactions are kept that nobody took", s.Pending)
	}
	w.endpoints[0].Set(func(b *fakechain.Behaviour) { b.Chain, b.Lie = w.chain, nil })
	w.submit(l, 0)
	w.chain.Mine(1)
	ordertest.Collect(t, l, 0, 1)
}

func TestStore(t *testing.T) {
	t.Parallel()
	key := testKey(t, 0)
	to := Address{5}
	p := &pending{tx: transaction{chainID: 1337, nonce: 9, tip: 1, max: 2, gas: 3, to: &to, data: []byte("data")}, record: [32]byte{7}, replaced: 4, priced: time.Unix(100, 0)}
	s := FolderStore(t.TempDir())
	if found, err := s.Load(); err != nil || len(found) != 0 {
		t.Fatal(found, err)
	}
	if err := s.Put(9, p.marshal(key.Address())); err != nil {
		t.Fatal(err)
	}
	found, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	got, err := parsePending(found[9], 9, 1337, key.Address())
	if err != nil || got.tx.nonce != 9 || got.tx.max != 2 || string(got.tx.data) != "data" || got.record != p.record || got.replaced != 4 || !got.priced.Equal(p.priced) || *got.tx.to != to {
		t.Fatalf("%+v, %v", got, err)
	}
	for name, try := range map[string]func() error{
		"nonce":   func() error { _, err := parsePending(found[9], 8, 1337, key.Address()); return err },
		"chain":   func() error { _, err := parsePending(found[9], 9, 1, key.Address()); return err },
		"account": func() error { _, err := parsePending(found[9], 9, 1337, to); return err },
		"form":    func() error { _, err := parsePending([]byte("{}"), 9, 1337, to); return err },
	} {
		if try() == nil {
			t.Errorf("another %s was taken", name)
		}
	}
	if err := s.Remove(9); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(9); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, testOptions(), 1)
	if err := FolderStore(w.folder).Put(3, []byte("no JSON")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(w.config()); err == nil {
		t.Error("a remembered transaction that is damaged was passed over")
	}
}

func TestFees(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		f            Fees
		base         uint64
		replaced     int
		tip, highest uint64
	}{
		{Fees{}, 10 * gwei, 0, gwei, 21 * gwei},
		{Fees{}, 10 * gwei, 1, gwei + gwei/8 + 1, 21*gwei + 21*gwei/8 + 1},
		{Fees{Max: 5 * gwei}, 10 * gwei, 0, gwei, 5 * gwei},
		{Fees{Max: 5 * gwei}, 1<<64 - 1, 50, 5 * gwei, 5 * gwei},
		{Fees{Legacy: true}, 10 * gwei, 9, 0, 0},
		{Fees{Legacy: true, Price: 8}, 0, 1, 0, 10},
		{Fees{Legacy: true, Price: 8, Max: 9}, 0, 7, 0, 9},
	} {
		if tip, highest := c.f.price(c.base, c.replaced); tip != c.tip || highest != c.highest {
			t.Errorf("%+v, base fee %d, %d replacements: %d, %d; %d, %d wanted", c.f, c.base, c.replaced, tip, highest, c.tip, c.highest)
		}
	}
}

func TestClosedWhileSubmitting(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testOptions(), 1)
	l := w.open(nil)
	if err := l.sender.acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- l.Submit(t.Context(), ordertest.Submission(1, 0)) }()
	l.cancel()
	if err := <-done; err != order.ErrClosed {
		t.Fatalf("Submit: %v, ErrClosed wanted", err)
	}
	l.sender.release()
}
