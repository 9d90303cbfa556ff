package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver "pgx"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite" // registers the driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Drivers that the store knows.
const (
	SQLite   = "sqlite"
	Postgres = "pgx"
)

//go:embed migrations/*.sql
var migrations embed.FS

// connect opens the pools. SQLite gets one connection that writes, taking the
// write lock when a transaction begins, and several that read in snapshots.
func connect(o Options) (write, read *sql.DB, err error) {
	switch o.Driver {
	case SQLite:
		if write, err = openSQLite(sqliteDSN(o, "immediate")); err != nil {
			return nil, nil, fmt.Errorf("store: %w", err)
		}
		write.SetMaxOpenConns(1)
		if read, err = openSQLite(sqliteDSN(o, "deferred")); err != nil {
			return nil, nil, errors.Join(fmt.Errorf("store: %w", err), write.Close())
		}
		read.SetMaxOpenConns(8)
		read.SetMaxIdleConns(8)
		return write, read, nil
	case Postgres:
		if write, err = sql.Open(Postgres, o.DSN); err != nil {
			return nil, nil, fmt.Errorf("store: %w", err)
		}
		write.SetMaxOpenConns(16)
		write.SetMaxIdleConns(16)
		return write, write, nil
	}
	return nil, nil, fmt.Errorf("store: driver %q is not known, wanted %q or %q", o.Driver, SQLite, Postgres)
}

func openSQLite(dsn string) (*sql.DB, error) {
	c, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(cachingConnector{c}), nil
}

func sqliteDSN(o Options, lock string) string {
	q := url.Values{}
	sync := "FULL"
	if o.Unsynced {
		sync = "OFF"
	}
	// A longer log before it is copied (16 MB) and a larger cache (in KiB): certificates and
	// their indexes touch many pages, the same ones again and again.
	for _, p := range []string{"wal_autocheckpoint(4000)", "cache_size(-8000)", "busy_timeout(10000)", "journal_mode(WAL)", "foreign_keys(1)", "synchronous(" + sync + ")", "trusted_schema(0)"} {
		q.Add("_pragma", p)
	}
	if lock == "deferred" {
		q.Add("_pragma", "query_only(1)")
	}
	q.Set("_txlock", lock)
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: o.DSN}).EscapedPath(), RawQuery: q.Encode()}).String()
}

func migrate(ctx context.Context, driver string, db *sql.DB) error {
	dialect := goose.DialectSQLite3
	if driver == Postgres {
		dialect = goose.DialectPostgres
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	p, err := goose.NewProvider(dialect, db, files)
	if err != nil {
		return fmt.Errorf("store: migrations: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("store: bringing the database schema up to date: %w", err)
	}
	return nil
}

// classify gives the errors of both databases one name each.
func classify(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		switch lite.Code() {
		case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
			return fmt.Errorf("%w: %w", ErrExists, err)
		case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
			return fmt.Errorf("%w: %w", ErrReference, err)
		}
		if c := lite.Code() & 0xff; c == sqlite3.SQLITE_BUSY || c == sqlite3.SQLITE_LOCKED {
			return fmt.Errorf("%w: %w", errAgain, err)
		}
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch {
		case pg.Code == "23505":
			return fmt.Errorf("%w: %w", ErrExists, err)
		case pg.Code == "23503":
			return fmt.Errorf("%w: %w", ErrReference, err)
		case strings.HasPrefix(pg.Code, "40"): // serialization failure, deadlock
			return fmt.Errorf("%w: %w", errAgain, err)
		}
	}
	return err
}
