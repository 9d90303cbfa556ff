package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Tx is a transaction, valid while the function that got it runs. It belongs to one goroutine.
type Tx struct {
	s       *Store
	q       *sql.Tx
	floor   int64 // events known before the transaction began
	caught  bool
	touched []ObjectState             // changes not yet in an audit event
	overlay map[objectKey]ObjectState // this transaction's own changes
	events  []*Event
	urgent  bool // a protected object changed: checkpoint at once
}

const maxAttempts = 10

// View runs fn on a snapshot. fn may run more than once.
func (s *Store) View(ctx context.Context, fn func(*Tx) error) error {
	opts := &sql.TxOptions{ReadOnly: true}
	if s.opts.Driver == Postgres {
		opts.Isolation = sql.LevelRepeatableRead
	}
	return s.retry(func() error {
		floor := s.guard.known()
		q, err := s.read.BeginTx(ctx, opts)
		if err != nil {
			return classify(err)
		}
		err = fn(&Tx{s: s, q: q, floor: floor})
		if rerr := q.Rollback(); err == nil && rerr != nil && !errors.Is(rerr, sql.ErrTxDone) {
			err = classify(rerr)
		}
		return err
	})
}

// Update runs fn in one transaction and commits it when fn returns nil. fn may
// run more than once. A change of a protected row that no [Tx.Audit] call
// follows makes Update fail: no decision without its event.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	return s.retry(func() error {
		floor := s.guard.known()
		q, err := s.write.BeginTx(ctx, nil)
		if err != nil {
			return classify(err)
		}
		tx := &Tx{s: s, q: q, floor: floor, overlay: map[objectKey]ObjectState{}}
		err = s.alone(ctx, q)
		if err == nil {
			err = s.apply(tx, fn)
		}
		if err != nil {
			if rerr := q.Rollback(); rerr != nil && !errors.Is(rerr, sql.ErrTxDone) {
				err = errors.Join(err, rerr)
			}
			return err
		}
		if err := q.Commit(); err != nil {
			return classify(err)
		}
		s.committed(tx)
		return nil
	})
}

// alone makes writers wait for each other from their first statement on, as SQLite's do by
// themselves: what a decision was read from cannot change before it is committed.
func (s *Store) alone(ctx context.Context, q *sql.Tx) error {
	if s.opts.Driver != Postgres {
		return nil
	}
	_, err := q.ExecContext(ctx, "SELECT count FROM audit_head WHERE id = 1 FOR UPDATE")
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
