package storetest

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hitoku.dev/internal/manager/store"
)

func nonces(t *testing.T, open func(testing.TB) Backend) {
	s := Open(t, open(t), &Checkpoints{})
	ctx := t.Context()
	must(t, Seed(ctx, s))
	n := &store.Nonce{ID: "aa", AccountID: AccountID, NodeID: ID(17), Purpose: "app-tls", CreatedAt: at, ExpiresAt: at.Add(time.Minute)}
	must(t, s.Update(ctx, func(tx *store.Tx) error { return tx.PutNonce(ctx, n) }))
	take := func(account string) error {
		return s.Update(ctx, func(tx *store.Tx) error { _, err := tx.TakeNonce(ctx, account, "aa"); return err })
	}
	wantErr(t, "nonce of another account", take(OtherID), store.ErrNotFound)
	var mu sync.Mutex
	var wg sync.WaitGroup
	taken := 0
	for range 4 {
		wg.Go(func() {
			err := take(AccountID)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				taken++
			} else if !errors.Is(err, store.ErrNotFound) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if taken != 1 {
		t.Errorf("the nonce was taken %d times", taken)
	}
	// One that has no row until it is answered.
	var once atomic.Int32
	for range 4 {
		wg.Go(func() {
			var first bool
			err := s.Update(ctx, func(tx *store.Tx) (err error) {
				again := store.Nonce{ID: "cc", AccountID: AccountID, NodeID: ID(17), Purpose: "app-tls", CreatedAt: at, ExpiresAt: at.Add(time.Minute)}
				first, err = tx.AnswerNonce(ctx, &again)
				return err
			})
			if err != nil {
				t.Error(err)
			}
			if first {
				once.Add(1)
			}
		})
	}
	wg.Wait()
	if once.Load() != 1 {
		t.Errorf("the nonce was answered %d times", once.Load())
	}
	n.ID = "bb"
	must(t, s.Update(ctx, func(tx *store.Tx) error { return tx.PutNonce(ctx, n) }))
	must(t, s.Update(ctx, func(tx *store.Tx) error { return tx.Purge(ctx, at.Add(time.Hour)) }))
	wantErr(t, "nonce after its end", s.Update(ctx, func(tx *store.Tx) error { _, err := tx.TakeNonce(ctx, AccountID, "bb"); return err }), store.ErrNotFound)
}
