// Package store keeps the manager's objects in SQL: accounts, users,
// applications, builds, tasks, nodes, certificates, and the audit log that
// every decision goes through.
//
// The database is not trusted (security decision S18). Rows that decide
// anything carry a MAC under a key that the database never sees; a changed row
// is a [TamperedError]. Each change of such a row is recorded, with its new
// version and MAC, in an audit event of the same transaction; the events form a
// chain, each authenticated, and the store remembers what the chain says is the
// present version of every object. So a row put back to an older version, or
// taken away, is noticed as well as a flipped one. Number and hash of the last
// event are kept outside the database by a [Checkpointer]: when an older
// database file is put back, [Store.CheckTrusted] returns [ErrRolledBack] and
// the manager must not issue anything.
//
// Rows have a version. An update based on an older one fails with [ErrStale].
// Every query about an account's object names the account, so that an id of
// another account is [ErrNotFound].
//
// What it does not promise: secrecy (callers encrypt what is secret before it
// comes here), availability against whoever can write the database, and the
// truth of rows that only describe (last contact, deployments).
package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// KeySize is the length in bytes of [Options.Key].
const KeySize = 32

// Options says where the data is and what protects it.
type Options struct {
	// Driver is "sqlite" or "pgx". DSN is a file path for the former and a PostgreSQL
	// connection string for the latter.
	Driver string
	DSN    string
	// Key authenticates rows and audit events; KeySize bytes, derived from the master key.
	Key []byte
	// Checkpoints keeps the audit log's checkpoint outside the database.
	Checkpoints Checkpointer
	// CheckpointEvery bounds how long events that change no protected object may wait for a
	// checkpoint. Events that change one are checkpointed at once. Zero means one second.
	CheckpointEvery time.Duration
	Now             func() time.Time // time.Now when nil
	Rand            io.Reader        // crypto/rand when nil
	// Unsynced lets SQLite skip waiting for the disk. For tests only: after a power cut the
	// log may be shorter than its checkpoint.
	Unsynced bool
}

// Store is an open database. Its methods may be called by many goroutines.
type Store struct {
	opts  Options
	write *sql.DB // SQLite: the one writer connection; PostgreSQL: the same pool as read
	read  *sql.DB
	guard *guard

	group  group  // of SQLite's writer
	recall recall // likewise

	saveMu  sync.Mutex
	saved   Checkpoint
	unsaved Checkpoint // newer than saved when its count is greater
	saveErr error
	timer   *time.Timer
}

// Open connects, brings the schema up to date and verifies the audit log from
// its first event to its last. A log that was tampered with or that lacks the
// checkpoint does not fail Open, since people must be able to look; it fails
// [Store.CheckTrusted] from then on.
func Open(ctx context.Context, o Options) (*Store, error) {
	if len(o.Key) != KeySize {
		return nil, fmt.Errorf("store: key has %d bytes, wanted %d", len(o.Key), KeySize)
	}
	if o.Checkpoints == nil {
		return nil, errors.New("store: a Checkpointer is needed")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.CheckpointEvery == 0 {
		o.CheckpointEvery = time.Second
	}
	write, read, err := connect(o)
	if err != nil {
		return nil, err
	}
	s := &Store{opts: o, write: write, read: read}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.closePools())
	}
	return s, nil
}

func (s *Store) start(ctx context.Context) error {
	if err := migrate(ctx, s.opts.Driver, s.write); err != nil {
		return err
	}
	count, head := s.opts.Checkpoints.Latest()
	s.saved = Checkpoint{Count: count, Head: head}
	s.guard = newGuard(s.opts.Key, s.saved)
	return s.View(ctx, func(tx *Tx) error { return tx.catchUp(ctx) })
}

// Close saves the last checkpoint and closes the connections.
func (s *Store) Close() error {
	return errors.Join(s.flushCheckpoint(), s.closePools())
}

func (s *Store) closePools() error {
	err := s.write.Close()
	if s.read != s.write {
		err = errors.Join(err, s.read.Close())
	}
	return err
}

// Now returns the store's time, cut to the microseconds that it can keep.
func (s *Store) Now() time.Time { return s.opts.Now().UTC().Truncate(time.Microsecond) }
