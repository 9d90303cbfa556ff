package simtee

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRememberedDigest: a digest is taken for known only while the file it was
// computed from cannot have changed.
func TestRememberedDigest(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "program")
	open := func() (*os.File, *unix.Stat_t) {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			t.Fatal(err)
		}
		return f, &st
	}
	changed := func() syscall.Timespec {
		var st syscall.Stat_t
		_ = syscall.Stat(path, &st)
		return st.Ctim
	}
	write := func(s string) {
		for before := changed(); changed() == before; { // some kernels' clocks tick slowly
			if err := os.WriteFile(path, []byte(s), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	write("one")
	later := time.Now().Add(time.Hour)
	f, info := open()
	if !localFileSystem(f) {
		t.Skip("needs a local file system for temporary files")
	}
	p := new(process)
	if p.remember(f, info, &program{}, time.Now()) || p.unchanged(info) != nil {
		t.Error("a file that was just written was remembered")
	}
	if !p.remember(f, info, &program{digest: "x"}, later) || p.unchanged(info) == nil {
		t.Error("an old file was not remembered")
	}
	write("two") // same length, same inode
	if _, now := open(); p.unchanged(now) != nil {
		t.Error("a change was not seen")
	}
	if p.remember(f, info, &program{}, later) {
		t.Error("a file that changed while it was hashed was remembered")
	}
	write("one")
	modified := time.Unix(info.Mtim.Unix())
	if err := os.Chtimes(path, modified, modified); err != nil {
		t.Fatal(err)
	}
	if _, now := open(); p.unchanged(now) != nil {
		t.Error("a change was hidden by setting the time of modification")
	}
	p.forget()
	if _, now := open(); p.unchanged(now) != nil {
		t.Error("a forgotten digest was used")
	}
	pipe, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	defer w.Close()
	if localFileSystem(pipe) {
		t.Error("a pipe counts as a file on a local file system")
	}
}
