package manager

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/internal/jointoken"
	"hitoku.dev/internal/manager/ca"
	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

func TestAccounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	_, err := w.m.CreateAccount(ctx, w.admin, wire.AccountRequest{Name: "ACME"})
	refused(t, "taken name", err, Invalid, CodeUnique)
	_, err = w.m.CreateAccount(ctx, w.admin, wire.AccountRequest{Name: "x", CustomLogo: "!"})
	refused(t, "logo that is none", err, Invalid, CodeInvalidValue)
	acct, err := w.m.Account(ctx, w.admin, w.account, true)
	w.must(err)
	if !acct.NodeEnrollment.AttestationEnforcementDisabledInsecure || acct.Totals == nil || len(acct.Roles) != 3 {
		t.Errorf("account %+v", acct)
	}
	off := "Deactivated"
	_, err = w.m.UpdateAccount(ctx, w.admin, w.account, wire.AccountUpdate{AccountStatus: off})
	w.must(err)
	_, err = w.m.CreateApp(ctx, w.admin, wire.AppRequest{Name: "x"})
	refused(t, "application in a deactivated account", err, Forbidden, CodeInvalidState)
	member := w.member("m@example.org", "WRITER")
	refused(t, "account deleted by a WRITER", w.m.DeleteAccount(ctx, member, w.account), Forbidden, CodeForbidden)
	list, err := w.m.Accounts(ctx, member, ListOptions{}, false)
	w.must(err)
	if len(list.Items) != 1 || list.Items[0].Status != store.UserActive {
		t.Errorf("accounts %+v", list.Items)
	}
	_, err = w.m.Accounts(ctx, member, ListOptions{}, true)
	refused(t, "all accounts", err, Forbidden, CodeForbidden)
	w.must(w.m.DeleteAccount(ctx, w.admin, w.account))
	_, err = w.m.Account(ctx, w.admin, w.account, false)
	refused(t, "deleted account", err, NotFound, CodeNotFound)
	again, err := w.m.CreateAccount(ctx, w.admin, wire.AccountRequest{Name: "acme"})
	w.must(err)
	if again.AcctID == w.account {
		t.Error("an id was used again")
	}
	w.must(w.m.CheckTrusted(ctx))
}

func TestZoneRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	zones, err := w.m.Zones(ctx, w.admin)
	w.must(err)
	zone := zones[0].ZoneID
	root, err := w.m.AccountRoot(ctx, w.admin, w.account)
	w.must(err)
	rootCert, err := ca.ParsePEM(root.Certificate)
	w.must(err)
	_, err = w.m.RotateZone(ctx, w.admin, zone)
	refused(t, "rotation without a next authority", err, Invalid, CodeInvalidState)
	next, err := w.m.NextZoneCertificate(ctx, w.admin, zone)
	w.must(err)
	second, err := w.m.NextZoneCertificate(ctx, w.admin, zone)
	w.must(err)
	app := w.app("flask", "a.example")
	w.must(w.approve(w.admin, app.PendingTaskID))
	all, err := w.m.RotateZone(ctx, w.admin, zone)
	w.must(err)
	if next == second || all.NextCertificate != "" || len(all.PreviousCertificates) != 1 || all.CurrentCertificate == all.PreviousCertificates[0] {
		t.Errorf("after the rotation %+v", all)
	}
	for _, text := range append(all.PreviousCertificates, all.CurrentCertificate) {
		certs, err := ca.ParsePEM(text)
		w.must(err)
		if err := certs[0].CheckSignatureFrom(rootCert[0]); err != nil {
			t.Error(err)
		}
		if certs[0].PermittedDNSDomains[0] != "a.example" {
			t.Errorf("the authority permits %v", certs[0].PermittedDNSDomains)
		}
	}
}

func TestJoinTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	zones, err := w.m.Zones(ctx, w.admin)
	w.must(err)
	zone := zones[0].ZoneID
	use := func(text string) error {
		return w.m.update(ctx, func(tx *store.Tx) error {
			token, err := w.m.joinToken(ctx, tx, text)
			if err != nil {
				return err
			}
			if err := useJoinToken(ctx, tx, token); err != nil {
				return err
			}
			return tx.Audit(ctx, w.admin.event("NODE_ENROLLED", "NODE_ATTESTATION", "test"))
		})
	}
	single, err := w.m.CreateJoinToken(ctx, w.admin, zone, wire.JoinTokenRequest{})
	w.must(err)
	w.must(use(single.Token))
	refused(t, "single-use token, second time", use(single.Token), Unauthenticated, CodeUnauthorized)
	short, err := w.m.CreateJoinToken(ctx, w.admin, zone, wire.JoinTokenRequest{Uses: 3, ExpiresIn: 60})
	w.must(err)
	parsed, err := jointoken.Parse(short.Token)
	w.must(err)
	root, err := w.m.AccountRoot(ctx, w.admin, w.account)
	w.must(err)
	rootCert, err := ca.ParsePEM(root.Certificate)
	w.must(err)
	if parsed.Uses != 3 || parsed.AccountRoot != attest.SPKIHash(rootCert[0].RawSubjectPublicKeyInfo) {
		t.Errorf("token %+v", parsed)
	}
	forged := *parsed
	forged.Secret[0] ^= 1
	refused(t, "wrong secret", use(forged.Format()), Unauthenticated, CodeUnauthorized)
	forged = *parsed
	forged.ID[0] ^= 1
	refused(t, "unknown id", use(forged.Format()), Unauthenticated, CodeUnauthorized)
	refused(t, "nonsense", use("hkt1_x"), Unauthenticated, CodeUnauthorized)
	w.clock.Advance(time.Hour)
	refused(t, "expired token", use(short.Token), Unauthenticated, CodeUnauthorized)
	revoked, err := w.m.CreateJoinToken(ctx, w.admin, zone, wire.JoinTokenRequest{Uses: 2})
	w.must(err)
	w.must(w.m.RevokeJoinToken(ctx, w.admin, zone, revoked.TokenID))
	refused(t, "stopped token", use(revoked.Token), Unauthenticated, CodeUnauthorized)
	_, err = w.m.CreateJoinToken(ctx, w.admin, zone, wire.JoinTokenRequest{Uses: -1})
	refused(t, "negative uses", err, Invalid, CodeInvalidValue)
	writer := w.member("w@example.org", "WRITER")
	_, err = w.m.ZoneToken(ctx, writer, zone)
	refused(t, "join token for a WRITER", err, Forbidden, CodeForbidden)

	multi, err := w.m.ZoneToken(ctx, w.admin, zone)
	w.must(err)
	for range 5 {
		w.must(use(multi.Token))
	}
	w.clock.Advance(20 * time.Hour)
	next, err := w.m.ZoneToken(ctx, w.admin, zone)
	w.must(err)
	if next.Token == multi.Token {
		t.Error("a token with four hours left was shown")
	}
	w.must(use(multi.Token)) // still good, for those who copied it
	list, err := w.m.JoinTokens(ctx, w.admin, zone)
	w.must(err)
	i := slices.IndexFunc(list, func(x wire.JoinToken) bool { return x.TokenID == single.TokenID })
	if len(list) != 5 || i < 0 || list[i].Used != 1 || list[i].Token != "" {
		t.Errorf("tokens %+v", list)
	}
}

// TestOlderDatabaseFile is T7: the database file of yesterday is put back under the manager.
func TestOlderDatabaseFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	b := w.build(w.app("flask"), 1)
	w.must(w.approve(w.admin, b.PendingTaskID))
	backup := filepath.Join(t.TempDir(), "yesterday")
	w.must(w.m.Backup(ctx, backup))
	_, err := w.m.WithdrawBuild(ctx, w.admin, b.BuildID)
	w.must(err)
	w.must(w.m.store.Close())
	for _, ending := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(w.backend.Options.DSN + ending); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(backup)
	w.must(err)
	w.must(os.WriteFile(w.backend.Options.DSN, raw, 0o600))
	w.open()
	refused(t, "issuing on an older database", w.m.fail(w.m.CheckTrusted(ctx)), Internal, CodeInternal)
	_, err = w.m.CreateApp(ctx, w.admin, wire.AppRequest{Name: "more"})
	refused(t, "a decision on an older database", err, Internal, CodeInternal)
	now, err := w.m.Build(ctx, w.admin, b.BuildID)
	w.must(err) // people may look
	if now.Status.Status != store.BuildWhitelisted {
		t.Errorf("build %+v", now.Status)
	}
	w.must(w.m.store.Close())
	o := w.backend.Options
	o.Checkpoints = w.checks
	w.must(store.Restore(ctx, store.RestoreOptions{Options: o, From: backup, AcceptRollback: true, Event: *systemEvent("RESTORED", "A backup was restored")}))
	w.open()
	w.must(w.m.CheckTrusted(ctx))
}
