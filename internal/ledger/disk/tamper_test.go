package disk_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"hitoku.dev/internal/ledger/disk"
	"hitoku.dev/internal/ledger/disk/disktest"
	"hitoku.dev/internal/ledger/state"
)

// sealedFolder has a base at position 0, a log that leads to 8, one step each, and the ring of epoch 1.
func sealedFolder(t *testing.T, h []disk.Saved, seed uint64) *disktest.FS {
	t.Helper()
	fs := disktest.New()
	d, err := disk.Open(disk.Options{FS: fs, Ledger: ledger, Random: random(seed)})
	must(t, err)
	must(t, d.Begin(h[0]))
	must(t, d.WriteRing(1, snapOf(1), epochs(1)))
	for _, s := range h[1:9] {
		must(t, d.Append(s))
		must(t, d.Sync())
	}
	must(t, d.Close())
	return fs.Clone()
}

func loadFrom(t *testing.T, fs *disktest.FS) (*disk.Saved, error) {
	t.Helper()
	d, err := disk.Open(disk.Options{FS: fs, Ledger: ledger, Random: random(9)})
	must(t, err)
	defer func() { must(t, d.Close()) }()
	d.FilePosition()
	return d.Load(d.FileEpoch(), snapOf(1))
}

const (
	baseFile = "base-0000000000000001"
	logFile  = "log-0000000000000001"
	ringFile = "ring-0000000000000001"
)

func TestEveryFlippedByte(t *testing.T) {
	t.Parallel()
	h := history(10)
	fs := sealedFolder(t, h, 1)
	for name, content := range fs.Files() {
		earlier := 0
		for i := range content {
			changed := slices.Clone(content)
			changed[i] ^= 1 << (i % 8)
			other := fs.Clone()
			other.Put(name, changed)
			s, err := loadFrom(t, other)
			switch {
			case err != nil && (errors.Is(err, disk.ErrTampered) || errors.Is(err, disk.ErrForeign) || errors.Is(err, disk.ErrNone)):
			case err != nil:
				t.Fatalf("%s byte %d: %v", name, i, err)
			case name != logFile || s.Position >= 8:
				t.Fatalf("%s byte %d: position %d was loaded", name, i, s.Position)
			default: // as if the log had been cut there
				equal(t, s, h[s.Position])
				earlier++
			}
		}
		if name == logFile && earlier > len(content)/4 {
			t.Errorf("%d of %d changes of the log count as a torn end", earlier, len(content))
		}
	}
}

func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	h := history(10)
	fs := sealedFolder(t, h, 1)
	for name, content := range fs.Files() {
		for n := range content {
			other := fs.Clone()
			other.Put(name, content[:n])
			s, err := loadFrom(t, other)
			if name == logFile {
				must(t, err)
				equal(t, s, h[s.Position])
			} else if !errors.Is(err, disk.ErrTampered) && !errors.Is(err, disk.ErrNone) {
				t.Fatalf("%s cut at %d: %v", name, n, err)
			}
		}
		other := fs.Clone()
		other.Put(name, append(slices.Clone(content), 0))
		s, err := loadFrom(t, other)
		if name == logFile {
			must(t, err)
			equal(t, s, h[8])
		} else if !errors.Is(err, disk.ErrTampered) {
			t.Fatalf("%s with a byte more: %v", name, err)
		}
	}
}

// segments cuts a log file into its header and its segments.
func segments(b []byte) (head []byte, list [][]byte) {
	const header, segment = 65 + 32, 21
	head, b = b[:header], b[header:]
	for len(b) > 0 {
		n := segment + int(binary.BigEndian.Uint32(b))
		list, b = append(list, b[:n]), b[n:]
	}
	return head, list
}

func TestMovedSegments(t *testing.T) {
	t.Parallel()
	h := history(10)
	fs, other := sealedFolder(t, h, 1), sealedFolder(t, h, 2)
	head, s := segments(fs.Files()[logFile])
	_, foreign := segments(other.Files()[logFile])
	if len(s) != 8 {
		t.Fatalf("%d segments, wanted 8", len(s))
	}
	for name, list := range map[string][][]byte{
		"dropped first":         s[1:],
		"dropped":               slices.Concat(s[:3], s[4:]),
		"dropped last but one":  slices.Concat(s[:6], s[7:]),
		"repeated":              slices.Concat(s[:4], s[3:]),
		"repeated last":         append(slices.Clone(s), s[7]),
		"reordered":             slices.Concat(s[:2], [][]byte{s[3], s[2]}, s[4:]),
		"reordered at the end":  slices.Concat(s[:6], [][]byte{s[7], s[6]}),
		"from another folder":   slices.Concat(s[:4], foreign[4:5], s[5:]),
		"last of another":       slices.Concat(s[:7], foreign[7:]),
		"begun by another":      slices.Concat(foreign[:1], s[1:]),
		"all of another folder": foreign,
	} {
		changed := fs.Clone()
		changed.Put(logFile, append(slices.Clone(head), bytes.Join(list, nil)...))
		if _, err := loadFrom(t, changed); !errors.Is(err, disk.ErrTampered) || !strings.Contains(err.Error(), logFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, file := range map[string]string{"base": baseFile, "log": logFile, "ring": ringFile} {
		changed := fs.Clone()
		changed.Put(file, other.Files()[file])
		if _, err := loadFrom(t, changed); !errors.Is(err, disk.ErrTampered) {
			t.Errorf("%s of another folder: %v", name, err)
		}
	}
}

// TestOldFilesGiveAnOldState: putting back a whole older folder is not seen here, but by following the log.
func TestOldFilesGiveAnOldState(t *testing.T) {
	t.Parallel()
	h := history(10)
	fs := sealedFolder(t, h, 1)
	head, s := segments(fs.Files()[logFile])
	fs.Put(logFile, append(slices.Clone(head), bytes.Join(s[:5], nil)...))
	got, err := loadFrom(t, fs)
	must(t, err)
	equal(t, got, h[5])
}

func TestWrongKeyAndLedger(t *testing.T) {
	t.Parallel()
	fs := sealedFolder(t, history(10), 1)
	d := open(t, fs, 1, nil)
	if _, err := d.Load(1, snapOf(2)); !errors.Is(err, disk.ErrTampered) {
		t.Errorf("another snapshot key: %v", err)
	}
	if _, err := d.Load(2, snapOf(2)); !errors.Is(err, disk.ErrNone) {
		t.Errorf("another epoch: %v", err)
	}
	must(t, d.Close())
	fs.Put("ring-0000000000000002", fs.Files()[ringFile]) // a ring under another's name
	d, err := disk.Open(disk.Options{FS: fs, Ledger: ledger, Random: random(1)})
	must(t, err)
	if _, err := d.Load(2, snapOf(1)); !errors.Is(err, disk.ErrTampered) {
		t.Errorf("a ring under another name: %v", err)
	}
	if e := d.FileEpoch(); e != 1 {
		t.Errorf("epoch %d, wanted 1", e)
	}
	must(t, d.Close())
	d, err = disk.Open(disk.Options{FS: fs, Ledger: snapOf(7), Random: random(1)})
	must(t, err)
	if _, err := d.Load(1, snapOf(1)); !errors.Is(err, disk.ErrForeign) {
		t.Errorf("another ledger: %v", err)
	}
	if e, p := d.FileEpoch(), d.FilePosition(); e != 0 || p != 0 {
		t.Errorf("another ledger: epoch %d, position %d", e, p)
	}
	must(t, d.Close())
}

// TestHighestGeneration: the host can make the numbers run out, which must not begin again at the first.
func TestHighestGeneration(t *testing.T) {
	t.Parallel()
	fs := disktest.New()
	fs.Put("log-ffffffffffffffff", nil)
	d := open(t, fs, 1, nil)
	if err := d.Begin(history(1)[0]); !errors.Is(err, disk.ErrTampered) {
		t.Errorf("begun: %v", err)
	}
	must(t, d.Close())
}

// TestNothingInTheClear looks for canaries in all bytes that were ever written, and in all names.
func TestNothingInTheClear(t *testing.T) {
	t.Parallel()
	fs := disktest.New()
	d := open(t, fs, 1, nil)
	canaries := []uint64{0x8f3c_91d2_55aa_e71b, 0xd1e4_07b6_3c5f_9a28, 0x93b7_f1c0_6e2d_4859}
	var cells []state.Change
	for i, c := range canaries {
		for j, form := range forms(c) {
			cells = append(cells, state.Change{Key: append([]byte{byte(i), byte(j)}, form...), Value: form})
		}
	}
	// More than a chunk of them, so that canaries stand at many offsets.
	for i := range 2000 {
		cells = append(cells, state.Change{Key: fmt.Append(nil, i), Value: bytes.Repeat(forms(canaries[i%3])[i%5], i%80+1)})
	}
	tree, err := new(state.Tree).With(cells[:100]...)
	must(t, err)
	control := []byte("a control state that nobody needs to hide")
	secret := disk.Saved{Position: 1, Tree: tree, Control: control, Epochs: epochs(1, 2)}
	must(t, d.Begin(secret))
	must(t, d.WriteRing(1, snapOf(1), epochs(1, 2)))
	for i := 100; i < len(cells); i += 100 {
		tree, err = tree.With(cells[i:min(i+100, len(cells))]...)
		must(t, err)
		must(t, d.Append(disk.Saved{Position: uint64(i), Tree: tree}))
		must(t, d.Sync())
		must(t, d.Settle())
	}
	must(t, d.WriteRing(2, snapOf(2), epochs(2)))
	must(t, d.SealBlob(snapOf(3), snapOf(4), bytes.Join(forms(canaries[0]), nil)))
	var exported bytes.Buffer
	secret.Tree = tree
	must(t, d.Export(&exported, 2, snapOf(2), secret))
	_, err = d.StoreSnapshot(&exported, 1<<30)
	must(t, err)
	must(t, d.RewrapSnapshot(1, snapOf(2), 3, snapOf(3)))
	must(t, d.Close())

	seen := fs.Written()
	if len(seen) < 1<<20 {
		t.Fatalf("only %d bytes were written", len(seen))
	}
	for _, c := range canaries {
		for i, form := range forms(c) {
			if bytes.Contains(seen, form) {
				t.Errorf("canary %x is in the files in form %d", c, i)
			}
		}
	}
	for _, e := range epochs(1, 2) {
		for _, k := range [][32]byte{e.Log, e.Digest, snapOf(1), snapOf(2), snapOf(3)} {
			if bytes.Contains(seen, k[:8]) || bytes.Contains(seen, fmt.Appendf(nil, "%x", k[:8])) {
				t.Error("a key is in the files")
			}
		}
	}
	if bytes.Contains(seen, control) {
		t.Error("the control state is in the clear in a sealed file")
	}
}

// forms are a canary in decimal, in hexadecimal of both cases, and in both byte orders.
func forms(c uint64) [][]byte {
	return [][]byte{
		strconv.AppendUint(nil, c, 10), fmt.Appendf(nil, "%x", c), fmt.Appendf(nil, "%X", c),
		binary.BigEndian.AppendUint64(nil, c), binary.LittleEndian.AppendUint64(nil, c),
	}
}
