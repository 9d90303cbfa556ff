package store

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unsafe"
)

// table describes one SQL table to the functions of this file.
type table struct {
	name string // in SQL
	kind string // what a row is called in errors and in the audit log
	id   string // column that, with the account, names a row
	// global: rows belong to no account.
	global bool
	// protection says how far a row is believed.
	protection protection
	// recalled: rows that decide nothing by themselves, but are looked up for each decision.
	recalled bool
}

type protection int

const (
	plainRows   protection = iota // no version, no MAC
	sealedRows                    // version and MAC
	auditedRows                   // and each change is in an audit event, its present version remembered
	bulkRows                      // as audited, but remembered only after the first change: rows that are many and seldom change
)

// Stamp is part of every row that has a version. Version 0 is a row that is not stored yet.
type Stamp struct {
	Version int64
	mac     []byte
}

func (s *Stamp) stamp() *Stamp { return s }

// model is what the struct of a row gives: its table and its fields, the id and the account among them.
type model interface {
	table() table
	fields() []field
	key() (account, id string)
}

type pointer[T any] interface {
	*T
	model
}

func stampOf(m model) *Stamp {
	if s, ok := m.(interface{ stamp() *Stamp }); ok {
		return s.stamp()
	}
	return nil
}

// lv writes b with its length in front, so that joined items cannot be mistaken for others.
func lv(w interface{ Write([]byte) (int, error) }, b []byte) {
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(b)))
	w.Write(n[:])
	w.Write(b)
}

// canonical is the byte form of a column value in MACs and audit hashes; it must not be changed.
func canonical(v any) []byte {
	switch v := v.(type) {
	case string: // read only, and long ones are many
		return unsafe.Slice(unsafe.StringData(v), len(v))
	case []byte:
		return v
	case int64:
		return strconv.AppendInt(nil, v, 10)
	case bool:
		return strconv.AppendBool(nil, v)
	}
	panic(fmt.Sprintf("store: column of type %T", v))
}

// rowMAC authenticates a row: HMAC-SHA256 over LV("hitoku/row/1", kind, version, then name
// and value of each sealed column).
func rowMAC(key []byte, t table, version int64, fields []field) ([]byte, error) {
	h := hmac.New(sha256.New, key)
	lv(h, []byte("hitoku/row/1"))
	lv(h, []byte(t.kind))
	lv(h, canonical(version))
	for _, f := range fields {
		if f.plain {
			continue
		}
		v, err := f.value()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.kind, err)
		}
		lv(h, []byte(f.name))
		lv(h, canonical(v))
	}
	return h.Sum(nil), nil
}

func columns(fields []field, versioned bool) []string {
	var c []string
	for _, f := range fields {
		c = append(c, f.name)
	}
	if versioned {
		c = append(c, "version", "mac")
	}
	return c
}

func values(fields []field) ([]any, error) {
	v := make([]any, 0, len(fields)+4)
	for _, f := range fields {
		x, err := f.value()
		if err != nil {
			return nil, err
		}
		v = append(v, x)
	}
	return v, nil
}

func placeholders(n int) string {
	p := make([]string, n)
	for i := range p {
		p[i] = "$" + strconv.Itoa(i+1)
	}
	return strings.Join(p, ", ")
}

// insert writes a new row as version 1.
func insert(ctx context.Context, tx *Tx, m model) error {
	_, err := insertUnless(ctx, tx, m, "")
	return err
}

// insertOnce is insert for rows without an account in their key; it reports whether there was none yet.
func insertOnce(ctx context.Context, tx *Tx, m model) (bool, error) {
	return insertUnless(ctx, tx, m, " ON CONFLICT ("+m.table().id+") DO NOTHING")
}

func insertUnless(ctx context.Context, tx *Tx, m model, conflict string) (bool, error) {
	t, fields := m.table(), m.fields()
	args, err := values(fields)
	if err != nil {
		return false, err
	}
	st := stampOf(m)
	if st != nil {
		if st.mac, err = rowMAC(tx.s.opts.Key, t, 1, fields); err != nil {
			return false, err
		}
		args = append(args, int64(1), st.mac)
	}
	q := "INSERT INTO " + t.name + " (" + strings.Join(columns(fields, st != nil), ", ") + ") VALUES (" + placeholders(len(args)) + ")" + conflict
	err = changedOne(tx.q.ExecContext(ctx, q, args...))
	switch {
	case conflict != "" && errors.Is(err, ErrStale): // nothing was inserted
		return false, nil
	case err != nil:
		return false, named(t, m, err)
	}
	tx.wrote = tx.wrote || t.recalled
	if st != nil {
		st.Version = 1
		tx.touch(t, m, 1, st.mac)
	}
	return true, nil
}

