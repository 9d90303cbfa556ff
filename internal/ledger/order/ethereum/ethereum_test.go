package ethereum

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/order/ethereum/fakechain"
	"hitoku.dev/internal/ledger/order/ordertest"
)

// wires is an HTTP transport that leads to endpoints in this process.
type wires map[string]http.Handler

func (w wires) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	rec := httptest.NewRecorder()
	w[r.URL.Host].ServeHTTP(rec, r)
	return rec.Result(), nil
}

// world is a chain with endpoints and a submitter's key.
type world struct {
	t         *testing.T
	chain     *fakechain.Chain
	endpoints []*fakechain.Endpoint
	key       *Key
	folder    string

	mu       sync.Mutex
	now      time.Time
	problems []string
}

func testKey(t *testing.T, i byte) *Key {
	t.Helper()
	k, err := NewKey(bytes.NewReader(bytes.Repeat([]byte{i + 1}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testOptions() fakechain.Options {
	return fakechain.Options{ChainID: 1337, Contract: [20]byte{0xc0}, Ledger: [32]byte{0x1e}, MaxRecord: 5000, BaseFee: gwei}
}

func newWorld(t *testing.T, o fakechain.Options, endpoints int) *world {
	t.Helper()
	w := &world{t: t, chain: fakechain.New(o), key: testKey(t, 0), folder: t.TempDir(), now: time.Unix(1_800_000_000, 0)}
	for range endpoints {
		w.endpoints = append(w.endpoints, fakechain.NewEndpoint(w.chain))
	}
	return w
}

func (w *world) config() Config {
	c := Config{
		ChainID: 1337, Contract: Address{0xc0}, Ledger: [32]byte{0x1e}, Finality: Immediate, MaxRecord: 5000,
		Key: w.key, Store: FolderStore(w.folder), Poll: 5 * time.Millisecond,
		Now: func() time.Time {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.now
		},
		Report: func(s string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.problems = append(w.problems, s)
		},
	}
	hosts := wires{}
	for i, e := range w.endpoints {
		host := fmt.Sprintf("e%d", i)
		hosts[host] = e
		c.Endpoints = append(c.Endpoints, "http://"+host)
	}
	c.HTTP = &http.Client{Transport: hosts}
	return c
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) open(change func(*Config)) *Log {
	w.t.Helper()
	c := w.config()
	if change != nil {
		change(&c)
	}
	l, err := Open(c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = l.Close() })
	return l
}

func (w *world) submit(l *Log, n uint64) {
	w.t.Helper()
	if err := l.Submit(w.t.Context(), ordertest.Submission(1, n)); err != nil {
		w.t.Fatal(err)
	}
}

// until waits for something that another goroutine brings about.
func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !done() {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s does not happen; problems: %q", what, w.reported())
		}
		time.Sleep(time.Millisecond)
	}
}

func (w *world) reported() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.problems)
}

func (w *world) told(part string) func() bool {
	return func() bool {
		return slices.ContainsFunc(w.reported(), func(s string) bool { return strings.Contains(s, part) })
	}
}

// halts checks that a log says ErrReorganised from now on.
func (w *world) halts(l *Log) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	if err := l.Wait(ctx, 1<<60); !errors.Is(err, order.ErrReorganised) {
		w.t.Fatalf("Wait: %v, ErrReorganised wanted", err)
	}
	if _, err := l.Read(ctx, 0, 1); !errors.Is(err, order.ErrReorganised) {
		w.t.Fatalf("Read: %v, ErrReorganised wanted", err)
	}
	if err := l.Submit(ctx, ordertest.Submission(99, 0)); !errors.Is(err, order.ErrReorganised) {
		w.t.Fatalf("Submit: %v, ErrReorganised wanted", err)
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	validators := []*secp256k1.PrivateKey{testKey(t, 10).private, testKey(t, 11).private, testKey(t, 12).private, testKey(t, 13).private}
	var addresses []Address
	for _, k := range validators {
		addresses = append(addresses, addressOf(k.PubKey()))
	}
	for name, c := range map[string]struct {
		chain  func(*fakechain.Options)
		config func(*Config)
		mining bool
	}{
		"immediate":     {chain: func(o *fakechain.Options) { o.AtOnce = true }},
		"endpoints":     {chain: func(o *fakechain.Options) { o.AtOnce = true }, config: func(c *Config) { c.Agree = 2 }},
		"legacy":        {chain: func(o *fakechain.Options) { o.AtOnce, o.Old, o.BaseFee = true, true, 0 }, config: func(c *Config) { c.Fees.Legacy = true }},
		"confirmations": {config: func(c *Config) { c.Finality, c.Confirmations = Confirmations, 6 }, mining: true},
		"finalized":     {chain: func(o *fakechain.Options) { o.Finality = 9 }, config: func(c *Config) { c.Finality = Finalized }, mining: true},
		"validators":    {chain: func(o *fakechain.Options) { o.AtOnce, o.Validators = true, validators }, config: func(c *Config) { c.Validators = addresses }},
		"small blocks":  {chain: func(o *fakechain.Options) { o.PerBlock = 3 }, mining: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ordertest.Run(t, func(t *testing.T) ordertest.Place {
				o := testOptions()
				if c.chain != nil {
					c.chain(&o)
				}
				w := newWorld(t, o, 2)
				w.endpoints[1].Set(func(b *fakechain.Behaviour) { b.MaxLogs = 7 })
				if c.mining {
					mineUntilEnd(t, w.chain)
				}
				opened := 0
				return ordertest.Place{Shared: true, Open: func(t *testing.T) order.Log {
					// A second reader at the same time has its own account.
					if opened++; opened > 1 && t.Name()[strings.LastIndex(t.Name(), "/")+1:] == "Readers" {
						return w.open(func(k *Config) { k.Key = nil; orNothing(c.config)(k) })
					}
					return w.open(orNothing(c.config))
				}}
			})
		})
	}
}

