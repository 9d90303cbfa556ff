package disk_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"syscall"
	"testing"

	"hitoku.dev/internal/ledger/disk"
	"hitoku.dev/internal/ledger/disk/disktest"

	"hitoku.dev/internal/ledger/keys"
)

// life is one run of a node's disk from an empty folder: what it does, and what it was told is durable.
type life struct {
	h     []disk.Saved
	d     *disk.Dir
	fs    *disktest.FS
	rec   keys.Recorder
	epoch uint64
	acked uint64 // position that a Sync has promised
	rings bool   // a ring was written
	calm  bool   // wait for each base, so that the steps are the same in each run
}

// run goes through all that writes; try says how to treat an error.
func (l *life) run(try func(func() error) error) error {
	open := func() (err error) {
		l.d, err = disk.Open(disk.Options{FS: l.fs, Ledger: ledger, Random: rand.Reader, Recorder: l.rec, Compact: 1 << 10})
		return err
	}
	ring := func(epoch uint64) func() error {
		return func() error {
			err := l.d.WriteRing(epoch, snapOf(epoch), epochs(epoch))
			if err == nil {
				l.epoch, l.rings = epoch, true
			}
			return err
		}
	}
	var p int
	appends := func(n int) error {
		for range n {
			p++
			if err := l.d.Append(l.h[p]); err != nil {
				return err
			}
			if p%2 == 0 {
				continue
			}
			if err := try(l.d.Sync); err != nil {
				return err
			}
			l.acked = uint64(p)
			if l.calm {
				_ = l.d.Settle() // a base that failed is tried again
			}
		}
		return nil
	}
	steps := []func() error{
		func() error { return try(open) },
		func() error { return try(func() error { return l.d.Begin(l.h[0]) }) },
		func() error { return try(ring(1)) },
		func() error { return appends(25) },
		func() error { return try(ring(2)) },
		func() error { return try(func() error { return l.d.DropRings(2) }) },
		func() error { return appends(6) },
		func() error { return try(l.d.Rekey) }, // a member was removed
		func() error { return try(ring(3)) },
		func() error { return appends(9) },
		func() error { return l.d.Close() },
		func() error { return try(open) },
		func() error {
			var s *disk.Saved
			if err := try(func() (err error) { s, err = l.d.Load(3, snapOf(3)); return err }); err != nil {
				return err
			}
			if s.Position < l.acked {
				return fmt.Errorf("restart: position %d, wanted %d or more", s.Position, l.acked)
			}
			p = int(s.Position)
			return try(func() error { return l.d.Begin(*s) })
		},
		func() error { return try(ring(4)) },
		func() error { return try(func() error { return l.d.DropRings(4) }) },
		func() error { return appends(20) },
	}
	for _, s := range steps {
		if err := s(); err != nil {
			return err
		}
		if l.calm && l.d != nil {
			_ = l.d.Settle() // as above
		}
	}
	return nil
}

// after checks the folder that a crash left, goes on in it, and crashes again.
func (l *life) after(t *testing.T, fs *disktest.FS) {
	t.Helper()
	for range 2 {
		d, err := disk.Open(disk.Options{FS: fs, Ledger: ledger, Random: rand.Reader, Recorder: l.rec, Compact: 1 << 10})
		must(t, err)
		epoch := d.FileEpoch()
		if epoch < l.epoch {
			t.Fatalf("ring of epoch %d is there, wanted %d", epoch, l.epoch)
		}
		if epoch == 0 { // no ring was promised: nothing can be loaded
			return
		}
		position := d.FilePosition()
		s, err := d.Load(epoch, snapOf(epoch))
		if err != nil {
			t.Fatal(err) // a ring always leads to a state
		}
		if s.Position < l.acked {
			t.Fatalf("position %d was loaded, %d was promised", s.Position, l.acked)
		}
		if s.Position != position {
			t.Fatalf("position %d was loaded, FilePosition said %d", s.Position, position)
		}
		equal(t, s, l.h[s.Position])
		must(t, d.Begin(*s))
		must(t, d.WriteRing(epoch+1, snapOf(epoch+1), nil))
		must(t, d.Append(l.h[s.Position+1]))
		must(t, d.Sync())
		l.acked, l.epoch = s.Position+1, epoch+1
		fs = fs.Crash(disktest.Lost, nil)
	}
}

// stride leaves steps out of short runs.
func stride() int {
	if testing.Short() {
		return 11
	}
	return 1
}

// TestCrashAtEachStep ends the machine at each step, with each kind of what survives.
func TestCrashAtEachStep(t *testing.T) {
	t.Parallel()
	h := history(100)
	rec := newSeals(t)
	whole := &life{h: h, fs: disktest.New(), rec: rec.record, calm: true}
	must(t, whole.run(func(f func() error) error { return f() }))
	total := whole.fs.Steps()
	if total < 100 {
		t.Fatalf("only %d steps", total)
	}
	for n := 1; n <= total+1; n += stride() {
		for mode := disktest.Survival(0); mode < disktest.Modes; mode++ {
			for seed := range 3 {
				if mode != disktest.Torn && seed > 0 {
					break
				}
				l := &life{h: h, fs: disktest.New(), rec: rec.record, calm: seed%2 == 0}
				l.fs.Fault(func(s disktest.Step) error {
					if s.N == n {
						return disktest.ErrCrashed
					}
					return nil
				})
				if err := l.run(func(f func() error) error { return f() }); err != nil && !errors.Is(err, disktest.ErrCrashed) {
					t.Fatalf("step %d: %v", n, err)
				}
				next := l.fs.Crash(mode, mathrand.New(mathrand.NewPCG(uint64(n), uint64(seed))))
				if l.d != nil {
					_ = l.d.Close() // it has crashed
				}
				l.after(t, next)
				if t.Failed() {
					t.Fatalf("at step %d of %d, survival %d, seed %d", n, total, mode, seed)
				}
			}
		}
	}
}

// TestFailAtEachStep lets each step fail, once and for a while, as a full disk does. The caller tries
// again, and a power cut at the end loses nothing of what was promised.
func TestFailAtEachStep(t *testing.T) {
	t.Parallel()
	h := history(100)
	rec := newSeals(t)
	whole := &life{h: h, fs: disktest.New(), rec: rec.record, calm: true}
	must(t, whole.run(func(f func() error) error { return f() }))
	for n := 1; n <= whole.fs.Steps(); n += stride() {
		for _, length := range []int{1, 2, 5} {
			l := &life{h: h, fs: disktest.New(), rec: rec.record, calm: n%2 == 0}
			l.fs.Fault(func(s disktest.Step) error {
				if s.N >= n && s.N < n+length {
					return syscall.ENOSPC
				}
				return nil
			})
			err := l.run(func(f func() error) error {
				for range 10 {
					err := f()
					if err == nil {
						return nil
					}
					if !errors.Is(err, disk.ErrFull) {
						return fmt.Errorf("not named: %w", err)
					}
				}
				return errors.New("it fails for good")
			})
			if err != nil {
				t.Fatalf("step %d, %d times: %v", n, length, err)
			}
			next := l.fs.Crash(disktest.Lost, nil)
			_ = l.d.Close() // it has crashed
			l.after(t, next)
			if t.Failed() {
				t.Fatalf("at step %d, %d times", n, length)
			}
		}
	}
}
