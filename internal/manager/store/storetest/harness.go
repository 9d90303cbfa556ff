// Package storetest is the conformance suite of the manager's store: the same
// tests for each database. It also gives other packages' tests a store that is
// real in everything but where it waits for the disk.
//
// It trusts nothing and protects nothing: the key is fixed.
package storetest

import (
	"bytes"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"hitoku.dev/internal/manager/store"
)

// Key is the key of all test stores.
var Key = bytes.Repeat([]byte{7}, store.KeySize)

// Backend is a database to open stores in.
type Backend struct {
	Name    string
	Options store.Options // without Checkpoints
}

// Checkpoints is a Checkpointer in memory that tests can look into and break.
type Checkpoints struct {
	mu    sync.Mutex
	last  store.Checkpoint
	fail  error
	saves int
}

// Latest returns the last checkpoint saved.
func (c *Checkpoints) Latest() (int64, []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last.Count, c.last.Head
}

// Save keeps a checkpoint, or fails when the test says so.
func (c *Checkpoints) Save(count int64, head []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		return c.fail
	}
	c.last, c.saves = store.Checkpoint{Count: count, Head: head}, c.saves+1
	return nil
}

// Saves returns how often a checkpoint was saved.
func (c *Checkpoints) Saves() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.saves
}

// SetFail makes Save return err from now on.
func (c *Checkpoints) SetFail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = err
}

func (c *Checkpoints) failing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fail != nil
}

// SQLite returns a new SQLite file for the length of the test.
func SQLite(t testing.TB) Backend {
	t.Helper()
	return Backend{Name: "sqlite", Options: store.Options{Driver: store.SQLite, DSN: filepath.Join(t.TempDir(), "m%nager?.db"), Key: Key, Unsynced: true}}
}

// Postgres returns a new schema in the PostgreSQL database that HITOKU_TEST_POSTGRES names
// by a URL, and false when there is none.
func Postgres(t testing.TB) (Backend, bool) {
	t.Helper()
	dsn := os.Getenv("HITOKU_TEST_POSTGRES")
	if dsn == "" {
		return Backend{}, false
	}
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	schema := "t" + strings.ReplaceAll(uuid.NewString(), "-", "")
	if _, err := db.Exec("CREATE SCHEMA " + schema); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := db.Exec("DROP SCHEMA " + schema + " CASCADE"); err != nil {
			t.Error(err)
		}
		db.Close()
	})
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return Backend{Name: "postgres", Options: store.Options{Driver: store.Postgres, DSN: u.String(), Key: Key}}, true
}

// Open opens a store for the length of the test.
func Open(t testing.TB, b Backend, c store.Checkpointer) *store.Store {
	t.Helper()
	o := b.Options
	o.Checkpoints = c
	s, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f, ok := c.(*Checkpoints)
		if err := s.Close(); err != nil && !(ok && f.failing()) {
			t.Errorf("closing the store: %v", err)
		}
	})
	return s
}

// New returns a new store in SQLite.
func New(t testing.TB) *store.Store {
	t.Helper()
	return Open(t, SQLite(t), &Checkpoints{})
}

// Raw runs statements behind the store's back.
func Raw(t testing.TB, b Backend, statements ...string) {
	t.Helper()
	db := rawDB(t, b)
	defer db.Close()
	for _, q := range statements {
		res, err := db.Exec(q)
		if err != nil {
			t.Fatalf("%s: %v", q, err)
		}
		if n, err := res.RowsAffected(); err == nil && n == 0 && !strings.HasPrefix(q, "CREATE") {
			t.Fatalf("%s: no row changed", q)
		}
	}
}

func rawDB(t testing.TB, b Backend) *sql.DB {
	t.Helper()
	dsn := b.Options.DSN
	if b.Options.Driver == store.SQLite {
		dsn = "file:" + (&url.URL{Path: dsn}).EscapedPath() + "?_pragma=busy_timeout(10000)"
	}
	db, err := sql.Open(b.Options.Driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// Clock is a time that moves only when told to.
type Clock struct {
	mu sync.Mutex
	at time.Time
}

// NewClock returns a clock that stands at a fixed time.
func NewClock() *Clock { return &Clock{at: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)} }

// Now returns the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// ID returns a UUID made from a number, for rows of tests.
func ID(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }
