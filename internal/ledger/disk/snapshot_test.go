package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/iotest"

	"hitoku.dev/internal/ledger/disk"
	"hitoku.dev/internal/ledger/disk/disktest"
	"hitoku.dev/internal/ledger/state"
)

func exporter(t *testing.T, seed uint64) disk.Exporter {
	return disk.Exporter{Ledger: ledger, Random: random(seed), Recorder: newSeals(t).record}
}

func exported(t *testing.T, e disk.Exporter, s disk.Saved) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, e.Export(&b, 3, snapOf(3), s))
	return b.Bytes()
}

func TestExportAndImport(t *testing.T) {
	t.Parallel()
	big := make([]state.Change, 200)
	for i := range big {
		big[i] = state.Change{Key: fmt.Appendf(nil, "%0500d", i), Value: bytes.Repeat([]byte{byte(i)}, state.MaxValue)}
	}
	bigTree, err := new(state.Tree).With(big...)
	must(t, err)
	h := history(20)
	with := h[20]
	with.Epochs = epochs(2, 3)
	for name, s := range map[string]disk.Saved{
		"no cell":     {Position: 7},
		"cells":       h[20],
		"epochs":      with,
		"many chunks": {Position: 9, Tree: bigTree, Control: bytes.Repeat([]byte("control"), 1<<20)},
	} {
		b := exported(t, exporter(t, 1), s)
		head, err := disk.ReadHead(b, ledger)
		if want := (disk.Head{Ledger: ledger, Epoch: 3, Position: s.Position}); err != nil || head != want {
			t.Fatalf("%s: head %v, %v", name, head, err)
		}
		_, got, err := disk.Import(iotest.OneByteReader(bytes.NewReader(b[:min(len(b), 10000)])), ledger, snapOf(3), 1<<30)
		if len(b) > 10000 {
			if !errors.Is(err, disk.ErrTampered) {
				t.Fatalf("%s cut: %v", name, err)
			}
			_, got, err = disk.Import(bytes.NewReader(b), ledger, snapOf(3), int64(len(b)))
		}
		must(t, err)
		if s.Tree == nil {
			s.Tree = new(state.Tree)
		}
		equal(t, got, s)
		if !slices.Equal(got.Epochs, s.Epochs) {
			t.Fatalf("%s: epochs %v", name, got.Epochs)
		}
		if _, _, err := disk.Import(bytes.NewReader(b), ledger, snapOf(3), int64(len(b)-1)); !errors.Is(err, disk.ErrLimit) {
			t.Errorf("%s above the limit: %v", name, err)
		}
	}
}

