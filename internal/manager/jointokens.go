package manager

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"

	"hitoku.dev/internal/jointoken"
	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

const (
	zoneTokenLife   = 24 * time.Hour
	zoneTokenLeast  = 6 * time.Hour // what a token shown to somebody has left at least
	singleTokenLife = time.Hour
	maxTokenLife    = 365 * 24 * time.Hour
)

// ZoneToken returns the zone's current join token, good for any number of nodes
// for at most 24 hours (ruling 19).
func (m *Manager) ZoneToken(ctx context.Context, a Actor, zone string) (*wire.ZoneToken, error) {
	return m.zoneToken(ctx, a, zone, false)
}

// RotateZoneToken stops every join token of the zone, those for single nodes too, and
// returns a new one.
func (m *Manager) RotateZoneToken(ctx context.Context, a Actor, zone string) (*wire.ZoneToken, error) {
	return m.zoneToken(ctx, a, zone, true)
}

func (m *Manager) zoneToken(ctx context.Context, a Actor, zone string, rotate bool) (*wire.ZoneToken, error) {
	if err := a.may(store.Manager); err != nil {
		return nil, err
	}
	var w wire.ZoneToken
	err := m.update(ctx, func(tx *store.Tx) error {
		if _, err := activeAccount(ctx, tx, a.AccountID); err != nil {
			return err
		}
		if _, err := tx.Zones().Get(ctx, a.AccountID, zone); err != nil {
			return err
		}
		now := m.now()
		which := []store.Condition{store.Is("zone_id", zone), store.Is("status", store.JoinTokenActive)}
		if !rotate {
			which = append(which, store.Is("kind", store.JoinTokenZone))
		}
		current, err := tx.JoinTokens().Find(ctx, a.AccountID, which...)
		if err != nil {
			return err
		}
		for _, t := range current {
			if rotate {
				t.Status = store.JoinTokenRevoked
				if err := tx.JoinTokens().Update(ctx, t); err != nil {
					return err
				}
			} else if t.ExpiresAt.Sub(now) >= zoneTokenLeast {
				text, fits, err := m.shownToken(t)
				if err != nil {
					return err
				}
				if fits {
					w.Token = text
					return nil
				}
			}
		}
		_, text, err := m.newJoinToken(ctx, tx, a, zone, store.JoinTokenZone, 0, zoneTokenLife)
		if err != nil {
			return err
		}
		w.Token = text
		code, what := "JOIN_TOKEN_CREATED", " made a join token of zone "
		if rotate {
			code, what = "JOIN_TOKEN_ROTATED", " stopped the join tokens of, and made a new one for, zone "
		}
		e := a.event(code, "ADMIN", a.Name+what+zone)
		e.ZoneID = zone
		return tx.Audit(ctx, e)
	})
	if err != nil {
		return nil, err
	}
	return &w, nil
}

// shownToken decrypts a zone's token, and reports whether its pin still fits the manager's key.
func (m *Manager) shownToken(t *store.JoinToken) (string, bool, error) {
	raw, err := m.opts.Box.Open(t.Sealed, "join-token", t.AccountID, t.ID)
	if err != nil {
		return "", false, fmt.Errorf("join token %s: %w", t.ID, err)
	}
	parsed, err := jointoken.Parse(string(raw))
	if err != nil {
		return "", false, fmt.Errorf("join token %s: %w", t.ID, err)
	}
	pin, err := m.opts.ServerKey()
	return string(raw), parsed.ManagerKey == pin, err
}

// newJoinToken stores a join token and returns its text.
func (m *Manager) newJoinToken(ctx context.Context, tx *store.Tx, a Actor, zone, kind string, uses int, life time.Duration) (*store.JoinToken, string, error) {
	now := m.now()
	t := jointoken.Token{Expires: now.Add(life).Truncate(time.Second), Uses: uint32(uses)}
	for _, b := range [][]byte{t.ID[:], t.Secret[:]} {
		if _, err := io.ReadFull(m.opts.Rand, b); err != nil {
			return nil, "", fmt.Errorf("join token: %w", err)
		}
	}
	var err error
	if t.ManagerKey, err = m.opts.ServerKey(); err != nil {
		return nil, "", fmt.Errorf("join token: %w", err)
	}
	root, err := authorityRow(ctx, tx, a.AccountID, store.AuthorityRoot, "", store.AuthorityCurrent)
	if err != nil {
		return nil, "", err
	}
	if t.AccountRoot, err = spkiHashOf(root); err != nil {
		return nil, "", err
	}
	text := t.Format()
	hash := sha256.Sum256(t.Secret[:])
	row := &store.JoinToken{
		ID: uuid.UUID(t.ID).String(), AccountID: a.AccountID, ZoneID: zone, Kind: kind, SecretHash: hex.EncodeToString(hash[:]),
		Status: store.JoinTokenActive, UsesLimit: uses, CreatedBy: a.UserID, CreatedAt: now, ExpiresAt: t.Expires,
	}
	if kind == store.JoinTokenZone {
		if row.Sealed, err = m.opts.Box.Seal([]byte(text), "join-token", row.AccountID, row.ID); err != nil {
			return nil, "", fmt.Errorf("join token: %w", err)
		}
	}
	return row, text, tx.JoinTokens().Insert(ctx, row)
}

