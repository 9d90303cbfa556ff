package store

import (
	"context"
	"fmt"
)

// Rows gives access to one table of objects that belong to accounts. Every
// call names the account; a row of another one is [ErrNotFound].
type Rows[T any, P pointer[T]] struct{ tx *Tx }

// Get returns the row with this id.
func (r Rows[T, P]) Get(ctx context.Context, account, id string) (*T, error) {
	t := P(new(T)).table()
	rows, err := query[T, P](ctx, r.tx, "WHERE account_id = $1 AND "+t.id+" = $2", account, id)
	if err != nil {
		return nil, err
	}
	return one[T, P](r.tx, rows, account, id)
}

// List returns the rows that q selects.
func (r Rows[T, P]) List(ctx context.Context, account string, q Query) (Page[T], error) {
	return list[T, P](ctx, r.tx, account, q)
}

// Find returns the rows for which every condition holds.
func (r Rows[T, P]) Find(ctx context.Context, account string, where ...Condition) ([]*T, error) {
	return find[T, P](ctx, r.tx, account, where)
}

// Insert stores a new row; ErrExists when its id or a unique value of it is taken.
func (r Rows[T, P]) Insert(ctx context.Context, row *T) error { return insert(ctx, r.tx, P(row)) }

// Update stores a changed row; ErrStale when it was changed since it was read.
func (r Rows[T, P]) Update(ctx context.Context, row *T) error { return update(ctx, r.tx, P(row)) }

// Delete removes a row; ErrStale when it was changed since it was read.
func (r Rows[T, P]) Delete(ctx context.Context, row *T) error { return remove(ctx, r.tx, P(row)) }

// Globals gives access to one table of objects that belong to the whole instance.
type Globals[T any, P pointer[T]] struct{ tx *Tx }

// Get returns the row with this id.
func (r Globals[T, P]) Get(ctx context.Context, id string) (*T, error) {
	t := P(new(T)).table()
	rows, err := query[T, P](ctx, r.tx, "WHERE "+t.id+" = $1", id)
	if err != nil {
		return nil, err
	}
	account := ""
	if t.kind == accountKind {
		account = id
	}
	return one[T, P](r.tx, rows, account, id)
}

// List returns the rows that q selects.
func (r Globals[T, P]) List(ctx context.Context, q Query) (Page[T], error) {
	return list[T, P](ctx, r.tx, "", q)
}

// Find returns the rows for which every condition holds.
func (r Globals[T, P]) Find(ctx context.Context, where ...Condition) ([]*T, error) {
	return find[T, P](ctx, r.tx, "", where)
}

// Insert stores a new row; ErrExists when its id or a unique value of it is taken.
func (r Globals[T, P]) Insert(ctx context.Context, row *T) error { return insert(ctx, r.tx, P(row)) }

// Update stores a changed row; ErrStale when it was changed since it was read.
func (r Globals[T, P]) Update(ctx context.Context, row *T) error { return update(ctx, r.tx, P(row)) }

// Delete removes a row; ErrStale when it was changed since it was read.
func (r Globals[T, P]) Delete(ctx context.Context, row *T) error { return remove(ctx, r.tx, P(row)) }

// one returns the only row, and tells a row that never was from one that was taken away.
func one[T any, P pointer[T]](tx *Tx, rows []P, account, id string) (*T, error) {
	if len(rows) == 1 {
		return (*T)(rows[0]), nil
	}
	t := P(new(T)).table()
	if t.protection >= auditedRows {
		k := objectKey{t.kind, account, id}
		if _, own := tx.overlay[k]; !own && tx.s.guard.alive(k) {
			return nil, &againError{&TamperedError{Kind: t.kind, ID: id, Reason: "its row is missing, the audit log does not say that it was deleted"}}
		}
	}
	return nil, fmt.Errorf("%s %s: %w", t.kind, id, ErrNotFound)
}
