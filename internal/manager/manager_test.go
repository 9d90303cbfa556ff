package manager

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"hitoku.dev/internal/manager/keys"
	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/manager/store/storetest"
	"hitoku.dev/internal/wire"
)

// world is a manager with a system administrator and a test-only account of hers.
type world struct {
	t       testing.TB
	m       *Manager
	clock   *storetest.Clock
	backend storetest.Backend
	checks  *storetest.Checkpoints
	admin   Actor
	account string
}

func newWorldBackend(t testing.TB) storetest.Backend { return storetest.SQLite(t) }
func newChecks() *storetest.Checkpoints              { return &storetest.Checkpoints{} }

const password = "correct horse"

func newWorld(t testing.TB, change ...func(*Options)) *world {
	t.Helper()
	w := &world{t: t, clock: storetest.NewClock(), backend: storetest.SQLite(t), checks: &storetest.Checkpoints{}}
	w.backend.Options.Now = w.clock.Now
	w.open(change...)
	ctx := t.Context()
	code, err := w.m.FirstRunCode(ctx)
	w.must(err)
	_, err = w.m.SignUp(ctx, wire.SignUp{UserEmail: "admin@example.org", UserPassword: password, OneTimeCode: code}, "")
	w.must(err)
	w.admin = w.logIn("admin@example.org")
	acct, err := w.m.CreateAccount(ctx, w.admin, wire.AccountRequest{Name: "acme", NodeEnrollment: &wire.NodeEnrollment{AttestationEnforcementDisabledInsecure: true}})
	w.must(err)
	w.account = acct.AcctID
	w.admin = w.selectAccount(w.admin, w.account)
	return w
}

// open makes a manager over the world's database, as a start of the program does.
func (w *world) open(change ...func(*Options)) {
	w.t.Helper()
	ring, err := keys.Open(w.t.Context(), keys.File{Path: filepath.Join(filepath.Dir(w.backend.Options.DSN), "key"), Create: true}, rand.Reader)
	w.must(err)
	nonces := ring.Derive("nonces")
	o := Options{
		NonceKey: nonces[:],
		Store:    storetest.Open(w.t, w.backend, w.checks), Box: ring, Host: "manager.example", Now: w.clock.Now, Passwords: PasswordParams{Time: 1, Memory: 64, Threads: 1},
		ServerKey: func() ([32]byte, error) { return sha256.Sum256([]byte("server key")), nil },
	}
	for _, c := range change {
		c(&o)
	}
	w.m, err = New(o)
	w.must(err)
	w.t.Cleanup(w.m.Close)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) logIn(email string) Actor {
	w.t.Helper()
	r, err := w.m.LogIn(w.t.Context(), email, password, "")
	w.must(err)
	a, err := w.m.Authenticate(w.t.Context(), r.AccessToken)
	w.must(err)
	return a
}

// selectAccount selects an account in the actor's session and returns the actor as the next
// request would see it.
func (w *world) selectAccount(a Actor, account string) Actor {
	w.t.Helper()
	_, err := w.m.SelectAccount(w.t.Context(), a, account)
	w.must(err)
	w.must(w.m.store.View(w.t.Context(), func(tx *store.Tx) error {
		a.AccountID = account
		a.Roles, err = w.m.rolesIn(w.t.Context(), tx, account, a.UserID)
		return err
	}))
	return a
}

// member adds a user with roles to the account.
func (w *world) member(email string, roles ...string) Actor {
	w.t.Helper()
	ctx := w.t.Context()
	u, err := w.m.SignUp(ctx, wire.SignUp{UserEmail: email, UserPassword: password}, "")
	w.must(err)
	_, err = w.m.UpdateUser(ctx, w.admin, u.UserID, wire.UpdateUser{UserAccountStatus: store.UserActive})
	w.must(err)
	_, err = w.m.Invite(ctx, w.admin, wire.Invite{UserEmail: email, Roles: roles})
	w.must(err)
	a := w.logIn(email)
	w.must(w.m.ProcessInvites(ctx, a, wire.ProcessInvite{Accepts: []string{w.account}}))
	return w.selectAccount(a, w.account)
}

