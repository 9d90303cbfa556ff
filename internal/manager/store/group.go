package store

import (
	"context"
	"sync"
)

// group joins the updates that wait for SQLite's one writer into one transaction,
// so that they wait for the disk once. Each runs after the other and sees what
// those before it did, as if each had a transaction of its own; nobody is told of
// success before the transaction is committed. When one of them fails, all are
// rolled back and each runs again by itself.
type group struct {
	mu      sync.Mutex
	busy    bool
	waiting []*job
}

// maxGroup bounds how many updates one transaction holds.
const maxGroup = 64

type job struct {
	ctx      context.Context
	fn       func(*Tx) error
	turn     chan bool // true: lead the next group; false: done
	err      error
	panicked any
}

func (g *group) update(ctx context.Context, s *Store, fn func(*Tx) error) error {
	j := &job{ctx: ctx, fn: fn, turn: make(chan bool, 1)}
	if g.enter(j) || <-j.turn {
		members := g.gather(j)
		defer func() { // whatever happens, others need the writer
			g.next()
			for _, k := range members[1:] {
				k.turn <- false
			}
		}()
		s.runGroup(members)
	}
	if j.panicked != nil {
		panic(j.panicked) // where it belongs
	}
	return j.err
}

// enter reports whether the writer was idle and j leads now; otherwise j waits.
func (g *group) enter(j *job) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.busy {
		g.waiting = append(g.waiting, j)
		return false
	}
	g.busy = true
	return true
}

// gather returns the leader and those who wait behind it.
func (g *group) gather(leader *job) []*job {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.waiting), maxGroup-1)
	members := append([]*job{leader}, g.waiting[:n]...)
	g.waiting = append([]*job(nil), g.waiting[n:]...)
	return members
}

// next hands the writer on.
func (g *group) next() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.busy = false
		return
	}
	g.waiting[0].turn <- true
	g.waiting = g.waiting[1:]
}

func (s *Store) runGroup(members []*job) {
	if len(members) > 1 {
		fns := make([]func(*Tx) error, len(members))
		for i, j := range members {
			fns[i] = j.run
		}
		if s.transact(context.Background(), fns...) == nil {
			return
		}
	}
	for _, j := range members {
		j.panicked = nil
		j.err = s.retry(func() error { return s.transact(j.ctx, j.run) })
	}
}

// run keeps a panic for the goroutine that the update belongs to, since others need the writer.
func (j *job) run(tx *Tx) (err error) {
	defer func() {
		if j.panicked = recover(); j.panicked != nil {
			err = errPanicked
		}
	}()
	return j.fn(tx)
}
