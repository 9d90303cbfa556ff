package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// recall keeps rows of audited tables that SQLite's writer has read and verified,
// so that what decides about every certificate is not read and verified again for
// each. It is used inside the writer's transactions only, while these hold:
//
//   - nobody but this connection has changed the database since the row was read.
//     SQLite counts the commits of others for each connection (PRAGMA data_version),
//     and in the writer's transaction there can be no more of them;
//   - this connection has changed no audited table since.
//
// So a row that somebody changed behind the manager's back is read, and refused,
// exactly as without it.
type recall struct {
	conn    any   // the writer's connection; another one counts otherwise
	version int64 // PRAGMA data_version when the rows were read
	tail    int64 // number of the last event of the audit log then; -1 when not known
	rows    map[string]any
}

// maxRecalled bounds the number of results that are kept.
const maxRecalled = 4096

// begin forgets everything when somebody else has written.
func (r *recall) begin(ctx context.Context, tx *Tx, conn any) error {
	var version int64
	if err := tx.q.QueryRowContext(ctx, "PRAGMA data_version").Scan(&version); err != nil {
		return fmt.Errorf("store: %w", classify(err))
	}
	if conn != r.conn || version != r.version {
		*r = recall{conn: conn, version: version, tail: -1}
	}
	// With no event since, the guard has nothing to read.
	tx.caught = tx.s.guard.reached(r.tail)
	return nil
}

// committed notes what a transaction of the writer has changed, once the guard knows its events.
func (r *recall) committed(tx *Tx) {
	if n := len(tx.events); n > 0 {
		r.tail = tx.events[n-1].Seq
	}
	if tx.wrote {
		r.rows = nil
	}
}

// usable reports whether rows of the table may come from, or go, here.
func (r *recall) usable(tx *Tx, t table) bool {
	return tx.shared && tx.writer && !tx.wrote && (t.protection == auditedRows || t.recalled)
}

func (r *recall) keep(key string, rows any) {
	if r.rows == nil || len(r.rows) >= maxRecalled {
		r.rows = map[string]any{}
	}
	r.rows[key] = rows
}

// recallKey names a query; it is empty for what cannot be named.
func recallKey(t table, where string, args []any) string {
	var b strings.Builder
	for _, part := range append([]any{t.name, where}, args...) {
		switch part.(type) {
		case string, int64, bool:
		default:
			return ""
		}
		c := canonical(part)
		b.WriteString(strconv.Itoa(len(c)))
		b.WriteByte(' ')
		b.Write(c)
	}
	return b.String()
}

// Present reports whether rows that were read before are still the newest of theirs, as far as
// this process knows without asking the database: good for what is decided again later. It is
// always false on PostgreSQL, where other processes decide too.
func (s *Store) Present(rows ...Versioned) bool {
	if s.opts.Driver != SQLite {
		return false
	}
	for _, m := range rows {
		t, st := m.table(), stampOf(m)
		account, id := m.key()
		if t.protection < auditedRows || st == nil || !s.guard.vouches(ObjectState{Kind: t.kind, Account: account, ID: id, Version: st.Version, MAC: st.mac}, t.protection == bulkRows) {
			return false
		}
	}
	return true
}

// Versioned is a row whose changes the audit log records.
type Versioned interface{ model }
