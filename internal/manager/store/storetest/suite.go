package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"hitoku.dev/internal/manager/store"
)

// Run runs the whole suite. open returns a new empty database for each test.
func Run(t *testing.T, open func(testing.TB) Backend) {
	tests := map[string]func(*testing.T, func(testing.TB) Backend){
		"RoundTrip":     roundTrip,
		"Isolation":     isolation,
		"Versions":      versions,
		"Unique":        unique,
		"Lists":         lists,
		"Flips":         flips,
		"Rollback":      rollbackOfRows,
		"AuditNeeded":   auditNeeded,
		"AuditChain":    auditChain,
		"OlderDatabase": olderDatabase,
		"Checkpoints":   checkpoints,
		"Nonces":        nonces,
		"Builds":        builds,
		"Race":          race,
		"AccountEnds":   accountEnds,
		"Others":        others,
		"Shared":        sharedReads,
		"Together":      together,
		"Panic":         panics,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open)
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, wanted %v", what, err, want)
	}
}

// all stores the owners and every sample.
func all(t testing.TB, s *store.Store) {
	t.Helper()
	ctx := t.Context()
	must(t, Seed(ctx, s))
	must(t, s.Update(ctx, func(tx *store.Tx) error {
		for _, sm := range Samples() {
			if err := sm.Insert(ctx, tx); err != nil {
				return fmt.Errorf("%s: %w", sm.Kind, err)
			}
		}
		return tx.Audit(ctx, Event("SAMPLES"))
	}))
}

func get(ctx context.Context, s *store.Store, sm Sample, account string) (row any, err error) {
	err = s.View(ctx, func(tx *store.Tx) error { row, err = sm.Get(ctx, tx, account); return err })
	return row, err
}

func audited(ctx context.Context, s *store.Store, fn func(context.Context, *store.Tx) error) error {
	return s.Update(ctx, func(tx *store.Tx) error {
		if err := fn(ctx, tx); err != nil {
			return err
		}
		return tx.Audit(ctx, Event("CHANGED"))
	})
}

func roundTrip(t *testing.T, open func(testing.TB) Backend) {
	b, cps := open(t), &Checkpoints{}
	s := Open(t, b, cps)
	ctx := t.Context()
	all(t, s)
	before := map[string]any{}
	for _, sm := range Samples() {
		row, err := get(ctx, s, sm, AccountID)
		must(t, err)
		before[sm.Kind] = row
	}
	again := Open(t, b, cps)
	must(t, again.CheckTrusted(ctx))
	for _, sm := range Samples() {
		row, err := get(ctx, again, sm, AccountID)
		must(t, err)
		if d := cmp.Diff(before[sm.Kind], row, cmpopts.IgnoreUnexported(store.Stamp{})); d != "" {
			t.Errorf("%s changed by closing and opening:\n%s", sm.Kind, d)
		}
		must(t, audited(ctx, again, sm.Change))
		changed, err := get(ctx, again, sm, AccountID)
		must(t, err)
		if cmp.Diff(row, changed, cmpopts.IgnoreUnexported(store.Stamp{})) == "" {
			t.Errorf("%s: the change is not there", sm.Kind)
		}
		must(t, audited(ctx, again, sm.Delete))
		_, err = get(ctx, again, sm, AccountID)
		wantErr(t, sm.Kind+" after its deletion", err, store.ErrNotFound)
	}
}

func isolation(t *testing.T, open func(testing.TB) Backend) {
	s := Open(t, open(t), &Checkpoints{})
	all(t, s)
	for _, sm := range Samples() {
		_, err := get(t.Context(), s, sm, OtherID)
		wantErr(t, sm.Kind+" of another account", err, store.ErrNotFound)
		_, err = get(t.Context(), s, sm, "")
		wantErr(t, sm.Kind+" of no account", err, store.ErrNotFound)
	}
	must(t, s.View(t.Context(), func(tx *store.Tx) error {
		page, err := tx.Apps().List(t.Context(), OtherID, store.Query{})
		if page.Total != 0 || len(page.Items) != 0 {
			t.Errorf("the other account lists %d applications of %d", len(page.Items), page.Total)
		}
		_, berr := tx.Builds().ByMeasurement(t.Context(), OtherID, "0a")
		wantErr(t, "measurement in another account", berr, store.ErrNotFound)
		return err
	}))
}

