package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Tx is a transaction, valid while the function that got it runs. It belongs to one goroutine.
type Tx struct {
	*state
	shared bool // see Shared
}

// state is what a transaction has done and knows.
type state struct {
	s       *Store
	q       querier
	floor   int64 // events known before the transaction began
	caught  bool
	touched []ObjectState             // changes not yet in an audit event
	overlay map[objectKey]ObjectState // this transaction's own changes
	events  []*Event
	urgent  bool // a protected object changed: checkpoint at once
	writer  bool // SQLite's one writer, whose connection nothing else uses
	wrote   bool // an audited table
}

// querier is what a transaction needs of a database.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Shared returns the same transaction for reading only: rows that it returns may be
// those that an earlier transaction read, as long as nobody has changed them, and the
// caller must not change them.
func (tx *Tx) Shared() *Tx { return &Tx{state: tx.state, shared: true} }

const maxAttempts = 10

// View runs fn on a snapshot. fn may run more than once.
func (s *Store) View(ctx context.Context, fn func(*Tx) error) error {
	return s.retry(func() error {
		floor := s.guard.known()
		q, end, err := s.begin(ctx, s.read, "BEGIN", &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead})
		if err != nil {
			return classify(err)
		}
		returned := false
		defer unlessReturned(&returned, end)
		err = fn(&Tx{state: &state{s: s, q: q, floor: floor}})
		returned = true
		if rerr := end(false); err == nil && rerr != nil && !errors.Is(rerr, sql.ErrTxDone) {
			err = classify(rerr)
		}
		return err
	})
}

// Update runs fn in one transaction and commits it when fn returns nil. fn may
// run more than once, and on SQLite in one transaction with what other callers
// want at the same time, one after the other. A change of a protected row that
// no [Tx.Audit] call follows makes Update fail: no decision without its event.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	if s.opts.Driver == SQLite {
		return s.group.update(ctx, s, fn)
	}
	return s.retry(func() error { return s.transact(ctx, fn) })
}

// transact runs functions in one transaction. It is committed when none fails.
func (s *Store) transact(ctx context.Context, fns ...func(*Tx) error) error {
	floor := s.guard.known()
	q, end, err := s.begin(ctx, s.write, "BEGIN IMMEDIATE", nil)
	if err != nil {
		return classify(err)
	}
	tx := &Tx{state: &state{s: s, q: q, floor: floor, overlay: map[objectKey]ObjectState{}}}
	returned := false
	defer unlessReturned(&returned, end)
	err = s.alone(ctx, tx)
	for _, fn := range fns {
		if err == nil {
			err = s.apply(tx, fn)
		}
	}
	returned = true
	if err != nil {
		if rerr := end(false); rerr != nil && !errors.Is(rerr, sql.ErrTxDone) {
			err = errors.Join(err, rerr)
		}
		return err
	}
	if err := end(true); err != nil {
		return classify(err)
	}
	s.committed(tx)
	return nil
}

// unlessReturned, deferred, rolls a transaction back when what ran in it panicked: an open one
// would hold its locks, and the next writer would wait for ever.
func unlessReturned(returned *bool, end func(commit bool) error) {
	if !*returned {
		_ = end(false) // the panic goes on
	}
}

// alone makes writers wait for each other from their first statement on, as SQLite's do by
// themselves: what a decision was read from cannot change before it is committed.
func (s *Store) alone(ctx context.Context, tx *Tx) error {
	if own, ok := tx.q.(uncancelled); ok {
		conn, err := own.driver()
		if err != nil {
			return err
		}
		tx.writer = true
		return s.recall.begin(ctx, tx, conn)
	}
	_, err := tx.q.ExecContext(ctx, "SELECT count FROM audit_head WHERE id = 1 FOR UPDATE")
	return classify(err)
}

func (s *Store) apply(tx *Tx, fn func(*Tx) error) error {
	if err := fn(tx); err != nil {
		return err
	}
	if len(tx.touched) > 0 {
		t := tx.touched[0]
		return fmt.Errorf("store: %s %s was changed without an audit event", t.Kind, t.ID)
	}
	return nil
}

func (s *Store) retry(attempt func() error) error {
	var err error
	for range maxAttempts {
		if err = attempt(); !errors.Is(err, errAgain) {
			break
		}
	}
	var again *againError
	if errors.As(err, &again) {
		return again.cause
	}
	return err
}

// againError asks for another snapshot; when that keeps happening, cause is what to report.
type againError struct{ cause error }

func (e *againError) Error() string   { return e.cause.Error() }
func (e *againError) Unwrap() []error { return []error{errAgain, e.cause} }

// touch notes that this transaction changed a row; mac is empty for a deletion.
func (tx *Tx) touch(t table, m model, version int64, mac []byte) {
	if t.protection < auditedRows {
		return
	}
	tx.wrote = tx.wrote || t.protection == auditedRows || len(mac) == 0
	account, id := m.key()
	o := ObjectState{Kind: t.kind, Account: account, ID: id, Version: version, MAC: mac}
	tx.overlay[o.key()] = o
	tx.touched = append(tx.touched, o)
	if t.protection == auditedRows || version > 1 {
		tx.urgent = true
	}
}

// present checks that a row whose MAC fits is also the newest version that was ever written.
func (tx *Tx) present(t table, m model, st *Stamp) error {
	if t.protection < auditedRows {
		return nil
	}
	account, id := m.key()
	o := ObjectState{Kind: t.kind, Account: account, ID: id, Version: st.Version, MAC: st.mac}
	if own, ok := tx.overlay[o.key()]; ok {
		if own.Version == o.Version {
			return nil
		}
		return &TamperedError{Kind: t.kind, ID: id, Reason: fmt.Sprintf("version %d is there, this transaction wrote version %d", o.Version, own.Version)}
	}
	if err := tx.s.guard.present(o, t.protection == bulkRows); err != nil {
		return &againError{err}
	}
	return nil
}
