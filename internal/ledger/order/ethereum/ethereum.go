// Package ethereum is the order of records by the contract Order (contracts/) on
// an Ethereum-type chain, through JSON-RPC endpoints that may lag, lie and fail.
//
// What it believes. A block is final by the genesis's rule (confirmations, the chain's own
// finality, or at once), and only when enough endpoints answer with the same header; a
// header's hash is recomputed from its fields. The contract's chain value and sequence
// number are taken from a Merkle proof under that header's state root. Events are
// believed only when they chain up to that value: an endpoint cannot omit, add,
// change or reorder any. With validators, a quorum of them must have sealed the header.
//
// What it does not believe leads to another endpoint being asked; headers that differ where
// they are final, or a final block that changed, give order.ErrReorganised for ever.
// Reorganisations above the final block are not seen by readers at all.
//
// Submitting is only a matter of liveness: a record has one nonce as long as it may be
// mined, its transaction is sent again when endpoints forget it and with
// higher fees when it stays, and all of that survives restarts (store.go). Memory: 48 bytes a position,
// and the newest 64 MiB of records.
package ethereum

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"hitoku.dev/internal/ledger/order"
)

// Finality says when a block is final.
type Finality int

// The three rules, as the genesis numbers them.
const (
	Confirmations Finality = 1 // so many blocks lie above it
	Finalized     Finality = 2 // the chain's consensus says so (proof of stake)
	Immediate     Finality = 3 // every block (QBFT; a development chain)
)

// DefaultMaxRecord is the longest record in bytes where nothing else is named: transaction pools take 128 KiB a transaction.
const DefaultMaxRecord = 120_000

// Config is a log on a chain. URL lists, keys and fees are the node's own; the rest is the genesis's.
type Config struct {
	Endpoints     []string // URLs of JSON-RPC servers
	Agree         int      // how many must answer the same; 0 is 1
	ChainID       uint64
	Contract      Address
	Ledger        [32]byte // the ledger id, C_0
	Finality      Finality
	Confirmations uint64    // blocks above a final one, for that rule
	Validators    []Address // of QBFT, whose seals are checked; empty: they are not
	FirstBlock    uint64    // no record is in a block before it, 0 if not known
	MaxRecord     int       // bytes; 0 is DefaultMaxRecord. The contract's own limit must not be lower.

	Key   *Key  // of the submitter; nil for a reader
	Fees  Fees  // what is paid
	Store Store // where what was sent is remembered; required with Key

	HTTP    *http.Client         // required
	Now     func() time.Time     // required
	Timeout time.Duration        // of one call; 0 is 10 s
	Poll    time.Duration        // between two looks at the chain; 0 is 1 s
	Stuck   time.Duration        // after which a transaction is sent again with a higher fee; 0 is 60 s
	Report  func(problem string) // hears of endpoints that fail and lie, once for each new problem; may be nil
}

