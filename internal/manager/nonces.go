package manager

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/internal/manager/issue"
	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

// How many nonces one node (or platform, before it is enrolled) may have handed out: a burst,
// and then so many a second. Workloads ask without any proof, so their number has a bound.
const (
	nonceBurst = 2000
	noncesEach = 200 // a second
)

type bucket struct {
	left float64
	at   time.Time
}

// nonceAllowed takes one nonce from a node's allowance.
func (m *Manager) nonceAllowed(who string) bool {
	now := m.now()
	m.issuer.mu.Lock()
	defer m.issuer.mu.Unlock()
	b := m.issuer.buckets[who]
	if b == nil {
		b = &bucket{left: nonceBurst, at: now}
		remember(&m.issuer.buckets, who, b)
	}
	b.left = min(nonceBurst, b.left+noncesEach*max(0, now.Sub(b.at).Seconds()))
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// NewNonce hands a node a nonce for evidence of one purpose: for its own certificate, or
// for a workload's. It is good once, for ten minutes, through this node.
func (m *Manager) NewNonce(ctx context.Context, p Peer, r wire.NonceRequest) (*wire.NonceReply, error) {
	purpose := attest.Purpose(r.Purpose)
	if purpose != attest.PurposeNode && purpose != attest.PurposeAppTLS {
		return nil, invalid(CodeInvalidValue, "purpose: wanted %s or %s, seen %q", attest.PurposeNode, attest.PurposeAppTLS, clip(r.Purpose))
	}
	value, n, err := m.newNonce(p.AccountID, p.NodeID, "", purpose)
	if err != nil {
		return nil, err
	}
	if err := m.update(ctx, func(tx *store.Tx) error { return tx.PutNonce(ctx, n) }); err != nil {
		return nil, err
	}
	return &wire.NonceReply{Nonce: value, ExpiresAt: n.ExpiresAt.Unix()}, nil
}

// newNonce makes a nonce for an enrolled node, or for a platform that wants to enrol.
func (m *Manager) newNonce(account, node, subject string, purpose attest.Purpose) ([]byte, *store.Nonce, error) {
	if !m.nonceAllowed(account + "/" + node + subject) {
		return nil, nil, newError(Limited, CodeForbidden, "too many nonces asked for; wait some seconds")
	}
	value := make([]byte, attest.NonceSize)
	if _, err := io.ReadFull(m.opts.Rand, value); err != nil {
		return nil, nil, m.fail(fmt.Errorf("nonce: random source: %w", err))
	}
	now := m.now()
	return value, &store.Nonce{
		ID: nonceID(value), AccountID: account, NodeID: node, Subject: subject, Purpose: string(purpose), CreatedAt: now, ExpiresAt: now.Add(issue.NonceLifetime),
	}, nil
}

// nonceID is what the database knows of a nonce. It cannot be answered from there.
func nonceID(value []byte) string {
	h := sha256.Sum256(value)
	return hex.EncodeToString(h[:])
}

// takeNonce removes the nonce that a request answers. It is nil when there is none in this
// account, or when it was answered before: the store forgets it, and this process remembers
// it, in case somebody puts the row back.
func (m *Manager) takeNonce(ctx context.Context, tx *store.Tx, account string, b *attest.Binding) (*store.Nonce, error) {
	if b == nil {
		return nil, nil
	}
	n, err := tx.TakeNonce(ctx, account, nonceID(b.Nonce))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m.issuer.mu.Lock()
	defer m.issuer.mu.Unlock()
	if _, again := m.issuer.spent[n.ID]; again {
		return nil, nil
	}
	return n, nil
}

// spend remembers a nonce whose transaction is committed.
func (m *Manager) spend(n *store.Nonce) {
	if n == nil {
		return
	}
	now := m.now()
	m.issuer.mu.Lock()
	defer m.issuer.mu.Unlock()
	if m.issuer.spent == nil {
		m.issuer.spent = map[string]time.Time{}
	}
	if len(m.issuer.spent) >= m.issuer.sweep {
		for id, until := range m.issuer.spent {
			if !now.Before(until) {
				delete(m.issuer.spent, id)
			}
		}
		m.issuer.sweep = 2*len(m.issuer.spent) + maxCached
	}
	m.issuer.spent[n.ID] = n.ExpiresAt
}

// issueNonce is the form in which a decision reads a nonce.
func issueNonce(n *store.Nonce, b *attest.Binding) *issue.Nonce {
	if n == nil {
		return nil
	}
	p := preparationOf(n.Subject)
	return &issue.Nonce{Value: b.Nonce, NodeID: n.NodeID, ZoneID: p.zone, PlatformID: p.platform, PlatformKey: p.key, Purpose: attest.Purpose(n.Purpose), Expires: n.ExpiresAt}
}

// clip shows at most 64 characters of outside text.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
