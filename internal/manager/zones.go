package manager

import (
	"context"
	"slices"

	"hitoku.dev/internal/manager/ca"
	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

// Zones lists the zones of the selected account.
func (m *Manager) Zones(ctx context.Context, a Actor) ([]wire.Zone, error) {
	if err := a.may(store.Reader); err != nil {
		return nil, err
	}
	out := []wire.Zone{}
	err := m.view(ctx, func(tx *store.Tx) error {
		acct, err := tx.Accounts().Get(ctx, a.AccountID)
		if err != nil {
			return err
		}
		zones, err := tx.Zones().Find(ctx, a.AccountID)
		if err != nil {
			return err
		}
		out = out[:0]
		for _, z := range zones {
			w, err := zoneInfo(ctx, tx, acct, z)
			if err != nil {
				return err
			}
			out = append(out, w)
		}
		return nil
	})
	return out, err
}

// Zone returns one zone of the selected account.
func (m *Manager) Zone(ctx context.Context, a Actor, id string) (*wire.Zone, error) {
	if err := a.may(store.Reader); err != nil {
		return nil, err
	}
	var w wire.Zone
	err := m.view(ctx, func(tx *store.Tx) error {
		acct, err := tx.Accounts().Get(ctx, a.AccountID)
		if err != nil {
			return err
		}
		z, err := tx.Zones().Get(ctx, a.AccountID, id)
		if err != nil {
			return err
		}
		w, err = zoneInfo(ctx, tx, acct, z)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &w, nil
}

func zoneInfo(ctx context.Context, tx *store.Tx, acct *store.Account, z *store.Zone) (wire.Zone, error) {
	row, err := authorityRow(ctx, tx, acct.ID, store.AuthorityZone, z.ID, store.AuthorityCurrent)
	if err != nil {
		return wire.Zone{}, err
	}
	certs, err := ca.ParsePEM(row.Certificate)
	if err != nil {
		return wire.Zone{}, err
	}
	return wire.Zone{
		CertificateEndsAt: certs[0].NotAfter.Unix(),
		AcctID:            acct.ID, ZoneID: z.ID, Name: z.Name, Description: z.Description, Certificate: row.Certificate,
		NodeRefreshInterval: z.RefreshInterval, NodeRenewalThreshold: z.RenewalThreshold,
		NodeEnrollment: wire.NodeEnrollment{AttestationEnforcementDisabledInsecure: acct.TestOnly},
	}, nil
}

// ZoneCertificates returns a zone's present, next and former authorities.
func (m *Manager) ZoneCertificates(ctx context.Context, a Actor, zone string) (*wire.ZoneCertificates, error) {
	if err := a.may(store.Reader); err != nil {
		return nil, err
	}
	var w *wire.ZoneCertificates
	err := m.view(ctx, func(tx *store.Tx) error {
		rows, err := zoneAuthorities(ctx, tx, a.AccountID, zone)
		w = &wire.ZoneCertificates{PreviousCertificates: []string{}}
		for _, row := range rows {
			switch row.State {
			case store.AuthorityCurrent:
				w.CurrentCertificate = row.Certificate
			case store.AuthorityNext:
				w.NextCertificate = row.Certificate
			default:
				w.PreviousCertificates = append(w.PreviousCertificates, row.Certificate)
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

func zoneAuthorities(ctx context.Context, tx *store.Tx, account, zone string) ([]*store.Authority, error) {
	if _, err := tx.Zones().Get(ctx, account, zone); err != nil {
		return nil, err
	}
	return tx.Authorities().Find(ctx, account, store.Is("kind", store.AuthorityZone), store.Is("zone_id", zone))
}

// NextZoneCertificate makes the authority that the next rotation will put into use, in place
// of one made before.
func (m *Manager) NextZoneCertificate(ctx context.Context, a Actor, zone string) (string, error) {
	if err := a.may(store.Manager); err != nil {
		return "", err
	}
	var certificate string
	err := m.update(ctx, func(tx *store.Tx) error {
		acct, err := activeAccount(ctx, tx, a.AccountID)
		if err != nil {
			return err
		}
		z, err := tx.Zones().Get(ctx, a.AccountID, zone)
		if err != nil {
			return err
		}
		rows, err := zoneAuthorities(ctx, tx, a.AccountID, zone)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if row.State == store.AuthorityNext {
				if err := tx.Authorities().Delete(ctx, row); err != nil {
					return err
				}
			}
		}
		next, err := m.nextZone(ctx, tx, acct, z)
		if err != nil {
			return err
		}
		certificate = next.Certificate
		if err := tx.Authorities().Insert(ctx, next); err != nil {
			return err
		}
		e := a.event("ZONE_CERTIFICATE_CREATED", "ADMIN", a.Name+" made the next authority of zone "+z.Name)
		e.ZoneID = z.ID
		return tx.Audit(ctx, e)
	})
	return certificate, err
}

func (m *Manager) nextZone(ctx context.Context, tx *store.Tx, acct *store.Account, z *store.Zone) (*store.Authority, error) {
	root, err := m.rootAuthority(ctx, tx, acct.ID)
	if err != nil {
		return nil, err
	}
	p := ca.ZoneParams{AccountID: acct.ID, ZoneID: z.ID, Name: z.Name, Simulated: acct.TestOnly}
	if p.Domains, err = accountDomains(ctx, tx, acct.ID); err != nil {
		return nil, err
	}
	zca, err := ca.NewZone(root, m.opts.Rand, m.now(), p)
	if err != nil {
		return nil, err
	}
	key, err := zca.MarshalKey()
	if err != nil {
		return nil, err
	}
	row, err := m.sealAuthority(store.AuthorityZone, acct.ID, z.ID, ca.EncodePEM(zca.Certificate), key)
	if err == nil {
		row.State = store.AuthorityNext
	}
	return row, err
}

// RotateZone puts the next authority into use. Certificates of the former one stay good
// until they end.
func (m *Manager) RotateZone(ctx context.Context, a Actor, zone string) (*wire.ZoneCertificates, error) {
	if err := a.may(store.Manager); err != nil {
		return nil, err
	}
	err := m.update(ctx, func(tx *store.Tx) error {
		acct, err := activeAccount(ctx, tx, a.AccountID)
		if err != nil {
			return err
		}
		rows, err := zoneAuthorities(ctx, tx, a.AccountID, zone)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(rows, func(r *store.Authority) bool { return r.State == store.AuthorityNext }) {
			return invalid(CodeInvalidState, "zone %s has no next certificate; make one first", zone)
		}
		for _, row := range rows {
			switch row.State {
			case store.AuthorityCurrent:
				row.State = store.AuthorityPrevious
			case store.AuthorityNext:
				row.State = store.AuthorityCurrent
			default:
				continue
			}
			if err := tx.Authorities().Update(ctx, row); err != nil {
				return err
			}
		}
		// Domains may have been approved since the next authority was made.
		if err := m.renameZones(ctx, tx, acct); err != nil {
			return err
		}
		e := a.event("ZONE_ROTATED", "ADMIN", a.Name+" put the next authority of zone "+zone+" into use")
		e.ZoneID = zone
		return tx.Audit(ctx, e)
	})
	if err != nil {
		return nil, err
	}
	return m.ZoneCertificates(ctx, a, zone)
}
