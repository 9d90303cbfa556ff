package manager

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"hitoku.dev/internal/manager/ca"
	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

const (
	// UpkeepInterval is how often [Manager.Upkeep] is to be called.
	UpkeepInterval = 12 * time.Hour
	// zoneRenewal is how long before its end a zone authority gets a new certificate: long
	// enough that everybody who keeps a copy has the new one before the old one ends.
	zoneRenewal = ca.ZoneLifetime / 4
	// rootWarning is how long before its end people are told of an account root's end, and
	// rootReminder how often.
	rootWarning  = ca.RootLifetime / 10
	rootReminder = 30 * 24 * time.Hour

	codeRootEnds = "ROOT_ENDS"
)

// Upkeep renews the certificates of zone authorities that end soon, over the same
// keys, so that what they issued stays good and no measurement changes; the old
// certificate is good until its end. It warns, in the log and the audit log, of
// account roots that end soon: these are what people hold copies of, so a person
// must renew them ([Manager.RenewAccountRoot]). An account that fails does not
// keep the others from their turn.
func (m *Manager) Upkeep(ctx context.Context) error {
	var errs []error
	for offset := 0; ; offset += maxLimit {
		var accounts []*store.Account
		err := m.view(ctx, func(tx *store.Tx) error {
			p, err := tx.Accounts().List(ctx, store.Query{Where: []store.Condition{store.Is("status", store.AccountActive)}, Sort: []store.Order{{Column: "id"}}, Limit: maxLimit, Offset: offset})
			accounts = p.Items
			return err
		})
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for _, acct := range accounts {
			if err := m.upkeepAccount(ctx, acct); err != nil {
				errs = append(errs, fmt.Errorf("upkeep of account %s: %w", acct.ID, err))
			}
		}
		if len(accounts) < maxLimit {
			return errors.Join(errs...)
		}
	}
}

func (m *Manager) upkeepAccount(ctx context.Context, acct *store.Account) error {
	var due bool
	var root *ca.Authority
	err := m.view(ctx, func(tx *store.Tx) (err error) {
		if root, err = m.rootAuthority(ctx, tx, acct.ID); err != nil {
			return err
		}
		zones, err := tx.Zones().Find(ctx, acct.ID)
		due = false
		for _, z := range zones {
			old, _, err := m.zoneAuthority(ctx, tx, acct.ID, z.ID)
			if err != nil {
				return err
			}
			due = due || m.zoneDue(root, old)
		}
		return err
	})
	if err == nil && due {
		err = m.update(ctx, func(tx *store.Tx) error { return m.renewZones(ctx, tx, acct.ID) })
	}
	if err == nil && m.endsSoon(root.Certificate) {
		err = m.warnOfRoot(ctx, acct, root)
	}
	return err
}

// zoneDue: little is left, and a new certificate would end a day later at least.
func (m *Manager) zoneDue(root, zone *ca.Authority) bool {
	now, end := m.now(), zone.Certificate.NotAfter
	next := now.Add(ca.ZoneLifetime)
	if root.Certificate.NotAfter.Before(next) {
		next = root.Certificate.NotAfter
	}
	return end.Sub(now) < zoneRenewal && next.Sub(end) > 24*time.Hour
}

func (m *Manager) endsSoon(root *x509.Certificate) bool {
	return root.NotAfter.Sub(m.now()) < rootWarning
}

// renewZones renews what is due in one account.
func (m *Manager) renewZones(ctx context.Context, tx *store.Tx, account string) error {
	acct, err := activeAccount(ctx, tx, account)
	if err != nil {
		return err
	}
	root, err := m.rootAuthority(ctx, tx, acct.ID)
	if err != nil {
		return err
	}
	domains, err := accountDomains(ctx, tx, acct.ID)
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
		if !m.zoneDue(root, old) {
			continue
		}
		fresh, err := ca.RenewZone(root, old, m.opts.Rand, m.now(), ca.ZoneParams{AccountID: acct.ID, ZoneID: z.ID, Name: z.Name, Simulated: acct.TestOnly, Domains: domains})
		if err != nil {
			return err
		}
		row.Certificate = ca.EncodePEM(fresh.Certificate)
		if err := tx.Authorities().Update(ctx, row); err != nil {
			return err
		}
		a := Actor{AccountID: acct.ID, System: true}
		e := a.event("ZONE_CERTIFICATE_RENEWED", "ADMIN", "The certificate of zone "+z.Name+" was renewed over the same key, from "+stamp(old.Certificate.NotAfter)+" until "+stamp(fresh.Certificate.NotAfter))
		e.ZoneID = z.ID
		if err := tx.Audit(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// rootEnds says in one sentence what is to be done about a root that ends soon.
func rootEnds(root *x509.Certificate) string {
	return "The account root ends at " + stamp(root.NotAfter) + "; renew it with `hitoku account renew-root` and hand out the new certificate"
}

// warnOfRoot writes an event, unless there is one of late.
func (m *Manager) warnOfRoot(ctx context.Context, acct *store.Account, root *ca.Authority) error {
	m.opts.Log.Warn("an account root ends soon", "account", acct.ID, "name", acct.Name, "ends", stamp(root.Certificate.NotAfter))
	return m.update(ctx, func(tx *store.Tx) error {
		since := store.Condition{Column: "time", Op: store.After, Values: []any{m.now().Add(-rootReminder).UnixMicro()}}
		p, err := tx.Events(ctx, acct.ID, store.Query{Where: []store.Condition{store.Is("code", codeRootEnds), since}, Limit: 1})
		if err != nil || p.Filtered > 0 {
			return err
		}
		a := Actor{AccountID: acct.ID, System: true}
		e := a.event(codeRootEnds, "ADMIN", rootEnds(root.Certificate))
		e.Severity = "WARNING"
		return tx.Audit(ctx, e)
	})
}

// RenewAccountRoot gives an account root a new certificate over the same key. What pins the
// key stays as it is; copies of the old certificate are good until it ends.
func (m *Manager) RenewAccountRoot(ctx context.Context, a Actor, id string) (*wire.RootReply, error) {
	if err := a.self(); err != nil {
		return nil, err
	}
	err := m.update(ctx, func(tx *store.Tx) error {
		_, ms, err := visibleAccount(ctx, tx, a, id)
		if err != nil {
			return err
		}
		if err := runsAccount(a, ms); err != nil {
			return err
		}
		acct, err := activeAccount(ctx, tx, id)
		if err != nil {
			return err
		}
		row, err := authorityRow(ctx, tx, id, store.AuthorityRoot, "", store.AuthorityCurrent)
		if err != nil {
			return err
		}
		old, err := m.open(row)
		if err != nil {
			return err
		}
		fresh, err := ca.RenewRoot(old, m.opts.Rand, m.now(), ca.RootParams{AccountID: id, Name: acct.Name, Simulated: acct.TestOnly})
		if err != nil {
			return err
		}
		row.Certificate = ca.EncodePEM(fresh.Certificate)
		if err := tx.Authorities().Update(ctx, row); err != nil {
			return err
		}
		e := a.event("ROOT_RENEWED", "ADMIN", a.Name+" renewed the account root over the same key, until "+stamp(fresh.Certificate.NotAfter))
		e.AccountID, e.Severity = id, "WARNING"
		return tx.Audit(ctx, e)
	})
	if err != nil {
		return nil, err
	}
	m.forgetServers()
	return m.AccountRoot(ctx, a, id)
}

// forgetServers drops the web certificates under account roots, which carry their root.
func (m *Manager) forgetServers() {
	m.issuer.mu.Lock()
	defer m.issuer.mu.Unlock()
	m.issuer.servers = nil
}
