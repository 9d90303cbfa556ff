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

// Workloads ask a node agent without any proof, so what they cause has a bound, a burst and then
// so many a second: the nonces that one node (or the bearers of one join token) may have handed
// out, the simulated platforms that they may have certified, and the refused requests of one
// node. The last two are recorded for ever.
const (
	nonceBurst    = 2000
	noncesEach    = 200
	platformBurst = 500
	platformsEach = 5
	refusalBurst  = 500
	refusalsEach  = 5
)

type bucket struct {
	left float64
	at   time.Time
}

// allowed takes one from the allowance of a name.
func (m *Manager) allowed(who string, burst, each float64) bool {
	now := m.now()
	m.issuer.mu.Lock()
	defer m.issuer.mu.Unlock()
	b := m.issuer.buckets[who]
	if b == nil {
		b = &bucket{left: burst, at: now}
		remember(&m.issuer.buckets, who, b)
	}
	b.left = min(burst, b.left+each*max(0, now.Sub(b.at).Seconds()))
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// mayRecordRefusal keeps what is refused through one node from filling the database. Requests
// that are issued are not concerned.
func (m *Manager) mayRecordRefusal(p Peer) error {
	if m.allowed("refusals "+p.NodeID, refusalBurst, refusalsEach) {
		return nil
	}
	return newError(Limited, CodeForbidden, "the request is refused, as too many through this node were lately; its reason is not recorded; wait some seconds")
}

// NewNonce hands a node a nonce for evidence of one purpose: for its own certificate, or
// for a workload's. It is good once, for ten minutes, through this node.
func (m *Manager) NewNonce(ctx context.Context, p Peer, r wire.NonceRequest) (*wire.NonceReply, error) {
	purpose := attest.Purpose(r.Purpose)
	if purpose != attest.PurposeNode && purpose != attest.PurposeAppTLS {
		return nil, invalid(CodeInvalidValue, "purpose: wanted %s or %s, seen %q", attest.PurposeNode, attest.PurposeAppTLS, clip(r.Purpose))
	}
	value, n, err := m.newNonce(p.AccountID, p.NodeID, "", purpose, p.NodeID)
	if err != nil {
		return nil, err
	}
	if err := m.update(ctx, func(tx *store.Tx) error { return m.putNonce(ctx, tx, n) }); err != nil {
		return nil, err
	}
	return &wire.NonceReply{Nonce: value, ExpiresAt: n.ExpiresAt.Unix()}, nil
}

// newNonce makes a nonce for an enrolled node, or for a platform that wants to enrol, out of the
// allowance of who asks.
func (m *Manager) newNonce(account, node, subject string, purpose attest.Purpose, who string) ([]byte, *store.Nonce, error) {
	if !m.allowed("nonces "+who, nonceBurst, noncesEach) {
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

// purgeEvery is how often nonces that nobody answered are removed.
const purgeEvery = 10 * time.Minute

// putNonce stores a nonce and now and then removes those that ended, so that nonces which are
// never answered do not pile up.
func (m *Manager) putNonce(ctx context.Context, tx *store.Tx, n *store.Nonce) error {
	now := m.now()
	m.issuer.mu.Lock()
	due := now.Sub(m.issuer.purged) >= purgeEvery || now.Before(m.issuer.purged)
	if due {
		m.issuer.purged = now
	}
	m.issuer.mu.Unlock()
	if due {
		if err := tx.Purge(ctx, now.Add(-time.Hour)); err != nil {
			return err
		}
	}
	return tx.PutNonce(ctx, n)
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
