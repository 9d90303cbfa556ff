package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/internal/ledger/order"
)

// page is how many positions are read at once.
const page = 256

// Run is the node's life. It returns when ctx ends: nil, or why the node had halted or
// could not serve. A halted node goes on telling its health until then.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	var handler http.Handler = n.api
	if n.o.Serve != nil {
		handler = n.o.Serve(handler)
	}
	server := &http.Server{
		Handler: handler, TLSConfig: member.ServerConfig(n.cert, n.acceptAny),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 2 * time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: quiet(n.o.Logger),
	}
	var serving error
	group.Go(func() {
		if err := server.ServeTLS(n.o.Listener, "", ""); err != nil && !errors.Is(err, http.ErrServerClosed) {
			serving = fmt.Errorf("serve on %s: %w", n.o.Listener.Addr(), err)
			cancel()
		}
	})
	for _, loop := range []func(context.Context){n.follow, n.tick, n.submit, n.files.run, n.peers.run} {
		group.Go(func() { loop(ctx) })
	}
	<-ctx.Done()
	cancel()
	_ = server.Close() // connections are cut: whoever asks again finds another incarnation
	group.Wait()
	n.peers.close()
	return errors.Join(serving, n.r.Err(), n.dir.Close())
}

// follow feeds the replica with the log's final positions.
func (n *Node) follow(ctx context.Context) {
	retry := n.backoff(5 * time.Second)
	for ctx.Err() == nil && n.r.Err() == nil {
		after := n.r.Status().Position
		entries, err := n.o.Log.Read(ctx, after, page)
		if err == nil && len(entries) == 0 {
			n.caughtUp.Store(true)
			err = n.o.Log.Wait(ctx, after)
		}
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, order.ErrReorganised):
			_ = n.r.Halt(err)
			return
		case err != nil:
			n.o.Logger.Warn("the log does not answer", "position", after, "reason", err)
			retry.wait(ctx)
			continue
		}
		retry.reset()
		if len(entries) > 0 && n.r.Apply(entries...) == nil {
			n.files.kick()
		}
	}
}

// tick lets time pass for the replica, and takes what it wants to be done.
func (n *Node) tick(ctx context.Context) {
	clock := time.NewTicker(n.o.Tick)
	defer clock.Stop()
	var busy sync.WaitGroup
	defer busy.Wait()
	joins, states := single{}, single{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-clock.C:
		}
		if n.r.Err() != nil {
			return
		}
		if n.caughtUp.Load() {
			if n.r.NeedsJoin() {
				joins.start(&busy, func() { n.join(ctx) })
			}
			if wanted, _, _ := n.r.Wants(); wanted {
				states.start(&busy, func() { n.acquire(ctx) })
			}
		}
		n.r.Tick()
		out := n.r.Outgoing()
		if n.vault != nil && !n.vault.keep(ctx, len(out) > 0) {
			return
		}
		n.out.add(out)
	}
}

// join makes evidence until it could be made once.
func (n *Node) join(ctx context.Context) {
	retry := n.backoff(30 * time.Second)
	for ctx.Err() == nil && n.r.NeedsJoin() {
		err := n.r.Join(ctx)
		if err == nil || n.r.Err() != nil {
			return
		}
		n.o.Logger.Error("cannot join", "reason", err)
		retry.wait(ctx)
	}
}

// single runs one thing at a time.
type single struct {
	mu      sync.Mutex
	running bool
}

func (s *single) start(group *sync.WaitGroup, f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		return
	}
	s.running = true
	group.Go(func() {
		f()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.running = false
	})
}

// outbox holds the records that wait to be handed over, in order.
type outbox struct {
	wake chan struct{}

	mu    sync.Mutex
	queue []order.Submission
}

// add appends records; those that wait already are not added again.
func (b *outbox) add(list []order.Submission) {
	if len(list) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	waiting := make(map[uint64]*order.Submission, len(b.queue))
	for i := range b.queue {
		waiting[b.queue[i].N] = &b.queue[i]
	}
	for _, s := range list {
		if w := waiting[s.N]; w != nil && string(w.Record) == string(s.Record) {
			continue
		}
		b.queue = append(b.queue, s)
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *outbox) first() (order.Submission, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		return order.Submission{}, false
	}
	return b.queue[0], true
}

func (b *outbox) drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue = b.queue[1:]
}

// submit hands the records over, each until the log has taken it.
func (n *Node) submit(ctx context.Context) {
	retry := n.backoff(5 * time.Second)
	for {
		s, ok := n.out.first()
		if !ok {
			select {
			case <-ctx.Done():
				return
			case <-n.out.wake:
			}
			continue
		}
		err := n.o.Log.Submit(ctx, s)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, order.ErrTooLarge):
			n.o.Logger.Error("the log does not take a record", "bytes", len(s.Record), "reason", err)
		case err != nil:
			n.o.Logger.Warn("the log did not take a record; trying again", "number", s.N, "reason", err)
			retry.wait(ctx)
			continue
		}
		retry.reset()
		n.out.drop()
	}
}

// backoff waits longer after each failure, with jitter.
type backoff struct {
	random io.Reader
	next   time.Duration
	most   time.Duration
}

const firstWait = 50 * time.Millisecond

func (n *Node) backoff(most time.Duration) *backoff {
	return &backoff{random: n.o.Random, next: firstWait, most: most}
}

func (b *backoff) reset() { b.next = firstWait }

// wait sleeps for half to all of the present time, and doubles it.
func (b *backoff) wait(ctx context.Context) {
	var r [2]byte
	_, _ = io.ReadFull(b.random, r[:]) // without randomness there is no jitter
	d := b.next/2 + b.next/2*time.Duration(binary.BigEndian.Uint16(r[:]))/0xffff
	b.next = min(2*b.next, b.most)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// Order implements api.Operator.
func (n *Node) Order(ctx context.Context) (order.Assurance, []byte, error) {
	proof, err := n.o.Log.Proof(ctx)
	return n.o.Log.Assurance(), proof, err
}
