package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
)

// begin starts a transaction. end commits it or rolls it back, and must be called.
//
// SQLite's transactions are statements on a connection: database/sql's own would start a
// goroutine for each of them and for each query in them, to watch for the end of the
// context, which costs more than the queries do. They are short and local, so they are
// left to end.
func (s *Store) begin(ctx context.Context, pool *sql.DB, statement string, o *sql.TxOptions) (q querier, end func(commit bool) error, err error) {
	if s.opts.Driver != SQLite {
		tx, err := pool.BeginTx(ctx, o)
		if err != nil {
			return nil, nil, err
		}
		return tx, func(commit bool) error {
			if commit {
				return tx.Commit()
			}
			return tx.Rollback()
		}, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	conn, err := pool.Conn(ctx)
	if err != nil {
		return nil, nil, err
	}
	ctx = context.WithoutCancel(ctx)
	if _, err := conn.ExecContext(ctx, statement); err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return uncancelled{conn}, func(commit bool) error {
		if commit {
			if _, err = conn.ExecContext(ctx, "COMMIT"); err == nil {
				return conn.Close()
			}
		}
		if _, rerr := conn.ExecContext(ctx, "ROLLBACK"); rerr != nil { // nobody may go on with it
			err = errors.Join(err, rerr, discard(conn))
		}
		return errors.Join(err, conn.Close())
	}, nil
}

func discard(conn *sql.Conn) error {
	if err := conn.Raw(func(any) error { return driver.ErrBadConn }); !errors.Is(err, driver.ErrBadConn) {
		return err
	}
	return nil
}

// uncancelled begins no statement after the end of its context, and lets those that it began end.
type uncancelled struct{ conn *sql.Conn }

// driver returns what tells a connection from others.
func (u uncancelled) driver() (conn any, err error) {
	err = u.conn.Raw(func(c any) error { conn = c; return nil })
	return conn, err
}

func (u uncancelled) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return u.conn.ExecContext(context.WithoutCancel(ctx), query, args...)
}

func (u uncancelled) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return u.conn.QueryContext(context.WithoutCancel(ctx), query, args...)
}

func (u uncancelled) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return u.conn.QueryRowContext(context.WithoutCancel(ctx), query, args...)
}