func versions(t *testing.T, open func(testing.TB) Backend) {
	s := Open(t, open(t), &Checkpoints{})
	ctx := t.Context()
	all(t, s)
	var first, second *store.App
	must(t, s.View(ctx, func(tx *store.Tx) (err error) {
		if first, err = tx.Apps().Get(ctx, AccountID, ID(14)); err == nil {
			second, err = tx.Apps().Get(ctx, AccountID, ID(14))
		}
		return err
	}))
	change := func(a *store.App) error {
		return audited(ctx, s, func(ctx context.Context, tx *store.Tx) error { a.Threads++; return tx.Apps().Update(ctx, a) })
	}
	must(t, change(first))
	if first.Version != 2 {
		t.Errorf("version %d after one change, wanted 2", first.Version)
	}
	wantErr(t, "update from an older read", change(second), store.ErrStale)
	wantErr(t, "delete from an older read", audited(ctx, s, func(ctx context.Context, tx *store.Tx) error { return tx.Apps().Delete(ctx, second) }), store.ErrStale)
	second.AccountID = OtherID
	wantErr(t, "update through another account", change(second), store.ErrStale)
}

func unique(t *testing.T, open func(testing.TB) Backend) {
	s := Open(t, open(t), &Checkpoints{})
	ctx := t.Context()
	all(t, s)
	cases := map[string]func(*store.Tx) error{
		"application with the same name": func(tx *store.Tx) error {
			return tx.Apps().Insert(ctx, &store.App{ID: ID(50), AccountID: AccountID, Name: "fLASK "})
		},
		"account with the same name": func(tx *store.Tx) error {
			return tx.Accounts().Insert(ctx, &store.Account{ID: ID(50), Name: "ACME a"})
		},
		"user with the same address": func(tx *store.Tx) error {
			return tx.Users().Insert(ctx, &store.User{ID: ID(50), Email: "ann@example.ORG"})
		},
		"domain of another application": func(tx *store.Tx) error {
			return tx.Domains().Insert(ctx, &store.Domain{AccountID: AccountID, Name: "a.example", AppID: ID(50)})
		},
		"build with the same measurement": func(tx *store.Tx) error {
			return tx.Builds().Insert(ctx, &store.Build{ID: ID(50), AccountID: AccountID, Measurements: []store.Measurement{{Kind: "sgx", Value: "0a"}}})
		},
		"registry with the same address": func(tx *store.Tx) error {
			return tx.Registries().Insert(ctx, &store.Registry{ID: ID(50), AccountID: AccountID, URL: "HTTPS://r.example"})
		},
	}
	for name, insert := range cases {
		wantErr(t, name, audited(ctx, s, func(_ context.Context, tx *store.Tx) error { return insert(tx) }), store.ErrExists)
	}
	must(t, audited(ctx, s, func(_ context.Context, tx *store.Tx) error {
		return tx.Apps().Insert(ctx, &store.App{ID: ID(51), AccountID: OtherID, Name: "Flask"})
	}))
	wantErr(t, "row of an account that is not there", audited(ctx, s, func(_ context.Context, tx *store.Tx) error {
		return tx.Apps().Insert(ctx, &store.App{ID: ID(52), AccountID: ID(99), Name: "Flask"})
	}), store.ErrReference)
}

