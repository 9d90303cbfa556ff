package serve

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"hitoku.dev/internal/manager/keys"
	"hitoku.dev/internal/manager/store"
)

// Backup writes a consistent copy of the database of the manager in o.Dir to
// file, also while the manager runs. Secrets in it are encrypted under the
// master key, which is not in it: keep a copy of the key folder elsewhere.
func Backup(ctx context.Context, o Options, file string) (err error) {
	if err := o.existing(); err != nil {
		return err
	}
	if _, err := os.Stat(file); err == nil {
		return fmt.Errorf("%s is there already; name a new file", file)
	}
	o.Host = "localhost"
	m, err := open(ctx, o, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	return m.Backup(ctx, file)
}

// Restore puts a backup in the place of the database of the manager in o.Dir,
// which must not run. A state older than the audit checkpoint is refused unless
// acceptRollback is set; that is recorded in the audit log.
func Restore(ctx context.Context, o Options, file string, acceptRollback bool) (err error) {
	if err := o.existing(); err != nil {
		return err
	}
	unlock, err := lockDir(o.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	var source keys.Source = keys.File{Path: filepath.Join(o.keyDir(), masterKeyFile), Apart: o.Dir}
	if len(o.KeyCommand) > 0 {
		source = keys.Command{Argv: o.KeyCommand}
	}
	ring, err := keys.Open(ctx, source, rand.Reader)
	if err != nil {
		return fmt.Errorf("master key: %w", err)
	}
	checkpoint, err := keys.OpenCheckpoint(filepath.Join(o.keyDir(), checkpointFile), ring, false)
	if err != nil {
		return fmt.Errorf("audit checkpoint: %w", err)
	}
	defer func() { err = errors.Join(err, checkpoint.Close()) }()
	rows := ring.Derive(rowsKey)
	err = store.Restore(ctx, store.RestoreOptions{
		Options: store.Options{Driver: "sqlite", DSN: filepath.Join(o.Dir, databaseFile), Key: rows[:], Checkpoints: checkpoint},
		From:    file, AcceptRollback: acceptRollback,
		Event: store.Event{
			Severity: "WARNING", Code: "DATABASE_RESTORED", ActionType: "ADMIN", ActorType: "SYSTEM",
			Description: "The database was restored from the backup " + filepath.Base(file),
		},
	})
	if errors.Is(err, store.ErrRolledBack) {
		return fmt.Errorf("%s: %w; what was decided since the backup would be undone. If that is meant, add --accept-rollback", file, err)
	}
	return err
}

// existing refuses a folder in which no manager ever started, so that nothing is made in it.
func (o Options) existing() error {
	if o.Postgres != "" {
		return errors.New("backups of PostgreSQL are made with its own tools (pg_dump)")
	}
	database := filepath.Join(o.Dir, databaseFile)
	if _, err := os.Stat(database); err != nil {
		return fmt.Errorf("no manager's database in %s: %w", o.Dir, err)
	}
	return nil
}
