package faulttest

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"hitoku.dev/internal/ledger/order"
)

// errDown is what a log says that fails for a while.
var errDown = errors.New("the test's log is down")

// faults are probabilities, in percent, of what a log does to a record that it gets.
type faults struct {
	drop, repeat, reorder, forge, old int
	slow                              time.Duration // how late entries are shown
	down                              bool
}

// unreliable is one node's way to the log of all: it loses, repeats, reorders and forges what is handed
// over, answers late and in bits, and fails. What is final stays so.
type unreliable struct {
	order.Log

	mu   sync.Mutex
	rng  *rand.Rand
	is   faults
	held []order.Submission // taken, and brought later
	past [][]byte           // brought again, now and then
}

func (u *unreliable) set(f faults) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.is = f
}

func (u *unreliable) state() faults {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.is
}

// Submit hands over what the dice say. It returns nil too for what it throws away.
func (u *unreliable) Submit(ctx context.Context, s order.Submission) error {
	list, err := u.choose(s)
	if err != nil {
		return err
	}
	for _, x := range list {
		if err := u.Log.Submit(ctx, x); err != nil {
			return err
		}
	}
	return nil
}

func (u *unreliable) choose(s order.Submission) ([]order.Submission, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.is.down {
		return nil, errDown
	}
	roll := func(percent int) bool { return u.rng.IntN(100) < percent }
	junk := func(b []byte) order.Submission {
		b = bytes.Clone(b)
		b[u.rng.IntN(len(b))] ^= 1 << u.rng.IntN(8)
		return order.Submission{Record: b[:len(b)-u.rng.IntN(2)]}
	}
	var out []order.Submission
	if roll(u.is.old) && len(u.past) > 0 {
		out = append(out, order.Submission{Record: u.past[u.rng.IntN(len(u.past))]})
	}
	if u.past = append(u.past, s.Record); len(u.past) > 64 {
		u.past = u.past[1:]
	}
	if roll(u.is.forge) {
		out = append(out, junk(s.Record))
	}
	switch {
	case roll(u.is.drop):
	case roll(u.is.reorder):
		u.held = append(u.held, s)
	default:
		out = append(out, s)
		if roll(u.is.repeat) {
			out = append(out, s)
		}
		out = append(out, u.held...)
		u.held = nil
	}
	return out, nil
}

func (u *unreliable) Read(ctx context.Context, after uint64, limit int) ([]order.Entry, error) {
	f := u.state()
	if f.down {
		return nil, errDown
	}
	if f.slow > 0 {
		limit = min(limit, 2)
	}
	return u.Log.Read(ctx, after, limit)
}

func (u *unreliable) Wait(ctx context.Context, after uint64) error {
	f := u.state()
	if f.down {
		return errDown
	}
	if f.slow > 0 {
		late := time.NewTimer(f.slow)
		defer late.Stop()
		select {
		case <-late.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond) // it may fail meanwhile
	defer cancel()
	if err := u.Log.Wait(ctx, after); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// Close leaves the log of all open.
func (u *unreliable) Close() error { return nil }