// CreateJoinToken makes a join token for a number of nodes, one when none is
// given, for one hour when no time is given. Its text is in this reply only.
func (m *Manager) CreateJoinToken(ctx context.Context, a Actor, zone string, r wire.JoinTokenRequest) (*wire.JoinToken, error) {
	if err := a.may(store.Manager); err != nil {
		return nil, err
	}
	uses, life := r.Uses, time.Duration(r.ExpiresIn)*time.Second
	if uses == 0 {
		uses = 1
	}
	if life == 0 {
		life = singleTokenLife
	}
	if uses < 0 || uses > 100_000 || r.ExpiresIn < 0 || r.ExpiresIn > int64(maxTokenLife/time.Second) {
		return nil, invalid(CodeInvalidValue, "uses must be 1 to 100000 and expires_in at most a year of seconds")
	}
	var w wire.JoinToken
	err := m.update(ctx, func(tx *store.Tx) error {
		if _, err := activeAccount(ctx, tx, a.AccountID); err != nil {
			return err
		}
		if _, err := tx.Zones().Get(ctx, a.AccountID, zone); err != nil {
			return err
		}
		t, text, err := m.newJoinToken(ctx, tx, a, zone, store.JoinTokenSingle, uses, life)
		if err != nil {
			return err
		}
		w = joinTokenInfo(t)
		w.Token = text
		e := a.event("JOIN_TOKEN_CREATED", "ADMIN", fmt.Sprintf("%s made a join token for %d nodes of zone %s", a.Name, uses, zone))
		e.ZoneID = zone
		return tx.Audit(ctx, e)
	})
	if err != nil {
		return nil, err
	}
	return &w, nil
}

func joinTokenInfo(t *store.JoinToken) wire.JoinToken {
	return wire.JoinToken{TokenID: t.ID, Uses: t.UsesLimit, Used: t.Uses, ExpiresAt: t.ExpiresAt.Unix(), CreatedAt: t.CreatedAt.Unix(), Revoked: t.Status != store.JoinTokenActive}
}

// JoinTokens lists the tokens of a zone, without their texts.
func (m *Manager) JoinTokens(ctx context.Context, a Actor, zone string) ([]wire.JoinToken, error) {
	if err := a.may(store.Manager); err != nil {
		return nil, err
	}
	out := []wire.JoinToken{}
	err := m.view(ctx, func(tx *store.Tx) error {
		if _, err := tx.Zones().Get(ctx, a.AccountID, zone); err != nil {
			return err
		}
		all, err := tx.JoinTokens().Find(ctx, a.AccountID, store.Is("zone_id", zone))
		out = out[:0]
		for _, t := range all {
			out = append(out, joinTokenInfo(t))
		}
		return err
	})
	return out, err
}

// RevokeJoinToken stops one token.
func (m *Manager) RevokeJoinToken(ctx context.Context, a Actor, zone, id string) error {
	if err := a.may(store.Manager); err != nil {
		return err
	}
	return m.update(ctx, func(tx *store.Tx) error {
		t, err := tx.JoinTokens().Get(ctx, a.AccountID, id)
		if err != nil {
			return err
		}
		if t.ZoneID != zone {
			return notFound("join token", id)
		}
		t.Status = store.JoinTokenRevoked
		if err := tx.JoinTokens().Update(ctx, t); err != nil {
			return err
		}
		e := a.event("JOIN_TOKEN_REVOKED", "ADMIN", a.Name+" stopped the join token "+id)
		e.ZoneID = zone
		return tx.Audit(ctx, e)
	})
}

// joinToken finds the token of a text that may still enrol a node. All refusals look alike
// to somebody without the secret.
func (m *Manager) joinToken(ctx context.Context, tx *store.Tx, text string) (*store.JoinToken, error) {
	unknown := newError(Unauthenticated, CodeUnauthorized, "the join token is not known here; get another with `hitoku node token`")
	parsed, err := jointoken.Parse(text)
	if err != nil {
		return nil, unknown
	}
	t, err := tx.JoinTokenByID(ctx, uuid.UUID(parsed.ID).String())
	if errors.Is(err, store.ErrNotFound) {
		return nil, unknown
	}
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(parsed.Secret[:])
	if subtle.ConstantTimeCompare([]byte(t.SecretHash), []byte(hex.EncodeToString(hash[:]))) != 1 {
		return nil, unknown
	}
	if _, err := activeAccount(ctx, tx, t.AccountID); err != nil {
		return nil, err
	}
	switch {
	case t.Status != store.JoinTokenActive:
		return nil, newError(Unauthenticated, CodeUnauthorized, "the join token was stopped; get another with `hitoku node token`")
	case !m.now().Before(t.ExpiresAt):
		return nil, newError(Unauthenticated, CodeUnauthorized, "the join token expired at %s; get another with `hitoku node token`", t.ExpiresAt.Format(time.RFC3339))
	case t.UsesLimit > 0 && t.Uses >= t.UsesLimit:
		return nil, newError(Unauthenticated, CodeUnauthorized, "the join token has enrolled %d nodes, all that it may; get another with `hitoku node token`", t.Uses)
	}
	return t, nil
}

// useJoinToken counts one use of a token that joinToken found in the same transaction. The
// caller's audit event must follow.
func useJoinToken(ctx context.Context, tx *store.Tx, t *store.JoinToken) error {
	t.Uses++
	return tx.JoinTokens().Update(ctx, t)
}
