package manager

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/internal/manager/ca"
	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

const (
	maxLogo = 128 << 10 // bytes of a decoded logo

	defaultZoneName        = "Default Enclave Zone"
	defaultRefreshInterval = 60 // seconds
	defaultRenewal         = 50 // percent
)

// CreateAccount makes an account with its root, its default zone and, when it is
// test-only, its simulated authority. The actor becomes its first MANAGER.
func (m *Manager) CreateAccount(ctx context.Context, a Actor, r wire.AccountRequest) (*wire.Account, error) {
	if err := a.self(); err != nil {
		return nil, err
	}
	name, err := checkName("an account", r.Name)
	if err != nil {
		return nil, err
	}
	if err := checkLogo(r.CustomLogo); err != nil {
		return nil, err
	}
	component := r.Component
	switch component {
	case "":
		component = "DEFAULT"
	case "DEFAULT", "CONFIDENTIAL_AI":
	default:
		return nil, invalid(CodeInvalidValue, "component %q is neither DEFAULT nor CONFIDENTIAL_AI", component)
	}
	var ids [2]string
	for i := range ids {
		if ids[i], err = m.newID(); err != nil {
			return nil, m.fail(err)
		}
	}
	now := m.now()
	testOnly := r.NodeEnrollment != nil && r.NodeEnrollment.AttestationEnforcementDisabledInsecure
	rows, err := m.newAuthorities(ids[0], name, ids[1], defaultZoneName, testOnly)
	if err != nil {
		return nil, m.fail(err)
	}
	acct := &store.Account{ID: ids[0], Name: name, TestOnly: testOnly, Status: store.AccountActive, Component: component, DistinctApprover: r.FourEyes, CustomLogo: r.CustomLogo, CreatedBy: a.UserID, CreatedAt: now, UpdatedAt: now}
	zone := &store.Zone{ID: ids[1], AccountID: acct.ID, Name: defaultZoneName, Default: true, RefreshInterval: defaultRefreshInterval, RenewalThreshold: defaultRenewal, CreatedAt: now}
	ms := &store.Membership{AccountID: acct.ID, UserID: a.UserID, Roles: []store.Role{store.Reader, store.Writer, store.Manager}, Status: store.UserActive, InvitedBy: a.UserID, CreatedAt: now}
	err = m.update(ctx, func(tx *store.Tx) error {
		owned, err := tx.Accounts().List(ctx, store.Query{Where: []store.Condition{store.Is("created_by", a.UserID)}, Limit: 1})
		if err != nil {
			return err
		}
		if owned.Filtered >= m.opts.Quotas.AccountsPerUser {
			return newError(Forbidden, CodeQuota, "you have %d accounts, as many as are allowed", owned.Filtered)
		}
		if err := tx.Accounts().Insert(ctx, acct); errors.Is(err, store.ErrExists) {
			return invalid(CodeUnique, "an account with the name %q exists already", name)
		} else if err != nil {
			return err
		}
		if err := tx.Zones().Insert(ctx, zone); err != nil {
			return err
		}
		for _, row := range rows {
			if err := tx.Authorities().Insert(ctx, row); err != nil {
				return err
			}
		}
		if err := tx.Memberships().Insert(ctx, ms); err != nil {
			return err
		}
		what := a.Name + " created the account " + name
		if testOnly {
			what += ", test-only: it trusts the simulated TEE"
		}
		e := a.event("ACCOUNT_CREATED", "ADMIN", what)
		e.AccountID = acct.ID
		return tx.Audit(ctx, e)
	})
	if err != nil {
		return nil, err
	}
	w := accountInfo(acct, ms)
	return &w, nil
}

func checkLogo(s string) error {
	if i := strings.Index(s, ";base64,"); strings.HasPrefix(s, "data:image/") && i > 0 {
		s = s[i+len(";base64,"):]
	}
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(raw) > maxLogo {
		return invalid(CodeInvalidValue, "custom_logo must be base64 of an image of at most %d KiB", maxLogo>>10)
	}
	return nil
}

func accountInfo(acct *store.Account, ms *store.Membership) wire.Account {
	w := wire.Account{
		AcctID: acct.ID, Name: acct.Name, CreatedAt: acct.CreatedAt.Unix(), CustomLogo: acct.CustomLogo, AuthConfigs: map[string]any{},
		NodeEnrollment: wire.NodeEnrollment{AttestationEnforcementDisabledInsecure: acct.TestOnly},
		Component:      acct.Component, AccountStatus: acct.Status, FourEyes: acct.DistinctApprover,
		Attestation: &wire.AttestationRules{
			TCBStatuses: acceptedStatuses(acct), MinTCBEvaluation: acct.Options.MinTCBEvaluation, AcceptBareBinding: acct.Options.AcceptBareBinding,
		},
	}
	if ms != nil {
		w.Roles, w.Status = roleNames(ms.Roles), ms.Status
	}
	return w
}

