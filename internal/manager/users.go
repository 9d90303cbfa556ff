package manager

import (
	"context"
	"errors"
	"net/mail"
	"slices"
	"strings"
	"unicode"

	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

// How many may sign up: a burst, and then so many a second, from one network address and from all.
const (
	signUpBurst    = 50
	signUpsEach    = 1.0 / 60
	allSignUpBurst = 500
	allSignUpsEach = 1.0 / 10
)

// SignUp makes a user. With the one-time code of the first start the user
// becomes the system administrator; others are PENDING until one lets them in.
func (m *Manager) SignUp(ctx context.Context, r wire.SignUp, remote string) (*wire.User, error) {
	email, err := checkEmail(r.UserEmail)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkText("first_name", r.FirstName, 100), checkText("last_name", r.LastName, 100)); err != nil {
		return nil, m.fail(err)
	}
	name := "sign-up " + remote // of the one-time code, 120 random bits, nobody needs to be kept from guessing
	if wait := m.attempts.wait(name); wait > 0 {
		return nil, newError(Limited, CodeAuthFailed, "too many sign-ups; try again in %s", wait)
	}
	// Nobody needs to be known to sign up, and each who does is recorded for ever.
	if !m.allowed("sign-ups", allSignUpBurst, allSignUpsEach) || !m.allowed("sign-ups "+remote, signUpBurst, signUpsEach) {
		return nil, newError(Limited, CodeForbidden, "too many sign-ups lately; try again in some minutes")
	}
	hash, err := m.newPasswordHash(ctx, r.UserPassword)
	if err != nil {
		return nil, m.fail(err)
	}
	id, err := m.newID()
	if err != nil {
		return nil, m.fail(err)
	}
	var u *store.User
	err = m.update(ctx, func(tx *store.Tx) error {
		now := m.now()
		u = &store.User{ID: id, Email: email, Status: store.UserPending, CreatedAt: now}
		known, err := tx.UserByEmail(ctx, email)
		switch {
		case err == nil && known.PasswordHash != "":
			return newError(Invalid, CodeUserExists, "%s has signed up already", email)
		case err == nil:
			u = known // was invited and signs up now
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		u.FirstName, u.LastName, u.PasswordHash, u.UpdatedAt, u.TermsAccepted = r.FirstName, r.LastName, hash, now, true
		what := email + " signed up"
		switch {
		case r.OneTimeCode != "":
			if err := takeFirstRunCode(ctx, tx, r.OneTimeCode); err != nil {
				return err
			}
			u.Status, u.SystemAdmin, u.EmailVerified = store.UserActive, true, true
			what += " with the one-time code, as system administrator"
		case m.opts.OpenSignUp && u.Version == 0:
			// Addresses are not verified: whoever was invited is let in by a person, so that no
			// stranger takes an invitation by signing up under its address.
			u.Status = store.UserActive
		}
		if err := save(ctx, tx.Users(), u, u.Version); err != nil {
			return err
		}
		return tx.Audit(ctx, &store.Event{Severity: "INFO", Code: "USER_SIGNED_UP", ActionType: "USER_AUTH", ActorType: "USER", UserID: u.ID, UserName: email, Description: what})
	})
	if err != nil {
		return nil, err
	}
	m.attempts.succeeded(name)
	w := userInfo(u, nil)
	return &w, nil
}

type saver[T any] interface {
	Insert(context.Context, *T) error
	Update(context.Context, *T) error
}

// save inserts a row of version 0 and updates any other.
func save[T any](ctx context.Context, rows saver[T], row *T, version int64) error {
	if version == 0 {
		return rows.Insert(ctx, row)
	}
	return rows.Update(ctx, row)
}

func checkEmail(s string) (string, error) {
	s = strings.TrimSpace(s)
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s || len(s) > 254 {
		return "", invalid(CodeInvalidValue, "%q is not an e-mail address", s)
	}
	return s, nil
}

// checkText refuses text that is too long or that a terminal or log would act upon.
func checkText(name, s string, limit int) error {
	if len(s) > limit {
		return invalid(CodeInvalidValue, "%s has more than %d bytes", name, limit)
	}
	if strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\t' || r == unicode.ReplacementChar
	}) {
		return invalid(CodeInvalidValue, "%s has control characters", name)
	}
	return nil
}

