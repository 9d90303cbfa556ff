package storetest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"hitoku.dev/internal/manager/store"
)

// flips changes each protected row behind the store's back, in one column after the other.
func flips(t *testing.T, open func(testing.TB) Backend) {
	b := open(t)
	s := Open(t, b, &Checkpoints{})
	ctx := t.Context()
	all(t, s)
	flip := func(kind, table, where, change string, get func(*store.Tx) error) {
		t.Helper()
		must(t, shared(ctx, s, get)) // so that there is something to remember
		Raw(t, b, "CREATE TABLE kept AS SELECT * FROM "+table+" WHERE "+where, "UPDATE "+table+" SET "+change+" WHERE "+where)
		wantErr(t, kind+" with "+change+", read before", shared(ctx, s, get), store.ErrTampered)
		err := s.View(ctx, get)
		wantErr(t, kind+" with "+change, err, store.ErrTampered)
		var named *store.TamperedError
		if errors.As(err, &named) && named.Kind != kind {
			t.Errorf("%s with %s: the error names a %s", kind, change, named.Kind)
		}
		column, _, _ := strings.Cut(change, " ")
		Raw(t, b, "UPDATE "+table+" SET "+column+" = (SELECT "+column+" FROM kept) WHERE "+where) // no flip changes the key
		rawExec(t, b, "DROP TABLE kept")
		if err := s.View(ctx, get); err != nil {
			t.Fatalf("%s put right again: %v", kind, err)
		}
	}
	for _, sm := range Samples() {
		read := func(tx *store.Tx) error { _, err := sm.Get(ctx, tx, AccountID); return err }
		for _, f := range sm.Flips {
			flip(sm.Kind, sm.Table, sm.Where, f, read)
		}
		flip(sm.Kind, sm.Table, sm.Where, "mac = (SELECT hash FROM audit_events WHERE seq = 1)", read)
	}
	account := func(tx *store.Tx) error { _, err := tx.Accounts().Get(ctx, AccountID); return err }
	for _, f := range []string{"test_only = FALSE", "distinct_approver = TRUE", "status = 'Deactivated'", "name = 'x'", `options = '{"accept_bare_binding":true}'`} {
		flip("account", "accounts", "id = '"+AccountID+"'", f, account)
	}
	user := func(tx *store.Tx) error { _, err := tx.UserByEmail(ctx, "ann@example.org"); return err }
	for _, f := range []string{"system_admin = TRUE", "password_hash = 'mine'", "status = 'PENDING'", "email = 'x'"} {
		flip("user", "users", "id = '"+UserID+"'", f, user)
	}
	must(t, s.CheckTrusted(ctx))
}

// shared reads as a decision does that is made often.
func shared(ctx context.Context, s *store.Store, get func(*store.Tx) error) error {
	return s.Update(ctx, func(tx *store.Tx) error { return get(tx.Shared()) })
}

func rawExec(t testing.TB, b Backend, q string) {
	t.Helper()
	db := rawDB(t, b)
	defer db.Close()
	if _, err := db.Exec(q); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
}

