package manager

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

// Prefixes of bearer tokens.
const (
	sessionPrefix  = "hks_"
	apiTokenPrefix = "hkp_"
)

// LogIn checks an e-mail address and a password and begins a session. remote is
// the caller's network address, by which attempts are counted beside the e-mail
// address; it may be empty.
func (m *Manager) LogIn(ctx context.Context, email, password, remote string) (*wire.AuthReply, error) {
	names := []string{"email " + strings.ToLower(strings.TrimSpace(email))}
	if remote != "" {
		names = append(names, "address "+remote)
	}
	if wait := m.attempts.wait(names...); wait > 0 {
		return nil, newError(Limited, CodeAuthFailed, "too many failed log-ins; try again in %s", wait.Round(time.Second))
	}
	u, err := m.checkPassword(ctx, email, password)
	if err != nil {
		var e *Error
		if errors.As(err, &e) && e.Kind == Unauthenticated {
			m.logFailedLogin(ctx, u, email)
		}
		return nil, m.fail(err)
	}
	m.attempts.succeeded(names[0])
	if remote != "" {
		m.attempts.uncount(names[1])
	}
	switch u.Status {
	case store.UserActive:
	case store.UserPending:
		return nil, newError(Unauthenticated, CodeUserPending, "%s waits for a system administrator to let the user in", u.Email)
	default:
		return nil, newError(Forbidden, CodeForbidden, "%s is disabled", u.Email)
	}
	return m.begin(ctx, u)
}

// checkPassword takes as long for a user who does not exist as for one who does.
func (m *Manager) checkPassword(ctx context.Context, email, password string) (*store.User, error) {
	var u *store.User
	err := m.store.View(ctx, func(tx *store.Tx) (err error) { u, err = tx.UserByEmail(ctx, email); return err })
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	hash := m.dummy
	if u != nil && u.PasswordHash != "" {
		hash = u.PasswordHash
	}
	ok := false
	if err := m.withHashing(ctx, func() { ok = len(password) <= maxPassword && passwordMatches(hash, password) }); err != nil {
		return nil, err
	}
	if !ok || u == nil || u.PasswordHash == "" {
		return u, newError(Unauthenticated, CodeAuthFailed, "e-mail address or password is wrong")
	}
	return u, nil
}

func (m *Manager) logFailedLogin(ctx context.Context, u *store.User, email string) {
	if u == nil {
		return // unknown addresses would let anybody fill the log
	}
	err := m.store.Update(ctx, func(tx *store.Tx) error {
		return tx.Audit(ctx, &store.Event{Severity: "WARNING", Code: "LOGIN_FAILED", ActionType: "USER_AUTH", ActorType: "USER", UserID: u.ID, UserName: u.Email, Description: "Log-in of " + u.Email + " failed: wrong password"})
	})
	if err != nil {
		m.opts.Log.Error("a failed log-in could not be recorded", "user", email, "error", err)
	}
}

func (m *Manager) begin(ctx context.Context, u *store.User) (*wire.AuthReply, error) {
	token, hash, err := m.newSecret(sessionPrefix)
	if err != nil {
		return nil, m.fail(err)
	}
	now := m.now()
	s := &store.Session{ID: hash, UserID: u.ID, CreatedAt: now, ExpiresAt: now.Add(m.opts.SessionLife), TokenExpiresAt: now.Add(m.opts.TokenLife)}
	err = m.update(ctx, func(tx *store.Tx) error {
		if err := tx.Purge(ctx, now.Add(-time.Hour)); err != nil {
			return err
		}
		// Who belongs to one account only has it selected at once.
		ms, err := tx.MembershipsOf(ctx, u.ID)
		if err != nil {
			return err
		}
		ms = slices.DeleteFunc(ms, func(x *store.Membership) bool { return x.Status != store.UserActive })
		s.AccountID = ""
		if len(ms) == 1 {
			s.AccountID = ms[0].AccountID
		}
		if err := tx.Sessions().Insert(ctx, s); err != nil {
			return err
		}
		if err := tx.LoggedIn(ctx, u.ID, now); err != nil {
			return err
		}
		return tx.Audit(ctx, &store.Event{Severity: "INFO", Code: "LOGIN", ActionType: "USER_AUTH", ActorType: "USER", UserID: u.ID, UserName: u.Email, Description: u.Email + " logged in"})
	})
	if err != nil {
		return nil, err
	}
	return &wire.AuthReply{AccessToken: token, SessionInfo: sessionInfo(s)}, nil
}

func sessionInfo(s *store.Session) wire.Session {
	return wire.Session{SubjectID: s.UserID, SessionExpiresAt: s.ExpiresAt.Unix(), SessionTokenExpiresAt: s.TokenExpiresAt.Unix(), SelectedAccountID: s.AccountID}
}

// Authenticate finds out who presents a bearer token: a session's or an API token.
func (m *Manager) Authenticate(ctx context.Context, token string) (Actor, error) {
	var a Actor
	err := m.view(ctx, func(tx *store.Tx) (err error) {
		switch {
		case strings.HasPrefix(token, sessionPrefix):
			a, err = m.sessionActor(ctx, tx, token)
		case strings.HasPrefix(token, apiTokenPrefix):
			a, err = m.tokenActor(ctx, tx, token)
		default:
			err = newError(Unauthenticated, CodeInvalidSession, "this is neither a session's token nor an API token")
		}
		return err
	})
	return a, err
}

