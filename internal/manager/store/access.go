package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// The tables of the whole instance.

func (tx *Tx) Settings() Globals[Setting, *Setting] { return Globals[Setting, *Setting]{tx} }
func (tx *Tx) Accounts() Globals[Account, *Account] { return Globals[Account, *Account]{tx} }
func (tx *Tx) Users() Globals[User, *User]          { return Globals[User, *User]{tx} }
func (tx *Tx) Sessions() Globals[Session, *Session] { return Globals[Session, *Session]{tx} }

// The tables of accounts.

func (tx *Tx) Authorities() Rows[Authority, *Authority] { return Rows[Authority, *Authority]{tx} }

func (tx *Tx) Memberships() Rows[Membership, *Membership] { return Rows[Membership, *Membership]{tx} }
func (tx *Tx) APITokens() Rows[APIToken, *APIToken]       { return Rows[APIToken, *APIToken]{tx} }
func (tx *Tx) Zones() Rows[Zone, *Zone]                   { return Rows[Zone, *Zone]{tx} }
func (tx *Tx) JoinTokens() Rows[JoinToken, *JoinToken]    { return Rows[JoinToken, *JoinToken]{tx} }
func (tx *Tx) Apps() Rows[App, *App]                      { return Rows[App, *App]{tx} }
func (tx *Tx) Domains() Rows[Domain, *Domain]             { return Rows[Domain, *Domain]{tx} }
func (tx *Tx) Conversions() Rows[Conversion, *Conversion] { return Rows[Conversion, *Conversion]{tx} }
func (tx *Tx) Tasks() Rows[Task, *Task]                   { return Rows[Task, *Task]{tx} }
func (tx *Tx) Nodes() Rows[Node, *Node]                   { return Rows[Node, *Node]{tx} }
func (tx *Tx) NodeContacts() Rows[NodeContact, *NodeContact] {
	return Rows[NodeContact, *NodeContact]{tx}
}

func (tx *Tx) Deployments() Rows[Deployment, *Deployment] { return Rows[Deployment, *Deployment]{tx} }

func (tx *Tx) Certificates() Rows[Certificate, *Certificate] {
	return Rows[Certificate, *Certificate]{tx}
}
func (tx *Tx) Registries() Rows[Registry, *Registry] { return Rows[Registry, *Registry]{tx} }
func (tx *Tx) Configurations() Rows[Configuration, *Configuration] {
	return Rows[Configuration, *Configuration]{tx}
}

// BuildRows are the builds, with the index of their measurements kept beside them.
type BuildRows struct{ Rows[Build, *Build] }

// Builds gives access to the builds.
func (tx *Tx) Builds() BuildRows { return BuildRows{Rows[Build, *Build]{tx}} }

// Insert stores a new build; ErrExists when one of its measurements belongs to another build of the account.
func (r BuildRows) Insert(ctx context.Context, b *Build) error {
	if err := r.Rows.Insert(ctx, b); err != nil {
		return err
	}
	for _, m := range b.measurementValues() {
		if err := insert(ctx, r.tx, &buildMeasurement{b.AccountID, m, b.ID}); err != nil {
			return err
		}
	}
	return nil
}

// Delete removes a build and frees its measurements.
func (r BuildRows) Delete(ctx context.Context, b *Build) error {
	for _, m := range b.measurementValues() {
		if err := remove(ctx, r.tx, &buildMeasurement{b.AccountID, m, b.ID}); err != nil {
			return err
		}
	}
	return r.Rows.Delete(ctx, b)
}

// ByMeasurement returns the build of the account that has this measurement (lower-case
// hexadecimal), whatever its state.
func (r BuildRows) ByMeasurement(ctx context.Context, account, measurement string) (*Build, error) {
	index, err := query[buildMeasurement](ctx, r.tx, "WHERE account_id = $1 AND measurement = $2", account, measurement)
	if err != nil {
		return nil, err
	}
	if len(index) == 0 {
		return nil, fmt.Errorf("measurement %s: %w", measurement, ErrNotFound)
	}
	b, err := r.Get(ctx, account, index[0].BuildID)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(b.measurementValues(), measurement) {
		return nil, &TamperedError{Kind: "build", ID: b.ID, Reason: "the index of measurements points at it wrongly"}
	}
	return b, nil
}

func (b *Build) measurementValues() []string {
	var v []string
	for _, m := range b.Measurements {
		if !slices.Contains(v, m.Value) {
			v = append(v, m.Value)
		}
	}
	return v
}

// UserByEmail finds a user without regard to the case of letters.
func (tx *Tx) UserByEmail(ctx context.Context, email string) (*User, error) {
	return first[User](ctx, tx, "user "+email, "WHERE email_key = $1", fold(email))
}

