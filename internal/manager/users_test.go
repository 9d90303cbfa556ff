package manager

import (
	"strings"
	"testing"
	"time"

	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

func TestFirstRunCode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	if code, err := w.m.FirstRunCode(ctx); err != nil || code != "" {
		t.Errorf("a second administrator's code: %q, %v", code, err)
	}
	_, err := w.m.SignUp(ctx, wire.SignUp{UserEmail: "eve@example.org", UserPassword: password, OneTimeCode: "AAAAAA-AAAAAA"}, "")
	refused(t, "used code", err, Forbidden, CodeForbidden)
	_, err = w.m.LogIn(ctx, "eve@example.org", password, "")
	refused(t, "user whose code was wrong", err, Unauthenticated, CodeAuthFailed)
	if !w.admin.SystemAdmin {
		t.Error("the first user is no system administrator")
	}

	fresh := &world{t: t, clock: w.clock, backend: newWorldBackend(t), checks: newChecks()}
	fresh.open()
	old, err := fresh.m.FirstRunCode(ctx)
	w.must(err)
	code, err := fresh.m.FirstRunCode(ctx)
	w.must(err)
	_, err = fresh.m.SignUp(ctx, wire.SignUp{UserEmail: "a@example.org", UserPassword: password, OneTimeCode: old}, "")
	refused(t, "code of an earlier start", err, Forbidden, CodeForbidden)
	u, err := fresh.m.SignUp(ctx, wire.SignUp{UserEmail: "a@example.org", UserPassword: password, OneTimeCode: strings.ToLower(strings.ReplaceAll(code, "-", " "))}, "")
	w.must(err)
	if !u.SystemAdministrator || u.Status != store.UserActive {
		t.Errorf("user %+v", u)
	}
}

func TestSignUpRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cases := map[string]struct {
		r    wire.SignUp
		code string
	}{
		"short password":     {wire.SignUp{UserEmail: "a@example.org", UserPassword: "1234567"}, CodeInvalidValue},
		"endless password":   {wire.SignUp{UserEmail: "a@example.org", UserPassword: strings.Repeat("x", 1025)}, CodeInvalidValue},
		"no address":         {wire.SignUp{UserEmail: "a", UserPassword: password}, CodeInvalidValue},
		"name and address":   {wire.SignUp{UserEmail: "A <a@example.org>", UserPassword: password}, CodeInvalidValue},
		"taken address":      {wire.SignUp{UserEmail: "ADMIN@example.org", UserPassword: password}, CodeUserExists},
		"control characters": {wire.SignUp{UserEmail: "a@example.org", UserPassword: password, FirstName: "\x1b[2J"}, CodeInvalidValue},
	}
	for name, c := range cases {
		_, err := w.m.SignUp(t.Context(), c.r, name)
		refused(t, name, err, Invalid, c.code)
	}
}

func TestLogIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	bob, err := w.m.SignUp(ctx, wire.SignUp{UserEmail: "bob@example.org", UserPassword: password}, "")
	w.must(err)
	_, err = w.m.LogIn(ctx, "bob@example.org", password, "")
	refused(t, "user nobody let in", err, Unauthenticated, CodeUserPending)
	_, err = w.m.UpdateUser(ctx, w.admin, bob.UserID, wire.UpdateUser{UserAccountStatus: store.UserActive})
	w.must(err)
	a := w.logIn(" BOB@example.org")
	_, err = w.m.UpdateUser(ctx, a, w.admin.UserID, wire.UpdateUser{UserAccountStatus: store.UserDisabled})
	refused(t, "somebody who is nobody here", err, NotFound, CodeNotFound)
	_, err = w.m.UpdateUser(ctx, w.admin, bob.UserID, wire.UpdateUser{UserAccountStatus: store.UserDisabled})
	w.must(err)
	_, err = w.m.LogIn(ctx, "bob@example.org", password, "")
	refused(t, "disabled user", err, Forbidden, CodeForbidden)
	_, err = w.m.Refresh(ctx, a)
	refused(t, "session of a disabled user", err, NotFound, CodeNotFound)
}

func TestLogInIsLimited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	for range freeAttempts {
		_, err := w.m.LogIn(ctx, "admin@example.org", "wrong password", "")
		refused(t, "wrong password", err, Unauthenticated, CodeAuthFailed)
	}
	_, err := w.m.LogIn(ctx, "Admin@example.org", password, "")
	refused(t, "the right password, too early", err, Limited, CodeAuthFailed)
	w.clock.Advance(2 * time.Second)
	w.logIn("admin@example.org")
	for range freeAttempts {
		_, err := w.m.LogIn(ctx, "nobody@example.org", password, "192.0.2.1")
		refused(t, "unknown user", err, Unauthenticated, CodeAuthFailed)
	}
	_, err = w.m.LogIn(ctx, "admin@example.org", password, "192.0.2.1")
	refused(t, "address that guesses", err, Limited, CodeAuthFailed)
	w.logIn("admin@example.org") // from elsewhere
}

func TestSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	r, err := w.m.LogIn(ctx, "admin@example.org", password, "")
	w.must(err)
	authenticate := func() error { _, err := w.m.Authenticate(ctx, r.AccessToken); return err }
	w.must(authenticate())
	_, err = w.m.Authenticate(ctx, r.AccessToken+"x")
	refused(t, "another token", err, Unauthenticated, CodeInvalidSession)
	_, err = w.m.Authenticate(ctx, "nonsense")
	refused(t, "nonsense", err, Unauthenticated, CodeInvalidSession)

	w.clock.Advance(7 * time.Hour)
	a, err := w.m.Authenticate(ctx, r.AccessToken)
	w.must(err)
	_, err = w.m.Refresh(ctx, a)
	w.must(err)
	w.clock.Advance(7 * time.Hour)
	w.must(authenticate())
	w.clock.Advance(2 * time.Hour)
	refused(t, "session that was not refreshed", authenticate(), Unauthenticated, CodeSessionExpired)

	r, err = w.m.LogIn(ctx, "admin@example.org", password, "")
	w.must(err)
	for range 5 {
		w.clock.Advance(6 * time.Hour)
		if a, err = w.m.Authenticate(ctx, r.AccessToken); err != nil {
			break
		}
		_, err = w.m.Refresh(ctx, a)
		w.must(err)
	}
	refused(t, "session after its life", err, Unauthenticated, CodeSessionExpired)

	r, err = w.m.LogIn(ctx, "admin@example.org", password, "")
	w.must(err)
	a, err = w.m.Authenticate(ctx, r.AccessToken)
	w.must(err)
	w.must(w.m.LogOut(ctx, a))
	refused(t, "session after its end", authenticate(), Unauthenticated, CodeInvalidSession)
}

func TestChangePassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	here, there := w.logIn("admin@example.org"), w.logIn("admin@example.org")
	refused(t, "wrong present password", w.m.ChangePassword(ctx, here, "wrong password", "another horse"), Unauthenticated, CodeAuthFailed)
	w.must(w.m.ChangePassword(ctx, here, password, "another horse"))
	_, err := w.m.Refresh(ctx, there)
	refused(t, "other session after a change of password", err, NotFound, CodeNotFound)
	_, err = w.m.Refresh(ctx, here)
	w.must(err)
	_, err = w.m.LogIn(ctx, "admin@example.org", password, "")
	refused(t, "old password", err, Unauthenticated, CodeAuthFailed)
}

func TestMembers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	_, err := w.m.Invite(ctx, w.admin, wire.Invite{UserEmail: "new@example.org", Roles: []string{"WRITER"}})
	w.must(err)
	_, err = w.m.Invite(ctx, w.admin, wire.Invite{UserEmail: "New@example.org", Roles: []string{"READER"}})
	refused(t, "second invitation", err, Invalid, CodeUserExists)
	_, err = w.m.Invite(ctx, w.admin, wire.Invite{UserEmail: "x@example.org", Roles: []string{"OWNER"}})
	refused(t, "unknown role", err, Invalid, CodeInvalidValue)
	// Who was invited before signing up has no password and cannot log in; signing up keeps the invitation.
	_, err = w.m.LogIn(ctx, "new@example.org", "", "")
	refused(t, "user without a password", err, Unauthenticated, CodeAuthFailed)
	u, err := w.m.SignUp(ctx, wire.SignUp{UserEmail: "new@example.org", UserPassword: password}, "")
	w.must(err)
	_, err = w.m.UpdateUser(ctx, w.admin, u.UserID, wire.UpdateUser{UserAccountStatus: store.UserActive})
	w.must(err)
	a := w.logIn("new@example.org")
	_, err = w.m.SelectAccount(ctx, a, w.account)
	refused(t, "account before the invitation is accepted", err, NotFound, CodeNotFound)
	w.must(w.m.ProcessInvites(ctx, a, wire.ProcessInvite{Accepts: []string{w.account}}))
	refused(t, "invitation accepted twice", w.m.ProcessInvites(ctx, a, wire.ProcessInvite{Accepts: []string{w.account}}), NotFound, CodeNotFound)
	a = w.selectAccount(a, w.account)
	if !a.Has(store.Writer) || !a.Has(store.Reader) || a.Has(store.Manager) {
		t.Errorf("roles %v", a.Roles)
	}
	_, err = w.m.Invite(ctx, a, wire.Invite{UserEmail: "y@example.org", Roles: []string{"MANAGER"}})
	refused(t, "invitation by a WRITER", err, Forbidden, CodeForbidden)
	_, err = w.m.UpdateUser(ctx, a, a.UserID, wire.UpdateUser{Roles: []string{"MANAGER"}})
	refused(t, "WRITER who would be MANAGER", err, Forbidden, CodeForbidden)
	_, err = w.m.UpdateUser(ctx, w.admin, w.admin.UserID, wire.UpdateUser{Roles: []string{"READER"}})
	refused(t, "last MANAGER", err, Invalid, CodeInvalidState)
	refused(t, "last MANAGER leaves", w.m.RemoveMember(ctx, w.admin, w.admin.UserID), Invalid, CodeInvalidState)
	refused(t, "last MANAGER is deleted", w.m.DeleteUser(ctx, w.admin, w.admin.UserID), Invalid, CodeInvalidState)

	users, err := w.m.Users(ctx, w.admin, ListOptions{SortBy: "user_email:DESC"})
	w.must(err)
	if len(users.Items) != 2 || users.Items[0].UserEmail != "new@example.org" || users.Metadata.TotalCount != 2 {
		t.Errorf("users %+v", users)
	}
	w.must(w.m.RemoveMember(ctx, w.admin, a.UserID))
	a = w.logIn("new@example.org")
	if a.AccountID != "" {
		t.Error("a removed member still has the account")
	}
	w.must(w.m.DeleteUser(ctx, a, a.UserID))
	_, err = w.m.LogIn(ctx, "new@example.org", password, "")
	refused(t, "deleted user", err, Unauthenticated, CodeAuthFailed)
}

func TestAPITokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	writer := w.member("writer@example.org", "WRITER")
	token, err := w.m.CreateAPIToken(ctx, writer, wire.APITokenRequest{Name: "ci", ExpiresIn: 3600})
	w.must(err)
	a, err := w.m.Authenticate(ctx, token.Token)
	w.must(err)
	if a.AccountID != w.account || !a.Has(store.Writer) || a.Has(store.Manager) || a.SessionID != "" {
		t.Errorf("actor %+v", a)
	}
	_, err = w.m.CreateApp(ctx, a, wire.AppRequest{Name: "made by a token"})
	w.must(err)
	_, err = w.m.CreateAPIToken(ctx, a, wire.APITokenRequest{Name: "another"})
	refused(t, "token made by a token", err, Forbidden, CodeForbidden)
	refused(t, "password changed by a token", w.m.ChangePassword(ctx, a, password, password), Forbidden, CodeForbidden)
	_, err = w.m.UpdateUser(ctx, w.admin, writer.UserID, wire.UpdateUser{Roles: []string{"READER"}})
	w.must(err)
	a, err = w.m.Authenticate(ctx, token.Token)
	w.must(err)
	_, err = w.m.CreateApp(ctx, a, wire.AppRequest{Name: "no more"})
	refused(t, "token whose owner lost the role", err, Forbidden, CodeForbidden)
	w.clock.Advance(2 * time.Hour)
	_, err = w.m.Authenticate(ctx, token.Token)
	refused(t, "expired token", err, Unauthenticated, CodeSessionExpired)

	token, err = w.m.CreateAPIToken(ctx, writer, wire.APITokenRequest{Name: "second"})
	w.must(err)
	list, err := w.m.APITokens(ctx, writer)
	w.must(err)
	if len(list) != 2 || list[0].Token != "" {
		t.Errorf("tokens %+v", list)
	}
	w.must(w.m.RemoveMember(ctx, w.admin, writer.UserID))
	_, err = w.m.Authenticate(ctx, token.Token)
	refused(t, "token of a removed member", err, Unauthenticated, CodeInvalidSession)
}

func TestPasswordHashes(t *testing.T) {
	t.Parallel()
	for _, phc := range []string{"", "$", "$argon2id$v=19$m=64,t=1,p=1$$", "$argon2id$v=19$m=64,t=0,p=1$AAAA$AAAA", "$argon2id$v=18$m=64,t=1,p=1$AAAA$" + strings.Repeat("A", 43), "$argon2id$v=19$m=99999999,t=1,p=1$AAAA$" + strings.Repeat("A", 43)} {
		if passwordMatches(phc, "") || passwordMatches(phc, password) {
			t.Errorf("%q matches", phc)
		}
	}
}

func TestSignUpsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range signUpBurst {
		w.m.allowed("sign-ups 192.0.2.1", signUpBurst, signUpsEach)
	}
	sign := func(email, remote string) error {
		_, err := w.m.SignUp(t.Context(), wire.SignUp{UserEmail: email, UserPassword: password}, remote)
		return err
	}
	refused(t, "one more from there", sign("a@example.org", "192.0.2.1"), Limited, CodeForbidden)
	w.must(sign("b@example.org", "192.0.2.2"))
	w.clock.Advance(time.Minute)
	w.must(sign("a@example.org", "192.0.2.1"))
}

// TestOpenSignUpTakesNoInvitation: under open sign-up too, an invitation waits for a person who
// knows that the one who signs up is the one who was invited.
func TestOpenSignUpTakesNoInvitation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.m.opts.OpenSignUp = true
	ctx := t.Context()
	_, err := w.m.Invite(ctx, w.admin, wire.Invite{UserEmail: "bob@example.org", Roles: []string{"MANAGER"}})
	w.must(err)
	for email, want := range map[string]string{"bob@example.org": store.UserPending, "eve@example.org": store.UserActive} {
		u, err := w.m.SignUp(ctx, wire.SignUp{UserEmail: email, UserPassword: password}, "")
		w.must(err)
		if u.Status != want {
			t.Errorf("%s is %s, wanted %s", email, u.Status, want)
		}
	}
}
