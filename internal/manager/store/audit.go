package store

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Event is one entry of the audit log.
type Event struct {
	Seq         int64 // from 1, without gaps
	ID          string
	AccountID   string // empty for what concerns the whole instance
	ZoneID      string
	Time        time.Time
	Severity    string // INFO, WARNING, ERROR, CRITICAL
	Code        string // what happened, for example APP_CREATED
	ActionType  string // NODE_STATUS, APP_STATUS, USER_APPROVAL, NODE_ATTESTATION, CERTIFICATE, ADMIN, APP_HEARTBEAT, USER_AUTH
	ActorType   string // APP, USER, SYSTEM
	Description string // a sentence for people, without secrets
	UserID      string
	UserName    string
	AppID       string
	AppName     string
	NodeID      string
	NodeName    string
	// Details is a JSON object for programs, without secrets; may be empty.
	Details json.RawMessage
	// Objects are the protected rows that changed with this event; the store fills it.
	Objects []ObjectState

	hash []byte
	mac  []byte
}

// ObjectState is a version of a protected row as an audit event records it. A
// deleted row has no MAC.
type ObjectState struct {
	Kind    string `json:"kind"`
	Account string `json:"account,omitempty"`
	ID      string `json:"id"`
	Version int64  `json:"version"`
	MAC     []byte `json:"mac,omitempty"`
}

type objectKey struct{ kind, account, id string }

func (o ObjectState) key() objectKey { return objectKey{o.Kind, o.Account, o.ID} }

func (e *Event) table() table {
	return table{name: "audit_events", kind: "audit event", id: "id"}
}
func (e *Event) key() (string, string) { return e.AccountID, e.ID }
func (e *Event) fields() []field {
	return append(e.content(), blob("hash", &e.hash), blob("mac", &e.mac))
}

func (e *Event) content() []field {
	return []field{
		number("seq", &e.Seq), text("id", &e.ID), text("account_id", &e.AccountID), text("zone_id", &e.ZoneID),
		instant("time", &e.Time), text("severity", &e.Severity), text("code", &e.Code), text("action_type", &e.ActionType),
		text("actor_type", &e.ActorType), text("description", &e.Description), text("user_id", &e.UserID), text("user_name", &e.UserName),
		text("app_id", &e.AppID), text("app_name", &e.AppName), text("node_id", &e.NodeID), text("node_name", &e.NodeName),
		document("details", &e.Details), document("objects", &e.Objects),
	}
}

// chain computes the event's hash, SHA-256 over LV("hitoku/audit/1", hash of the event
// before, then each column), and the MAC of that hash.
func (e *Event) chain(key, previous []byte) (hash, mac []byte, err error) {
	h := sha256.New()
	lv(h, []byte("hitoku/audit/1"))
	lv(h, previous)
	for _, f := range e.content() {
		v, err := f.value()
		if err != nil {
			return nil, nil, err
		}
		lv(h, canonical(v))
	}
	hash = h.Sum(nil)
	m := hmac.New(sha256.New, key)
	lv(m, []byte("hitoku/audit-mac/1"))
	lv(m, hash)
	return hash, m.Sum(nil), nil
}

// Audit appends an event that accounts for every protected row changed so far
// in this transaction. It fills Seq, ID, Time when zero, and Objects. Call it
// last: from then on other writers wait.
func (tx *Tx) Audit(ctx context.Context, e *Event) error {
	if err := tx.catchUp(ctx); err != nil {
		return err
	}
	if _, err := tx.s.guard.state(); err != nil && len(tx.touched) > 0 {
		return fmt.Errorf("%s %s cannot be changed: %w", tx.touched[0].Kind, tx.touched[0].ID, err)
	}
	if err := tx.q.QueryRowContext(ctx, "UPDATE audit_head SET count = count + 1 WHERE id = 1 RETURNING count").Scan(&e.Seq); err != nil {
		return fmt.Errorf("audit log: %w", classify(err))
	}
	previous, err := tx.eventHash(ctx, e.Seq-1)
	if err != nil {
		return err
	}
	id, err := uuid.NewRandomFromReader(tx.s.opts.Rand)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	e.ID = id.String()
	if e.Time.IsZero() {
		e.Time = tx.s.Now()
	}
	if e.Details == nil {
		e.Details = json.RawMessage("{}")
	}
	e.Objects = tx.touched
	if e.hash, e.mac, err = e.chain(tx.s.opts.Key, previous); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	if err := insert(ctx, tx, e); err != nil {
		return err
	}
	tx.touched = nil
	tx.events = append(tx.events, e)
	return nil
}

// eventHash returns the hash of an event, nil for the one before the first.
func (tx *Tx) eventHash(ctx context.Context, seq int64) (hash []byte, err error) {
	if seq == 0 {
		return nil, nil
	}
	if n := len(tx.events); n > 0 && tx.events[n-1].Seq == seq {
		return tx.events[n-1].hash, nil
	}
	if hash = tx.s.guard.last(seq); hash != nil {
		return hash, nil
	}
	if err := tx.q.QueryRowContext(ctx, "SELECT hash FROM audit_events WHERE seq = $1", seq).Scan(&hash); err != nil {
		return nil, fmt.Errorf("audit log: event %d: %w", seq, classify(err))
	}
	return hash, nil
}

// Events returns what the query selects from an account's part of the log. The
// account "" means the instance's own events.
func (tx *Tx) Events(ctx context.Context, account string, q Query) (Page[Event], error) {
	return list[Event](ctx, tx, account, q)
}
