package simtee

import (
	"fmt"
	"sync"
)

// registry remembers which processes are connected and which were measured. A
// process is measured once in its life on one server: its measurement is an
// extend-once register.
type registry struct {
	mu      sync.Mutex
	entries map[processKey]*registered
}

// processKey names a process for as long as the machine runs.
type processKey struct {
	pid   int32
	start uint64
}

type registered struct {
	process  *process
	measured bool
	closed   bool // its connection has ended
}

func (p *process) key() processKey { return processKey{p.pid, p.start} }

// claim admits the first connection of a process. The registry owns p from then
// on; call release when the connection ends.
func (r *registry) claim(p *process) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, e := range r.entries {
		if e.closed && e.process.alive() != nil {
			e.process.close()
			delete(r.entries, key)
		}
	}
	if e := r.entries[p.key()]; e != nil {
		seen := "it has one already"
		if e.measured {
			seen = "it was measured already"
		}
		return &RefusedError{
			Rule: "one_connection", Wanted: fmt.Sprintf("the first connection of process %d", p.pid), Seen: seen,
			Advice: "a program keeps its connection for life; start it again to have it measured again",
		}
	}
	if r.entries == nil {
		r.entries = make(map[processKey]*registered)
	}
	r.entries[p.key()] = &registered{process: p}
	return nil
}

func (r *registry) setMeasured(p *process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries[p.key()].measured = true
}

func (r *registry) release(p *process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[p.key()]
	p.forget()
	if e.closed = true; !e.measured {
		p.close()
		delete(r.entries, p.key())
	}
}