// rollbackOfRows puts single rows back to an older version, takes them away and brings
// deleted ones back, all with MACs that were once right.
func rollbackOfRows(t *testing.T, open func(testing.TB) Backend) {
	b, cps := open(t), &Checkpoints{}
	s := Open(t, b, cps)
	ctx := t.Context()
	all(t, s)
	for _, sm := range Samples() {
		keep := "kept_" + sm.Table
		read := func(tx *store.Tx) error { _, err := sm.Get(ctx, tx, AccountID); return err }
		must(t, shared(ctx, s, read))
		restore := func() {
			rawExec(t, b, "DELETE FROM "+sm.Table+" WHERE "+sm.Where)
			Raw(t, b, "INSERT INTO "+sm.Table+" SELECT * FROM "+keep)
		}
		check := func(what string, want error) {
			t.Helper()
			_, err := get(ctx, s, sm, AccountID)
			wantErr(t, sm.Kind+" "+what, err, want)
			wantErr(t, sm.Kind+" "+what+", read before", shared(ctx, s, read), want)
			again := Open(t, b, cps) // a manager that starts now must see it too
			_, err = get(ctx, again, sm, AccountID)
			wantErr(t, sm.Kind+" "+what+", after a start", err, want)
		}
		rawExec(t, b, "CREATE TABLE "+keep+" AS SELECT * FROM "+sm.Table+" WHERE "+sm.Where)
		if sm.Kind != "certificate" { // those are remembered from their first change on
			rawExec(t, b, "DELETE FROM "+sm.Table+" WHERE "+sm.Where)
			check("taken away", store.ErrTampered)
			restore()
		}
		must(t, audited(ctx, s, sm.Change))
		newer := "newer_" + sm.Table
		rawExec(t, b, "CREATE TABLE "+newer+" AS SELECT * FROM "+sm.Table+" WHERE "+sm.Where)
		restore()
		check("put back to version 1", store.ErrTampered)
		rawExec(t, b, "DELETE FROM "+sm.Table+" WHERE "+sm.Where)
		Raw(t, b, "INSERT INTO "+sm.Table+" SELECT * FROM "+newer)
		must(t, audited(ctx, s, sm.Delete))
		Raw(t, b, "INSERT INTO "+sm.Table+" SELECT * FROM "+newer)
		check("brought back", store.ErrTampered)
		rawExec(t, b, "DELETE FROM "+sm.Table+" WHERE "+sm.Where)
	}
}

func auditNeeded(t *testing.T, open func(testing.TB) Backend) {
	s := Open(t, open(t), &Checkpoints{})
	ctx := t.Context()
	all(t, s)
	for _, sm := range Samples() {
		if err := s.Update(ctx, func(tx *store.Tx) error { return sm.Change(ctx, tx) }); err == nil || !strings.Contains(err.Error(), "without an audit event") {
			t.Errorf("%s changed without an event: %v", sm.Kind, err)
		}
	}
}

func auditChain(t *testing.T, open func(testing.TB) Backend) {
	changes := map[string]string{
		"a changed word":    "UPDATE audit_events SET description = 'nothing happened' WHERE seq = 3",
		"another person":    "UPDATE audit_events SET user_id = 'x' WHERE seq = 3",
		"another object":    `UPDATE audit_events SET objects = '[]' WHERE seq = 2`,
		"not JSON":          `UPDATE audit_events SET objects = '[' WHERE seq = 2`,
		"a missing event":   "DELETE FROM audit_events WHERE seq = 3",
		"an event of other": "UPDATE audit_events SET account_id = '" + OtherID + "' WHERE seq = 3",
		"another hash":      "UPDATE audit_events SET hash = mac WHERE seq = 3",
		"another MAC":       "UPDATE audit_events SET mac = hash WHERE seq = 3",
	}
	b, cps := open(t), &Checkpoints{}
	s := Open(t, b, cps)
	ctx := t.Context()
	all(t, s)
	for range 3 {
		must(t, s.Update(ctx, func(tx *store.Tx) error { return tx.Audit(ctx, Event("LOGIN")) }))
	}
	must(t, s.CheckTrusted(ctx))
	rawExec(t, b, "CREATE TABLE kept AS SELECT * FROM audit_events")
	for name, q := range changes {
		Raw(t, b, q)
		again := Open(t, b, cps)
		wantErr(t, name, again.CheckTrusted(ctx), store.ErrTampered)
		err := audited(ctx, again, func(ctx context.Context, tx *store.Tx) error {
			a, err := tx.Apps().Get(ctx, AccountID, ID(14))
			if err != nil {
				return err
			}
			return tx.Apps().Update(ctx, a)
		})
		wantErr(t, "a change after "+name, err, store.ErrTampered)
		Raw(t, b, "DELETE FROM audit_events", "INSERT INTO audit_events SELECT * FROM kept")
	}
	must(t, s.CheckTrusted(ctx))
	must(t, s.View(ctx, func(tx *store.Tx) error {
		page, err := tx.Events(ctx, AccountID, store.Query{Where: []store.Condition{store.Is("code", "LOGIN")}, Sort: []store.Order{{Column: "seq", Descending: true}}})
		if len(page.Items) != 3 || page.Items[0].Seq != 5 || page.Total != 5 {
			t.Errorf("events: %d of %d", len(page.Items), page.Total)
		}
		return err
	}))
}