// update writes all columns of a row if its version is still the one that m was read with.
func update(ctx context.Context, tx *Tx, m model) error {
	t, fields, st := m.table(), m.fields(), stampOf(m)
	args, err := values(fields)
	if err != nil {
		return err
	}
	var mac []byte
	if st != nil {
		if mac, err = rowMAC(tx.s.opts.Key, t, st.Version+1, fields); err != nil {
			return err
		}
		args = append(args, st.Version+1, mac)
	}
	var set []string
	for i, c := range columns(fields, st != nil) {
		set = append(set, c+" = $"+strconv.Itoa(i+1))
	}
	where, keys := t.where(m, len(args))
	args = append(args, keys...)
	if st != nil {
		args = append(args, st.Version)
		where += " AND version = $" + strconv.Itoa(len(args))
	}
	res, err := tx.q.ExecContext(ctx, "UPDATE "+t.name+" SET "+strings.Join(set, ", ")+" WHERE "+where, args...)
	if err := changedOne(res, err); err != nil {
		return named(t, m, err)
	}
	if st != nil {
		st.Version, st.mac = st.Version+1, mac
		tx.touch(t, m, st.Version, mac)
	}
	return nil
}

// put writes a row without a version, in place of the one with the same key.
func put(ctx context.Context, tx *Tx, m model) error {
	t, fields := m.table(), m.fields()
	args, err := values(fields)
	if err != nil {
		return err
	}
	var set []string
	for _, c := range columns(fields, false) {
		set = append(set, c+" = excluded."+c)
	}
	q := "INSERT INTO " + t.name + " (" + strings.Join(columns(fields, false), ", ") + ") VALUES (" + placeholders(len(args)) +
		") ON CONFLICT (account_id, " + t.id + ") DO UPDATE SET " + strings.Join(set, ", ")
	_, err = tx.q.ExecContext(ctx, q, args...)
	return named(t, m, classify(err))
}

// remove deletes a row if its version is still the one that m was read with.
func remove(ctx context.Context, tx *Tx, m model) error {
	t, st := m.table(), stampOf(m)
	where, args := t.where(m, 0)
	if st != nil {
		args = append(args, st.Version)
		where += " AND version = $" + strconv.Itoa(len(args))
	}
	res, err := tx.q.ExecContext(ctx, "DELETE FROM "+t.name+" WHERE "+where, args...)
	if err := changedOne(res, err); err != nil {
		return named(t, m, err)
	}
	tx.wrote = tx.wrote || t.recalled
	if st != nil {
		tx.touch(t, m, st.Version+1, nil)
	}
	return nil
}

func changedOne(res sql.Result, err error) error {
	if err != nil {
		return classify(err)
	}
	n, err := res.RowsAffected()
	if err == nil && n == 0 {
		return ErrStale
	}
	return err
}

// where names m's row by account and id, with placeholders after the first n.
func (t table) where(m model, n int) (string, []any) {
	account, id := m.key()
	if t.global {
		return t.id + " = $" + strconv.Itoa(n+1), []any{id}
	}
	return "account_id = $" + strconv.Itoa(n+1) + " AND " + t.id + " = $" + strconv.Itoa(n+2), []any{account, id}
}

func named(t table, m model, err error) error {
	if err == nil {
		return nil
	}
	_, id := m.key()
	return fmt.Errorf("%s %s: %w", t.kind, id, err)
}

// query reads rows, each verified before anything of it is used.
func query[T any, P pointer[T]](ctx context.Context, tx *Tx, where string, args ...any) ([]P, error) {
	t := P(new(T)).table()
	if t.protection >= auditedRows {
		if err := tx.catchUp(ctx); err != nil {
			return nil, err
		}
	}
	key := ""
	if tx.s.recall.usable(tx, t) {
		key = recallKey(t, where, args)
		if list, ok := tx.s.recall.rows[key].([]P); ok {
			return list, nil
		}
	}
	cols := columns(P(new(T)).fields(), stampOf(P(new(T))) != nil)
	rows, err := tx.q.QueryContext(ctx, "SELECT "+strings.Join(cols, ", ")+" FROM "+t.name+" "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.kind, classify(err))
	}
	defer rows.Close()
	var list []P
	for rows.Next() {
		p := P(new(T))
		if err := scan(tx, rows, t, p); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", t.kind, classify(err))
	}
	if key != "" {
		tx.s.recall.keep(key, list)
	}
	return list, nil
}

func scan(tx *Tx, rows *sql.Rows, t table, m model) error {
	fields, st := m.fields(), stampOf(m)
	var dest []any
	for _, f := range fields {
		dest = append(dest, f.dest)
	}
	if st != nil {
		dest = append(dest, &st.Version, &st.mac)
	}
	if err := rows.Scan(dest...); err != nil {
		_, id := m.key()
		return &TamperedError{Kind: t.kind, ID: id, Reason: "a column cannot be read: " + err.Error()}
	}
	if st != nil {
		_, id := m.key()
		mac, err := rowMAC(tx.s.opts.Key, t, st.Version, fields)
		if err != nil {
			return err
		}
		if !hmac.Equal(mac, st.mac) {
			return &TamperedError{Kind: t.kind, ID: id, Reason: "its MAC does not fit its columns"}
		}
		if err := tx.present(t, m, st); err != nil {
			return err
		}
	}
	for _, f := range fields {
		if d, ok := f.dest.(*documentScan); ok {
			if err := d.decode(); err != nil {
				_, id := m.key()
				return &TamperedError{Kind: t.kind, ID: id, Reason: fmt.Sprintf("column %s: %v", f.name, err)}
			}
		}
	}
	return nil
}
