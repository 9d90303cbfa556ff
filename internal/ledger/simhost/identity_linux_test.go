package simhost

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hitoku.dev/measure/workload"
)

func TestRefusals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := open(t, dir)
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ program, want string }{
		"no file":    {filepath.Join(dir, "none"), "no such file"},
		"no program": {script, "no Linux program"},
		"dynamic":    {"/bin/sh", "linked dynamically"},
	} {
		if _, err := Measurement(c.program); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, wanted %q", name, err, c.want)
		}
		if _, err := a.Start(t.Context(), MachineOptions{Dir: dir, Program: c.program, Now: time.Now}); err == nil {
			t.Errorf("%s: started", name)
		}
	}
	if err := os.Chmod(filepath.Join(dir, authorityFile), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAuthority(dir, rand.Reader, time.Now()); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("an authority that others may read: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, authorityFile), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAuthority(dir, rand.Reader, time.Now()); err == nil {
		t.Error("an authority of nothing")
	}
}

// TestManifest: the measurement follows from the file alone.
func TestManifest(t *testing.T) {
	t.Parallel()
	path := mustProgram(t)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "under another name")
	if err := os.WriteFile(copied, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	one, err1 := Manifest(path)
	two, err2 := Manifest(copied)
	if err1 != nil || err2 != nil || !bytes.Equal(one, two) {
		t.Errorf("%s\n%s\n%v, %v", one, two, err1, err2)
	}
	if _, err := workload.Decode(one); err != nil {
		t.Error(err)
	}
}

// TestRace: of several who make the authority at once all get the same.
func TestRace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, dir) // the signing key takes long; it is made once
	if err := os.Remove(filepath.Join(dir, authorityFile)); err != nil {
		t.Fatal(err)
	}
	roots := make([][32]byte, 8)
	var group sync.WaitGroup
	for i := range roots {
		group.Go(func() { roots[i] = open(t, dir).Root() })
	}
	group.Wait()
	for _, r := range roots {
		if r != roots[0] {
			t.Fatalf("roots %x and %x", r, roots[0])
		}
	}
}