func (m *Manager) sessionActor(ctx context.Context, tx *store.Tx, token string) (Actor, error) {
	s, err := tx.Sessions().Get(ctx, secretHash(token))
	if errors.Is(err, store.ErrNotFound) {
		return Actor{}, newError(Unauthenticated, CodeInvalidSession, "the session is unknown or ended; log in again")
	}
	if err != nil {
		return Actor{}, err
	}
	if now := m.now(); now.After(s.TokenExpiresAt) || now.After(s.ExpiresAt) {
		return Actor{}, newError(Unauthenticated, CodeSessionExpired, "the session expired; log in again")
	}
	a, err := m.personActor(ctx, tx, s.UserID)
	if err != nil {
		return Actor{}, err
	}
	a.SessionID = s.ID
	if s.AccountID == "" {
		return a, nil
	}
	roles, err := m.rolesIn(ctx, tx, s.AccountID, s.UserID)
	if err == nil && roles != nil {
		a.AccountID, a.Roles = s.AccountID, roles
	}
	return a, err
}

func (m *Manager) tokenActor(ctx context.Context, tx *store.Tx, token string) (Actor, error) {
	t, err := tx.APITokenBySecret(ctx, secretHash(token))
	if errors.Is(err, store.ErrNotFound) {
		return Actor{}, newError(Unauthenticated, CodeInvalidSession, "the API token is unknown or was withdrawn")
	}
	if err != nil {
		return Actor{}, err
	}
	if m.now().After(t.ExpiresAt) {
		return Actor{}, newError(Unauthenticated, CodeSessionExpired, "the API token expired on %s", t.ExpiresAt.Format(time.DateOnly))
	}
	a, err := m.personActor(ctx, tx, t.CreatedBy)
	if err != nil {
		return Actor{}, err
	}
	roles, err := m.rolesIn(ctx, tx, t.AccountID, t.CreatedBy)
	if err != nil {
		return Actor{}, err
	}
	a.SystemAdmin = false
	a.TokenID, a.AccountID = t.ID, t.AccountID
	a.Roles = slices.DeleteFunc(roles, func(r store.Role) bool { return !slices.Contains(t.Roles, r) })
	if len(a.Roles) == 0 {
		return Actor{}, newError(Unauthenticated, CodeInvalidSession, "the API token's owner is no longer in its account")
	}
	return a, nil
}

func (m *Manager) personActor(ctx context.Context, tx *store.Tx, id string) (Actor, error) {
	u, err := tx.Users().Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && u.Status != store.UserActive {
		return Actor{}, newError(Unauthenticated, CodeInvalidSession, "the user is not active")
	}
	if err != nil {
		return Actor{}, err
	}
	return Actor{UserID: u.ID, Name: u.Email, SystemAdmin: u.SystemAdmin}, nil
}

// rolesIn returns the roles of an active member, nil for everybody else.
func (m *Manager) rolesIn(ctx context.Context, tx *store.Tx, account, user string) ([]store.Role, error) {
	ms, err := tx.Memberships().Get(ctx, account, user)
	if errors.Is(err, store.ErrNotFound) || err == nil && ms.Status != store.UserActive {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return slices.Clone(ms.Roles), nil
}

// Refresh gives a session's token another period, within the session's life.
func (m *Manager) Refresh(ctx context.Context, a Actor) (*wire.Session, error) {
	return m.changeSession(ctx, a, func(_ *store.Tx, s *store.Session) error {
		end := m.now().Add(m.opts.TokenLife)
		if end.After(s.ExpiresAt) {
			end = s.ExpiresAt
		}
		s.TokenExpiresAt = end
		return nil
	})
}

// SelectAccount makes an account of the actor's the one that the session works in.
func (m *Manager) SelectAccount(ctx context.Context, a Actor, account string) (*wire.Session, error) {
	return m.changeSession(ctx, a, func(tx *store.Tx, s *store.Session) error {
		roles, err := m.rolesIn(ctx, tx, account, a.UserID)
		if err != nil {
			return err
		}
		if roles == nil {
			return newError(NotFound, CodeNotFound, "account %s is not one of yours", account)
		}
		s.AccountID = account
		return nil
	})
}

func (m *Manager) changeSession(ctx context.Context, a Actor, change func(*store.Tx, *store.Session) error) (*wire.Session, error) {
	if err := a.self(); err != nil {
		return nil, err
	}
	var info wire.Session
	err := m.update(ctx, func(tx *store.Tx) error {
		s, err := tx.Sessions().Get(ctx, a.SessionID)
		if err != nil {
			return err
		}
		if err := change(tx, s); err != nil {
			return err
		}
		info = sessionInfo(s)
		return tx.Sessions().Update(ctx, s)
	})
	if err != nil {
		return nil, err
	}
	return &info, nil
}

// LogOut ends the session.
func (m *Manager) LogOut(ctx context.Context, a Actor) error {
	if err := a.self(); err != nil {
		return err
	}
	return m.update(ctx, func(tx *store.Tx) error {
		s, err := tx.Sessions().Get(ctx, a.SessionID)
		if err != nil {
			return err
		}
		if err := tx.Sessions().Delete(ctx, s); err != nil {
			return err
		}
		return tx.Audit(ctx, &store.Event{Severity: "INFO", Code: "LOGOUT", ActionType: "USER_AUTH", ActorType: "USER", UserID: a.UserID, UserName: a.Name, Description: a.Name + " logged out"})
	})
}
