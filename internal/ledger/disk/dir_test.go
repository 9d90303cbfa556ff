package disk_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"hitoku.dev/internal/ledger/disk"
	"hitoku.dev/internal/ledger/disk/disktest"
	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/state"
)

var ledger = sha256.Sum256([]byte("ledger"))

// snapOf is the snapshot key of an epoch.
func snapOf(epoch uint64) [32]byte { return sha256.Sum256(fmt.Appendf(nil, "snap %d", epoch)) }

// seals remembers every encryption, and fails the test when a (key, nonce) has two plaintexts.
type seals struct {
	t    *testing.T
	mu   sync.Mutex
	seen map[string][32]byte
}

func newSeals(t *testing.T) *seals { return &seals{t: t, seen: map[string][32]byte{}} }

func (s *seals) record(key, nonce, aad, plaintext []byte) {
	h := sha256.New()
	fmt.Fprintf(h, "%d %x", len(aad), aad)
	h.Write(plaintext)
	sum := [32]byte(h.Sum(nil))
	s.mu.Lock()
	defer s.mu.Unlock()
	id := string(key) + string(nonce)
	if old, ok := s.seen[id]; ok && old != sum {
		s.t.Errorf("key %x and nonce %x sealed two plaintexts", key[:4], nonce)
	}
	s.seen[id] = sum
}

func random(seed uint64) io.Reader {
	var s [32]byte
	binary.BigEndian.PutUint64(s[:], seed)
	return rand.NewChaCha8(s)
}