func lists(t *testing.T, open func(testing.TB) Backend) {
	s := Open(t, open(t), &Checkpoints{})
	ctx := t.Context()
	must(t, Seed(ctx, s))
	must(t, audited(ctx, s, func(_ context.Context, tx *store.Tx) error {
		for i := range 10 {
			a := &store.App{ID: ID(100 + i), AccountID: AccountID, Name: fmt.Sprintf("app %c_%d", 'J'-rune(i), i%3), Threads: i, CreatedAt: at.Add(time.Duration(i) * time.Microsecond)}
			if err := tx.Apps().Insert(ctx, a); err != nil {
				return err
			}
		}
		return nil
	}))
	cases := []struct {
		name            string
		q               store.Query
		want            []int // numbers of the applications
		total, filtered int
	}{
		{"all, oldest first", store.Query{}, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 10, 10},
		{"page", store.Query{Limit: 3, Offset: 6}, []int{6, 7, 8}, 10, 10},
		{"past the end", store.Query{Limit: 3, Offset: 60}, nil, 10, 10},
		{"by name", store.Query{Sort: []store.Order{{Column: "name"}}, Limit: 2}, []int{9, 8}, 10, 10},
		{"newest first", store.Query{Sort: []store.Order{{Column: "created_at", Descending: true}}, Limit: 2}, []int{9, 8}, 10, 10},
		{"contains", store.Query{Where: []store.Condition{store.Like("name", "_2")}}, []int{2, 5, 8}, 10, 3},
		{"contains, other case", store.Query{Where: []store.Condition{store.Like("name", "APP j")}}, []int{0}, 10, 1},
		{"a percent sign is no wildcard", store.Query{Where: []store.Condition{store.Like("name", "%")}}, nil, 10, 0},
		{"one of", store.Query{Where: []store.Condition{store.OneOf("id", ID(101), ID(103), "no")}}, []int{1, 3}, 10, 2},
		{"one of nothing", store.Query{Where: []store.Condition{store.OneOf[string]("id")}}, nil, 10, 0},
		{"none of", store.Query{Where: []store.Condition{{Column: "id", Op: store.NotIn, Values: []any{ID(101), ID(103)}}, store.Like("name", "_0")}}, []int{0, 6, 9}, 10, 3},
		{"none of nothing", store.Query{Where: []store.Condition{{Column: "id", Op: store.NotIn}}, Limit: 1}, []int{0}, 10, 10},
		{"either", store.Query{Where: []store.Condition{store.Either(store.Is("id", ID(101)), store.OneOf("id", ID(102), ID(103))), store.Like("name", "_")}}, []int{1, 2, 3}, 10, 3},
		{"search", store.Query{Search: []store.Condition{store.Like("name", "_0"), store.Like("id", "000104")}, Where: []store.Condition{{Column: "threads", Op: store.After, Values: []any{int64(2)}}}}, []int{3, 4, 6, 9}, 10, 4},
		{"a zero byte matches nothing more", store.Query{Where: []store.Condition{store.Is("name", "app\x00")}}, nil, 10, 0},
	}
	for _, c := range cases {
		must(t, s.View(ctx, func(tx *store.Tx) error {
			page, err := tx.Apps().List(ctx, AccountID, c.q)
			var got []int
			for _, a := range page.Items {
				got = append(got, a.Threads)
			}
			if !cmp.Equal(got, c.want) || page.Total != c.total || page.Filtered != c.filtered {
				t.Errorf("%s: got %v of %d/%d, wanted %v of %d/%d", c.name, got, page.Filtered, page.Total, c.want, c.filtered, c.total)
			}
			return err
		}))
	}
	for _, q := range []store.Query{
		{Sort: []store.Order{{Column: "name; DROP TABLE apps"}}},
		{Where: []store.Condition{store.Is("mac", "x")}},
		{Where: []store.Condition{{Column: "name", Op: "OR 1=1 --", Values: []any{"x"}}}},
	} {
		if err := s.View(ctx, func(tx *store.Tx) error { _, err := tx.Apps().List(ctx, AccountID, q); return err }); err == nil {
			t.Errorf("%+v was accepted", q)
		}
	}
}

func builds(t *testing.T, open func(testing.TB) Backend) {
	b := open(t)
	s := Open(t, b, &Checkpoints{})
	ctx := t.Context()
	all(t, s)
	find := func(m string) (b *store.Build, err error) {
		err = s.View(ctx, func(tx *store.Tx) error { b, err = tx.Builds().ByMeasurement(ctx, AccountID, m); return err })
		return b, err
	}
	if b, err := find("0a"); err != nil || b.ID != ID(15) {
		t.Fatalf("build of measurement 0a: %v, %v", b, err)
	}
	Raw(t, b, "UPDATE build_measurements SET measurement = '0f'")
	_, err := find("0f")
	wantErr(t, "index that points at the wrong build", err, store.ErrTampered)
	Raw(t, b, "UPDATE build_measurements SET measurement = '0a'")
	must(t, audited(ctx, s, func(ctx context.Context, tx *store.Tx) error {
		b, err := tx.Builds().Get(ctx, AccountID, ID(15))
		if err != nil {
			return err
		}
		return tx.Builds().Delete(ctx, b)
	}))
	_, err = find("0a")
	wantErr(t, "measurement of a deleted build", err, store.ErrNotFound)
}