// Accounts lists the accounts that the actor is a member of, or invited to. With
// system set, a system administrator gets all.
func (m *Manager) Accounts(ctx context.Context, a Actor, l ListOptions, system bool) (*wire.List[wire.Account], error) {
	q, err := l.query(columns{"name": "name", "created_at": "created_at", "acct_id": "id"}, columns{"name": "name", "acct_id": "id"}, "name")
	if err != nil {
		return nil, err
	}
	if system && !a.SystemAdmin {
		return nil, forbidden("only a system administrator sees all accounts")
	}
	var out *wire.List[wire.Account]
	err = m.view(ctx, func(tx *store.Tx) error {
		q := q
		mine := map[string]*store.Membership{}
		all, err := tx.MembershipsOf(ctx, a.UserID)
		if err != nil {
			return err
		}
		var ids []string
		for _, ms := range all {
			if a.TokenID == "" || ms.AccountID == a.AccountID {
				mine[ms.AccountID] = ms
				ids = append(ids, ms.AccountID)
			}
		}
		if !system {
			q.Where = append(slices.Clone(q.Where), store.OneOf("id", ids...))
		}
		p, err := tx.Accounts().List(ctx, q)
		if err != nil {
			return err
		}
		if !system {
			p.Total = len(mine)
		}
		out, err = page(q, p, func(acct *store.Account) (wire.Account, error) { return accountInfo(acct, mine[acct.ID]), nil })
		return err
	})
	return out, err
}

// visibleAccount returns an account that the actor may see: as a member or as a system administrator.
func visibleAccount(ctx context.Context, tx *store.Tx, a Actor, id string) (*store.Account, *store.Membership, error) {
	if a.TokenID != "" && id != a.AccountID {
		return nil, nil, newError(NotFound, CodeNotFound, "account %s is not one of yours", id)
	}
	ms, err := tx.Memberships().Get(ctx, id, a.UserID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, nil, err
	}
	if ms == nil && !a.SystemAdmin {
		return nil, nil, newError(NotFound, CodeNotFound, "account %s is not one of yours", id)
	}
	acct, err := tx.Accounts().Get(ctx, id)
	return acct, ms, err
}

// runsAccount checks that the actor may change an account.
func runsAccount(a Actor, ms *store.Membership) error {
	if a.SystemAdmin || ms != nil && ms.Status == store.UserActive && ms.Has(store.Manager) {
		return nil
	}
	return forbidden("this needs the role MANAGER in the account")
}