// MembershipsOf returns a user's memberships in all accounts.
func (tx *Tx) MembershipsOf(ctx context.Context, user string) ([]*Membership, error) {
	return query[Membership](ctx, tx, "WHERE user_id = $1 ORDER BY created_at, account_id", user)
}

// APITokenBySecret finds a token by the SHA-256 of its text in hexadecimal; the account follows from it.
func (tx *Tx) APITokenBySecret(ctx context.Context, hash string) (*APIToken, error) {
	return first[APIToken](ctx, tx, "API token", "WHERE secret_hash = $1", hash)
}

// JoinTokenByID finds a join token; the account follows from it.
func (tx *Tx) JoinTokenByID(ctx context.Context, id string) (*JoinToken, error) {
	return first[JoinToken](ctx, tx, "join token "+id, "WHERE id = $1", id)
}

// TaskByID finds a task of any account, for callers who know nothing but its id.
func (tx *Tx) TaskByID(ctx context.Context, id string) (*Task, error) {
	return first[Task](ctx, tx, "task "+id, "WHERE id = $1", id)
}

// ZoneAuthorities returns the authorities of any account that have this id, or belong to the zone
// that has it, for callers who know nothing else.
func (tx *Tx) ZoneAuthorities(ctx context.Context, id string) ([]*Authority, error) {
	return query[Authority](ctx, tx, "WHERE kind = $1 AND (id = $2 OR zone_id = $2) ORDER BY created_at, id", AuthorityZone, id)
}

func first[T any, P pointer[T]](ctx context.Context, tx *Tx, what, where string, args ...any) (*T, error) {
	rows, err := query[T, P](ctx, tx, where, args...)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%s: %w", what, ErrNotFound)
	}
	return (*T)(rows[0]), nil
}

// TakeNonce removes a nonce and returns it. Of several callers one gets it, the others
// ErrNotFound. An expired nonce is returned too: the caller compares.
func (tx *Tx) TakeNonce(ctx context.Context, account, id string) (*Nonce, error) {
	n, err := first[Nonce](ctx, tx, "nonce", "WHERE account_id = $1 AND id = $2", account, id)
	if err != nil {
		return nil, err
	}
	switch err := remove(ctx, tx, n); {
	case errors.Is(err, ErrStale):
		return nil, fmt.Errorf("nonce: %w", ErrNotFound)
	case err != nil:
		return nil, err
	}
	return n, nil
}

// AnswerNonce notes that a nonce which was handed out without a row of its own is answered now.
// Of several callers one gets true.
func (tx *Tx) AnswerNonce(ctx context.Context, n *Nonce) (bool, error) {
	return insertOnce(ctx, tx, n)
}

// PutNonce stores a new nonce.
func (tx *Tx) PutNonce(ctx context.Context, n *Nonce) error { return insert(ctx, tx, n) }

// PutContact stores what a node last reported, in place of what it reported before.
func (tx *Tx) PutContact(ctx context.Context, c *NodeContact) error { return put(ctx, tx, c) }

// PutDeployment stores a deployment, in place of an earlier one with the same id.
func (tx *Tx) PutDeployment(ctx context.Context, d *Deployment) error { return put(ctx, tx, d) }

// LoggedIn notes the time of a user's last log-in.
func (tx *Tx) LoggedIn(ctx context.Context, user string, at time.Time) error {
	tx.wrote = true
	res, err := tx.q.ExecContext(ctx, "UPDATE users SET last_login_at = $1 WHERE id = $2", at.UnixMicro(), user)
	return changedOne(res, err)
}

// EndSessions ends all sessions of a user but the one with the id keep.
func (tx *Tx) EndSessions(ctx context.Context, user, keep string) error {
	_, err := tx.q.ExecContext(ctx, "DELETE FROM sessions WHERE user_id = $1 AND id <> $2", user, keep)
	return classify(err)
}

// Purge removes sessions and nonces that ended before the given time.
func (tx *Tx) Purge(ctx context.Context, before time.Time) error {
	for _, t := range []string{"sessions", "nonces"} {
		if _, err := tx.q.ExecContext(ctx, "DELETE FROM "+t+" WHERE expires_at < $1", before.UnixMicro()); err != nil {
			return fmt.Errorf("%s: %w", t, classify(err))
		}
	}
	return nil
}

// InterruptConversions marks the conversions that still run as failed: whoever ran them is gone.
func (tx *Tx) InterruptConversions(ctx context.Context, at time.Time) error {
	tx.wrote = true
	_, err := tx.q.ExecContext(ctx, "UPDATE conversions SET status = $1, failure = $2, updated_at = $3 WHERE status = $4",
		ConversionFailed, "the manager stopped before it was done; start the conversion again", at.UnixMicro(), ConversionRunning)
	return classify(err)
}
