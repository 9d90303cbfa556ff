package store

import (
	"context"
	"database/sql/driver"
)

// cachingConnector opens SQLite connections that keep their statements prepared: without it
// each query is parsed again, which costs more than running it. (The PostgreSQL driver keeps
// them by itself.)
type cachingConnector struct{ driver.Connector }

// maxStatements bounds what one connection keeps. Texts with lists of values vary.
const maxStatements = 256

// sqliteConn is what the SQLite driver's connections can do.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

func (c cachingConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	full, ok := conn.(sqliteConn)
	if !ok {
		return conn, nil
	}
	return &cachingConn{sqliteConn: full, idle: map[string]preparedStmt{}}, nil
}

// cachingConn belongs to one goroutine at a time, as database/sql promises.
type cachingConn struct {
	sqliteConn
	idle map[string]preparedStmt // not in use, by text
}

type preparedStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// take returns a prepared statement that nobody else uses, nil where there can be none.
func (c *cachingConn) take(ctx context.Context, query string) (preparedStmt, error) {
	if s, ok := c.idle[query]; ok {
		delete(c.idle, query)
		return s, nil
	}
	s, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	full, ok := s.(preparedStmt)
	if !ok {
		return nil, s.Close()
	}
	return full, nil
}

func (c *cachingConn) put(query string, s preparedStmt) error {
	if _, there := c.idle[query]; there || len(c.idle) >= maxStatements {
		return s.Close()
	}
	c.idle[query] = s
	return nil
}

func (c *cachingConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if len(args) == 0 && !repeated(query) { // scripts, such as migrations
		return c.sqliteConn.ExecContext(ctx, query, args)
	}
	s, err := c.take(ctx, query)
	if err != nil || s == nil {
		return c.sqliteConn.ExecContext(ctx, query, args)
	}
	res, err := s.ExecContext(ctx, args)
	if err != nil {
		s.Close()
		return nil, err
	}
	return res, c.put(query, s)
}

// repeated reports whether a statement without arguments is one of those around each transaction.
func repeated(query string) bool {
	switch query {
	case "BEGIN", "BEGIN IMMEDIATE", "COMMIT", "ROLLBACK":
		return true
	}
	return false
}

func (c *cachingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := c.take(ctx, query)
	if err != nil || s == nil {
		return c.sqliteConn.QueryContext(ctx, query, args)
	}
	rows, err := s.QueryContext(ctx, args)
	if err != nil {
		s.Close()
		return nil, err
	}
	return &cachedRows{Rows: rows, c: c, query: query, s: s}, nil
}

// Close ends the kept statements, then the connection.
func (c *cachingConn) Close() error {
	for _, s := range c.idle {
		s.Close()
	}
	clear(c.idle)
	return c.sqliteConn.Close()
}

// cachedRows gives its statement back when it is closed.
type cachedRows struct {
	driver.Rows
	c     *cachingConn
	query string
	s     preparedStmt
}

func (r *cachedRows) Close() error {
	if r.s == nil {
		return nil
	}
	s := r.s
	r.s = nil
	if err := r.Rows.Close(); err != nil {
		s.Close()
		return err
	}
	return r.c.put(r.query, s)
}