// checkName is for what people call an object by.
func checkName(what, s string) (string, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return "", invalid(CodeInvalidName, "%s needs a name", what)
	}
	if strings.ContainsAny(s, "\n\t") || checkText("name", s, 200) != nil {
		return "", invalid(CodeInvalidName, "the name of %s is longer than 200 bytes or has control characters", what)
	}
	return s, nil
}

func userInfo(u *store.User, ms *store.Membership) wire.User {
	w := wire.User{
		UserID: u.ID, UserEmail: u.Email, FirstName: u.FirstName, LastName: u.LastName, CreatedAt: u.CreatedAt.Unix(),
		EmailVerified: u.EmailVerified, Status: u.Status, AcceptedLatestTerms: u.TermsAccepted, SystemAdministrator: u.SystemAdmin,
	}
	if !u.LastLoginAt.IsZero() {
		w.LastLoggedInAt = u.LastLoginAt.Unix()
	}
	if ms != nil {
		w.Roles, w.UserAccountStatus = roleNames(ms.Roles), ms.Status
	}
	return w
}

func roleNames(roles []store.Role) []string {
	names := make([]string, 0, len(roles))
	for _, r := range roles {
		names = append(names, string(r))
	}
	return names
}

// parseRoles reads roles; a higher one brings the lower ones with it.
func parseRoles(names []string) ([]store.Role, error) {
	var reader, writer, manager bool
	for _, n := range names {
		switch store.Role(n) {
		case store.Reader:
			reader = true
		case store.Writer:
			reader, writer = true, true
		case store.Manager:
			reader, writer, manager = true, true, true
		default:
			return nil, invalid(CodeInvalidValue, "role %q is none of READER, WRITER, MANAGER", n)
		}
	}
	if !reader {
		return nil, invalid(CodeMissing, "at least one role is needed")
	}
	roles := []store.Role{store.Reader}
	if writer {
		roles = append(roles, store.Writer)
	}
	if manager {
		roles = append(roles, store.Manager)
	}
	return roles, nil
}

// Me returns the actor's own user.
func (m *Manager) Me(ctx context.Context, a Actor) (*wire.User, error) {
	return m.User(ctx, a, a.UserID)
}

