package disk_test

import (
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"syscall"
	"testing"

	"hitoku.dev/internal/ledger/disk"
	"hitoku.dev/internal/ledger/disk/disktest"
)

// TestRandomSchedules runs nodes through many lives. Steps fail at random, each life ends in a crash of a
// random kind, and what a Sync has promised is there in the next one. No (key, nonce) pair seals twice.
func TestRandomSchedules(t *testing.T) {
	t.Parallel()
	rec := newSeals(t)
	h := history(3000)
	seeds := uint64(300)
	if testing.Short() {
		seeds = 15
	}
	for seed := range seeds {
		r := mathrand.New(mathrand.NewPCG(seed, 7))
		fs := disktest.New()
		var acked, epoch uint64
		for life := range 6 {
			s := livesOn(t, fs, epoch, acked, h)
			if t.Failed() {
				t.Fatalf("seed %d, life %d", seed, life)
			}
			end, sick := fs.Steps()+r.IntN(150), r.IntN(4)
			faults := mathrand.New(mathrand.NewPCG(seed, uint64(life))) // used by other goroutines, in turn
			fs.Fault(func(step disktest.Step) error {
				switch {
				case step.N >= end:
					return disktest.ErrCrashed
				case sick == 0 && faults.IntN(10) == 0:
					return syscall.ENOSPC
				case sick == 1 && faults.IntN(10) == 0:
					return syscall.EIO
				}
				return nil
			})
			d, err := disk.Open(disk.Options{FS: fs, Ledger: ledger, Random: rand.Reader, Recorder: rec.record, Compact: 1 << 10})
			if err == nil {
				acked, epoch = oneLife(d, r, s, h, acked, epoch)
				_ = d.Close() // it has crashed
			}
			fs = fs.Crash(disktest.Survival(r.IntN(int(disktest.Modes))), r)
		}
	}
}

// livesOn checks what a crash left, in a copy of it, and returns what is there.
func livesOn(t *testing.T, fs *disktest.FS, epoch, acked uint64, h []disk.Saved) disk.Saved {
	t.Helper()
	d := open(t, fs.Clone(), 1, nil)
	defer func() { must(t, d.Close()) }()
	found := d.FileEpoch()
	if found < epoch {
		t.Errorf("ring of epoch %d, wanted %d", found, epoch)
	}
	position := d.FilePosition()
	if found == 0 {
		if acked != 0 {
			t.Errorf("no ring, position %d was promised", acked)
		}
		return h[0]
	}
	s, err := d.Load(found, snapOf(found))
	switch {
	case err != nil: // a ring always leads to a state
		t.Error(err)
		return h[0]
	case s.Position < acked || s.Position != position:
		t.Errorf("position %d was loaded, %d promised, %d told by FilePosition", s.Position, acked, position)
	}
	if err := differ(s, h[s.Position]); err != nil {
		t.Error(err)
	}
	return *s
}

// oneLife loads, begins and writes until the machine crashes.
func oneLife(d *disk.Dir, r *mathrand.Rand, s disk.Saved, h []disk.Saved, acked, epoch uint64) (uint64, uint64) {
	dead := func(err error) bool { return errors.Is(err, disktest.ErrCrashed) }
	if e := d.FileEpoch(); e != 0 {
		loaded, err := d.Load(e, snapOf(e))
		for ; err != nil; loaded, err = d.Load(e, snapOf(e)) {
			if dead(err) {
				return acked, epoch
			}
		}
		s, epoch = *loaded, max(epoch, e)
	}
	for err := d.Begin(s); err != nil; err = d.Begin(s) {
		if dead(err) {
			return acked, epoch
		}
	}
	p := s.Position
	next := epoch + 1
	for {
		var err error
		switch r.IntN(12) {
		case 0:
			if err = d.WriteRing(next, snapOf(next), epochs(next)); err == nil {
				epoch = next
				next++
				err = d.DropRings(epoch)
			}
		case 1:
			if r.IntN(4) == 0 {
				err = d.Rekey()
			}
		case 2:
			_ = d.Settle() // a base that failed is tried again
		default:
			p++
			err = d.Append(h[p])
			if r.IntN(3) > 0 && err == nil {
				if err = d.Sync(); err == nil {
					acked = p
				}
			}
		}
		if dead(err) {
			return acked, epoch
		}
	}
}