func orNothing(change func(*Config)) func(*Config) {
	if change == nil {
		return func(*Config) {}
	}
	return change
}

// mineUntilEnd makes blocks as a chain with a short period does.
func mineUntilEnd(t *testing.T, c *fakechain.Chain) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(3 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				c.Mine(1)
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
}

// TestReorganisationAboveFinal takes six blocks back that are not final: readers wait and see only the new order.
func TestReorganisationAboveFinal(t *testing.T) {
	t.Parallel()
	for _, drop := range []bool{false, true} {
		w := newWorld(t, testOptions(), 2)
		l := w.open(func(c *Config) { c.Finality, c.Confirmations, c.Agree = Confirmations, 6, 2 })
		for n := range uint64(5) {
			w.submit(l, n)
			w.chain.Mine(1)
		}
		if w.chain.Positions() != 5 {
			t.Fatal("the records are not in blocks")
		}
		w.chain.Mine(1)
		w.until("seeing the records in blocks", func() bool {
			mined := 0
			if err := l.sender.acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
			defer l.sender.release()
			for _, p := range l.sender.list {
				if p.mined {
					mined++
				}
			}
			return mined == 5
		})
		w.chain.Reorganise(6, drop)
		if position, _, err := l.Head(t.Context()); err != nil || position != 0 {
			t.Fatalf("position %d is final, %v; none wanted yet", position, err)
		}
		if drop && w.chain.Positions() != 0 {
			t.Fatal("the records were not dropped")
		}
		mineUntilEnd(t, w.chain)
		for i, e := range ordertest.Collect(t, l, 0, 5) {
			if !bytes.Equal(e.Record, ordertest.Submission(1, uint64(i)).Record) {
				t.Fatalf("drop %v: position %d holds %q", drop, i+1, e.Record)
			}
		}
		w.until("forgetting what is final", func() bool { return l.Status().Pending == 0 })
		if left, err := os.ReadDir(w.folder); err != nil || len(left) > 0 {
			t.Fatalf("%d transactions are remembered still, %v", len(left), err)
		}
		if w.chain.Transactions() != 5 {
			t.Fatalf("%d transactions for 5 records", w.chain.Transactions())
		}
	}
}

// TestReorganisationBelowFinal takes back what was final.
func TestReorganisationBelowFinal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testOptions(), 1)
	l := w.open(func(c *Config) { c.Finality, c.Confirmations = Confirmations, 3 })
	w.submit(l, 0)
	w.chain.Mine(6)
	ordertest.Collect(t, l, 0, 1)
	w.until("following", func() bool { return l.Status().Block == 3 })
	w.chain.Reorganise(5, false)
	w.halts(l)
}

// TestShallowReorganisationBelowImmediate takes one block back where blocks are final at once.
func TestShallowReorganisationBelowImmediate(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.AtOnce = true
	w := newWorld(t, o, 1)
	l := w.open(nil)
	w.submit(l, 0)
	ordertest.Collect(t, l, 0, 1)
	w.chain.Reorganise(1, false)
	w.halts(l)
}

