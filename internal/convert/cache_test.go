package convert

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hitoku.dev/internal/image/imagetest"
)

func sampleIndex(t testing.TB) *layerIndex {
	t.Helper()
	var all entries
	for i, c := range mergeCases {
		for _, e := range c.layers[0] {
			if c.refused == "" {
				all = append(all, moved(e, i))
			}
		}
	}
	all = append(all, file("etc/passwd", "root:x:0:0::/root:/bin/sh\n"), whiteout("gone"), folder("empty"), opaque("empty"))
	xs, err := readIndexes(t, Limits{}, layerOf(t, "gzip", imagetest.Tar(all...)))
	if err != nil {
		t.Fatal(err)
	}
	return xs[0]
}

// flat shows an index without pointers: inodes as the number of their first entry.
func flat(x *layerIndex) (out []string) {
	first := map[*inode]int{}
	for i, e := range x.entries {
		at, ok := first[e.ino]
		if !ok {
			first[e.ino], at = i, i
		}
		out = append(out, strings.Join([]string{e.path, string(x.contents[e.ino]), cmp.Diff(nil, at), cmp.Diff(inode{}, *e.ino, cmp.AllowUnexported(inode{}))}, "|"))
		if e.implied {
			out = append(out, "implied")
		}
		if e.opaque {
			out = append(out, "opaque")
		}
	}
	return out
}

func TestIndexRoundTrip(t *testing.T) {
	t.Parallel()
	x := sampleIndex(t)
	b := x.marshal()
	if !bytes.Equal(b, x.marshal()) {
		t.Error("two writings differ")
	}
	y, err := parseIndex(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(flat(x), flat(y)); d != "" {
		t.Error(d)
	}
	if x.diffID != y.diffID || x.size != y.size || x.expanded != y.expanded {
		t.Errorf("%v %d %d, wanted %v %d %d", y.diffID, y.size, y.expanded, x.diffID, x.size, x.expanded)
	}
	for i := range b {
		c := bytes.Clone(b)
		c[i] ^= 1
		if _, err := parseIndex(c); err == nil {
			t.Fatalf("byte %d changed: accepted", i)
		}
	}
	for i := 0; i < len(b); i += 7 {
		if _, err := parseIndex(b[:i]); err == nil {
			t.Fatalf("first %d bytes accepted", i)
		}
	}
}

func FuzzIndex(f *testing.F) {
	b := sampleIndex(f).marshal()
	f.Add(b[len(indexMagic) : len(b)-32])
	f.Fuzz(func(t *testing.T, body []byte) {
		data := append([]byte(indexMagic), body...)
		sum := hashOf(data)
		raw := make([]byte, 32)
		copy(raw, unhex(sum.Hex))
		x, err := parseIndex(append(data, raw...))
		if err != nil {
			return
		}
		m := newMerger(1 << 20)
		if err := m.add(x); err != nil {
			return
		}
		for range fileList(m.entries()) {
		}
	})
}

func unhex(s string) []byte {
	b := make([]byte, len(s)/2)
	for i := range b {
		fmt.Sscanf(s[2*i:2*i+2], "%02x", &b[i])
	}
	return b
}

func TestCache(t *testing.T) {
	t.Parallel()
	c, err := openCache(filepath.Join(t.TempDir(), "a", "b"))
	if err != nil {
		t.Fatal(err)
	}
	x := sampleIndex(t)
	digest := hashOf([]byte("layer"))
	if c.load(digest, x.diffID) != nil {
		t.Error("an empty cache has it")
	}
	if err := c.store(digest, x); err != nil {
		t.Fatal(err)
	}
	if c.load(digest, x.diffID) == nil {
		t.Error("not found after store")
	}
	if c.load(digest, hashOf([]byte("other"))) != nil {
		t.Error("an entry of another diff id is taken")
	}
	if err := os.WriteFile(c.file(digest), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c.load(digest, x.diffID) != nil {
		t.Error("a damaged entry is taken")
	}
	if err := os.Remove(c.file(digest)); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		if err := c.store(hashOf([]byte{byte(i)}), x); err != nil {
			t.Fatal(err)
		}
	}
	size := int64(len(x.marshal()))
	if err := c.prune(2*size + 10); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(c.dir, "*"))
	if err != nil || len(left) != 2 {
		t.Errorf("%d files left: %v %v", len(left), left, err)
	}
}

func TestCacheOfOthersIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := openCache(dir); KindOf(err) != KindCache || !strings.Contains(err.Error(), "--no-cache") {
		t.Errorf("%v", err)
	}
	if _, err := openCache(filepath.Join(dir, "x", "\x00")); KindOf(err) != KindCache {
		t.Errorf("%v", err)
	}
}
