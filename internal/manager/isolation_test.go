package manager

import (
	"context"
	"testing"

	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

// TestOtherAccountsDoNotExist calls every method that takes an id with one of another account.
func TestOtherAccountsDoNotExist(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	app := w.app("flask", "a.example")
	b := w.build(app, 1)
	zones, err := w.m.Zones(ctx, w.admin)
	w.must(err)
	zone := zones[0].ZoneID
	single, err := w.m.CreateJoinToken(ctx, w.admin, zone, wire.JoinTokenRequest{})
	w.must(err)
	registry, err := w.m.CreateRegistry(ctx, w.admin, registryOfTests("r.example", "secret"))
	w.must(err)
	token, err := w.m.CreateAPIToken(ctx, w.admin, wire.APITokenRequest{Name: "ci"})
	w.must(err)

	eve := w.member("eve@example.org", "READER")
	w.must(w.m.RemoveMember(ctx, w.admin, eve.UserID))
	eve = w.logIn("eve@example.org")
	own, err := w.m.CreateAccount(ctx, eve, wire.AccountRequest{Name: "eve's", NodeEnrollment: &wire.NodeEnrollment{AttestationEnforcementDisabledInsecure: true}})
	w.must(err)
	eve = w.selectAccount(eve, own.AcctID)

	m := w.m
	calls := map[string]func(context.Context, Actor) error{
		"Account": func(ctx context.Context, a Actor) error { _, err := m.Account(ctx, a, w.account, true); return err },
		"UpdateAccount": func(ctx context.Context, a Actor) error {
			_, err := m.UpdateAccount(ctx, a, w.account, wire.AccountUpdate{Name: ptr("x")})
			return err
		},
		"DeleteAccount": func(ctx context.Context, a Actor) error { return m.DeleteAccount(ctx, a, w.account) },
		"AccountRoot":   func(ctx context.Context, a Actor) error { _, err := m.AccountRoot(ctx, a, w.account); return err },
		"SimulatedCollateral": func(ctx context.Context, a Actor) error {
			_, err := m.SimulatedCollateral(ctx, a, w.account)
			return err
		},
		"SimulatedRoot": func(ctx context.Context, a Actor) error { _, err := m.SimulatedRoot(ctx, a, w.account); return err },
		"SelectAccount": func(ctx context.Context, a Actor) error { _, err := m.SelectAccount(ctx, a, w.account); return err },
		"ProcessInvites": func(ctx context.Context, a Actor) error {
			return m.ProcessInvites(ctx, a, wire.ProcessInvite{Accepts: []string{w.account}})
		},
		"User": func(ctx context.Context, a Actor) error { _, err := m.User(ctx, a, w.admin.UserID); return err },
		"UpdateUser": func(ctx context.Context, a Actor) error {
			_, err := m.UpdateUser(ctx, a, w.admin.UserID, wire.UpdateUser{Roles: []string{"READER"}})
			return err
		},
		"DeleteUser":      func(ctx context.Context, a Actor) error { return m.DeleteUser(ctx, a, w.admin.UserID) },
		"RemoveMember":    func(ctx context.Context, a Actor) error { return m.RemoveMember(ctx, a, w.admin.UserID) },
		"UserAccounts":    func(ctx context.Context, a Actor) error { _, err := m.UserAccounts(ctx, a, w.admin.UserID); return err },
		"DeleteAPIToken":  func(ctx context.Context, a Actor) error { return m.DeleteAPIToken(ctx, a, token.TokenID) },
		"Zone":            func(ctx context.Context, a Actor) error { _, err := m.Zone(ctx, a, zone); return err },
		"ZoneToken":       func(ctx context.Context, a Actor) error { _, err := m.ZoneToken(ctx, a, zone); return err },
		"RotateZoneToken": func(ctx context.Context, a Actor) error { _, err := m.RotateZoneToken(ctx, a, zone); return err },
		"CreateJoinToken": func(ctx context.Context, a Actor) error {
			_, err := m.CreateJoinToken(ctx, a, zone, wire.JoinTokenRequest{})
			return err
		},
		"JoinTokens":          func(ctx context.Context, a Actor) error { _, err := m.JoinTokens(ctx, a, zone); return err },
		"RevokeJoinToken":     func(ctx context.Context, a Actor) error { return m.RevokeJoinToken(ctx, a, zone, single.TokenID) },
		"ZoneCertificates":    func(ctx context.Context, a Actor) error { _, err := m.ZoneCertificates(ctx, a, zone); return err },
		"NextZoneCertificate": func(ctx context.Context, a Actor) error { _, err := m.NextZoneCertificate(ctx, a, zone); return err },
		"RotateZone":          func(ctx context.Context, a Actor) error { _, err := m.RotateZone(ctx, a, zone); return err },
		"App":                 func(ctx context.Context, a Actor) error { _, err := m.App(ctx, a, app.AppID); return err },
		"UpdateApp": func(ctx context.Context, a Actor) error {
			_, err := m.UpdateApp(ctx, a, app.AppID, wire.AppUpdate{})
			return err
		},
		"DeleteApp":   func(ctx context.Context, a Actor) error { return m.DeleteApp(ctx, a, app.AppID) },
		"CreateBuild": func(ctx context.Context, a Actor) error { _, err := m.CreateBuild(ctx, a, buildOf(app, 9)); return err },
		"CreateBuild by name": func(ctx context.Context, a Actor) error {
			r := buildOf(app, 9)
			r.AppID, r.AppName = "", "flask"
			_, err := m.CreateBuild(ctx, a, r)
			return err
		},
		"Build": func(ctx context.Context, a Actor) error { _, err := m.Build(ctx, a, b.BuildID); return err },
		"UpdateBuild": func(ctx context.Context, a Actor) error {
			_, err := m.UpdateBuild(ctx, a, b.BuildID, wire.BuildUpdate{})
			return err
		},
		"DeleteBuild":   func(ctx context.Context, a Actor) error { return m.DeleteBuild(ctx, a, b.BuildID) },
		"WithdrawBuild": func(ctx context.Context, a Actor) error { _, err := m.WithdrawBuild(ctx, a, b.BuildID); return err },
		"RequestBuildApproval": func(ctx context.Context, a Actor) error {
			_, err := m.RequestBuildApproval(ctx, a, b.BuildID)
			return err
		},
		"Deployments": func(ctx context.Context, a Actor) error {
			_, err := m.Deployments(ctx, a, b.BuildID, ListOptions{}, "")
			return err
		},
		"Task": func(ctx context.Context, a Actor) error { _, err := m.Task(ctx, a, b.PendingTaskID); return err },
		"UpdateTask": func(ctx context.Context, a Actor) error {
			_, err := m.UpdateTask(ctx, a, b.PendingTaskID, wire.TaskUpdate{Status: store.Approved})
			return err
		},
		"DeleteTask": func(ctx context.Context, a Actor) error { return m.DeleteTask(ctx, a, b.PendingTaskID) },
		"Registry": func(ctx context.Context, a Actor) error {
			_, err := m.Registry(ctx, a, registry.RegistryID)
			return err
		},
		"UpdateRegistry": func(ctx context.Context, a Actor) error {
			_, err := m.UpdateRegistry(ctx, a, registry.RegistryID, nil)
			return err
		},
		"DeleteRegistry": func(ctx context.Context, a Actor) error { return m.DeleteRegistry(ctx, a, registry.RegistryID) },
		"AppRegistries":  func(ctx context.Context, a Actor) error { _, err := m.AppRegistries(ctx, a, app.AppID); return err },
	}
	for name, call := range calls {
		refused(t, name, call(ctx, eve), NotFound, CodeNotFound)
		refused(t, name+" with an API token", call(ctx, Actor{UserID: eve.UserID, AccountID: own.AcctID, Roles: eve.Roles, TokenID: "t", SessionID: "s"}), NotFound, CodeNotFound)
	}
	lists := map[string]func() (int, error){
		"Apps": func() (int, error) { l, err := m.Apps(ctx, eve, ListOptions{}, AppFilter{}); return len(l.Items), err },
		"Builds": func() (int, error) {
			l, err := m.Builds(ctx, eve, ListOptions{}, BuildFilter{})
			return len(l.Items), err
		},
		"Tasks": func() (int, error) {
			l, err := m.Tasks(ctx, eve, ListOptions{}, TaskFilter{})
			return len(l.Items), err
		},
		"Registries": func() (int, error) { l, err := m.Registries(ctx, eve); return len(l), err },
		"APITokens":  func() (int, error) { l, err := m.APITokens(ctx, eve); return len(l), err },
		"Nodes": func() (int, error) {
			l, err := m.Nodes(ctx, eve, ListOptions{}, NodeFilter{})
			return len(l.Items), err
		},
	}
	for name, list := range lists {
		n, err := list()
		w.must(err)
		if n != 0 {
			t.Errorf("%s shows %d objects of another account", name, n)
		}
	}
	events, err := m.AuditEvents(ctx, eve, ListOptions{AllSearch: "flask"}, "", "", 0, 0)
	w.must(err)
	if len(events.Items) != 0 {
		t.Errorf("%d events of another account", len(events.Items))
	}
	// The same domain and the same name are free in another account.
	_, err = m.CreateApp(ctx, eve, wire.AppRequest{Name: "flask", AllowedDomains: []string{"a.example"}})
	w.must(err)
}
