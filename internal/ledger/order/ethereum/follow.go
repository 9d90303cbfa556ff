package ethereum

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sort"
	"sync"

	"hitoku.dev/internal/ledger/order"
)

// tip is what an endpoint says of the chain's end.
type tip struct {
	*endpoint
	final uint64 // the newest block that is final by the rule
	err   error
}

// each asks all endpoints at once.
func (l *Log) each(ask func(i int, e *endpoint)) {
	var wg sync.WaitGroup
	for i, e := range l.endpoints {
		wg.Go(func() { ask(i, e) })
	}
	wg.Wait()
}

// tips returns the endpoints that answer, and are of the right chain, the most advanced first.
func (l *Log) tips(ctx context.Context) []tip {
	all := make([]tip, len(l.endpoints))
	l.each(func(i int, e *endpoint) {
		final, err := l.finalNumber(ctx, e)
		if err != nil {
			l.report(e, err)
		}
		all[i] = tip{e, final, err}
	})
	list := all[:0]
	for _, t := range all {
		if t.err == nil {
			list = append(list, t)
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].final > list[j].final })
	return list
}

func (l *Log) finalNumber(ctx context.Context, e *endpoint) (uint64, error) {
	id, err := e.number(ctx, "eth_chainId")
	if err != nil {
		return 0, err
	}
	if id != l.config.ChainID {
		return 0, fmt.Errorf("ethereum: endpoint %s is of chain %d, chain %d wanted", e.url, id, l.config.ChainID)
	}
	if l.config.Finality == Finalized {
		h, err := e.block(ctx, "finalized")
		if err != nil {
			return 0, err
		}
		return h.number, nil
	}
	n, err := e.number(ctx, "eth_blockNumber")
	if err != nil || l.config.Finality == Immediate {
		return n, err
	}
	return n - min(n, l.config.Confirmations), nil
}

// look takes up what became final since the last look.
func (l *Log) look(ctx context.Context) error {
	list := l.tips(ctx)
	if len(list) < l.config.Agree {
		return fmt.Errorf("ethereum: %d of %d endpoints answer, %d must; the log stands still until they do", len(list), len(l.endpoints), l.config.Agree)
	}
	target := list[l.config.Agree-1].final
	l.mu.Lock()
	before := l.final
	l.mu.Unlock()
	if before != nil {
		if target < before.number {
			// Too few are as far as the final block; who is must still have it.
			target = before.number
		}
		if _, _, err := l.agreed(ctx, list, before.number, before); err != nil && (errors.Is(err, order.ErrReorganised) || target == before.number) {
			return err
		}
		if target == before.number {
			return nil
		}
	}
	h, witnesses, err := l.agreed(ctx, list, target, nil)
	if err != nil {
		return err
	}
	if before != nil && h.number == before.number+1 && h.parent != before.hash {
		return fmt.Errorf("%w: final block %d does not follow final block %d %s", order.ErrReorganised, h.number, before.number, before.hash)
	}
	if len(l.config.Validators) > 0 {
		if err := h.verifySeals(l.config.Validators); err != nil {
			return err
		}
	}
	return l.advance(ctx, h, witnesses)
}

// agreed returns the header of a block that enough endpoints give, and who gave it. Endpoints that give another one,
// which is a header too, are a disagreement about something final. want is the header that it must be, if there is one.
func (l *Log) agreed(ctx context.Context, list []tip, number uint64, want *header) (*header, []*endpoint, error) {
	headers, errs := make([]*header, len(list)), make([]error, len(list))
	var wg sync.WaitGroup
	for i, t := range list {
		if t.final >= number {
			wg.Go(func() { headers[i], errs[i] = t.block(ctx, quantity(number)) })
		}
	}
	wg.Wait()
	var witnesses []*endpoint
	for i, h := range headers {
		if errs[i] != nil {
			l.report(list[i].endpoint, errs[i])
		}
		if h == nil {
			continue
		}
		if want == nil {
			want = h
		}
		if h.hash != want.hash {
			return nil, nil, fmt.Errorf("%w: final block %d is %s for endpoint %s, it was %s for another or before", order.ErrReorganised, number, h.hash, list[i].url, want.hash)
		}
		witnesses = append(witnesses, list[i].endpoint)
	}
	if len(witnesses) < l.config.Agree {
		return nil, nil, fmt.Errorf("ethereum: %d endpoints gave block %d, %d must: %w", len(witnesses), number, l.config.Agree, errors.Join(errs...))
	}
	return want, witnesses, nil
}

