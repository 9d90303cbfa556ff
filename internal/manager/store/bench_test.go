package store_test

import (
	"context"
	"fmt"
	"testing"

	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/manager/store/storetest"
)

// BenchmarkDecision measures one changed row with its audit event, without waiting for the disk.
func BenchmarkDecision(b *testing.B) {
	s := storetest.New(b)
	ctx := b.Context()
	if err := storetest.Seed(ctx, s); err != nil {
		b.Fatal(err)
	}
	zone := &store.Zone{ID: storetest.ID(12), AccountID: storetest.AccountID, Name: "z"}
	decide := func(fn func(*store.Tx) error) {
		err := s.Update(ctx, func(tx *store.Tx) error {
			if err := fn(tx); err != nil {
				return err
			}
			return tx.Audit(ctx, storetest.Event("CHANGED"))
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	decide(func(tx *store.Tx) error { return tx.Zones().Insert(ctx, zone) })
	for b.Loop() {
		decide(func(tx *store.Tx) error { return tx.Zones().Update(ctx, zone) })
	}
}

// BenchmarkOpen measures the start of a manager whose audit log has 20,000 events.
func BenchmarkOpen(b *testing.B) {
	backend, cps := storetest.SQLite(b), &storetest.Checkpoints{}
	s := storetest.Open(b, backend, cps)
	for i := range 200 {
		err := s.Update(context.Background(), func(tx *store.Tx) error {
			for j := range 100 {
				e := storetest.Event("LOGIN")
				e.Description = fmt.Sprint(i, j)
				if err := tx.Audit(context.Background(), e); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	o := backend.Options
	o.Checkpoints = cps
	b.ResetTimer()
	for b.Loop() {
		again, err := store.Open(context.Background(), o)
		if err != nil {
			b.Fatal(err)
		}
		if err := again.CheckTrusted(context.Background()); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		again.Close()
		b.StartTimer()
	}
}
