package manager

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
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
	nonceBurst    = 20000 // of an enrolled node; they are not stored until they are answered
	noncesEach    = 2000
	contactBurst  = 2000 // of a join token; these are stored
	contactsEach  = 200
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

// maxNonces bounds the nonces of one call.
const maxNonces = 64

// NewNonce hands a node nonces for evidence of one purpose: for its own certificate, or
// for a workload's. Each is good once, for ten minutes, through this node.
//
// Nothing of them is stored until they are answered: a nonce is the time, 12 random bytes and
// a MAC that binds both to account, node and purpose.
func (m *Manager) NewNonce(_ context.Context, p Peer, r wire.NonceRequest) (*wire.NonceReply, error) {
	purpose := attest.Purpose(r.Purpose)
	if purpose != attest.PurposeNode && purpose != attest.PurposeAppTLS {
		return nil, invalid(CodeInvalidValue, "purpose: wanted %s or %s, seen %q", attest.PurposeNode, attest.PurposeAppTLS, clip(r.Purpose))
	}
	if r.Count < 0 || r.Count > maxNonces {
		return nil, invalid(CodeInvalidValue, "count: wanted 1 to %d, seen %d", maxNonces, r.Count)
	}
	made := m.now().Truncate(time.Second)
	out := &wire.NonceReply{ExpiresAt: made.Add(issue.NonceLifetime).Unix()}
	for i := range max(1, r.Count) {
		if !m.allowed("nonces "+p.NodeID, nonceBurst, noncesEach) {
			if i > 0 {
				return out, nil
			}
			return nil, newError(Limited, CodeForbidden, "too many nonces asked for; wait some seconds")
		}
		value := make([]byte, attest.NonceSize)
		binary.BigEndian.PutUint32(value, uint32(made.Unix()))
		if _, err := io.ReadFull(m.opts.Rand, value[4:nonceBody]); err != nil {
			return nil, m.fail(fmt.Errorf("nonce: random source: %w", err))
		}
		copy(value[nonceBody:], m.nonceMAC(p, purpose, value))
		if i == 0 {
			out.Nonce = value
		} else {
			out.More = append(out.More, value)
		}
	}
	return out, nil
}

// nonceBody is the length of what the MAC in a nonce is over, beside what it is for: four
// bytes of seconds since 1970, big-endian, and random. The MAC has the other 16 bytes.
const nonceBody = 16

// nonceMAC is HMAC-SHA256 over LV("hitoku/nonce/1", account, node, purpose, body), cut to 16 bytes.
func (m *Manager) nonceMAC(p Peer, purpose attest.Purpose, value []byte) []byte {
	h := hmac.New(sha256.New, m.opts.NonceKey)
	for _, part := range []string{"hitoku/nonce/1", p.AccountID, p.NodeID, string(purpose), string(value[:nonceBody])} {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(part)))
		h.Write(n[:])
		io.WriteString(h, part)
	}
	return h.Sum(nil)[:attest.NonceSize-nonceBody]
}

// answerNonce notes, with the decision, that the nonce of a request through an enrolled node is
// answered. It is nil when it was not handed to this node for this purpose, or was answered
// before: the store remembers it until it has ended, and so does this process, in case somebody
// takes the row away.
func (m *Manager) answerNonce(ctx context.Context, tx *store.Tx, p Peer, purpose attest.Purpose, b *attest.Binding) (*store.Nonce, error) {
	if b == nil || len(b.Nonce) != attest.NonceSize || !hmac.Equal(m.nonceMAC(p, purpose, b.Nonce), b.Nonce[nonceBody:]) {
		return nil, nil
	}
	made := time.Unix(int64(binary.BigEndian.Uint32(b.Nonce)), 0).UTC()
	if !made.After(m.store.Restored()) { // the answer may be among what was lost then
		return nil, nil
	}
	n := &store.Nonce{
		ID: nonceID(b.Nonce), AccountID: p.AccountID, NodeID: p.NodeID, Subject: "answered", Purpose: string(purpose), CreatedAt: made, ExpiresAt: made.Add(issue.NonceLifetime),
	}
	if !m.now().Before(n.ExpiresAt) {
		return n, nil // which is refused anyway, and need not be remembered
	}
	if err := m.purge(ctx, tx); err != nil {
		return nil, err
	}
	if first, err := tx.AnswerNonce(ctx, n); err != nil || !first || m.isSpent(n) {
		return nil, err
	}
	return n, nil
}

// newNonce makes a nonce for a platform that wants to enrol, out of the allowance of its join token.
func (m *Manager) newNonce(account, subject, token string) ([]byte, *store.Nonce, error) {
	if !m.allowed("nonces "+token, contactBurst, contactsEach) {
		return nil, nil, newError(Limited, CodeForbidden, "too many nonces asked for; wait some seconds")
	}
	value := make([]byte, attest.NonceSize)
	if _, err := io.ReadFull(m.opts.Rand, value); err != nil {
		return nil, nil, m.fail(fmt.Errorf("nonce: random source: %w", err))
	}
	now := m.now()
	return value, &store.Nonce{
		ID: nonceID(value), AccountID: account, Subject: subject, Purpose: string(attest.PurposeNode), CreatedAt: now, ExpiresAt: now.Add(issue.NonceLifetime),
	}, nil
}

// purgeEvery is how often nonces that have ended are removed.
const purgeEvery = 10 * time.Minute

// purge now and then removes nonces that have ended, so that they do not pile up.
func (m *Manager) purge(ctx context.Context, tx *store.Tx) error {
	now := m.now()
	m.issuer.mu.Lock()
	due := now.Sub(m.issuer.purged) >= purgeEvery || now.Before(m.issuer.purged)
	if due {
		m.issuer.purged = now
	}
	m.issuer.mu.Unlock()
	if !due {
		return nil
	}
	return tx.Purge(ctx, now.Add(-time.Hour))
}

// putNonce stores a nonce that is handed out before enrolment.
func (m *Manager) putNonce(ctx context.Context, tx *store.Tx, n *store.Nonce) error {
	if err := m.purge(ctx, tx); err != nil {
		return err
	}
	return tx.PutNonce(ctx, n)
}

// nonceID is what the database knows of a nonce. It cannot be answered from there.
func nonceID(value []byte) string {
	h := sha256.Sum256(value)
	return hex.EncodeToString(h[:])
}

// takeNonce removes the nonce that a request for enrolment answers. It is nil when there is none
// in this account, or when it was answered before: the store forgets it, and this process
// remembers it, in case somebody puts the row back.
func (m *Manager) takeNonce(ctx context.Context, tx *store.Tx, account string, b *attest.Binding) (*store.Nonce, error) {
	if b == nil {
		return nil, nil
	}
	n, err := tx.TakeNonce(ctx, account, nonceID(b.Nonce))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil || m.isSpent(n) {
		return nil, err
	}
	return n, nil
}

func (m *Manager) isSpent(n *store.Nonce) bool {
	m.issuer.mu.Lock()
	defer m.issuer.mu.Unlock()
	_, again := m.issuer.spent[n.ID]
	return again
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
