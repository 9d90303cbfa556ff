package faulttest

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"hitoku.dev/internal/ledger/order"
)

// story is a log that its host may end, branch and take back as it likes.
type story struct {
	mu      sync.Mutex
	entries []order.Entry
	grown   chan struct{}
}

// tellings is which story each slot is told.
type tellings struct {
	mu sync.Mutex
	of [slots]*story
}

func newTellings() *tellings {
	s := &tellings{}
	s.tell(&story{grown: make(chan struct{})})
	return s
}

// tell tells slots, none means all, a story from now on.
func (s *tellings) tell(what *story, to ...int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.of {
		if len(to) == 0 || slices.Contains(to, i) {
			s.of[i] = what
		}
	}
}

func (s *tellings) told(slot int) *story {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[slot]
}

// branch is a story with the same beginning.
func (s *story) branch(length int) *story {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &story{entries: slices.Clone(s.entries[:length]), grown: make(chan struct{})}
}

func (s *story) length() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}

func (s *story) append(record []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries = append(s.entries, order.Entry{Position: uint64(len(s.entries) + 1), Time: uint64(time.Now().Unix()), Record: bytes.Clone(record)})
	close(s.grown)
	s.grown = make(chan struct{})
}

// listener is a slot's log: the story that it is told at the time.
type listener struct {
	of   *tellings
	slot int
}

func (l listener) Submit(_ context.Context, s order.Submission) error {
	l.of.told(l.slot).append(s.Record)
	return nil
}

func (l listener) Read(_ context.Context, after uint64, limit int) ([]order.Entry, error) {
	s := l.of.told(l.slot)
	s.mu.Lock()
	defer s.mu.Unlock()
	if after >= uint64(len(s.entries)) {
		return nil, nil
	}
	return slices.Clone(s.entries[after:min(after+uint64(limit), uint64(len(s.entries)))]), nil
}

func (l listener) Wait(ctx context.Context, after uint64) error {
	s := l.of.told(l.slot)
	s.mu.Lock()
	there, grown := uint64(len(s.entries)) > after, s.grown
	s.mu.Unlock()
	if there {
		return nil
	}
	again := time.NewTimer(10 * time.Millisecond) // another story may be told meanwhile
	defer again.Stop()
	select {
	case <-grown:
	case <-again.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

func (l listener) Head(context.Context) (position, time uint64, err error) {
	s := l.of.told(l.slot)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.entries); n > 0 {
		return uint64(n), s.entries[n-1].Time, nil
	}
	return 0, 0, nil
}

func (l listener) Proof(context.Context) ([]byte, error) { return nil, nil }
func (l listener) Assurance() order.Assurance            { return order.AssuranceOperator }
func (l listener) MaxRecord() int                        { return 64 << 10 }
func (l listener) Close() error                          { return nil }
