package ethereum

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hitoku.dev/internal/ledger/order"
)

// sender gives each record one nonce of the submitter's account, and keeps its transaction alive until it is final.
type sender struct {
	l     *Log
	key   *Key
	store Store

	lock    chan struct{} // held by who changes what follows; room for one
	list    []*pending    // by rising nonce
	next    uint64        // the next nonce, where it is known
	known   bool
	baseFee uint64
	legacy  bool      // the chain has no base fee
	feeAt   time.Time // when the base fee was asked for
	gas     gasPrices
}

// pending is a transaction that may still be mined, or whose block is not final.
type pending struct {
	tx       transaction
	record   [32]byte // SHA-256
	filler   bool     // it holds no record, and only fills a nonce that nobody else will use
	replaced int      // how often its fees were raised
	priced   time.Time
	sent     time.Time // the last time that it went out; zero in this process before
	mined    bool      // it was in a block when last looked at
}

func newSender(l *Log) (*sender, error) {
	s := &sender{l: l, key: l.config.Key, store: l.config.Store, lock: make(chan struct{}, 1)}
	found, err := s.store.Load()
	if err != nil {
		return nil, err
	}
	for nonce, b := range found {
		p, err := parsePending(b, nonce, l.config.ChainID, s.key.Address())
		if err != nil {
			return nil, err
		}
		s.list = append(s.list, p)
	}
	slices.SortFunc(s.list, func(a, b *pending) int {
		if a.tx.nonce < b.tx.nonce {
			return -1
		}
		return 1
	})
	return s, nil
}