func TestImportRefusesChanges(t *testing.T) {
	t.Parallel()
	b := exported(t, exporter(t, 1), history(9)[9])
	for i := range b {
		changed := slices.Clone(b)
		changed[i] ^= 1 << (i % 8)
		if _, _, err := disk.Import(bytes.NewReader(changed), ledger, snapOf(3), 1<<20); !errors.Is(err, disk.ErrTampered) && !errors.Is(err, disk.ErrForeign) {
			t.Fatalf("byte %d: %v", i, err)
		}
		if _, _, err := disk.Import(bytes.NewReader(b[:i]), ledger, snapOf(3), 1<<20); !errors.Is(err, disk.ErrTampered) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	if _, _, err := disk.Import(bytes.NewReader(append(b, 0)), ledger, snapOf(3), 1<<20); !errors.Is(err, disk.ErrTampered) {
		t.Errorf("a byte more: %v", err)
	}
	if _, _, err := disk.Import(bytes.NewReader(b), ledger, snapOf(4), 1<<20); !errors.Is(err, disk.ErrTampered) {
		t.Errorf("another key: %v", err)
	}
	if _, _, err := disk.Import(bytes.NewReader(b), snapOf(1), snapOf(3), 1<<20); !errors.Is(err, disk.ErrForeign) {
		t.Errorf("another ledger: %v", err)
	}
	broken := errors.New("broken")
	if _, _, err := disk.Import(io.MultiReader(bytes.NewReader(b[:500]), iotest.ErrReader(broken)), ledger, snapOf(3), 1<<20); !errors.Is(err, broken) || errors.Is(err, disk.ErrTampered) {
		t.Errorf("an error of the reader: %v", err)
	}
	// The head of one file before the body of another of the same position.
	other := exported(t, exporter(t, 2), history(9)[9])
	if _, _, err := disk.Import(bytes.NewReader(slices.Concat(b[:disk.HeadSize], other[disk.HeadSize:])), ledger, snapOf(3), 1<<20); !errors.Is(err, disk.ErrTampered) {
		t.Errorf("another's body: %v", err)
	}
}

func TestRewrap(t *testing.T) {
	t.Parallel()
	h := history(9)
	e := exporter(t, 1)
	b := exported(t, e, h[9])
	head, err := e.Rewrap(b[:disk.HeadSize], snapOf(3), 4, snapOf(4))
	must(t, err)
	anew := slices.Concat(head, b[disk.HeadSize:])
	got, s, err := disk.Import(bytes.NewReader(anew), ledger, snapOf(4), 1<<20)
	must(t, err)
	equal(t, s, h[9])
	if got.Epoch != 4 {
		t.Errorf("epoch %d", got.Epoch)
	}
	if _, _, err := disk.Import(bytes.NewReader(anew), ledger, snapOf(3), 1<<20); !errors.Is(err, disk.ErrTampered) {
		t.Errorf("the old key opens it: %v", err)
	}
	for name, head := range map[string][]byte{"cut": b[:100], "too long": b[:disk.HeadSize+1], "wrong key": head} {
		if _, err := e.Rewrap(head, snapOf(3), 5, snapOf(5)); !errors.Is(err, disk.ErrTampered) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSnapshots(t *testing.T) {
	t.Parallel()
	h := history(9)
	fs := disktest.New()
	d := open(t, fs, 1, nil)
	e := exporter(t, 5)
	read := func(position uint64, epoch uint64) disk.Saved {
		t.Helper()
		r, err := d.OpenSnapshot(position)
		must(t, err)
		_, s, err := disk.Import(r, ledger, snapOf(epoch), 1<<20)
		must(t, errors.Join(err, r.Close()))
		return *s
	}
	for _, p := range []int{5, 9, 5} {
		head, err := d.StoreSnapshot(bytes.NewReader(exported(t, e, h[p])), 1<<20)
		if err != nil || head.Position != uint64(p) || head.Epoch != 3 {
			t.Fatalf("stored %v: %v", head, err)
		}
	}
	s := read(5, 3)
	equal(t, &s, h[5])
	must(t, d.RewrapSnapshot(9, snapOf(3), 4, snapOf(4)))
	s = read(9, 4)
	equal(t, &s, h[9])
	list, err := d.Snapshots()
	if err != nil || len(list) != 2 || list[0].Position != 5 || list[1].Epoch != 4 {
		t.Fatalf("%v, %v", list, err)
	}
	b := exported(t, e, h[9])
	if _, err := d.StoreSnapshot(bytes.NewReader(b), int64(len(b)-1)); !errors.Is(err, disk.ErrLimit) {
		t.Errorf("above the limit: %v", err)
	}
	if _, err := d.StoreSnapshot(io.MultiReader(bytes.NewReader(b[:300]), iotest.ErrReader(io.ErrClosedPipe)), 1<<20); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("broken off: %v", err)
	}
	if _, err := d.StoreSnapshot(bytes.NewReader(b[:50]), 1<<20); !errors.Is(err, disk.ErrTampered) {
		t.Errorf("cut: %v", err)
	}
	s = read(9, 4) // what was there stays
	equal(t, &s, h[9])
	must(t, d.DropSnapshots(9))
	if _, err := d.OpenSnapshot(5); !errors.Is(err, disk.ErrNone) {
		t.Errorf("dropped: %v", err)
	}
	if n := len(fs.Files()); n != 2 {
		t.Errorf("%d files stay, wanted 2", n)
	}
	must(t, d.Close())
}

func TestBlobAndControl(t *testing.T) {
	t.Parallel()
	fs := disktest.New()
	d := open(t, fs, 1, newSeals(t).record)
	keyFor := func(id [32]byte) ([32]byte, error) {
		if id != snapOf(2) {
			return [32]byte{}, errors.New("no such key")
		}
		return snapOf(1), nil
	}
	if _, err := d.OpenBlob(keyFor); !errors.Is(err, disk.ErrNone) {
		t.Fatalf("no blob: %v", err)
	}
	if _, _, _, err := d.LoadControl(snapOf(1)); !errors.Is(err, disk.ErrNone) {
		t.Fatalf("no control: %v", err)
	}
	for _, blob := range []string{"", "first", "second"} {
		must(t, d.SealBlob(snapOf(1), snapOf(2), []byte(blob)))
		got, err := d.OpenBlob(keyFor)
		if err != nil || string(got) != blob {
			t.Fatalf("%q, %v", got, err)
		}
		must(t, d.SaveControl(snapOf(1), 5, snapOf(3), []byte(blob)))
		p, chain, control, err := d.LoadControl(snapOf(1))
		if err != nil || p != 5 || chain != snapOf(3) || string(control) != blob {
			t.Fatalf("%d %x %q, %v", p, chain, control, err)
		}
	}
	if _, _, _, err := d.LoadControl(snapOf(2)); !errors.Is(err, disk.ErrTampered) {
		t.Errorf("another MAC key: %v", err)
	}
	files := fs.Clone().Files()
	for name, open := range map[string]func() error{
		"vault":   func() error { _, err := d.OpenBlob(keyFor); return err },
		"control": func() error { _, _, _, err := d.LoadControl(snapOf(1)); return err },
	} {
		for i := range files[name] {
			changed := slices.Clone(files[name])
			changed[i] ^= 1 << (i % 8)
			fs.Put(name, changed)
			if open() == nil {
				t.Fatalf("%s: byte %d is not protected", name, i)
			}
			fs.Put(name, files[name][:i])
			if open() == nil {
				t.Fatalf("%s: opens when cut at %d", name, i)
			}
		}
		fs.Put(name, files[name])
		must(t, open())
	}
	must(t, d.Close())
}
