package keys

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// log is an audit log's chain heads; event n is at index n-1.
type log []byte

func (l log) at(seq uint64) ([32]byte, error) { return [32]byte{l[seq-1]}, nil }

func TestCheckpointNoticesAnOlderLog(t *testing.T) {
	t.Parallel()
	k, path := testRing(t, 1), filepath.Join(t.TempDir(), "checkpoint")
	c, err := OpenCheckpoint(path, k, true)
	if err != nil {
		t.Fatal(err)
	}
	l := log{10, 11, 12, 13}
	if err := c.Check(0, l.at); err != nil {
		t.Errorf("before the first event: %v", err)
	}
	for seq := uint64(1); seq <= 3; seq++ {
		if err := c.Advance(seq, [32]byte{l[seq-1]}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Advance(2, [32]byte{99}); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err = OpenCheckpoint(path, k, false); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if seq, head := c.Latest(); seq != 3 || head[0] != 12 {
		t.Fatalf("Latest = %d, %d", seq, head[0])
	}
	for name, tt := range map[string]struct {
		last   uint64
		l      log
		refuse bool
	}{
		"same":    {3, l[:3], false},
		"longer":  {4, l, false},
		"shorter": {2, l[:2], true},
		"empty":   {0, nil, true},
		"altered": {3, log{10, 11, 77}, true},
	} {
		if err := c.Check(tt.last, tt.l.at); errors.Is(err, ErrRolledBack) != tt.refuse {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.AcceptRollback(2, [32]byte{11}); err != nil {
		t.Fatal(err)
	}
	if err := c.Check(2, l.at); err != nil {
		t.Errorf("after an accepted rollback: %v", err)
	}
}

func TestCheckpointFileIsNotTakenFromElsewhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k, path := testRing(t, 1), filepath.Join(dir, "checkpoint")
	if _, err := OpenCheckpoint(path, k, false); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	c, err := OpenCheckpoint(path, k, true)
	if err != nil {
		t.Fatal(err)
	}
	c.Advance(1, [32]byte{1})
	c.Advance(2, [32]byte{2})
	c.Close()
	if _, err := OpenCheckpoint(path, testRing(t, 2), false); err == nil {
		t.Error("opened under another master key")
	}
	good, _ := os.ReadFile(path)
	// One slot torn by a crash: the other one counts.
	torn := append([]byte(nil), good...)
	torn[slotSize+3] ^= 1
	for name, tt := range map[string]struct {
		raw  []byte
		want uint64 // 0: refused
	}{
		"whole": {good, 2}, "torn": {torn, 1}, "cut": {good[:slotSize], 0}, "longer": {append(append([]byte(nil), good...), 0), 0},
		"zero": {make([]byte, len(good)), 0},
	} {
		if err := os.WriteFile(path, tt.raw, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := OpenCheckpoint(path, k, false)
		if (err != nil) != (tt.want == 0) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			if seq, _ := c.Latest(); seq != tt.want {
				t.Errorf("%s: sequence %d, wanted %d", name, seq, tt.want)
			}
			c.Close()
		}
	}
}
