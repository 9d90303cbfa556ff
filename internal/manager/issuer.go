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
	spent       map[string]time.Time        // ids of answered nonces until they expire
	sweep       int                         // length of spent at which expired ones go
	buckets     map[string]*bucket          // what each node and join token may still cause
	purged      time.Time                   // when nonces that ended were last removed
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
	v = &verifier{dcap.NewVerifier(sim.Root(), collateral, true), collateral, sim.Root(), now}
	m.issuer.mu.Lock()
	defer m.issuer.mu.Unlock()
	remember(&m.issuer.verifiers, k, v)
	return v, nil
}

// hardwareVerifier judges evidence of real platforms. Without collateral its rules fail by
// name, so that nothing is issued on evidence whose freshness nobody checked.
func (m *Manager) hardwareVerifier() *verifier {
	root := dcap.IntelRoot()
	return &verifier{dcap.NewVerifier(root, nil, false), nil, root, m.now()}
}