func TestEndpointsDisagree(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.AtOnce = true
	w := newWorld(t, o, 2)
	l := w.open(func(c *Config) { c.Agree = 2 })
	w.submit(l, 0)
	ordertest.Collect(t, l, 0, 1)
	other := w.chain.Clone()
	other.Mine(1)
	w.chain.Mine(1)
	if l.Status().Problem != nil {
		t.Fatal(l.Status().Problem)
	}
	w.endpoints[1].Set(func(b *fakechain.Behaviour) { b.Chain = other })
	w.halts(l)
}

func TestLaggingAndFailingEndpoints(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.AtOnce = true
	w := newWorld(t, o, 3)
	l := w.open(func(c *Config) { c.Agree = 2 })
	w.endpoints[0].Set(func(b *fakechain.Behaviour) { b.Down = true })
	w.submit(l, 0)
	ordertest.Collect(t, l, 0, 1)
	w.endpoints[1].Set(func(b *fakechain.Behaviour) { b.Lag = 4 })
	for n := range uint64(3) {
		w.submit(l, n+1)
	}
	if position, _, _ := l.Head(t.Context()); position != 1 {
		t.Fatalf("position %d is final although one endpoint alone has it", position)
	}
	w.endpoints[0].Set(func(b *fakechain.Behaviour) { b.Down = false })
	ordertest.Collect(t, l, 0, 4)
	// All are down: what was verified can be read, nothing is invented, and submissions are kept.
	for _, e := range w.endpoints {
		e.Set(func(b *fakechain.Behaviour) { b.Down, b.Lag = true, 0 })
	}
	w.until("noticing", func() bool { return l.Status().Problem != nil })
	if list, err := l.Read(t.Context(), 0, 10); err != nil || len(list) != 4 {
		t.Fatalf("%d entries, %v", len(list), err)
	}
	w.pass(time.Second)
	w.submit(l, 4)
	for _, e := range w.endpoints {
		e.Set(func(b *fakechain.Behaviour) { b.Down = false })
	}
	w.pass(time.Minute)
	ordertest.Collect(t, l, 4, 1)
}

// TestLies has one endpoint lie in each of the answers, and an honest one beside it.
func TestLies(t *testing.T) {
	t.Parallel()
	o := testOptions()
	replace := func(old, new string) func(json.RawMessage) json.RawMessage {
		return func(b json.RawMessage) json.RawMessage { return bytes.ReplaceAll(b, []byte(old), []byte(new)) }
	}
	edit := func(change func(list []map[string]any) []map[string]any) func(json.RawMessage) json.RawMessage {
		return func(b json.RawMessage) json.RawMessage {
			var list []map[string]any
			if err := json.Unmarshal(b, &list); err != nil || len(list) < 2 {
				return b
			}
			b, _ = json.Marshal(change(list))
			return b
		}
	}
	for name, lie := range map[string]struct {
		method string
		change func(json.RawMessage) json.RawMessage
	}{
		"chain id":      {"eth_chainId", replace("0x539", "0x1")},
		"header field":  {"eth_getBlockByNumber", replace(`"gasLimit":"0x1c9c380"`, `"gasLimit":"0x1c9c381"`)},
		"header form":   {"eth_getBlockByNumber", replace(`"stateRoot"`, `"stateroot2"`)},
		"no header":     {"eth_getBlockByNumber", func(json.RawMessage) json.RawMessage { return json.RawMessage("null") }},
		"proof":         {"eth_getProof", replace(`"0xf8`, `"0xf9`)},
		"no proof":      {"eth_getProof", replace(`"storageProof"`, `"other"`)},
		"omitted event": {"eth_getLogs", edit(func(l []map[string]any) []map[string]any { return l[:len(l)-1] })},
		"first omitted": {"eth_getLogs", edit(func(l []map[string]any) []map[string]any { return l[1:] })},
		"repeated":      {"eth_getLogs", edit(func(l []map[string]any) []map[string]any { return append(l, l[0]) })},
		"swapped": {"eth_getLogs", edit(func(l []map[string]any) []map[string]any {
			l[0]["data"], l[1]["data"] = l[1]["data"], l[0]["data"]
			return l
		})},
		"record":   {"eth_getLogs", replace("7265636f7264", "7265636f7265")},
		"contract": {"eth_getLogs", replace("0xc000", "0xc100")},
		"no list":  {"eth_getLogs", func(json.RawMessage) json.RawMessage { return json.RawMessage(`{"a":1}`) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, o, 2)
			first := w.open(nil)
			for n := range uint64(4) {
				w.submit(first, n)
			}
			w.chain.Mine(1)
			w.endpoints[0].Set(func(b *fakechain.Behaviour) {
				b.Lie = func(method string, _ []json.RawMessage, result json.RawMessage) json.RawMessage {
					if method == lie.method {
						return lie.change(result)
					}
					return result
				}
			})
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			l := w.open(func(c *Config) { c.Key = nil })
			list := ordertest.Collect(t, l, 0, 4)
			for i, e := range list {
				if !bytes.Equal(e.Record, ordertest.Submission(1, uint64(i)).Record) {
					t.Fatalf("position %d holds %q", i+1, e.Record)
				}
			}
			w.until("reporting the lie", func() bool { return len(w.reported()) > 0 })
			// Alone, the liar brings nothing at all.
			w.endpoints = w.endpoints[:1]
			alone := w.open(func(c *Config) { c.Key = nil })
			w.until("failing", func() bool { return alone.Status().Problem != nil })
			if position, _, err := alone.Head(t.Context()); position != 0 || err != nil {
				t.Fatalf("a liar alone brings position %d, %v", position, err)
			}
		})
	}
}

