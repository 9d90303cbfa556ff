package keys

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func head(b byte) []byte { return bytes.Repeat([]byte{b}, headSize) }

func TestCheckpointIsReadBack(t *testing.T) {
	t.Parallel()
	k, path := testRing(t, 1), filepath.Join(t.TempDir(), "keys", "checkpoint")
	c, err := OpenCheckpoint(path, k, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, count := range []int64{0, 1, 2, 9, 4, 0, 5} { // lower ones are accepted rollbacks
		var h []byte
		if count > 0 {
			h = head(byte(count))
		}
		if err := c.Save(count, h); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if c, err = OpenCheckpoint(path, k, true); err != nil {
			t.Fatal(err)
		}
		if seen, h2 := c.Latest(); seen != count || !bytes.Equal(h, h2) {
			t.Fatalf("Latest = %d, %x; wanted %d, %x", seen, h2, count, h)
		}
	}
	for _, bad := range []struct {
		count int64
		head  []byte
	}{{-1, nil}, {0, head(1)}, {1, nil}, {1, head(1)[:31]}} {
		if err := c.Save(bad.count, bad.head); err == nil {
			t.Errorf("saved %d, %x", bad.count, bad.head)
		}
	}
	c.Close()
}

func TestCheckpointFileIsNotTakenFromElsewhere(t *testing.T) {
	t.Parallel()
	k, path := testRing(t, 1), filepath.Join(t.TempDir(), "checkpoint")
	if _, err := OpenCheckpoint(path, k, false); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	c, err := OpenCheckpoint(path, k, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Save(1, head(1)), c.Save(2, head(2)), c.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCheckpoint(path, testRing(t, 2), false); err == nil {
		t.Error("opened under another master key")
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flip := func(at ...int) []byte {
		b := bytes.Clone(good)
		for _, i := range at {
			b[i] ^= 1
		}
		return b
	}
	for name, tt := range map[string]struct {
		raw  []byte
		want int64 // -1: refused
	}{
		"whole":                 {good, 2},
		"newest torn":           {flip(slotSize + 60), 1},
		"older torn":            {flip(60), 2},
		"both torn":             {flip(60, slotSize+60), -1},
		"count altered in both": {flip(15, slotSize+15), -1},
		"cut":                   {good[:slotSize], -1},
		"longer":                {append(bytes.Clone(good), 0), -1},
		"zero":                  {make([]byte, len(good)), -1},
	} {
		if err := os.WriteFile(path, tt.raw, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := OpenCheckpoint(path, k, true)
		if (err != nil) != (tt.want < 0) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			if count, _ := c.Latest(); count != tt.want {
				t.Errorf("%s: count %d, wanted %d", name, count, tt.want)
			}
			c.Close()
		}
	}
}