// User returns a member of the selected account, the actor, or for a system
// administrator anybody.
func (m *Manager) User(ctx context.Context, a Actor, id string) (*wire.User, error) {
	var w wire.User
	err := m.view(ctx, func(tx *store.Tx) error {
		u, ms, err := visibleUser(ctx, tx, a, id)
		if err == nil {
			w = userInfo(u, ms)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &w, nil
}

func visibleUser(ctx context.Context, tx *store.Tx, a Actor, id string) (*store.User, *store.Membership, error) {
	var ms *store.Membership
	if a.AccountID != "" {
		var err error
		if ms, err = tx.Memberships().Get(ctx, a.AccountID, id); err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, nil, err
		}
	}
	if ms == nil && id != a.UserID && !a.SystemAdmin {
		return nil, nil, notFound("user", id)
	}
	u, err := tx.Users().Get(ctx, id)
	return u, ms, err
}

// AllUsers lists everybody, for a system administrator.
func (m *Manager) AllUsers(ctx context.Context, a Actor, l ListOptions) (*wire.List[wire.User], error) {
	if !a.SystemAdmin {
		return nil, forbidden("only a system administrator sees all users")
	}
	a.AccountID = ""
	return m.Users(ctx, a, l)
}

// Users lists the members of the selected account; for a system administrator
// who selected none, everybody.
func (m *Manager) Users(ctx context.Context, a Actor, l ListOptions) (*wire.List[wire.User], error) {
	q, err := l.query(columns{"user_email": "email", "first_name": "first_name", "last_name": "last_name", "created_at": "created_at", "status": "status"},
		columns{"user_id": "id", "user_email": "email", "status": "status"}, "email", "first_name", "last_name")
	if err != nil {
		return nil, err
	}
	everybody := a.AccountID == "" && a.SystemAdmin
	if !everybody {
		if err := a.may(store.Reader); err != nil {
			return nil, err
		}
	}
	var out *wire.List[wire.User]
	err = m.view(ctx, func(tx *store.Tx) error {
		q := q
		members := map[string]*store.Membership{}
		if !everybody {
			all, err := tx.Memberships().Find(ctx, a.AccountID)
			if err != nil {
				return err
			}
			var ids []string
			for _, ms := range all {
				members[ms.UserID] = ms
				ids = append(ids, ms.UserID)
			}
			q.Where = append(slices.Clone(q.Where), store.OneOf("id", ids...))
		}
		p, err := tx.Users().List(ctx, q)
		if err != nil {
			return err
		}
		if !everybody {
			p.Total = len(members)
		}
		out, err = page(q, p, func(u *store.User) (wire.User, error) { return userInfo(u, members[u.ID]), nil })
		return err
	})
	return out, err
}

// ChangePassword replaces the actor's password and ends the actor's other sessions.
func (m *Manager) ChangePassword(ctx context.Context, a Actor, current, next string) error {
	if err := a.self(); err != nil {
		return err
	}
	name := "password of " + a.UserID
	if wait := m.attempts.wait(name); wait > 0 {
		return newError(Limited, CodeAuthFailed, "too many attempts; try again in %s", wait)
	}
	if _, err := m.checkPassword(ctx, a.Name, current); err != nil {
		return m.fail(err)
	}
	m.attempts.succeeded(name)
	hash, err := m.newPasswordHash(ctx, next)
	if err != nil {
		return m.fail(err)
	}
	return m.update(ctx, func(tx *store.Tx) error {
		u, err := tx.Users().Get(ctx, a.UserID)
		if err != nil {
			return err
		}
		u.PasswordHash, u.UpdatedAt = hash, m.now()
		if err := tx.Users().Update(ctx, u); err != nil {
			return err
		}
		if err := tx.EndSessions(ctx, u.ID, a.SessionID); err != nil {
			return err
		}
		return tx.Audit(ctx, a.event("PASSWORD_CHANGED", "USER_AUTH", a.Name+" changed the password"))
	})
}

// DeleteUser removes the actor's own user, or for a system administrator
// anybody. Accounts that would be left without a MANAGER stand in the way.
func (m *Manager) DeleteUser(ctx context.Context, a Actor, id string) error {
	if err := a.self(); err != nil {
		return err
	}
	return m.update(ctx, func(tx *store.Tx) error {
		u, _, err := visibleUser(ctx, tx, a, id)
		if err != nil {
			return err
		}
		if id != a.UserID && !a.SystemAdmin {
			return forbidden("only %s or a system administrator may delete this user", u.Email)
		}
		if u.SystemAdmin {
			admins, err := tx.Users().Find(ctx, store.Is("system_admin", true), store.Is("status", store.UserActive))
			if err != nil {
				return err
			}
			if len(admins) < 2 {
				return invalid(CodeInvalidState, "the last system administrator cannot be deleted")
			}
		}
		ms, err := tx.MembershipsOf(ctx, id)
		if err != nil {
			return err
		}
		for _, x := range ms {
			if err := leave(ctx, tx, x); err != nil {
				return err
			}
		}
		if err := tx.Users().Delete(ctx, u); err != nil {
			return err
		}
		e := a.event("USER_DELETED", "ADMIN", a.Name+" deleted the user "+u.Email)
		e.AccountID = ""
		return tx.Audit(ctx, e)
	})
}

// leave ends a membership with the API tokens that came from it.
func leave(ctx context.Context, tx *store.Tx, ms *store.Membership) error {
	tokens, err := tx.APITokens().Find(ctx, ms.AccountID, store.Is("created_by", ms.UserID))
	if err != nil {
		return err
	}
	for _, t := range tokens {
		if err := tx.APITokens().Delete(ctx, t); err != nil {
			return err
		}
	}
	if err := tx.Memberships().Delete(ctx, ms); err != nil {
		return err
	}
	if ms.Status != store.UserActive || !ms.Has(store.Manager) {
		return nil
	}
	return keepsManager(ctx, tx, ms.AccountID)
}
