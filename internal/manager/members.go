package manager

import (
	"context"
	"errors"
	"time"

	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

// Invite asks a user, known or not yet, into the selected account.
func (m *Manager) Invite(ctx context.Context, a Actor, r wire.Invite) (*wire.User, error) {
	if err := errors.Join(a.self(), a.may(store.Manager)); err != nil {
		return nil, m.fail(err)
	}
	email, err := checkEmail(r.UserEmail)
	if err != nil {
		return nil, err
	}
	roles, err := parseRoles(r.Roles)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkText("first_name", r.FirstName, 100), checkText("last_name", r.LastName, 100)); err != nil {
		return nil, m.fail(err)
	}
	id, err := m.newID()
	if err != nil {
		return nil, m.fail(err)
	}
	var w wire.User
	err = m.update(ctx, func(tx *store.Tx) error {
		now := m.now()
		members, err := tx.Memberships().List(ctx, a.AccountID, store.Query{Limit: 1})
		if err != nil {
			return err
		}
		if members.Total >= m.opts.Quotas.UsersPerAccount {
			return newError(Forbidden, CodeQuota, "the account has %d members, as many as are allowed", members.Total)
		}
		u, err := tx.UserByEmail(ctx, email)
		if errors.Is(err, store.ErrNotFound) {
			u = &store.User{ID: id, Email: email, FirstName: r.FirstName, LastName: r.LastName, Status: store.UserPending, CreatedAt: now, UpdatedAt: now}
			err = tx.Users().Insert(ctx, u)
		}
		if err != nil {
			return err
		}
		ms := &store.Membership{AccountID: a.AccountID, UserID: u.ID, Roles: roles, Status: store.UserPending, InvitedBy: a.UserID, CreatedAt: now}
		if err := tx.Memberships().Insert(ctx, ms); errors.Is(err, store.ErrExists) {
			return newError(Invalid, CodeUserExists, "%s is a member of the account, or invited, already", email)
		} else if err != nil {
			return err
		}
		w = userInfo(u, ms)
		return tx.Audit(ctx, a.event("USER_INVITED", "ADMIN", a.Name+" invited "+email))
	})
	if err != nil {
		return nil, err
	}
	return &w, nil
}

