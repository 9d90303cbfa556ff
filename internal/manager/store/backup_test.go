package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/manager/store/storetest"
)

func restore(t *testing.T, b storetest.Backend, cps *storetest.Checkpoints, from string, accept bool) error {
	t.Helper()
	o := b.Options
	o.Checkpoints = cps
	e := store.Event{Severity: "WARNING", Code: "RESTORED", ActionType: "ADMIN", ActorType: "SYSTEM", Description: "restored"}
	return store.Restore(t.Context(), store.RestoreOptions{Options: o, From: from, AcceptRollback: accept, Event: e})
}

func note(t *testing.T, s *store.Store, code string) {
	t.Helper()
	ctx := t.Context()
	err := s.Update(ctx, func(tx *store.Tx) error {
		err := tx.Settings().Insert(ctx, &store.Setting{Name: code, Value: []byte("x")})
		return errors.Join(err, tx.Audit(ctx, storetest.Event(code)))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestBackup(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	b, cps := storetest.SQLite(t), &storetest.Checkpoints{}
	s := storetest.Open(t, b, cps)
	note(t, s, "first")
	copied := filepath.Join(t.TempDir(), "copy")
	if err := s.Backup(ctx, copied); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(copied); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := s.Backup(ctx, copied); !errors.Is(err, os.ErrExist) {
		t.Errorf("an existing file was written over: %v", err)
	}
	closed := func() {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	closed()
	// The newest state may come back at any time.
	if err := restore(t, b, cps, copied, false); err != nil {
		t.Fatal(err)
	}
	s = storetest.Open(t, b, cps)
	note(t, s, "second")
	closed()
	if err := restore(t, b, cps, copied, false); !errors.Is(err, store.ErrRolledBack) {
		t.Errorf("older state without a word: %v", err)
	}
	s = storetest.Open(t, b, cps)
	if err := s.CheckTrusted(ctx); err != nil {
		t.Errorf("a refused restore changed something: %v", err)
	}
	closed()
	if err := restore(t, b, cps, copied, true); err != nil {
		t.Fatal(err)
	}
	s = storetest.Open(t, b, cps)
	if err := s.CheckTrusted(ctx); err != nil {
		t.Error(err)
	}
	setting := func(name string) error {
		return s.View(ctx, func(tx *store.Tx) error { _, err := tx.Settings().Get(ctx, name); return err })
	}
	if err := setting("first"); err != nil {
		t.Error(err)
	}
	if err := setting("second"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("what was lost: %v", err)
	}
	closed()
	// What was there before is kept, and is now the older one.
	if _, err := os.Stat(b.Options.DSN + ".before-restore"); err != nil {
		t.Error(err)
	}
	if err := restore(t, b, cps, b.Options.DSN+".before-restore", false); !errors.Is(err, store.ErrRolledBack) {
		t.Errorf("another branch of history: %v", err)
	}
}

func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	b, cps := storetest.SQLite(t), &storetest.Checkpoints{}
	s := storetest.Open(t, b, cps)
	note(t, s, "first")
	folder := t.TempDir()
	good := filepath.Join(folder, "good")
	if err := s.Backup(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	changed := storetest.Backend{Options: store.Options{Driver: store.SQLite, DSN: filepath.Join(folder, "changed")}}
	text := filepath.Join(folder, "text")
	bytes, err := os.ReadFile(good)
	if err == nil {
		err = errors.Join(os.WriteFile(changed.Options.DSN, bytes, 0o600), os.WriteFile(text, []byte("not a database, but long enough to be taken for one at first sight"), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	storetest.Raw(t, changed, "UPDATE audit_events SET description = 'x'")
	if err := restore(t, b, cps, changed.Options.DSN, true); !errors.Is(err, store.ErrTampered) {
		t.Errorf("changed backup: %v", err)
	}
	if err := restore(t, b, cps, text, true); err == nil {
		t.Error("a text was restored")
	}
	if err := restore(t, b, cps, filepath.Join(folder, "none"), true); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing backup: %v", err)
	}
	other := b
	other.Options.Key = make([]byte, store.KeySize)
	if err := restore(t, other, cps, good, true); !errors.Is(err, store.ErrTampered) {
		t.Errorf("backup under another master key: %v", err)
	}
	if _, err := store.Open(context.Background(), store.Options{Driver: store.SQLite, DSN: good, Key: []byte("short"), Checkpoints: cps}); err == nil {
		t.Error("a short key was taken")
	}
	again := storetest.Open(t, b, cps)
	if err := again.CheckTrusted(t.Context()); err != nil {
		t.Error(err)
	}
}
