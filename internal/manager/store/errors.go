package store

import (
	"errors"
	"fmt"
)

// What a caller may want to tell apart.
var (
	// ErrNotFound: no such row, or none in this account.
	ErrNotFound = errors.New("not found")
	// ErrStale: the row was changed since it was read.
	ErrStale = errors.New("changed in the meantime; read it again")
	// ErrExists: a row with this key or name is there already.
	ErrExists = errors.New("exists already")
	// ErrReference: a row that others need cannot go, or one that is needed is missing.
	ErrReference = errors.New("another object refers to it")
	// ErrTampered: a row or an audit event is not what the manager wrote. See [TamperedError].
	ErrTampered = errors.New("the database was changed by somebody else than the manager")
	// ErrRolledBack: the audit log lacks events that the manager has already written, so the
	// database is an older one. See [RollbackError].
	ErrRolledBack = errors.New("the database is older than its last checkpoint")

	// errPanicked stands for a panic that goes on elsewhere.
	errPanicked = errors.New("the update panicked")
	// errAgain makes Update and View start over.
	errAgain = errors.New("the database asks to try again")
)

// TamperedError names the row that does not match its MAC or the audit log.
type TamperedError struct {
	Kind   string // "build", "task", "domain", …, "audit event"
	ID     string
	Reason string
}

func (e *TamperedError) Error() string {
	return fmt.Sprintf("%s %s: %s: %v; restore a backup, or delete the object and make it again", e.Kind, e.ID, e.Reason, ErrTampered)
}

func (e *TamperedError) Unwrap() error { return ErrTampered }

// RollbackError says how far the audit log reaches and how far it should.
type RollbackError struct {
	Seen, Wanted int64  // numbers of events
	Reason       string // set when the number is enough but the events are others
}

func (e *RollbackError) Error() string {
	reason := e.Reason
	if reason == "" {
		reason = fmt.Sprintf("the audit log has %d events, the checkpoint says %d", e.Seen, e.Wanted)
	}
	return fmt.Sprintf("%v: %s; put the newest database back, or accept the loss with `hitoku manager restore --accept-rollback`", ErrRolledBack, reason)
}

func (e *RollbackError) Unwrap() error { return ErrRolledBack }
