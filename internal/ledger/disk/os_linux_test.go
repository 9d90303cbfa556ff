package disk_test

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"hitoku.dev/internal/ledger/disk"
	"hitoku.dev/internal/ledger/state"
)

// small mounts a file system of one MiB.
func small(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount a small file system; make test has it")
	}
	path := private(t)
	must(t, unix.Mount("tmpfs", path, "tmpfs", 0, "size=1m,mode=0700"))
	t.Cleanup(func() { must(t, unix.Unmount(path, unix.MNT_DETACH)) })
	return path
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	path := small(t)
	fs, err := disk.Folder(path)
	must(t, err)
	d, err := disk.Open(disk.Options{FS: fs, Ledger: ledger, Random: random(1), Recorder: newSeals(t).record, Compact: 1 << 30})
	must(t, err)
	tree := new(state.Tree)
	must(t, d.Begin(disk.Saved{Tree: tree}))
	must(t, d.WriteRing(1, snapOf(1), nil))
	last := map[uint64]*state.Tree{}
	var p, acked uint64
	step := func() error {
		p++
		tree, err = tree.With(state.Change{Key: fmt.Append(nil, p), Value: make([]byte, 9000)})
		must(t, err)
		last[p] = tree
		must(t, d.Append(disk.Saved{Position: p, Tree: tree}))
		err := d.Sync()
		if err == nil {
			acked = p
		}
		return err
	}
	for err = step(); err == nil && p < 1000; err = step() {
	}
	if !errors.Is(err, disk.ErrFull) {
		t.Fatalf("after %d steps: %v", p, err)
	}
	if err := d.WriteRing(2, snapOf(2), nil); !errors.Is(err, disk.ErrFull) {
		t.Fatalf("a ring on a full disk: %v", err)
	}
	if err := d.SealBlob(snapOf(1), snapOf(1), make([]byte, 20000)); !errors.Is(err, disk.ErrFull) {
		t.Fatalf("a blob on a full disk: %v", err)
	}
	must(t, d.Close())
	check := func(epoch uint64) {
		t.Helper()
		d, err = disk.Open(disk.Options{FS: fs, Ledger: ledger, Random: random(p), Compact: 1 << 30})
		must(t, err)
		s := load(t, d, epoch)
		if s.Position != acked || s.Tree.Root() != last[acked].Root() {
			t.Fatalf("position %d, wanted %d", s.Position, acked)
		}
	}
	check(1)
	s := load(t, d, 1)
	for err = nil; err == nil; { // fill what was freed
		err = os.WriteFile(path+"/fill", make([]byte, 1<<20), 0o600)
	}
	if err := d.Begin(*s); !errors.Is(err, disk.ErrFull) {
		t.Fatalf("begun on a full disk: %v", err)
	}
	must(t, unix.Mount("", path, "tmpfs", unix.MS_REMOUNT, "size=4m,mode=0700"))
	must(t, os.Remove(path+"/fill"))
	must(t, d.Begin(*s))
	must(t, d.WriteRing(2, snapOf(2), nil))
	tree = s.Tree
	must(t, step())
	must(t, d.Close())
	check(2)
	must(t, d.Close())
}

func TestReadOnlyDisk(t *testing.T) {
	t.Parallel()
	path := small(t)
	fs, err := disk.Folder(path)
	must(t, err)
	must(t, unix.Mount("", path, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, "size=1m,mode=0700"))
	if _, err := disk.Open(disk.Options{FS: fs, Ledger: ledger, Random: random(1)}); !errors.Is(err, disk.ErrReadOnly) {
		t.Fatalf("opened: %v", err)
	}
}
