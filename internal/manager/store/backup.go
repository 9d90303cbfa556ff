package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Backup writes a copy of the database, as it is at one moment, to a new file of
// mode 0600. The copy holds no key; what is secret in it is encrypted under the
// master key, without which it is worth nothing.
func (s *Store) Backup(ctx context.Context, path string) error {
	if s.opts.Driver != SQLite {
		return fmt.Errorf("backup: the database is PostgreSQL; take the backup with pg_dump, and keep the master key and its checkpoint apart from it")
	}
	if err := s.CheckTrusted(ctx); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	_, err = s.write.ExecContext(ctx, "VACUUM INTO $1", path)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("backup: %w", err), os.Remove(path))
	}
	return syncFolder(path)
}

// RestoreOptions says what is restored where. Options.Driver must be SQLite and
// Options.DSN the database file to replace; no manager may have it open.
type RestoreOptions struct {
	Options
	From string
	// AcceptRollback allows a backup that lacks events which the checkpoint names. What was
	// decided since is lost; sessions, nonces and join tokens are withdrawn.
	AcceptRollback bool
	// Event is what the audit log says about it.
	Event Event
}

// Restore verifies a backup from its first event to its last and puts it in the
// database's place. The database before it stays beside it, with the ending
// ".before-restore". Without AcceptRollback an older state is refused with
// [ErrRolledBack].
func Restore(ctx context.Context, o RestoreOptions) error {
	if o.Driver != SQLite {
		return errors.New("restore: the database is PostgreSQL; restore it with pg_restore")
	}
	temp := o.DSN + ".restoring"
	if err := removeDatabase(temp); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := copyFile(o.From, temp); err != nil {
		return errors.Join(fmt.Errorf("restore: %w", err), removeDatabase(temp))
	}
	if err := adopt(ctx, o, temp); err != nil {
		return errors.Join(fmt.Errorf("restore %s: %w", o.From, err), removeDatabase(temp))
	}
	former := o.DSN + ".before-restore"
	if err := removeDatabase(former); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	for _, ending := range databaseFiles {
		if err := os.Rename(o.DSN+ending, former+ending); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("restore: %w", err)
		}
	}
	if err := os.Rename(temp, o.DSN); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return syncFolder(o.DSN)
}

// adopt makes the copy at path a database that the manager trusts, or fails.
func adopt(ctx context.Context, o RestoreOptions, path string) error {
	opts := o.Options
	opts.DSN = path
	s, err := Open(ctx, opts)
	if err != nil {
		return err
	}
	e := o.Event
	_, state := s.AuditState()
	switch {
	case state == nil:
		err = s.Update(ctx, func(tx *Tx) error { return tx.Audit(ctx, &e) })
	case errors.Is(state, ErrRolledBack) && o.AcceptRollback:
		e.Severity = "CRITICAL"
		e.Description += fmt.Sprintf(" (accepted: %v)", state)
		err = s.AcceptRollback(ctx, &e)
	default:
		err = state
	}
	return errors.Join(err, s.Close())
}

// databaseFiles are the endings of the files that make up a SQLite database.
var databaseFiles = [...]string{"", "-wal", "-shm"}

func removeDatabase(path string) error {
	for _, ending := range databaseFiles {
		if err := os.Remove(path + ending); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// syncFolder makes the names in a file's folder survive a power cut.
func syncFolder(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