// Account returns one account, with the numbers of its objects when asked.
func (m *Manager) Account(ctx context.Context, a Actor, id string, totals bool) (*wire.Account, error) {
	var w wire.Account
	err := m.view(ctx, func(tx *store.Tx) error {
		acct, ms, err := visibleAccount(ctx, tx, a, id)
		if err != nil {
			return err
		}
		w = accountInfo(acct, ms)
		if totals {
			nodes, err := tx.Nodes().List(ctx, id, store.Query{Limit: 1})
			if err != nil {
				return err
			}
			w.Totals = &wire.ObjectCounts{Nodes: nodes.Total}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &w, nil
}

// UpdateAccount changes name, logo, state, the four-eyes rule and the rules of
// attestation. Whether an account is test-only never changes.
func (m *Manager) UpdateAccount(ctx context.Context, a Actor, id string, r wire.AccountUpdate) (*wire.Account, error) {
	if err := a.self(); err != nil {
		return nil, err
	}
	var w wire.Account
	err := m.update(ctx, func(tx *store.Tx) error {
		acct, ms, err := visibleAccount(ctx, tx, a, id)
		if err != nil {
			return err
		}
		if err := runsAccount(a, ms); err != nil {
			return err
		}
		did, looser, err := changeAccount(a, acct, r)
		if err != nil {
			return err
		}
		acct.UpdatedAt = m.now()
		if err := tx.Accounts().Update(ctx, acct); errors.Is(err, store.ErrExists) {
			return invalid(CodeUnique, "an account with the name %q exists already", acct.Name)
		} else if err != nil {
			return err
		}
		w = accountInfo(acct, ms)
		e := a.event("ACCOUNT_UPDATED", "ADMIN", a.Name+" changed the account: "+strings.Join(did, ", "))
		e.AccountID = id
		if looser {
			e.Severity = "WARNING"
		}
		return tx.Audit(ctx, e)
	})
	if err != nil {
		return nil, err
	}
	return &w, nil
}

// changeAccount says what it did, and whether evidence may now pass that did not before.
func changeAccount(a Actor, acct *store.Account, r wire.AccountUpdate) (did []string, looser bool, err error) {
	if r.Name != nil {
		if acct.Name, err = checkName("an account", *r.Name); err != nil {
			return nil, false, err
		}
		did = append(did, "name")
	}
	if r.CustomLogo != nil {
		if err := checkLogo(*r.CustomLogo); err != nil {
			return nil, false, err
		}
		acct.CustomLogo = *r.CustomLogo
		did = append(did, "logo")
	}
	switch r.AccountStatus {
	case "":
	case store.AccountActive, store.AccountDeactivated:
		acct.Status = r.AccountStatus
		did = append(did, "state "+r.AccountStatus)
	default:
		return nil, false, invalid(CodeInvalidValue, "account_status %q is neither Active nor Deactivated", r.AccountStatus)
	}
	if r.FourEyes != nil {
		// One person alone could otherwise switch the rule off, approve, and switch it on again.
		if acct.DistinctApprover && !*r.FourEyes && !a.SystemAdmin {
			return nil, false, forbidden("only a system administrator may switch four_eyes off")
		}
		acct.DistinctApprover = *r.FourEyes
		did = append(did, fmt.Sprintf("four_eyes %t", *r.FourEyes))
	}
	if r.Attestation != nil {
		changed, loosened, err := changeAttestation(acct, *r.Attestation)
		if err != nil {
			return nil, false, err
		}
		if loosened && acct.DistinctApprover && !a.SystemAdmin {
			return nil, false, forbidden("only a system administrator may accept more evidence in an account with four_eyes")
		}
		did, looser = append(did, changed...), loosened
	}
	if len(did) == 0 {
		return nil, false, invalid(CodeBadRequest, "nothing to change was given")
	}
	return did, looser, nil
}

// DeleteAccount removes an account and all that is in it. Its part of the audit log stays.
func (m *Manager) DeleteAccount(ctx context.Context, a Actor, id string) error {
	if err := a.self(); err != nil {
		return err
	}
	return m.update(ctx, func(tx *store.Tx) error {
		acct, ms, err := visibleAccount(ctx, tx, a, id)
		if err != nil {
			return err
		}
		if err := runsAccount(a, ms); err != nil {
			return err
		}
		if err := tx.Accounts().Delete(ctx, acct); err != nil {
			return err
		}
		e := a.event("ACCOUNT_DELETED", "ADMIN", a.Name+" deleted the account "+acct.Name)
		e.AccountID, e.Severity = id, "WARNING"
		return tx.Audit(ctx, e)
	})
}

// AccountRoot returns the certificate of the account root, SimulatedRoot that of
// the simulated authority. Both are public.
func (m *Manager) AccountRoot(ctx context.Context, a Actor, id string) (*wire.RootReply, error) {
	return m.root(ctx, a, id, store.AuthorityRoot)
}

// SimulatedRoot is NotFound in an account that is not test-only.
func (m *Manager) SimulatedRoot(ctx context.Context, a Actor, id string) (*wire.RootReply, error) {
	return m.root(ctx, a, id, store.AuthoritySimulated)
}

// SimulatedCollateral is what the simulated authority of an account has signed about
// its platforms, for judges that meet their evidence elsewhere. It is public, and good
// for 30 days. NotFound in an account that is not test-only.
func (m *Manager) SimulatedCollateral(ctx context.Context, a Actor, id string) (*dcap.Collateral, error) {
	var v *verifier
	err := m.view(ctx, func(tx *store.Tx) error {
		acct, _, err := visibleAccount(ctx, tx, a, id)
		if err != nil {
			return err
		}
		if _, err := authorityRow(ctx, tx, id, store.AuthoritySimulated, "", store.AuthorityCurrent); err != nil {
			return err
		}
		v, err = m.verifierFor(ctx, tx, acct, attestationSimulated)
		return err
	})
	if err != nil {
		return nil, err
	}
	return v.collateral, nil
}

func (m *Manager) root(ctx context.Context, a Actor, id, kind string) (*wire.RootReply, error) {
	var w wire.RootReply
	err := m.view(ctx, func(tx *store.Tx) error {
		if _, _, err := visibleAccount(ctx, tx, a, id); err != nil {
			return err
		}
		row, err := authorityRow(ctx, tx, id, kind, "", store.AuthorityCurrent)
		if err != nil {
			return err
		}
		certs, err := ca.ParsePEM(row.Certificate)
		if err != nil {
			return err
		}
		hash := attest.SPKIHash(certs[0].RawSubjectPublicKeyInfo)
		w = wire.RootReply{Certificate: row.Certificate, SPKISHA256: hex.EncodeToString(hash[:]), EndsAt: certs[0].NotAfter.Unix()}
		if kind == store.AuthorityRoot && m.endsSoon(certs[0]) {
			w.Warning = rootEnds(certs[0])
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &w, nil
}

// activeAccount loads an account in which things may happen.
func activeAccount(ctx context.Context, tx *store.Tx, id string) (*store.Account, error) {
	acct, err := tx.Accounts().Get(ctx, id)
	if err == nil && acct.Status != store.AccountActive {
		return nil, newError(Forbidden, CodeInvalidState, "the account %s is deactivated", acct.Name)
	}
	return acct, err
}