func (c *Config) complete() error {
	if c.Agree == 0 {
		c.Agree = 1
	}
	if c.MaxRecord == 0 {
		c.MaxRecord = DefaultMaxRecord
	}
	c.Timeout, c.Poll, c.Stuck = orDefault(c.Timeout, 10*time.Second), orDefault(c.Poll, time.Second), orDefault(c.Stuck, time.Minute)
	switch {
	case c.HTTP == nil || c.Now == nil:
		return errors.New("ethereum: an HTTP client and a clock are wanted")
	case c.Agree < 1 || c.Agree > len(c.Endpoints):
		return fmt.Errorf("ethereum: %d endpoints must agree, and %d are named; name as many or more", c.Agree, len(c.Endpoints))
	case c.Finality < Confirmations || c.Finality > Immediate:
		return fmt.Errorf("ethereum: finality %d; 1 confirmations, 2 finalized or 3 immediate wanted", c.Finality)
	case c.MaxRecord < 1 || c.MaxRecord > 4<<20:
		return fmt.Errorf("ethereum: records of %d bytes at most; 1 to %d wanted", c.MaxRecord, 4<<20)
	case c.ChainID == 0 || c.ChainID > 1<<61:
		return fmt.Errorf("ethereum: chain id %d; 1 to 2^61 wanted", c.ChainID)
	case c.Key != nil && c.Store == nil:
		return errors.New("ethereum: a submitter needs a place to remember what it sent")
	}
	for i, a := range c.Endpoints {
		for _, b := range c.Endpoints[:i] {
			if a == b {
				return fmt.Errorf("ethereum: endpoint %s is named twice; it would agree with itself", a)
			}
		}
	}
	return c.Fees.check()
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

// Log is an open log on a chain; it implements order.Log.
type Log struct {
	config    Config
	endpoints []*endpoint
	stop      context.Context
	cancel    context.CancelFunc
	ended     sync.WaitGroup
	poke      chan struct{} // asks for a look at the chain at once
	sender    *sender       // nil for a reader

	mu      sync.Mutex
	index   []place           // of all final positions
	records [][]byte          // the newest ones, up to the last
	held    int               // bytes of records
	chain   [32]byte          // C at the last
	final   *header           // the newest final block
	proved  []byte            // that the contract held chain there; nil without validators
	grown   chan struct{}     // closed, and made anew, at each look that changed something
	halt    error             // order.ErrReorganised, for ever
	looked  error             // what the last look at the chain failed with
	lastAt  time.Time         // when a look last succeeded
	told    map[string]string // the last problem of each endpoint
	failed  map[string]bool   // who had one since the last look began
}

// place is what is kept of a final position.
type place struct {
	block, time uint64
	record      [32]byte // SHA-256
}

// Open begins to follow the chain. It does not wait for it: endpoints that are down now may come back.
func Open(c Config) (*Log, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	l := &Log{config: c, chain: c.Ledger, poke: make(chan struct{}, 1), grown: make(chan struct{}), told: map[string]string{}, failed: map[string]bool{}}
	for _, url := range c.Endpoints {
		l.endpoints = append(l.endpoints, &endpoint{url: url, client: c.HTTP, timeout: c.Timeout})
	}
	l.stop, l.cancel = context.WithCancel(context.Background())
	if c.Key != nil {
		var err error
		if l.sender, err = newSender(l); err != nil {
			l.cancel()
			return nil, err
		}
	}
	l.ended.Go(l.follow)
	return l, nil
}

// follow looks at the chain now and then until Close.
func (l *Log) follow() {
	tick := time.NewTicker(l.config.Poll)
	defer tick.Stop()
	for l.stop.Err() == nil {
		err := l.look(l.stop)
		l.mu.Lock()
		if l.looked = err; err == nil {
			l.lastAt = l.config.Now()
		}
		if errors.Is(err, order.ErrReorganised) {
			l.halt = err
			l.wake()
		}
		halted := l.halt != nil
		for url := range l.told {
			if !l.failed[url] {
				delete(l.told, url)
			}
		}
		clear(l.failed)
		l.mu.Unlock()
		if halted {
			return
		}
		if l.sender != nil {
			l.sender.keep(l.stop)
		}
		select {
		case <-l.stop.Done():
		case <-tick.C:
		case <-l.poke:
		}
	}
}

// wake wakes who waits; mu is held.
func (l *Log) wake() {
	close(l.grown)
	l.grown = make(chan struct{})
}

func (l *Log) pokeFollow() {
	select {
	case l.poke <- struct{}{}:
	default:
	}
}

// report tells of a problem of an endpoint, when it is another one than at the last look.
func (l *Log) report(e *endpoint, err error) {
	text := err.Error()
	l.mu.Lock()
	before := l.told[e.url]
	l.told[e.url], l.failed[e.url] = text, true
	l.mu.Unlock()
	if text != before && l.config.Report != nil && l.stop.Err() == nil {
		l.config.Report(text)
	}
}

// usable returns why nothing more can be asked; mu is held.
func (l *Log) usable() error {
	if l.stop.Err() != nil {
		return order.ErrClosed
	}
	return l.halt
}

// Wait returns nil when there is a final entry after a position.
func (l *Log) Wait(ctx context.Context, after uint64) error {
	for {
		l.mu.Lock()
		err, there, grown := l.usable(), uint64(len(l.index)) > after, l.grown
		l.mu.Unlock()
		if err != nil || there {
			return err
		}
		select {
		case <-grown:
		case <-l.stop.Done():
			return order.ErrClosed
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Head returns the last final position that was verified and its time.
func (l *Log) Head(context.Context) (position, time uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil || len(l.index) == 0 {
		return 0, 0, err
	}
	return uint64(len(l.index)), l.index[len(l.index)-1].time, nil
}

// Proof returns what VerifyProof takes: that the chain value is C at the last position. It is nil without validators.
func (l *Log) Proof(context.Context) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil || len(l.config.Validators) == 0 {
		return nil, err
	}
	if l.proved == nil {
		return nil, errNoProof
	}
	return l.proved, nil
}

// Assurance is "validators" where seals are checked, "endpoints" where two or more must agree, else "operator".
func (l *Log) Assurance() order.Assurance {
	switch {
	case len(l.config.Validators) > 0:
		return order.AssuranceValidators
	case l.config.Agree > 1:
		return order.AssuranceEndpoints
	}
	return order.AssuranceOperator
}

// MaxRecord is the longest record in bytes.
func (l *Log) MaxRecord() int { return l.config.MaxRecord }

// Status is how it stands with the chain, for operators.
type Status struct {
	Position uint64    // the last final one
	Block    uint64    // the newest final block, 0 before any
	Verified time.Time // when a look at the chain last succeeded
	Problem  error     // why the last one did not, nil if it did
	Pending  int       // transactions that are not final
}

// Status returns how it stands with the chain.
func (l *Log) Status() Status {
	l.mu.Lock()
	s := Status{Position: uint64(len(l.index)), Verified: l.lastAt, Problem: l.looked}
	if l.final != nil {
		s.Block = l.final.number
	}
	l.mu.Unlock()
	if l.sender != nil {
		s.Pending = l.sender.count()
	}
	return s
}

// Close ends the log. Transactions that are on their way are taken up again when it is opened with the same store.
func (l *Log) Close() error {
	l.cancel()
	l.ended.Wait()
	return nil
}
