package manager

import (
	"context"
	"fmt"

	"hitoku.dev/attest"
	"hitoku.dev/enclave/simtee/authority"
	"hitoku.dev/internal/manager/ca"
	"hitoku.dev/internal/manager/store"
)

// sealAuthority makes the row of an authority, its key encrypted.
func (m *Manager) sealAuthority(kind, account, zone, certificate string, key []byte) (*store.Authority, error) {
	id, err := m.newID()
	if err != nil {
		return nil, err
	}
	row := &store.Authority{ID: id, AccountID: account, ZoneID: zone, Kind: kind, State: store.AuthorityCurrent, Certificate: certificate, CreatedAt: m.now()}
	if row.SealedKey, err = m.opts.Box.Seal(key, authorityNames(row)...); err != nil {
		return nil, fmt.Errorf("%s authority of account %s: %w", kind, account, err)
	}
	return row, nil
}

// newAuthorities makes the root, the default zone's authority and, in a test-only account,
// the simulated authority.
func (m *Manager) newAuthorities(account, name, zone, zoneName string, testOnly bool) ([]*store.Authority, error) {
	now := m.now()
	root, err := ca.NewRoot(m.opts.Rand, now, ca.RootParams{AccountID: account, Name: name, Simulated: testOnly})
	if err != nil {
		return nil, err
	}
	zca, err := ca.NewZone(root, m.opts.Rand, now, ca.ZoneParams{AccountID: account, ZoneID: zone, Name: zoneName, Simulated: testOnly})
	if err != nil {
		return nil, err
	}
	var rows []*store.Authority
	for _, x := range []struct {
		kind, zone string
		a          *ca.Authority
	}{{store.AuthorityRoot, "", root}, {store.AuthorityZone, zone, zca}} {
		key, err := x.a.MarshalKey()
		if err != nil {
			return nil, err
		}
		row, err := m.sealAuthority(x.kind, account, x.zone, ca.EncodePEM(x.a.Certificate), key)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	if !testOnly {
		return rows, nil
	}
	sim, err := authority.New(m.opts.Rand, now)
	if err != nil {
		return nil, err
	}
	state, err := sim.Marshal()
	if err != nil {
		return nil, err
	}
	row, err := m.sealAuthority(store.AuthoritySimulated, account, "", ca.EncodePEM(sim.Root()), state)
	if err != nil {
		return nil, err
	}
	return append(rows, row), nil
}

// authorityRow finds the one authority of this kind and state.
func authorityRow(ctx context.Context, tx *store.Tx, account, kind, zone, state string) (*store.Authority, error) {
	rows, err := tx.Authorities().Find(ctx, account, store.Is("kind", kind), store.Is("zone_id", zone), store.Is("state", state))
	if err != nil {
		return nil, err
	}
	switch {
	case len(rows) == 1:
		return rows[0], nil
	case len(rows) == 0 && kind == store.AuthoritySimulated:
		return nil, newError(NotFound, CodeNotFound, "account %s is not test-only and has no simulated root", account)
	}
	return nil, &store.TamperedError{Kind: "account", ID: account, Reason: fmt.Sprintf("it has %d %s authorities in use, wanted one", len(rows), kind)}
}

// rootAuthority returns the account root with its key, zoneAuthority a zone's current one.
func (m *Manager) rootAuthority(ctx context.Context, tx *store.Tx, account string) (*ca.Authority, error) {
	row, err := authorityRow(ctx, tx, account, store.AuthorityRoot, "", store.AuthorityCurrent)
	if err != nil {
		return nil, err
	}
	return m.open(row)
}

func (m *Manager) zoneAuthority(ctx context.Context, tx *store.Tx, account, zone string) (*ca.Authority, *store.Authority, error) {
	row, err := authorityRow(ctx, tx, account, store.AuthorityZone, zone, store.AuthorityCurrent)
	if err != nil {
		return nil, nil, err
	}
	a, err := m.open(row)
	return a, row, err
}

// renameZones gives the zone authorities of a test-only account certificates for the domains
// that are approved now, over the same keys (S11: they may name nothing else).
func (m *Manager) renameZones(ctx context.Context, tx *store.Tx, acct *store.Account) error {
	if !acct.TestOnly {
		return nil
	}
	root, err := m.rootAuthority(ctx, tx, acct.ID)
	if err != nil {
		return err
	}
	names, err := accountDomains(ctx, tx, acct.ID)
	if err != nil {
		return err
	}
	zones, err := tx.Zones().Find(ctx, acct.ID)
	if err != nil {
		return err
	}
	for _, z := range zones {
		old, row, err := m.zoneAuthority(ctx, tx, acct.ID, z.ID)
		if err != nil {
			return err
		}
		if old.LimitedTo(names) {
			continue
		}
		fresh, err := ca.RenewZone(root, old, m.opts.Rand, m.now(), ca.ZoneParams{AccountID: acct.ID, ZoneID: z.ID, Name: z.Name, Simulated: true, Domains: names})
		if err != nil {
			return err
		}
		row.Certificate = ca.EncodePEM(fresh.Certificate)
		if err := tx.Authorities().Update(ctx, row); err != nil {
			return err
		}
	}
	return nil
}

// accountDomains returns the domains that are approved in an account.
func accountDomains(ctx context.Context, tx *store.Tx, account string) ([]string, error) {
	rows, err := tx.Domains().Find(ctx, account)
	var names []string
	for _, d := range rows {
		names = append(names, d.Name)
	}
	return names, err
}

// spkiHashOf returns the SHA-256 of the SubjectPublicKeyInfo of a row's certificate.
func spkiHashOf(row *store.Authority) ([32]byte, error) {
	certs, err := ca.ParsePEM(row.Certificate)
	if err != nil {
		return [32]byte{}, fmt.Errorf("%s authority of account %s: %w", row.Kind, row.AccountID, err)
	}
	return attest.SPKIHash(certs[0].RawSubjectPublicKeyInfo), nil
}
