package disk_test

import (
	"errors"
	"sync"
	"testing"
	"testing/iotest"

	"hitoku.dev/internal/ledger/disk"
	"hitoku.dev/internal/ledger/disk/disktest"
)

// TestRekey: who has the old epoch's ring and snapshot key reads nothing that was written after Rekey.
func TestRekey(t *testing.T) {
	t.Parallel()
	h := history(30)
	fs := disktest.New()
	d := open(t, fs, 1, newSeals(t).record)
	must(t, d.Begin(h[0]))
	must(t, d.WriteRing(1, snapOf(1), epochs(1)))
	for _, s := range h[1:11] {
		must(t, d.Append(s))
		must(t, d.Sync())
	}
	must(t, d.Rekey())
	stolen := fs.Clone() // before the new ring
	must(t, d.WriteRing(2, snapOf(2), epochs(2)))
	for _, s := range h[11:] {
		must(t, d.Append(s))
		must(t, d.Sync())
	}
	must(t, d.Settle())
	must(t, d.Close())

	equal(t, load(t, open(t, fs.Clone(), 2, nil), 2), h[30])
	if s, err := open(t, fs.Clone(), 2, nil).Load(1, snapOf(1)); err == nil && s.Position > 10 {
		t.Errorf("the old ring leads to position %d", s.Position)
	}
	// All files of both times, with the old ring.
	for name, b := range fs.Files() {
		if name != ringFile {
			stolen.Put(name, b)
		}
	}
	equal(t, load(t, open(t, stolen, 2, nil), 1), h[10])
}

func TestRingLeavesInitOut(t *testing.T) {
	t.Parallel()
	fs := disktest.New()
	d := open(t, fs, 1, nil)
	must(t, d.Begin(history(0)[0]))
	list := epochs(1)
	list[0].Init = snapOf(9)
	must(t, d.WriteRing(1, snapOf(1), list))
	must(t, d.Settle())
	if list[0].Init != snapOf(9) {
		t.Error("the caller's keys were erased")
	}
	must(t, d.Close())
	d = open(t, fs, 2, nil)
	if s := load(t, d, 1); s.Epochs[0] != epochs(1)[0] {
		t.Errorf("epoch %v", s.Epochs[0])
	}
	must(t, d.Close())
}

// TestNoRandomness: without random bytes nothing is sealed, and what was there stays.
func TestNoRandomness(t *testing.T) {
	t.Parallel()
	h := history(5)
	fs := sealedFolder(t, history(10), 1)
	before := fs.Clone().Files()
	dry := errors.New("no entropy")
	d, err := disk.Open(disk.Options{FS: fs, Ledger: ledger, Random: iotest.ErrReader(dry)})
	must(t, err)
	for name, err := range map[string]error{
		"begin": d.Begin(h[5]), "blob": d.SealBlob(snapOf(1), snapOf(1), nil),
		"export": d.Export(nil, 1, snapOf(1), h[5]),
	} {
		if !errors.Is(err, dry) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, d.Close())
	for name, b := range fs.Files() {
		if string(before[name]) != string(b) {
			t.Errorf("%s was changed", name)
		}
	}
}

// TestAppendBesideSync: one goroutine appends while another makes durable what is there.
func TestAppendBesideSync(t *testing.T) {
	t.Parallel()
	h := history(2000)
	fs := disktest.New()
	d := open(t, fs, 1, newSeals(t).record)
	must(t, d.Begin(h[0]))
	must(t, d.WriteRing(1, snapOf(1), nil))
	var group sync.WaitGroup
	group.Go(func() {
		for _, s := range h[1:] {
			if err := d.Append(s); err != nil {
				t.Error(err)
			}
		}
	})
	group.Go(func() {
		for range 200 {
			if err := errors.Join(d.Sync(), d.Settle()); err != nil {
				t.Error(err)
			}
			d.Usage()
			d.FilePosition()
		}
	})
	group.Wait()
	must(t, d.Sync())
	must(t, d.Close())
	d = open(t, fs, 2, nil)
	equal(t, load(t, d, 1), h[2000])
	must(t, d.Close())
}