// advance proves what the contract holds at a final block and takes the events up that lead there.
func (l *Log) advance(ctx context.Context, h *header, witnesses []*endpoint) error {
	state, proof, err := l.prove(ctx, h, witnesses)
	if err != nil {
		return err
	}
	l.mu.Lock()
	have, chain, from := uint64(len(l.index)), l.chain, l.config.FirstBlock
	if l.final != nil {
		from = l.final.number + 1
	}
	l.mu.Unlock()
	if state.Position < have || (state.Position == have && state.Chain != chain) {
		return fmt.Errorf("%w: the contract is proved to hold position %d with chain value %s in final block %d, where %d with %x was final before; is this the ledger's contract?",
			order.ErrReorganised, state.Position, state.Chain, h.number, have, chain)
	}
	var found *gathered
	if state.Position > have {
		var errs []error
		for _, e := range witnesses {
			g := &gathered{position: have, chain: chain, time: l.lastTime()}
			err := l.gather(ctx, e, g, from, h.number, state.Position)
			if err == nil && (g.position != state.Position || g.chain != state.Chain) {
				err = fmt.Errorf("ethereum: the events of endpoint %s lead to position %d, not to the proved chain value at %d; it omits or invents some", e.url, g.position, state.Position)
			}
			if err == nil {
				found = g
				break
			}
			l.report(e, err)
			errs = append(errs, err)
		}
		if found == nil {
			return errors.Join(errs...)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.final = h
	if len(l.config.Validators) > 0 {
		l.proved = proof.encode(h)
	}
	if found != nil {
		l.index = append(l.index, found.places...)
		l.records = append(l.records, found.records...)
		l.held += found.held
		l.chain = found.chain
		l.shed()
		l.wake()
	}
	return nil
}

func (l *Log) lastTime() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.index) == 0 {
		return 0
	}
	return l.index[len(l.index)-1].time
}

// prove asks witness after witness until one gives a proof that holds.
func (l *Log) prove(ctx context.Context, h *header, witnesses []*endpoint) (State, *accountProof, error) {
	var errs []error
	for _, e := range witnesses {
		p, err := e.proof(ctx, l.config.Contract, h.number)
		if err == nil {
			var s State
			if s, err = p.verify(h, l.config.Contract); err == nil {
				return s, p, nil
			}
			err = fmt.Errorf("ethereum: endpoint %s, proof in block %d: %w", e.url, h.number, err)
		}
		l.report(e, err)
		errs = append(errs, err)
	}
	return State{}, nil, errors.Join(errs...)
}

// gathered are events that chain up, not yet known to be all.
type gathered struct {
	position, time uint64
	chain          [32]byte
	places         []place
	records        [][]byte // the newest ones
	held           int
}

func (g *gathered) take(e event) error {
	if e.position != g.position+1 || e.time < g.time {
		return fmt.Errorf("%w: position %d, time %d after %d, %d", errEvent, e.position, e.time, g.position, g.time)
	}
	sum := sha256.Sum256(e.record)
	g.position, g.time = e.position, e.time
	g.chain = order.ChainHash(g.chain, e.position, e.time, sum)
	g.places = append(g.places, place{e.block, e.time, sum})
	g.records = append(g.records, e.record)
	g.held += len(e.record)
	for g.held > cacheBytes {
		g.held -= len(g.records[0])
		g.records = g.records[1:]
	}
	return nil
}

const (
	// firstRange is how many blocks are asked for at once; less where an endpoint refuses, more where it does not.
	firstRange = 1000
	maxRange   = 16000
	// page is how many positions of one block are asked for at once, where all are too many.
	page = 64
)

// gather reads all events of a range of blocks: range by range, and one block page by page where it is too large.
func (l *Log) gather(ctx context.Context, e *endpoint, g *gathered, from, to, until uint64) error {
	size, count := uint64(firstRange), uint64(page)
	for from <= to {
		if err := ctx.Err(); err != nil {
			return err
		}
		end := min(to, from+size-1)
		var numbers []uint64
		if size == 0 {
			end = from
			for n := g.position + 1; n <= until && n <= g.position+count; n++ {
				numbers = append(numbers, n)
			}
		}
		list, err := e.events(ctx, l.config.Contract, from, end, numbers)
		if err != nil {
			switch {
			case ctx.Err() != nil || !tooMuch(err):
				return err
			case size > 0:
				size /= 2
			case count > 1:
				count /= 2
			default:
				return err
			}
			continue
		}
		sort.SliceStable(list, func(i, j int) bool { return list[i].position < list[j].position })
		for _, ev := range list {
			if err := g.take(ev); err != nil {
				return fmt.Errorf("ethereum: endpoint %s: %w", e.url, err)
			}
		}
		if g.position > until {
			return fmt.Errorf("ethereum: endpoint %s gives more events than position %d: %w", e.url, until, errEvent)
		}
		// A page that was full may be followed by another of the same block.
		if size > 0 || len(list) < len(numbers) || g.position == until {
			from = end + 1
			size = min(max(2*size, 1), maxRange)
		}
	}
	return nil
}

// tooMuch says whether an endpoint may answer a smaller question.
func tooMuch(err error) bool {
	var answered *rpcError
	return errors.Is(err, errTooMuch) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &answered)
}
