package ethereum

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// resendAfter is after how long a transaction that is in no block goes out again: endpoints lose their pools.
const resendAfter = 10 * time.Second

// keep looks after the transactions that are on their way: forgets those whose block is final, sends those again that no
// block holds, raises the fees of one that is stuck, and fills nonces that nobody uses.
func (s *sender) keep(ctx context.Context) {
	if s.acquire(ctx) != nil {
		return
	}
	defer s.release()
	if len(s.list) == 0 {
		return
	}
	s.forget(ctx)
	if len(s.list) == 0 {
		return
	}
	counts, err := s.counts(ctx, "latest")
	if err != nil {
		return
	}
	now := s.l.config.Now()
	// The endpoint that knows most decides what is mined: one that lags would have all sent again.
	mined := counts[0]
	oldest := true
	for _, p := range s.list {
		if p.tx.nonce < mined {
			p.mined = true
			continue
		}
		dropped := p.mined
		p.mined = false
		stuck := oldest && now.Sub(p.priced) >= s.l.config.Stuck
		if stuck && s.list[0].tx.nonce > mined {
			s.fill(ctx, mined)
			return
		}
		oldest = false
		if stuck && s.raise(ctx, p) {
			continue
		}
		if dropped || p.sent.IsZero() || now.Sub(p.sent) >= resendAfter || now.Before(p.sent) {
			if took, refused := s.broadcast(ctx, p); !took && refused != nil {
				s.l.tell(fmt.Sprintf("ethereum: transaction %d is refused by all endpoints and sent again: %v", p.tx.nonce, refused))
			}
		}
	}
}

// forget removes what is final: transactions below the count that enough endpoints give at the final block.
func (s *sender) forget(ctx context.Context) {
	s.l.mu.Lock()
	final := s.l.final
	s.l.mu.Unlock()
	if final == nil {
		return
	}
	counts, err := s.counts(ctx, quantity(final.number))
	if err != nil || len(counts) < s.l.config.Agree {
		return
	}
	count := counts[s.l.config.Agree-1]
	for len(s.list) > 0 && s.list[0].tx.nonce < count {
		p := s.list[0]
		if err := s.store.Remove(p.tx.nonce); err != nil {
			s.l.tell(fmt.Sprintf("ethereum: forget transaction %d: %v", p.tx.nonce, err))
			return
		}
		if !p.filler && !s.l.holds(p.record) {
			s.gas.lost, s.gas.full, s.gas.asked = true, 0, time.Time{} // and asked for anew
			s.l.tell(fmt.Sprintf("ethereum: nonce %d of %s is used, but its record is not among the final ones: the contract refused it (is the account allowed to submit, or was the record there before?), it had too little gas (from now on more is named), or somebody else uses the key", p.tx.nonce, s.key.Address()))
		}
		s.list = s.list[1:]
	}
}

// holds says whether a record is among the newest final positions.
func (l *Log) holds(record [32]byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	const newest = 10_000
	from := max(0, len(l.index)-newest)
	return slices.ContainsFunc(l.index[from:], func(p place) bool { return p.record == record })
}

// raise sends a transaction again with higher fees; false when they cannot rise.
func (s *sender) raise(ctx context.Context, p *pending) bool {
	before, replaced, priced := p.tx, p.replaced, p.priced
	s.feeAt = time.Time{}
	if s.learnFee(ctx) != nil {
		return false
	}
	p.replaced++
	s.setPrice(p)
	// All that was paid for before must rise by a tenth, or the replacement is refused.
	higher := func(now, then uint64) bool { return now >= then+then/10 && now > then }
	if !higher(p.tx.max, before.max) || (!p.tx.legacy && !higher(p.tx.tip, before.tip)) {
		p.tx, p.replaced = before, replaced
		return false
	}
	p.priced = s.l.config.Now()
	if err := s.store.Put(p.tx.nonce, p.marshal(s.key.Address())); err != nil {
		p.tx, p.replaced, p.priced = before, replaced, priced
		s.l.tell(err.Error())
		return false
	}
	if took, refused := s.broadcast(ctx, p); !took && refused != nil {
		s.l.tell(fmt.Sprintf("ethereum: the replacement of transaction %d is refused: %v", p.tx.nonce, refused))
	}
	return true
}

// fill uses nonces up that lie before the remembered ones and that nobody will use: transactions to the
// account itself, without value and data.
func (s *sender) fill(ctx context.Context, from uint64) {
	if s.list[0].tx.nonce-from > maxPending || s.learnFee(ctx) != nil {
		return
	}
	var fillers []*pending
	for nonce := from; nonce < s.list[0].tx.nonce; nonce++ {
		self := s.key.Address()
		p := &pending{filler: true, priced: s.l.config.Now()}
		p.tx = transaction{chainID: s.l.config.ChainID, nonce: nonce, gas: 21000, to: &self}
		s.setPrice(p)
		if err := s.store.Put(nonce, p.marshal(self)); err != nil {
			s.l.tell(err.Error())
			return
		}
		fillers = append(fillers, p)
	}
	s.list = append(fillers, s.list...)
	for _, p := range fillers {
		s.broadcast(ctx, p)
	}
}

// tell reports a problem that is of no single endpoint.
func (l *Log) tell(problem string) {
	l.report(&endpoint{}, errors.New(problem))
}
