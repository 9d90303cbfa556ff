package manager

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"hitoku.dev/attest/dcap"
	"hitoku.dev/enclave/simtee/authority"
	"hitoku.dev/internal/manager/ca"
	"hitoku.dev/internal/manager/store"
)

// collateralAge is how long one piece of simulated collateral is used; it is valid much longer.
const collateralAge = 6 * time.Hour

// issuer holds what issuing needs in memory: keys that were opened, verifiers
// whose collateral was checked once, nonces that were answered. Everything is
// found by the version of the row that it comes from, and the row is read and
// authenticated each time, so that nothing outlives its row. The zero value is ready.
type issuer struct {
	mu          sync.Mutex
	authorities map[rowKey]*ca.Authority
	verifiers   map[rowKey]*verifier
	servers     map[string]*tls.Certificate // by server name
	lists       map[string]*revocationList  // by authority id
	platforms   map[string]string           // PCK chains by account and preparation
	leaves      map[leafKey]struct{}        // leaves that were compared with their row
	callers     map[[32]byte]*knownCaller   // by SHA-256 of the node certificate
	homes       map[Peer]*home
	spent       map[string]time.Time // ids of answered nonces until they expire
	sweep       int                  // length of spent at which expired ones go
	buckets     map[string]*bucket   // what each node and join token may still cause
	purged      time.Time            // when nonces that ended were last removed
}

// rowKey names one version of a row.
type rowKey struct {
	id      string
	version int64
}

// leafKey names a certificate and the row that it was compared with.
type leafKey struct {
	row  rowKey
	hash [32]byte
}

// verifier judges evidence under one root (security decision S10). Only what was verified
// under that root is kept in it.
type verifier struct {
	*dcap.Verifier
	collateral *dcap.Collateral
	root       *x509.Certificate
	made       time.Time
	row        *store.Authority // of the simulated authority; nil for hardware
	source     CollateralSource // for hardware: finds verifier and collateral for each quote
}

// maxCached bounds each map; what was dropped is made again.
const maxCached = 4096

func remember[K comparable, V any](to *map[K]V, k K, v V) {
	if *to == nil || len(*to) >= maxCached {
		*to = map[K]V{}
	}
	(*to)[k] = v
}

// authorityNames is what an authority's key is sealed under.
func authorityNames(row *store.Authority) []string {
	return []string{"authority", row.AccountID, row.Kind, row.ID}
}

// open returns the authority of a row with its key.
func (m *Manager) open(row *store.Authority) (*ca.Authority, error) {
	k := rowKey{row.ID, row.Version}
	m.issuer.mu.Lock()
	a := m.issuer.authorities[k]
	m.issuer.mu.Unlock()
	if a != nil {
		return a, nil
	}
	certs, err := ca.ParsePEM(row.Certificate)
	if err != nil {
		return nil, fmt.Errorf("authority %s: %w", row.ID, err)
	}
	key, err := m.opts.Box.Open(row.SealedKey, authorityNames(row)...)
	if err != nil {
		return nil, fmt.Errorf("authority %s: %w", row.ID, err)
	}
	if a, err = ca.Load(certs[0].Raw, key); err != nil {
		return nil, err
	}
	m.issuer.mu.Lock()
	defer m.issuer.mu.Unlock()
	remember(&m.issuer.authorities, k, a)
	return a, nil
}

// openSimulated returns the simulated authority of a row. It is not kept: its state changes.
func (m *Manager) openSimulated(row *store.Authority) (*authority.Authority, error) {
	state, err := m.opts.Box.Open(row.SealedKey, authorityNames(row)...)
	if err != nil {
		return nil, fmt.Errorf("simulated authority %s: %w", row.ID, err)
	}
	return authority.Parse(state)
}

// sealSimulated puts the present state of a simulated authority into its row.
func (m *Manager) sealSimulated(row *store.Authority, sim *authority.Authority) error {
	state, err := sim.Marshal()
	if err != nil {
		return err
	}
	row.SealedKey, err = m.opts.Box.Seal(state, authorityNames(row)...)
	return err
}

// verifierFor returns what judges evidence of a node with this attestation type. The root
// follows from the account and the type that was stored at enrolment, never from the evidence.
func (m *Manager) verifierFor(ctx context.Context, tx *store.Tx, account *store.Account, attestation string) (*verifier, error) {
	if attestation != attestationSimulated || !account.TestOnly {
		return m.hardwareVerifier(), nil
	}
	row, err := authorityRow(ctx, tx, account.ID, store.AuthoritySimulated, "", store.AuthorityCurrent)
	if err != nil {
		return nil, err
	}
	k, now := rowKey{row.ID, row.Version}, m.now()
	m.issuer.mu.Lock()
	v := m.issuer.verifiers[k]
	m.issuer.mu.Unlock()
	if v != nil && now.Sub(v.made) < collateralAge && !now.Before(v.made) {
		return v, nil
	}
	sim, err := m.openSimulated(row)
	if err != nil {
		return nil, err
	}
	collateral, err := sim.Collateral(now)
	if err != nil {
		return nil, fmt.Errorf("simulated authority %s: %w", row.ID, err)
	}
	v = &verifier{dcap.NewVerifier(sim.Root(), collateral, true), collateral, sim.Root(), now, row, nil}
	m.issuer.mu.Lock()
	defer m.issuer.mu.Unlock()
	remember(&m.issuer.verifiers, k, v)
	return v, nil
}

// home is what judging a request through a node starts from.
type home struct {
	account  *store.Account
	node     *store.Node
	root     *store.Authority // the account root
	verifier *verifier
}

// homeOf reads where a node belongs. What was read before is used again while it is the newest;
// the decision itself reads again, in its own transaction.
func (m *Manager) homeOf(ctx context.Context, p Peer) (*home, error) {
	m.issuer.mu.Lock()
	known := m.issuer.homes[p]
	m.issuer.mu.Unlock()
	if known != nil && m.store.Present(known.account, known.node, known.root) && m.usable(known.verifier) {
		return known, nil
	}
	h := new(home)
	err := m.view(ctx, func(tx *store.Tx) (err error) {
		if h.account, err = activeAccount(ctx, tx, p.AccountID); err != nil {
			return err
		}
		if h.node, err = tx.Nodes().Get(ctx, p.AccountID, p.NodeID); err != nil {
			return err
		}
		if h.root, err = authorityRow(ctx, tx, p.AccountID, store.AuthorityRoot, "", store.AuthorityCurrent); err != nil {
			return err
		}
		h.verifier, err = m.verifierFor(ctx, tx, h.account, h.node.AttestationType)
		return err
	})
	if err != nil {
		return nil, err
	}
	m.issuer.mu.Lock()
	defer m.issuer.mu.Unlock()
	remember(&m.issuer.homes, p, h)
	return h, nil
}

// usable reports whether a verifier may be used without looking at the row that it comes from.
func (m *Manager) usable(v *verifier) bool {
	now := m.now()
	return v.row != nil && m.store.Present(v.row) && now.Sub(v.made) < collateralAge && !now.Before(v.made)
}
