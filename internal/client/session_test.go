package client_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"hitoku.dev/internal/client"
)

func TestSessionFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "session.json")
	if _, err := client.LoadSession(path); !errors.Is(err, client.ErrNoSession) {
		t.Fatalf("without a file: %v", err)
	}
	want := client.Session{Manager: "https://manager.example", Trust: client.Trust{Pin: "sha256:00"}, Email: "me@example.com", Token: "hks_x", AccountID: "1", AccountName: "acme"}
	if err := want.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := client.LoadSession(path)
	if err != nil || *got != want {
		t.Fatalf("%+v and %v, wanted %+v", got, err, want)
	}
	if runtime.GOOS == "windows" {
		return // modes mean nothing there; the folder is the user's own
	}
	for name, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v, wanted mode %o", name, info.Mode(), err, mode)
		}
	}
}

// TestSessionModeIsMended checks that a file others could read does not stay so.
func TestSessionModeIsMended(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "session.json")
	if err := os.WriteFile(path, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := client.Session{Manager: "https://manager.example", Token: "hks_x"}
	if err := s.Save(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

// TestSessionIsWhole reads while others write: a file is the old one or the new one.
func TestSessionIsWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "session.json")
	short := client.Session{Manager: "https://manager.example", Token: "a"}
	long := short
	long.Token = strings.Repeat("b", 1<<16)
	if err := short.Save(path); err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for _, s := range []client.Session{short, long} {
		writers.Go(func() {
			for range 50 {
				if err := s.Save(path); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		got, err := client.LoadSession(path)
		if err != nil || *got != short && *got != long {
			t.Fatalf("half a file: %v", err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("files are left over: %v %v", entries, err)
	}
}

func TestSessionThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "session.json")
	if err := os.Mkdir(path, 0o700); err != nil { // in the way of the rename
		t.Fatal(err)
	}
	s := client.Session{Manager: "https://manager.example", Token: "hks_x"}
	if s.Save(path) == nil {
		t.Error("a folder was replaced")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the token is left behind: %v %v", entries, err)
	}
}

func TestBrokenSession(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty": "", "half": `{"manager":`, "no manager": `{"token":"x"}`, "no token": `{"manager":"https://manager.example"}`, "http": `{"manager":"http://manager.example","token":"x"}`,
	} {
		path := filepath.Join(t.TempDir(), "session.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := client.LoadSession(path); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "log in again") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