func race(t *testing.T, open func(testing.TB) Backend) {
	s := Open(t, open(t), &Checkpoints{})
	ctx := t.Context()
	all(t, s)
	const writers, each = 4, 8
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				// A writer that lost reads again: no change may be lost.
				for {
					err := audited(ctx, s, func(ctx context.Context, tx *store.Tx) error {
						a, err := tx.Apps().Get(ctx, AccountID, ID(14))
						if err != nil {
							return err
						}
						a.Threads++
						return tx.Apps().Update(ctx, a)
					})
					if err == nil {
						break
					}
					if !errors.Is(err, store.ErrStale) {
						t.Error(err)
						return
					}
				}
			}
		})
		wg.Go(func() {
			for range each {
				if err := s.View(ctx, func(tx *store.Tx) error { _, err := tx.Apps().Get(ctx, AccountID, ID(14)); return err }); err != nil {
					t.Error(err)
				}
				if err := s.CheckTrusted(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	must(t, s.View(ctx, func(tx *store.Tx) error {
		a, err := tx.Apps().Get(ctx, AccountID, ID(14))
		if err == nil && (a.Threads != 128+writers*each || a.Version != 1+writers*each) {
			t.Errorf("%d threads in version %d, wanted %d in %d", a.Threads, a.Version, 128+writers*each, 1+writers*each)
		}
		return err
	}))
}

func accountEnds(t *testing.T, open func(testing.TB) Backend) {
	s := Open(t, open(t), &Checkpoints{})
	ctx := t.Context()
	all(t, s)
	must(t, audited(ctx, s, func(ctx context.Context, tx *store.Tx) error {
		a, err := tx.Accounts().Get(ctx, AccountID)
		if err != nil {
			return err
		}
		return tx.Accounts().Delete(ctx, a)
	}))
	for _, sm := range Samples() {
		_, err := get(ctx, s, sm, AccountID)
		wantErr(t, sm.Kind+" of a deleted account", err, store.ErrNotFound)
	}
	must(t, s.CheckTrusted(ctx))
}

func others(t *testing.T, open func(testing.TB) Backend) {
	s := Open(t, open(t), &Checkpoints{})
	ctx := t.Context()
	all(t, s)
	sess := &store.Session{ID: "s1", UserID: UserID, CreatedAt: at, ExpiresAt: at.Add(time.Hour), TokenExpiresAt: at.Add(time.Minute)}
	must(t, s.Update(ctx, func(tx *store.Tx) error {
		return errors.Join(tx.Sessions().Insert(ctx, sess), tx.LoggedIn(ctx, UserID, at),
			tx.PutContact(ctx, &store.NodeContact{AccountID: AccountID, NodeID: ID(17), LastSeenAt: at}),
			tx.PutContact(ctx, &store.NodeContact{AccountID: AccountID, NodeID: ID(17), LastSeenAt: at.Add(time.Second), ReportedStatus: "RUNNING"}),
			tx.PutDeployment(ctx, &store.Deployment{AccountID: AccountID, ID: ID(15) + "/" + ID(17), Status: store.AppRunning}))
	}))
	must(t, s.View(ctx, func(tx *store.Tx) error {
		u, err := tx.UserByEmail(ctx, "ANN@example.org")
		if err == nil && (u.ID != UserID || !u.LastLoginAt.Equal(at)) {
			t.Errorf("user %s last logged in at %v", u.ID, u.LastLoginAt)
		}
		c, cerr := tx.NodeContacts().Get(ctx, AccountID, ID(17))
		if cerr == nil && c.ReportedStatus != "RUNNING" {
			t.Errorf("contact %+v", c)
		}
		_, terr := tx.TaskByID(ctx, ID(16))
		_, aerr := tx.APITokenBySecret(ctx, "aa")
		_, jerr := tx.JoinTokenByID(ctx, ID(13))
		ms, merr := tx.MembershipsOf(ctx, UserID)
		if len(ms) != 1 {
			t.Errorf("%d memberships", len(ms))
		}
		var alerr error
		for id, want := range map[string]int{ID(10): 1, ID(12): 1, ID(99): 0} { // the authority's own id, its zone's, nobody's
			as, err := tx.ZoneAuthorities(ctx, id)
			if alerr = errors.Join(alerr, err); len(as) != want {
				t.Errorf("%s: %d zone authorities, wanted %d", id, len(as), want)
			}
		}
		return errors.Join(err, cerr, terr, aerr, jerr, merr, alerr)
	}))
	must(t, s.Update(ctx, func(tx *store.Tx) error { return tx.EndSessions(ctx, UserID, "") }))
	wantErr(t, "ended session", s.View(ctx, func(tx *store.Tx) error { _, err := tx.Sessions().Get(ctx, "s1"); return err }), store.ErrNotFound)
}