func open(t *testing.T, fs disk.FS, seed uint64, rec keys.Recorder) *disk.Dir {
	t.Helper()
	d, err := disk.Open(disk.Options{FS: fs, Ledger: ledger, Random: random(seed), Recorder: rec, Compact: 2 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// stateAt is a state that depends on the position alone: some cells change at each.
func stateAt(tree *state.Tree, position uint64) disk.Saved {
	r := rand.New(rand.NewPCG(position, 1))
	tx := tree.Begin()
	for range 5 {
		key := fmt.Appendf(nil, "cell %d", r.IntN(20))
		if r.IntN(4) == 0 {
			tx.Delete(key)
		} else if err := tx.Set(key, fmt.Appendf(nil, "%x", r.Uint64())); err != nil {
			panic(err)
		}
	}
	s := disk.Saved{
		Position: position, Tree: tx.Commit(),
		Chain: sha256.Sum256(fmt.Append(nil, "chain", position)), Outcomes: sha256.Sum256(fmt.Append(nil, "q", position)),
	}
	if position%3 == 0 {
		s.Control = fmt.Appendf(nil, "control %d", position)
	}
	return s
}

// history is the states at positions 0, 1, 2, …
func history(n int) []disk.Saved {
	out := []disk.Saved{{Tree: new(state.Tree), Control: []byte("control 0")}}
	control := out[0].Control
	for p := 1; p <= n; p++ {
		s := stateAt(out[p-1].Tree, uint64(p))
		if s.Control == nil {
			s.Control = control
		}
		control = s.Control
		out = append(out, s)
	}
	return out
}

func equal(t *testing.T, got *disk.Saved, want disk.Saved) {
	t.Helper()
	if err := differ(got, want); err != nil {
		t.Fatal(err)
	}
}

func differ(got *disk.Saved, want disk.Saved) error {
	if got.Position != want.Position || got.Chain != want.Chain || got.Outcomes != want.Outcomes {
		return fmt.Errorf("loaded position %d, wanted %d", got.Position, want.Position)
	}
	if !bytes.Equal(got.Control, want.Control) {
		return fmt.Errorf("position %d: control state %q, wanted %q", got.Position, got.Control, want.Control)
	}
	if got.Tree.Root() != want.Tree.Root() || got.Tree.Len() != want.Tree.Len() {
		return fmt.Errorf("position %d: %d cells, wanted %d, or others", got.Position, got.Tree.Len(), want.Tree.Len())
	}
	return nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func epochs(numbers ...uint64) (out []keys.Epoch) {
	for _, n := range numbers {
		out = append(out, keys.Epoch{Number: n, Log: sha256.Sum256(fmt.Append(nil, "log", n)), Digest: sha256.Sum256(fmt.Append(nil, "digest", n))})
	}
	return out
}

func load(t *testing.T, d *disk.Dir, epoch uint64) *disk.Saved {
	t.Helper()
	s, err := d.Load(epoch, snapOf(epoch))
	must(t, err)
	return s
}

func TestSaveAndLoad(t *testing.T) {
	t.Parallel()
	h := history(400)
	fs := disktest.New()
	d := open(t, fs, 1, newSeals(t).record)
	if d.FileEpoch() != 0 || d.FilePosition() != 0 {
		t.Fatal("an empty folder has an epoch or a position")
	}
	if _, err := d.Load(1, snapOf(1)); !errors.Is(err, disk.ErrNone) {
		t.Fatalf("loaded from an empty folder: %v", err)
	}
	must(t, d.Begin(h[0]))
	must(t, d.WriteRing(1, snapOf(1), epochs(1)))
	for p := 1; p <= 300; p++ {
		must(t, d.Append(h[p]))
		if p%3 == 0 {
			must(t, d.Sync())
		}
		if p%30 == 0 {
			must(t, d.Settle())
		}
	}
	must(t, d.WriteRing(2, snapOf(2), epochs(1, 2)))
	must(t, d.DropRings(2))
	if u := d.Usage(); u.Generation < 3 || u.Position != 300 || u.LogBytes > 64<<10 {
		t.Fatalf("usage %+v: the log was not folded into new bases", u)
	}
	must(t, d.Close())

	d = open(t, fs, 2, newSeals(t).record)
	if e, p := d.FileEpoch(), d.FilePosition(); e != 2 || p != 300 {
		t.Fatalf("epoch %d position %d, wanted 2 and 300", e, p)
	}
	s := load(t, d, 2)
	equal(t, s, h[300])
	if len(s.Epochs) != 2 || s.Epochs[1] != epochs(2)[0] {
		t.Fatalf("epochs %v", s.Epochs)
	}
	must(t, d.Begin(*s))
	must(t, d.WriteRing(3, snapOf(3), epochs(3)))
	must(t, d.Append(h[301]))
	must(t, d.Sync())
	must(t, d.Close())

	d = open(t, fs, 3, newSeals(t).record)
	equal(t, load(t, d, 3), h[301])
	must(t, d.Close())
}

func TestRefusesOutOfOrder(t *testing.T) {
	t.Parallel()
	h := history(5)
	fs := disktest.New()
	d := open(t, fs, 1, nil)
	for name, err := range map[string]error{
		"append": d.Append(h[1]), "sync": d.Sync(), "ring": d.WriteRing(1, snapOf(1), nil), "settle": d.Settle(), "rekey": d.Rekey(),
	} {
		if !errors.Is(err, disk.ErrNotBegun) {
			t.Errorf("%s before Begin: %v", name, err)
		}
	}
	if _, err := disk.Open(disk.Options{FS: fs, Ledger: ledger, Random: random(2)}); !errors.Is(err, disk.ErrLocked) {
		t.Errorf("second Open: %v", err)
	}
	must(t, d.Begin(h[2]))
	if err := d.Append(h[2]); err == nil {
		t.Error("the same position was appended again")
	}
	if _, err := d.Load(1, snapOf(1)); err == nil {
		t.Error("loaded after Begin")
	}
	must(t, d.Append(h[3]))
	if err := d.Sync(); !errors.Is(err, disk.ErrNoRing) {
		t.Errorf("sync without a ring: %v", err)
	}
	if err := d.Begin(h[4]); err == nil {
		t.Error("begun twice")
	}
	must(t, d.WriteRing(1, snapOf(1), nil))
	must(t, d.Sync())
	must(t, d.Rekey())
	must(t, d.Append(h[4]))
	if err := d.Sync(); !errors.Is(err, disk.ErrNoRing) {
		t.Errorf("sync after Rekey without a ring: %v", err)
	}
	if err := d.DropRings(2); err == nil {
		t.Error("the only ring was dropped")
	}
	must(t, d.Close())
	must(t, d.Close())
	_, loadErr := d.Load(1, snapOf(1))
	for name, err := range map[string]error{
		"begin": d.Begin(h[3]), "sync": d.Sync(), "ring": d.WriteRing(1, snapOf(1), nil), "drop": d.DropRings(1),
		"settle": d.Settle(), "blob": d.SealBlob(snapOf(1), snapOf(2), nil), "control": d.SaveControl(snapOf(1), 1, snapOf(1), nil), "load": loadErr,
	} {
		if !errors.Is(err, disk.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
}
