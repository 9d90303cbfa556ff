package manager

import (
	"context"
	"math/big"
	"time"

	"hitoku.dev/internal/manager/ca"
	"hitoku.dev/internal/manager/store"
)

// revocationList is a list that was signed, and what it was made from.
type revocationList struct {
	der     []byte
	entries []ca.Revoked
	version int64 // of the authority's row
	made    time.Time
}

// listURL is the address of an authority's revocation list, empty when the manager has none.
// Leaves name the list of the authority that signed them, so that it is found after a rotation.
func (m *Manager) listURL(authority string) string {
	if m.opts.URL == "" {
		return ""
	}
	return m.opts.URL + "/v1/zones/" + authority + "/crl"
}

// RevocationList returns the revocation list of a zone authority in DER, for anybody. The id is
// the authority's own, or its zone's for the current one. The list is signed anew when
// something was revoked and when half its life is over.
func (m *Manager) RevocationList(ctx context.Context, id string) ([]byte, error) {
	var der []byte
	err := m.view(ctx, func(tx *store.Tx) error {
		row, err := zoneOfAnyAccount(ctx, tx, id)
		if err != nil {
			return err
		}
		der, err = m.revocationList(ctx, tx, row)
		return err
	})
	return der, err
}

// zoneOfAnyAccount finds a zone authority when the account is not known.
func zoneOfAnyAccount(ctx context.Context, tx *store.Tx, id string) (*store.Authority, error) {
	rows, err := tx.ZoneAuthorities(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if row.ID == id || row.ZoneID == id && row.State == store.AuthorityCurrent {
			return row, nil
		}
	}
	return nil, newError(NotFound, CodeNotFound, "there is no zone %s", clip(id))
}

func (m *Manager) revocationList(ctx context.Context, tx *store.Tx, row *store.Authority) ([]byte, error) {
	now := m.now()
	revoked, err := tx.Certificates().Find(ctx, row.AccountID, store.Is("authority_id", row.ID), store.Is("status", store.CertificateRevoked),
		store.Condition{Column: "not_after", Op: store.After, Values: []any{now.UnixMicro()}})
	if err != nil {
		return nil, err
	}
	var entries []ca.Revoked
	for _, c := range revoked {
		serial, ok := new(big.Int).SetString(c.Serial, 16)
		if !ok {
			return nil, &store.TamperedError{Kind: "certificate", ID: c.ID, Reason: "its serial number is not hexadecimal"}
		}
		reason := ca.ReasonPrivilegeWithdrawn
		if c.Kind == store.CertificateNode {
			reason = ca.ReasonCessation
		}
		entries = append(entries, ca.Revoked{Serial: serial, At: c.RevokedAt, Reason: reason})
	}
	m.issuer.mu.Lock()
	known := m.issuer.lists[row.ID]
	m.issuer.mu.Unlock()
	if known != nil && known.version == row.Version && now.Sub(known.made) < ca.ListLifetime/2 && !now.Before(known.made) && sameEntries(known.entries, entries) {
		return known.der, nil
	}
	authority, err := m.open(row)
	if err != nil {
		return nil, err
	}
	// The time in microseconds rises with every list, also across restarts.
	der, err := authority.RevocationList(m.opts.Rand, now, big.NewInt(now.UnixMicro()), entries)
	if err != nil {
		return nil, err
	}
	m.issuer.mu.Lock()
	defer m.issuer.mu.Unlock()
	remember(&m.issuer.lists, row.ID, &revocationList{der, entries, row.Version, now})
	return der, nil
}

func sameEntries(a, b []ca.Revoked) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Serial.Cmp(b[i].Serial) != 0 || !a[i].At.Equal(b[i].At) {
			return false
		}
	}
	return true
}
