package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"hitoku.dev/internal/manager/store"
)

// sharedReads: rows that are read for reading only are always the newest ones.
func sharedReads(t *testing.T, open func(testing.TB) Backend) {
	b, cps := open(t), &Checkpoints{}
	s, elsewhere := Open(t, b, cps), Open(t, b, cps)
	ctx := t.Context()
	all(t, s)
	threads := func(tx *store.Tx) (n int) {
		t.Helper()
		a, err := tx.Apps().Get(ctx, AccountID, ID(14))
		must(t, err)
		found, err := tx.Apps().Find(ctx, AccountID, store.Is("name", a.Name))
		must(t, err)
		if len(found) != 1 || found[0].Threads != a.Threads {
			t.Errorf("found %d, the first with %d threads; got one with %d", len(found), found[0].Threads, a.Threads)
		}
		return a.Threads
	}
	more := func(s *store.Store) error {
		return audited(ctx, s, func(ctx context.Context, tx *store.Tx) error {
			before := threads(tx.Shared())
			a, err := tx.Apps().Get(ctx, AccountID, ID(14))
			if err != nil {
				return err
			}
			a.Threads++
			if err := tx.Apps().Update(ctx, a); err != nil {
				return err
			}
			if got := threads(tx.Shared()); got != before+1 {
				t.Errorf("%d threads after a change in the same transaction, wanted %d", got, before+1)
			}
			return nil
		})
	}
	want := 128
	check := func(what string) {
		t.Helper()
		for range 2 {
			must(t, s.Update(ctx, func(tx *store.Tx) error {
				if got := threads(tx.Shared()); got != want {
					t.Errorf("%s: %d threads, wanted %d", what, got, want)
				}
				return nil
			}))
		}
	}
	check("at first")
	must(t, more(s))
	want++
	check("after a change")
	must(t, more(elsewhere)) // as another manager does
	want++
	check("after a change from elsewhere")
	failed := errors.New("no")
	err := s.Update(ctx, func(tx *store.Tx) error {
		a, err := tx.Apps().Get(ctx, AccountID, ID(14))
		if err != nil {
			return err
		}
		a.Threads = 7
		return errors.Join(tx.Apps().Update(ctx, a), failed)
	})
	wantErr(t, "update", err, failed)
	check("after a change that was rolled back")
	must(t, s.CheckTrusted(ctx))

	// A row that was read is vouched for until it changes.
	var read *store.App
	must(t, s.View(ctx, func(tx *store.Tx) (err error) { read, err = tx.Apps().Get(ctx, AccountID, ID(14)); return err }))
	if got, want := s.Present(read), b.Options.Driver == store.SQLite; got != want {
		t.Errorf("Present = %v, wanted %v", got, want)
	}
	must(t, more(s))
	if s.Present(read) {
		t.Error("an old version is present")
	}
	if s.Present(&store.App{ID: ID(14), AccountID: AccountID}) {
		t.Error("a row that was never stored is present")
	}
}

// together: updates at one time each happen once or not at all, whoever of them fails.
func together(t *testing.T, open func(testing.TB) Backend) {
	s := Open(t, open(t), &Checkpoints{})
	ctx := t.Context()
	all(t, s)
	failed := errors.New("no")
	ended, end := context.WithCancel(ctx)
	end()
	const each = 60
	var wg sync.WaitGroup
	for i := range each {
		wg.Go(func() {
			err := s.Update(ctx, func(tx *store.Tx) error {
				e := Event("LOGIN")
				e.Description = fmt.Sprint(i)
				if err := tx.Audit(ctx, e); err != nil {
					return err
				}
				if i%10 == 3 {
					return failed
				}
				return nil
			})
			if (i%10 == 3) != errors.Is(err, failed) {
				t.Errorf("update %d: %v", i, err)
			}
		})
		wg.Go(func() {
			if err := s.Update(ended, func(tx *store.Tx) error { return tx.Audit(ended, Event("LATE")) }); !errors.Is(err, context.Canceled) {
				t.Errorf("after the end of its context: %v", err)
			}
		})
	}
	wg.Wait()
	must(t, s.View(ctx, func(tx *store.Tx) error {
		page, err := tx.Events(ctx, AccountID, store.Query{Where: []store.Condition{store.OneOf("code", "LOGIN", "LATE")}})
		seen := map[string]bool{}
		for _, e := range page.Items {
			seen[e.Description] = true
		}
		if want := each - each/10; len(page.Items) != want || len(seen) != want || seen["3"] || !seen["4"] {
			t.Errorf("%d events, %d different ones, wanted %d", len(page.Items), len(seen), want)
		}
		return err
	}))
	must(t, s.CheckTrusted(ctx))
}

// panics: a panic ends the call that it belongs to and no other.
func panics(t *testing.T, open func(testing.TB) Backend) {
	b := open(t)
	s := Open(t, b, &Checkpoints{})
	ctx := t.Context()
	all(t, s)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			defer func() {
				if got := recover(); (got != nil) != (i%5 == 0) {
					t.Errorf("update %d: panic %v", i, got)
				}
			}()
			if err := s.Update(ctx, func(tx *store.Tx) error {
				if i%5 == 0 {
					panic("of the update")
				}
				return tx.Audit(ctx, Event("LOGIN"))
			}); err != nil {
				t.Errorf("update %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	must(t, s.CheckTrusted(ctx))
}
