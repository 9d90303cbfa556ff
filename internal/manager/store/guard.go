package store

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"
)

// guard is what the audit log says about the present version of every protected
// row. It is built by reading the log from its first event, verifying each, and
// kept up by reading what was appended since.
type guard struct {
	key []byte

	mu sync.Mutex
	// checkpoint is an event that must be in the log: the saved checkpoint's, later the last
	// one that this process committed.
	checkpoint Checkpoint
	count      int64
	head       []byte
	objects    map[objectKey]known
	restored   time.Time // when an older log was last accepted
	broken     error     // sticky: tampered or rolled back
}

type known struct {
	version int64
	mac     [sha256.Size]byte
	gone    bool
}

func newGuard(key []byte, cp Checkpoint) *guard {
	return &guard{key: key, checkpoint: cp, objects: map[objectKey]known{}}
}

const replayBatch = 1000

// catchUp brings the guard to the end of the log as this transaction sees it.
// What is wrong with the log is remembered, not returned, so that reading goes
// on; [Store.CheckTrusted] returns it.
func (tx *Tx) catchUp(ctx context.Context) error {
	if tx.caught {
		return nil
	}
	tx.caught = true
	g := tx.s.guard
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.broken == nil {
		// The last event known is read again: if it is another one now, the log was replaced.
		from := g.count
		if from == 0 {
			from = 1
		}
		events, err := query[Event](ctx, tx, "WHERE seq >= $1 ORDER BY seq LIMIT $2", from, replayBatch)
		if errors.Is(err, ErrTampered) {
			g.broken = err
			return nil
		}
		if err != nil {
			return err
		}
		if g.count > 0 {
			if len(events) == 0 || events[0].Seq != g.count || !bytes.Equal(events[0].hash, g.head) {
				old, err := tx.olderThanGuard(ctx, g.count)
				if err == nil && !old {
					g.broken = &RollbackError{Wanted: g.count, Reason: fmt.Sprintf("event %d of the audit log is gone or is another one than was there", g.count)}
				}
				return err
			}
			events = events[1:]
		}
		if g.broken = g.replay(events); g.broken != nil {
			return nil
		}
		if len(events) < replayBatch-1 {
			break
		}
	}
	if g.broken == nil && g.count < g.checkpoint.Count && tx.floor >= g.checkpoint.Count {
		g.broken = &RollbackError{Seen: g.count, Wanted: g.checkpoint.Count}
	}
	if tx.writer && len(tx.events) == 0 {
		tx.s.recall.tail = g.count
	}
	return nil
}

// olderThanGuard reports whether the snapshot of tx is merely older than the guard, as that
// of a reader that began before the last commit is. A snapshot that lacks what was known
// before it began is not.
func (tx *Tx) olderThanGuard(ctx context.Context, count int64) (bool, error) {
	var seen int64
	if err := tx.q.QueryRowContext(ctx, "SELECT count FROM audit_head WHERE id = 1").Scan(&seen); err != nil {
		return false, fmt.Errorf("audit log: %w", classify(err))
	}
	return seen >= tx.floor && seen < count, nil
}

// reached reports whether a log that ends with this event is known to its end and trusted.
func (g *guard) reached(tail int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.broken == nil && tail == g.count
}

// extend learns events that this process has committed, where none is between them and those
// known. It need not read them again: they are what it wrote.
func (g *guard) extend(events []*Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range events {
		if g.broken != nil || e.Seq != g.count+1 {
			return
		}
		g.count, g.head = e.Seq, bytes.Clone(e.hash)
		g.learnAll(e)
	}
}

// last returns the hash of the event with this number, if it is the last one known.
func (g *guard) last(seq int64) []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.broken != nil || seq != g.count {
		return nil
	}
	return bytes.Clone(g.head)
}

// vouches reports whether a row is the newest version that the log knows of.
func (g *guard) vouches(o ObjectState, bulk bool) bool {
	if _, err := g.state(); err != nil {
		return false
	}
	return g.present(o, bulk) == nil
}

func (g *guard) replay(events []*Event) error {
	for _, e := range events {
		if e.Seq != g.count+1 {
			return &TamperedError{Kind: "audit event", ID: fmt.Sprint(g.count + 1), Reason: "it is missing"}
		}
		hash, mac, err := e.chain(g.key, g.head)
		if err != nil || !bytes.Equal(hash, e.hash) || !hmac.Equal(mac, e.mac) {
			return &TamperedError{Kind: "audit event", ID: fmt.Sprint(e.Seq), Reason: "its hash or MAC does not fit"}
		}
		g.count, g.head = e.Seq, e.hash
		if g.count == g.checkpoint.Count && !bytes.Equal(g.head, g.checkpoint.Head) {
			return &RollbackError{Seen: g.count, Wanted: g.checkpoint.Count, Reason: fmt.Sprintf("event %d of the audit log is another one than the checkpoint names", g.count)}
		}
		g.learnAll(e)
	}
	return nil
}

func (g *guard) learnAll(e *Event) {
	for _, o := range e.Objects {
		if o.Kind == rollbackKind {
			g.restored = e.Time
			continue
		}
		g.learn(o)
	}
}

func (g *guard) learn(o ObjectState) {
	if o.Version == 1 && o.Kind == certificateKind {
		return // bulk: version 1 is what is expected of one never heard of
	}
	k := known{version: o.Version, gone: len(o.MAC) == 0}
	copy(k.mac[:], o.MAC)
	g.objects[o.key()] = k
}

// present compares a row with what the log says about it.
func (g *guard) present(o ObjectState, bulk bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.broken != nil {
		return nil // issuing is refused anyway; people must be able to look
	}
	if a, ok := g.objects[objectKey{accountKind, o.Account, o.Account}]; ok && a.gone && o.Kind != accountKind {
		return &TamperedError{Kind: o.Kind, ID: o.ID, Reason: "its account was deleted"}
	}
	k, ok := g.objects[o.key()]
	switch {
	case !ok && bulk && o.Version == 1:
		return nil
	case !ok:
		return &TamperedError{Kind: o.Kind, ID: o.ID, Reason: fmt.Sprintf("version %d is there, the audit log does not know it", o.Version)}
	case k.gone:
		return &TamperedError{Kind: o.Kind, ID: o.ID, Reason: "it is there although the audit log says that it was deleted"}
	case k.version != o.Version || !hmac.Equal(k.mac[:], o.MAC):
		return &TamperedError{Kind: o.Kind, ID: o.ID, Reason: fmt.Sprintf("version %d is there, the audit log says version %d", o.Version, k.version)}
	}
	return nil
}

// alive reports whether the log says that the row must be there.
func (g *guard) alive(k objectKey) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.broken != nil {
		return false
	}
	if a, ok := g.objects[objectKey{accountKind, k.account, k.account}]; ok && a.gone {
		return false
	}
	o, ok := g.objects[k]
	return ok && !o.gone
}

func (g *guard) state() (Checkpoint, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Checkpoint{Count: g.count, Head: bytes.Clone(g.head)}, g.broken
}

// known returns how many events a transaction that begins now must find.
func (g *guard) known() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(g.count, g.checkpoint.Count)
}

// expect notes an event that was committed, and reports whether the log is trusted.
func (g *guard) expect(cp Checkpoint) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.broken == nil && cp.Count > g.checkpoint.Count && cp.Count > g.count {
		g.checkpoint = cp
	}
	return g.broken == nil
}