// ProcessInvites accepts and rejects invitations of the actor; the ids are accounts.
func (m *Manager) ProcessInvites(ctx context.Context, a Actor, r wire.ProcessInvite) error {
	if err := a.self(); err != nil {
		return err
	}
	return m.update(ctx, func(tx *store.Tx) error {
		for _, accept := range []bool{true, false} {
			ids := r.Rejects
			if accept {
				ids = r.Accepts
			}
			for _, id := range ids {
				if err := answerInvite(ctx, tx, a, id, accept); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func answerInvite(ctx context.Context, tx *store.Tx, a Actor, account string, accept bool) error {
	ms, err := tx.Memberships().Get(ctx, account, a.UserID)
	if errors.Is(err, store.ErrNotFound) || err == nil && ms.Status != store.UserPending {
		return newError(NotFound, CodeNotFound, "there is no open invitation to account %s", account)
	}
	if err != nil {
		return err
	}
	what := "accepted"
	if accept {
		ms.Status = store.UserActive
		err = tx.Memberships().Update(ctx, ms)
	} else {
		what = "rejected"
		err = tx.Memberships().Delete(ctx, ms)
	}
	if err != nil {
		return err
	}
	e := a.event("INVITATION_ANSWERED", "ADMIN", a.Name+" "+what+" the invitation")
	e.AccountID = account
	return tx.Audit(ctx, e)
}

// RemoveMember takes a user out of the selected account: oneself, or anybody for a MANAGER.
func (m *Manager) RemoveMember(ctx context.Context, a Actor, user string) error {
	if err := a.self(); err != nil {
		return err
	}
	if err := a.may(store.Reader); err != nil {
		return err
	}
	if user != a.UserID {
		if err := a.may(store.Manager); err != nil {
			return err
		}
	}
	return m.update(ctx, func(tx *store.Tx) error {
		ms, err := tx.Memberships().Get(ctx, a.AccountID, user)
		if err != nil {
			return err
		}
		if err := leave(ctx, tx, ms); err != nil {
			return err
		}
		return tx.Audit(ctx, a.event("MEMBER_REMOVED", "ADMIN", a.Name+" removed user "+user+" from the account"))
	})
}

// UserAccounts tells in which accounts the actor is, by account id. Others' memberships are
// for system administrators.
func (m *Manager) UserAccounts(ctx context.Context, a Actor, user string) (map[string]wire.User, error) {
	if user != a.UserID && !a.SystemAdmin {
		return nil, notFound("user", user)
	}
	out := map[string]wire.User{}
	err := m.view(ctx, func(tx *store.Tx) error {
		u, err := tx.Users().Get(ctx, user)
		if err != nil {
			return err
		}
		ms, err := tx.MembershipsOf(ctx, user)
		for _, x := range ms {
			out[x.AccountID] = userInfo(u, x)
		}
		return err
	})
	return out, err
}

const defaultTokenLife = 90 * 24 * time.Hour

// CreateAPIToken makes a token for programs that acts as the actor in the selected account.
// Its text is in this reply only.
func (m *Manager) CreateAPIToken(ctx context.Context, a Actor, r wire.APITokenRequest) (*wire.APIToken, error) {
	if err := errors.Join(a.self(), a.may(store.Reader)); err != nil {
		return nil, m.fail(err)
	}
	name, err := checkName("an API token", r.Name)
	if err != nil {
		return nil, err
	}
	life := time.Duration(r.ExpiresIn) * time.Second
	if life == 0 {
		life = defaultTokenLife
	}
	if r.ExpiresIn < 0 || r.ExpiresIn > int64((10*365*24*time.Hour)/time.Second) {
		return nil, invalid(CodeInvalidValue, "expires_in must be between 1 second and 10 years")
	}
	text, hash, err := m.newSecret(apiTokenPrefix)
	if err != nil {
		return nil, m.fail(err)
	}
	id, err := m.newID()
	if err != nil {
		return nil, m.fail(err)
	}
	now := m.now()
	t := &store.APIToken{ID: id, AccountID: a.AccountID, Name: name, SecretHash: hash, Roles: a.Roles, CreatedBy: a.UserID, CreatedAt: now, ExpiresAt: now.Add(life)}
	err = m.update(ctx, func(tx *store.Tx) error {
		mine, err := tx.APITokens().Find(ctx, a.AccountID, store.Is("created_by", a.UserID))
		if err != nil {
			return err
		}
		if len(mine) >= m.opts.Quotas.TokensPerUser {
			return newError(Forbidden, CodeQuota, "you have %d API tokens, as many as are allowed; withdraw one", len(mine))
		}
		if err := tx.APITokens().Insert(ctx, t); err != nil {
			return err
		}
		return tx.Audit(ctx, a.event("API_TOKEN_CREATED", "USER_AUTH", a.Name+" made the API token "+name))
	})
	if err != nil {
		return nil, err
	}
	w := apiTokenInfo(t)
	w.Token = text
	return &w, nil
}

func apiTokenInfo(t *store.APIToken) wire.APIToken {
	return wire.APIToken{TokenID: t.ID, Name: t.Name, CreatedAt: t.CreatedAt.Unix(), ExpiresAt: t.ExpiresAt.Unix()}
}

// APITokens lists the actor's tokens in the selected account.
func (m *Manager) APITokens(ctx context.Context, a Actor) ([]wire.APIToken, error) {
	if err := a.may(store.Reader); err != nil {
		return nil, err
	}
	out := []wire.APIToken{}
	err := m.view(ctx, func(tx *store.Tx) error {
		all, err := tx.APITokens().Find(ctx, a.AccountID, store.Is("created_by", a.UserID))
		out = out[:0]
		for _, t := range all {
			out = append(out, apiTokenInfo(t))
		}
		return err
	})
	return out, err
}

// DeleteAPIToken withdraws a token: one's own, or anybody's for a MANAGER.
func (m *Manager) DeleteAPIToken(ctx context.Context, a Actor, id string) error {
	if err := errors.Join(a.self(), a.may(store.Reader)); err != nil {
		return m.fail(err)
	}
	return m.update(ctx, func(tx *store.Tx) error {
		t, err := tx.APITokens().Get(ctx, a.AccountID, id)
		if err != nil {
			return err
		}
		if t.CreatedBy != a.UserID && !a.Has(store.Manager) {
			return notFound("API token", id)
		}
		if err := tx.APITokens().Delete(ctx, t); err != nil {
			return err
		}
		return tx.Audit(ctx, a.event("API_TOKEN_DELETED", "USER_AUTH", a.Name+" withdrew the API token "+t.Name))
	})
}