// TestWrongContract follows a contract that begins with another ledger.
func TestWrongContract(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.Ledger = [32]byte{0xee}
	w := newWorld(t, o, 1)
	w.halts(w.open(nil))
}

func TestPagingInsideOneBlock(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testOptions(), 1)
	l := w.open(nil)
	const count = 150
	for n := range uint64(count) {
		w.submit(l, n)
	}
	w.chain.Mine(3)
	w.endpoints[0].Set(func(b *fakechain.Behaviour) { b.MaxLogs, b.MaxBlocks = 10, 2 })
	list := ordertest.Collect(t, l, 0, count)
	if c := ordertest.Chain([32]byte{0x1e}, list); c != l.chain {
		t.Fatal("the pages do not make the chain")
	}
	// Records that are kept no longer are asked for again, and held against their hashes.
	l.mu.Lock()
	l.records, l.held = nil, 0
	l.mu.Unlock()
	var again []order.Entry
	for len(again) < count {
		got, err := l.Read(t.Context(), uint64(len(again)), 100)
		if err != nil || len(got) == 0 {
			t.Fatal(len(got), err)
		}
		again = append(again, got...)
	}
	if ordertest.Chain([32]byte{0x1e}, again) != l.chain {
		t.Fatal("asked again, the records differ")
	}
	w.endpoints[0].Set(func(b *fakechain.Behaviour) {
		b.Lie = func(method string, _ []json.RawMessage, result json.RawMessage) json.RawMessage {
			return bytes.ReplaceAll(result, []byte("7265636f7264"), []byte("7265636f7265"))
		}
	})
	if _, err := l.Read(t.Context(), 0, 10); err == nil {
		t.Fatal("another record was taken for one that is final")
	}
}

func TestManyBlocks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testOptions(), 1)
	w.endpoints[0].Set(func(b *fakechain.Behaviour) { b.MaxBlocks = 37 })
	l := w.open(nil)
	for n := range uint64(20) {
		w.submit(l, n)
		w.chain.Mine(50)
	}
	reader := w.open(func(c *Config) { c.Key = nil })
	ordertest.Collect(t, reader, 0, 20)
}

func TestConfig(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testOptions(), 2)
	for name, change := range map[string]func(*Config){
		"no clock":          func(c *Config) { c.Now = nil },
		"no client":         func(c *Config) { c.HTTP = nil },
		"too few endpoints": func(c *Config) { c.Agree = 3 },
		"twice the same":    func(c *Config) { c.Endpoints[1] = c.Endpoints[0] },
		"finality":          func(c *Config) { c.Finality = 0 },
		"record":            func(c *Config) { c.MaxRecord = 5 << 20 },
		"chain id":          func(c *Config) { c.ChainID = 0 },
		"no store":          func(c *Config) { c.Store = nil },
		"fees":              func(c *Config) { c.Fees = Fees{Legacy: true, Price: 10, Max: 9} },
	} {
		c := w.config()
		change(&c)
		if _, err := Open(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	l := w.open(func(c *Config) { c.Key = nil })
	if err := l.Submit(t.Context(), ordertest.Submission(1, 0)); err == nil {
		t.Error("a reader submits")
	}
	if l.Assurance() != order.AssuranceOperator {
		t.Error(l.Assurance())
	}
	if l := w.open(func(c *Config) { c.Key, c.Agree = nil, 2 }); l.Assurance() != order.AssuranceEndpoints {
		t.Error(l.Assurance())
	}
}