func measurement(n int) string {
	h := sha256.Sum256(fmt.Append(nil, n))
	return hex.EncodeToString(h[:])
}

func (w *world) app(name string, domains ...string) *wire.App {
	w.t.Helper()
	app, err := w.m.CreateApp(w.t.Context(), w.admin, wire.AppRequest{Name: name, InputImageName: "r.example/in", OutputImageName: "r.example/out", AllowedDomains: domains})
	w.must(err)
	return app
}

func (w *world) build(app *wire.App, n int) *wire.Build {
	w.t.Helper()
	b, err := w.m.CreateBuild(w.t.Context(), w.admin, buildOf(app, n))
	w.must(err)
	return b
}

func buildOf(app *wire.App, n int) wire.BuildRequest {
	return wire.BuildRequest{AppID: app.AppID, MREnclave: measurement(n), MRSigner: measurement(0), ISVProdID: 1, ISVSVN: 2}
}

func (w *world) approve(a Actor, task string) error {
	_, err := w.m.UpdateTask(w.t.Context(), a, task, wire.TaskUpdate{Status: store.Approved})
	return err
}

// refused checks an error's kind and code.
func refused(t testing.TB, what string, err error, kind Kind, code string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Kind != kind || e.Code != code {
		t.Errorf("%s: got %v (%+v), wanted kind %d with code %s", what, err, e, kind, code)
	}
}

func TestPublishedPath(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	app := w.app("flask", "b.example", "A.example", "b.example")
	if len(app.DomainsAdded) != 2 || app.PendingTaskID == "" || len(app.WhitelistedDomains) != 0 {
		t.Errorf("application %+v", app)
	}
	b := w.build(app, 1)
	if b.Status.Status != store.BuildPending || b.PendingTaskID == "" || b.EnclaveInfo.MREnclave != measurement(1) || b.AppName != "flask" {
		t.Errorf("build %+v", b)
	}
	tasks, err := w.m.Tasks(ctx, w.admin, ListOptions{}, TaskFilter{Status: "PENDING"})
	w.must(err)
	if len(tasks.Items) != 2 || tasks.Metadata.FilteredCount != 2 {
		t.Fatalf("tasks %+v", tasks)
	}
	for _, task := range tasks.Items {
		w.must(w.approve(w.admin, task.TaskID))
	}
	b, err = w.m.Build(ctx, w.admin, b.BuildID)
	w.must(err)
	app, err = w.m.App(ctx, w.admin, app.AppID)
	w.must(err)
	if b.Status.Status != store.BuildWhitelisted || b.PendingTaskID != "" || len(app.WhitelistedDomains) != 2 || app.PendingTaskID != "" {
		t.Errorf("after the approvals: build %+v, application %+v", b, app)
	}
	zones, err := w.m.Zones(ctx, w.admin)
	w.must(err)
	first, err := w.m.ZoneToken(ctx, w.admin, zones[0].ZoneID)
	w.must(err)
	again, err := w.m.ZoneToken(ctx, w.admin, zones[0].ZoneID)
	w.must(err)
	single, err := w.m.CreateJoinToken(ctx, w.admin, zones[0].ZoneID, wire.JoinTokenRequest{})
	w.must(err)
	rotated, err := w.m.RotateZoneToken(ctx, w.admin, zones[0].ZoneID)
	w.must(err)
	if first.Token != again.Token || first.Token == rotated.Token {
		t.Error("the zone's token must stay until it is rotated")
	}
	w.must(w.m.view(ctx, func(tx *store.Tx) error {
		_, err := w.m.joinToken(ctx, tx, rotated.Token)
		for _, text := range []string{first.Token, single.Token} {
			_, stopped := w.m.joinToken(ctx, tx, text)
			refused(t, "stopped token", stopped, Unauthenticated, CodeUnauthorized)
		}
		return err
	}))
	w.must(w.m.CheckTrusted(ctx))
	events, err := w.m.AuditEvents(ctx, w.admin, ListOptions{Limit: 100}, "", "", 0, 0)
	w.must(err)
	if len(events.Items) < 7 {
		t.Errorf("%d events", len(events.Items))
	}
}