// olderDatabase brings back the state of the whole database from before some decisions.
func olderDatabase(t *testing.T, open func(testing.TB) Backend) {
	b, cps := open(t), &Checkpoints{}
	ctx := t.Context()
	s := Open(t, b, cps)
	all(t, s)
	must(t, s.Close())
	old, _ := cps.Latest()

	s = Open(t, b, cps)
	must(t, audited(ctx, s, Samples()[6].Change))
	newest, newestHead := cps.Latest()
	if newest <= old {
		t.Fatalf("checkpoint %d after %d", newest, old)
	}
	// The older state, as one who has the database can make it.
	older := func() {
		Raw(t, b, "DELETE FROM audit_events WHERE seq > 2", "UPDATE audit_head SET count = 2")
	}
	older()
	wantErr(t, "a manager that runs", s.CheckTrusted(ctx), store.ErrRolledBack)
	again := Open(t, b, cps)
	wantErr(t, "a manager that starts", again.CheckTrusted(ctx), store.ErrRolledBack)

	// Going on from there must not make it right, however long the log grows.
	for range 3 {
		must(t, again.Update(ctx, func(tx *store.Tx) error { return tx.Audit(ctx, Event("LOGIN")) }))
	}
	wantErr(t, "after more events", again.CheckTrusted(ctx), store.ErrRolledBack)
	must(t, again.Close())
	if n, head := cps.Latest(); n != newest || string(head) != string(newestHead) {
		t.Errorf("the checkpoint moved to %d", n)
	}
	third := Open(t, b, cps)
	wantErr(t, "a log with other events of the same number", third.CheckTrusted(ctx), store.ErrRolledBack)

	if err := third.AcceptRollback(ctx, Event("ROLLBACK_ACCEPTED")); err != nil {
		t.Fatal(err)
	}
	must(t, third.CheckTrusted(ctx))
	must(t, third.Close())
	fourth := Open(t, b, cps)
	must(t, fourth.CheckTrusted(ctx))
	if got := fourth.Restored(); got.IsZero() || !got.Equal(third.Restored()) {
		t.Errorf("restored at %v, a manager that starts says %v", third.Restored(), got)
	}
	if got := s.Restored(); !got.IsZero() {
		t.Errorf("restored at %v before it was", got)
	}
	must(t, fourth.View(ctx, func(tx *store.Tx) error {
		token, err := tx.JoinTokens().Get(ctx, AccountID, ID(13))
		if err == nil && token.Status != store.JoinTokenRevoked {
			t.Errorf("join token is %s after a rollback was accepted", token.Status)
		}
		return err
	}))
}

func checkpoints(t *testing.T, open func(testing.TB) Backend) {
	b, cps := open(t), &Checkpoints{}
	s := Open(t, b, cps)
	ctx := t.Context()
	all(t, s)
	if n, _ := cps.Latest(); n != 2 {
		t.Errorf("checkpoint %d after two decisions", n)
	}
	must(t, s.Update(ctx, func(tx *store.Tx) error { return tx.Audit(ctx, Event("LOGIN")) }))
	cps.SetFail(errors.New("disk full"))
	must(t, audited(ctx, s, Samples()[4].Change))
	if err := s.CheckTrusted(ctx); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("issuing goes on without a checkpoint: %v", err)
	}
	cps.SetFail(nil)
	must(t, s.CheckTrusted(ctx))
	if n, _ := cps.Latest(); n != 4 {
		t.Errorf("checkpoint %d, wanted 4", n)
	}
	must(t, s.Update(ctx, func(tx *store.Tx) error { return tx.Audit(ctx, Event("LOGIN")) }))
	must(t, s.Close())
	if n, _ := cps.Latest(); n != 5 {
		t.Errorf("checkpoint %d after closing, wanted 5", n)
	}
	// A fresh database under an old checkpoint is an older database.
	wantErr(t, "empty database", Open(t, open(t), cps).CheckTrusted(ctx), store.ErrRolledBack)
}
