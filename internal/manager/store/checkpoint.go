package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Checkpoint is how far the audit log reached: the number of events and the
// hash of the last one. The zero value stands for an empty log.
type Checkpoint struct {
	Count int64  `json:"count"`
	Head  []byte `json:"head"` // 32 bytes; empty when Count is 0
}

// Checkpointer keeps the newest checkpoint outside the database, beside the
// master key (package keys has one in a file). Latest returns zeros when none was
// ever saved. A Save that returned must survive a power cut.
type Checkpointer interface {
	Latest() (count int64, head []byte)
	Save(count int64, head []byte) error
}

// CheckTrusted verifies what was appended to the audit log since the last look
// and returns nil if the log is whole and contains the checkpoint. The manager
// must call it before it issues a certificate, a configuration or a secret.
func (s *Store) CheckTrusted(ctx context.Context) error {
	if err := s.View(ctx, func(tx *Tx) error { return tx.catchUp(ctx) }); err != nil {
		return err
	}
	return s.Trusted(ctx)
}

// Trusted is [Store.CheckTrusted] for a caller who has just read objects that the log protects,
// which has verified what was appended to it.
func (s *Store) Trusted(ctx context.Context) error {
	if _, err := s.guard.state(); err != nil {
		return err
	}
	s.saveMu.Lock()
	defer s.saveMu.Unlock()
	if s.saveErr == nil {
		return nil
	}
	return s.save()
}

// AuditState returns how far the log is verified, and what is wrong with it if anything is.
func (s *Store) AuditState() (Checkpoint, error) { return s.guard.state() }

// committed saves the checkpoint of a transaction: at once when a protected
// object changed, soon otherwise. A failure is remembered and stops issuing,
// since the transaction itself has happened.
func (s *Store) committed(tx *Tx) {
	if tx.writer {
		defer s.recall.committed(tx)
	}
	if len(tx.events) == 0 {
		return
	}
	s.guard.extend(tx.events)
	last := Checkpoint{Count: tx.events[len(tx.events)-1].Seq, Head: tx.events[len(tx.events)-1].hash}
	if !s.guard.expect(last) {
		return // a log that is not trusted never becomes the checkpoint by itself
	}
	s.saveMu.Lock()
	defer s.saveMu.Unlock()
	if last.Count > s.unsaved.Count {
		s.unsaved = last
	}
	if tx.urgent {
		_ = s.save() // kept in saveErr
		return
	}
	if s.timer == nil {
		s.timer = time.AfterFunc(s.opts.CheckpointEvery, func() { _ = s.flushCheckpoint() })
	}
}

// save writes the newest checkpoint. saveMu is held.
func (s *Store) save() error {
	if s.unsaved.Count <= s.saved.Count {
		return nil
	}
	if err := s.opts.Checkpoints.Save(s.unsaved.Count, s.unsaved.Head); err != nil {
		s.saveErr = fmt.Errorf("the audit checkpoint cannot be saved: %w", err)
		return s.saveErr
	}
	s.saved, s.saveErr = s.unsaved, nil
	return nil
}

func (s *Store) flushCheckpoint() error {
	s.saveMu.Lock()
	defer s.saveMu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	return s.save()
}

// rollbackKind marks the event of an accepted rollback among its objects.
const rollbackKind = "rollback"

// Restored returns when an older database was last accepted in place of a newer one, the zero
// time for never. Whatever was handed out before and good for once may have been used since.
func (s *Store) Restored() time.Time {
	s.guard.mu.Lock()
	defer s.guard.mu.Unlock()
	return s.guard.restored
}

// AcceptRollback makes the audit log as it is now the trusted one, although
// events that the checkpoint names are missing from it. The decision becomes an
// event of the log itself. Sessions, nonces and join tokens are withdrawn,
// because the lost events may have used them up. A log whose events do not fit
// each other is still refused. No other call may run at the same time.
func (s *Store) AcceptRollback(ctx context.Context, e *Event) error {
	_, err := s.guard.state()
	if !errors.Is(err, ErrRolledBack) {
		return err
	}
	old := s.guard
	s.guard = newGuard(s.opts.Key, Checkpoint{})
	err = s.Update(ctx, func(tx *Tx) error {
		if err := tx.catchUp(ctx); err != nil {
			return err
		}
		for _, q := range []string{"DELETE FROM sessions", "DELETE FROM nonces"} {
			if _, err := tx.q.ExecContext(ctx, q); err != nil {
				return fmt.Errorf("accepting a rollback: %w", classify(err))
			}
		}
		tokens, err := query[JoinToken](ctx, tx, "WHERE status = $1", JoinTokenActive)
		if err != nil {
			return err
		}
		for _, t := range tokens {
			t.Status = JoinTokenRevoked
			if err := update(ctx, tx, t); err != nil {
				return err
			}
		}
		tx.touched = append(tx.touched, ObjectState{Kind: rollbackKind, ID: "log", Version: 1})
		return tx.Audit(ctx, e)
	})
	if err == nil {
		_, err = s.guard.state()
	}
	if err != nil {
		s.guard = old
		return err
	}
	s.saveMu.Lock()
	defer s.saveMu.Unlock()
	s.unsaved = Checkpoint{Count: e.Seq, Head: e.hash}
	s.saved = Checkpoint{}
	return s.save()
}