func (s *sender) acquire(ctx context.Context) error {
	select {
	case s.lock <- struct{}{}:
		return nil
	case <-s.l.stop.Done():
		return order.ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *sender) release() { <-s.lock }

func (s *sender) count() int {
	s.lock <- struct{}{}
	defer s.release()
	return len(s.list)
}

// Submit signs a transaction for a record, remembers it, and sends it to all endpoints. It returns nil when one
// of them took it, or when none could be asked: then it is sent again until one takes it.
func (l *Log) Submit(ctx context.Context, sub order.Submission) error {
	l.mu.Lock()
	err := l.usable()
	l.mu.Unlock()
	switch {
	case err != nil:
		return err
	case l.sender == nil:
		return errors.New("ethereum: this log was opened without a submitter's key; it only reads")
	case len(sub.Record) == 0:
		return errors.New("ethereum: the record is empty")
	case len(sub.Record) > l.config.MaxRecord:
		return fmt.Errorf("%w: %d bytes, at most %d are taken", order.ErrTooLarge, len(sub.Record), l.config.MaxRecord)
	}
	s := l.sender
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.release()
	record := sha256.Sum256(sub.Record)
	if slices.ContainsFunc(s.list, func(p *pending) bool { return p.record == record && !p.filler }) {
		return nil
	}
	if len(s.list) >= maxPending {
		return fmt.Errorf("ethereum: %d transactions wait to be final; try again later", len(s.list))
	}
	data := submitCall(sub.Record, sub.Sender, sub.N)
	// A nonce that somebody else has used with this key is found out by sending; so try anew with the next.
	for attempt := 0; ; attempt++ {
		p, err := s.prepare(ctx, data, len(sub.Record), record)
		if err != nil {
			return err
		}
		if err := s.store.Put(p.tx.nonce, p.marshal(s.key.Address())); err != nil {
			return err
		}
		s.list = append(s.list, p)
		s.next++
		took, refused := s.broadcast(ctx, p)
		if took {
			l.pokeFollow()
			return nil
		}
		if refused == nil {
			return nil
		}
		// Every endpoint said no, so nobody has it: the nonce is free.
		s.list = s.list[:len(s.list)-1]
		s.next--
		if err := s.store.Remove(p.tx.nonce); err != nil {
			return errors.Join(refused, err)
		}
		if attempt == 3 || !aboutNonce(refused) {
			return refused
		}
		s.known = false
	}
}

func (s *sender) prepare(ctx context.Context, data []byte, size int, record [32]byte) (*pending, error) {
	if !s.known {
		if err := s.learnNonce(ctx); err != nil {
			return nil, err
		}
	}
	if err := s.learnFee(ctx); err != nil {
		return nil, err
	}
	s.learnGas(ctx)
	p := &pending{record: record, priced: s.l.config.Now()}
	contract := s.l.config.Contract
	p.tx = transaction{chainID: s.l.config.ChainID, nonce: s.next, gas: s.gas.limit(size, s.l.config.MaxRecord), to: &contract, data: data}
	s.setPrice(p)
	return p, nil
}

func (s *sender) setPrice(p *pending) {
	f := s.l.config.Fees
	f.Legacy = f.Legacy || s.legacy
	p.tx.legacy = f.Legacy
	p.tx.tip, p.tx.max = f.price(s.baseFee, p.replaced)
}

// learnNonce asks for the next nonce: the highest that an endpoint knows, and above all that are remembered.
func (s *sender) learnNonce(ctx context.Context) error {
	counts, err := s.counts(ctx, "pending")
	if err != nil {
		return err
	}
	s.next = slices.Max(counts)
	if n := len(s.list); n > 0 {
		s.next = max(s.next, s.list[n-1].tx.nonce+1)
	}
	s.known = true
	return nil
}

// counts returns how many transactions of the account each endpoint that answers knows, the most first.
func (s *sender) counts(ctx context.Context, block string) ([]uint64, error) {
	all, errs := make([]uint64, len(s.l.endpoints)), make([]error, len(s.l.endpoints))
	s.l.each(func(i int, e *endpoint) {
		all[i], errs[i] = e.number(ctx, "eth_getTransactionCount", s.key.Address().String(), block)
	})
	var list []uint64
	for i, n := range all {
		if errs[i] == nil {
			list = append(list, n)
		}
	}
	if len(list) == 0 {
		return nil, errors.Join(errs...)
	}
	slices.SortFunc(list, func(a, b uint64) int {
		if a > b {
			return -1
		}
		return 1
	})
	return list, nil
}

// learnFee asks for the base fee now and then; the first endpoint that answers is believed, within Fees.Max.
func (s *sender) learnFee(ctx context.Context) error {
	now := s.l.config.Now()
	if !s.feeAt.IsZero() && now.Sub(s.feeAt) < 2*time.Second && !now.Before(s.feeAt) {
		return nil
	}
	if s.l.config.Fees.Legacy {
		return nil
	}
	var errs []error
	for _, e := range s.l.endpoints {
		h, err := e.block(ctx, "latest")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.feeAt, s.legacy, s.baseFee = now, len(h.fields) <= minFields, 0
		if !s.legacy {
			fee := h.fields[minFields]
			if s.baseFee, err = fee.uint(); err != nil {
				s.baseFee = 1<<64 - 1
			}
		}
		return nil
	}
	return fmt.Errorf("ethereum: the base fee: %w", errors.Join(errs...))
}

// broadcast sends a transaction to all endpoints. It returns as soon as one took it; refused is why all said no,
// nil when some could not be asked.
func (s *sender) broadcast(ctx context.Context, p *pending) (took bool, refused error) {
	raw, hash := p.tx.sign(s.key)
	p.sent = s.l.config.Now()
	answers := make(chan error, len(s.l.endpoints))
	for _, e := range s.l.endpoints {
		// The others hear of it too, also when the first has answered and the caller is gone.
		go func() { answers <- e.send(s.l.stop, raw, hash) }()
	}
	var errs []error
	doubt := false
	for range s.l.endpoints {
		select {
		case err := <-answers:
			var said *rpcError
			switch {
			case err == nil:
				return true, nil
			case !errors.As(err, &said):
				doubt = true
			}
			errs = append(errs, err)
		case <-ctx.Done():
			return false, nil
		}
	}
	if doubt {
		return false, nil
	}
	return false, errors.Join(errs...)
}

// send hands a transaction to one endpoint; one that has it already has taken it.
func (e *endpoint) send(ctx context.Context, raw []byte, hash Hash) error {
	var s string
	err := e.call(ctx, &s, "eth_sendRawTransaction", hexBytes(raw))
	var said *rpcError
	if errors.As(err, &said) {
		// geth: already known; Besu: Known transaction. Nothing else tells it.
		if text := strings.ToLower(said.Message); strings.Contains(text, "already known") || strings.Contains(text, "known transaction") {
			return nil
		}
		return err
	}
	if err == nil && s != hash.String() {
		return fmt.Errorf("ethereum: endpoint %s took transaction %s for %s", e.url, hash, s)
	}
	return err
}

// aboutNonce says whether an endpoint refused a transaction because of its nonce: then somebody else has used it.
func aboutNonce(err error) bool {
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "nonce") || strings.Contains(text, "underpriced")
}
