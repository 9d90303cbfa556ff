package convert

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hitoku.dev/internal/image/imagetest"
)

// TestHostileLayers lists archives that no engine unpacks, or that would cost too much.
func TestHostileLayers(t *testing.T) {
	t.Parallel()
	many := make([]imagetest.Entry, 50)
	for i := range many {
		many[i] = file(fmt.Sprintf("f%d", i), "")
	}
	deep := make([]imagetest.Entry, 30)
	for i := range deep {
		deep[i] = file(fmt.Sprintf("%sx%d", strings.Repeat(fmt.Sprintf("d%d/", i), 5), i), "")
	}
	for name, c := range map[string]struct {
		entries []imagetest.Entry
		raw     []byte
		limits  Limits
		want    string
		kind    ErrorKind
	}{
		"dots in the name":           {entries: entries{file("../etc/passwd", "x")}, want: `".." in the name`},
		"dots in the middle":         {entries: entries{file("a/../../b", "x")}, want: `".." in the name`},
		"dots in a hard link":        {entries: entries{file("a", "x"), hardlink("b", "../a")}, want: "which cannot be"},
		"root as a file":             {entries: entries{symlink("/.", "x")}, want: "the root is no folder"},
		"file below a file":          {entries: entries{file("a", "x"), file("a/b", "y")}, want: "no folder"},
		"file below a fifo by link":  {entries: entries{meta("p", tar.TypeFifo, 0o600, 0, 0), symlink("a", "/p"), file("a/b", "y")}, want: "no folder"},
		"symlinks in a circle":       {entries: entries{symlink("a", "b"), symlink("b", "a"), file("a/x", "y")}, want: "too many symbolic links"},
		"symlink to itself":          {entries: entries{symlink("a", "a/a/a"), file("a/x", "y")}, want: "too many symbolic links"},
		"hard link to nothing":       {entries: entries{hardlink("b", "a")}, want: "not in this layer"},
		"hard link to itself":        {entries: entries{file("a", "x"), hardlink("a", "a")}, want: "not in this layer"},
		"hard link to a folder":      {entries: entries{folder("d"), hardlink("b", "d")}, want: "which is no file"},
		"hard link to a whiteout":    {entries: entries{whiteout("d"), hardlink("b", "d")}, want: "which is no file"},
		"whiteout of nothing":        {entries: entries{file("a/.wh.", "")}, want: "whiteout of nothing"},
		"whiteout of dots":           {entries: entries{file("a/.wh...", "")}, want: "whiteout of nothing"},
		"folder named as a whiteout": {entries: entries{file(".wh.a/b", "")}, want: "cannot be a whiteout"},
		"folder below a whiteout":    {entries: entries{whiteout("d"), file("d/a", "")}, want: "no folder"},
		"empty symlink":              {raw: rawTar(&tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Format: tar.FormatGNU}), want: "impossible target"},
		"long element":               {entries: entries{file(strings.Repeat("n", 256), "")}, want: "name element of 256 bytes"},
		"long name":                  {entries: entries{file(strings.Repeat("n/", 2048)+"nn", "")}, want: "name of 4098 bytes"},
		"long path by symlinks":      {entries: entries{folder(strings.Repeat("n/", 1500)), symlink("s", strings.Repeat("n/", 1500)), file("s/"+strings.Repeat("m/", 1000)+"x", "")}, want: "path of"},
		"huge owner":                 {entries: entries{meta("a", tar.TypeReg, 0o644, 1<<32-1, 0)}, want: "out of range"},
		"device out of range":        {entries: entries{{Name: "a", Type: tar.TypeBlock, Major: 1 << 13}}, want: "out of range"},
		"unknown type":               {raw: rawTar(&tar.Header{Name: "a", Typeflag: 'X'}), want: "no container engine unpacks"},
		"continuous file":            {raw: rawTar(&tar.Header{Name: "a", Typeflag: tar.TypeCont}), want: "no container engine unpacks"},
		"no tar":                     {raw: bytes.Repeat([]byte("no tar "), 200), want: "invalid tar header"},
		"cut in a file":              {raw: imagetest.Tar(file("a", strings.Repeat("x", 5000)))[:2000], want: "truncated"},
		"cut in a header":            {raw: imagetest.Tar(file("a", "x"))[:300], want: "truncated"},
		"bzip2":                      {raw: []byte("BZh91AY&SY"), want: "bzip2"},
		"too many entries":           {entries: many, limits: Limits{Entries: 49}, want: "more than 49 entries", kind: KindLimit},
		"too many implied folders":   {entries: deep, limits: Limits{Entries: 100}, want: "more than 100 entries", kind: KindLimit},
		"too many bytes":             {entries: entries{file("a", strings.Repeat("x", 5000))}, limits: Limits{Bytes: 4000}, want: "more than 4000 bytes", kind: KindLimit},
		"hole without end":           {raw: sparseTar(1 << 50), want: "more than", kind: KindLimit},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw := c.raw
			if raw == nil {
				raw = imagetest.Tar(c.entries...)
			}
			if c.kind == "" {
				c.kind = KindLayer
			}
			for _, how := range []string{"plain", "gzip", "zstd"} {
				if how != "plain" && name == "bzip2" {
					continue
				}
				l := layerOf(t, how, raw)
				_, err := readIndexes(t, c.limits, l)
				if err == nil {
					t.Fatalf("%s: accepted", how)
				}
				if KindOf(err) != c.kind || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), l.digest.String()) {
					t.Errorf("%s: kind %s: %v\nwanted %q", how, KindOf(err), err, c.want)
				}
			}
		})
	}
}

// rawTar writes one header without the standard library's checks of its type.
func rawTar(h *tar.Header) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	typ := h.Typeflag
	h.Typeflag = tar.TypeSymlink
	h.Mode = 0o644
	if h.Linkname == "" {
		h.Linkname = "x"
	}
	if err := w.WriteHeader(h); err != nil {
		panic(err)
	}
	w.Close()
	raw := b.Bytes()
	raw[156] = typ
	raw[157] = 0 // the link's name
	fixChecksum(raw)
	return raw
}

func fixChecksum(h []byte) {
	copy(h[148:156], "        ")
	sum := 0
	for _, c := range h[:512] {
		sum += int(c)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
}

// sparseTar is a GNU sparse file that is one hole of size bytes, and a byte of data at its end.
func sparseTar(size int64) []byte {
	h := make([]byte, 512)
	copy(h, "hole")
	copy(h[100:], "0000644\x000000000\x000000000\x0000000000001\x0000000000000\x00")
	h[156] = tar.TypeGNUSparse
	copy(h[257:], "ustar  \x00")
	octal := func(at int, v int64) {
		h[at] = 0x80
		for i := range 8 {
			h[at+11-i] = byte(v >> (8 * i))
		}
	}
	octal(386, size-1) // the data's offset
	octal(398, 1)      // and length
	octal(483, size)   // the file's size
	fixChecksum(h)
	return append(h, make([]byte, 512+1024)...)
}

func TestSparseFileIsHashedWhole(t *testing.T) {
	t.Parallel()
	xs, err := readIndexes(t, Limits{}, layerOf(t, "gzip", sparseTar(3<<20)))
	if err != nil {
		t.Fatal(err)
	}
	e := xs[0].entries[1]
	if want := hashOf(make([]byte, 3<<20)).Hex; e.ino.size != 3<<20 || fmt.Sprintf("%x", e.ino.hash) != want {
		t.Errorf("%d bytes, %x, wanted %s", e.ino.size, e.ino.hash, want)
	}
}

// TestBomb has a layer that expands a thousand times.
func TestBomb(t *testing.T) {
	t.Parallel()
	l := layerOf(t, "gzip", imagetest.Tar(file("zero", strings.Repeat("\x00", 8<<20))))
	e := &expandLimit{r: bytes.NewReader(make([]byte, 10)), rest: strings.NewReader(""), used: &(&layerReader{}).used, limits: Limits{}.withDefaults(), stored: 1 << 20, seen: ratioFree}
	if _, err := e.Read(make([]byte, 10)); err == nil || !strings.Contains(err.Error(), "250 times") {
		t.Errorf("ratio: %v", err)
	}
	if _, err := readIndexes(t, Limits{Bytes: 1 << 20}, l); KindOf(err) != KindLimit {
		t.Errorf("size: %v", err)
	}
	if _, err := readIndexes(t, Limits{}, l); err != nil {
		t.Errorf("small ones may expand as they like: %v", err)
	}
}

func TestLayerDigests(t *testing.T) {
	t.Parallel()
	good := layerOf(t, "gzip", imagetest.Tar(file("a", "1")))
	bad := *good
	bad.diffID = hashOf([]byte("other"))
	if _, err := readIndexes(t, Limits{}, &bad); KindOf(err) != KindLayer || !strings.Contains(err.Error(), "diff id") {
		t.Errorf("diff id: %v", err)
	}
	// Bytes after the end of the archive count for the diff id, as engines have it.
	long := append(imagetest.Tar(file("a", "1")), make([]byte, 10240)...)
	if xs, err := readIndexes(t, Limits{}, layerOf(t, "gzip", long)); err != nil || len(xs[0].entries) != 2 {
		t.Errorf("padding: %v", err)
	}
	if xs, err := readIndexes(t, Limits{}, layerOf(t, "plain", nil)); err != nil || len(xs[0].entries) != 1 {
		t.Errorf("empty layer: %v", err)
	}
	cut := *layerOf(t, "gzip", imagetest.Tar(file("a", strings.Repeat("abc", 1000))))
	cut.stored = cut.stored[:len(cut.stored)-20]
	if _, err := readIndexes(t, Limits{}, &cut); err == nil {
		t.Error("truncated gzip accepted")
	}
}

// endless never ends, so that only the context stops its reader.
type endless struct {
	testLayer
	started chan struct{}
}

func (l *endless) Compressed() (io.ReadCloser, error) {
	r, w := io.Pipe()
	go func() {
		tw := tar.NewWriter(w)
		tw.WriteHeader(&tar.Header{Name: "a", Typeflag: tar.TypeReg, Size: 1 << 40})
		close(l.started)
		for buf := make([]byte, 1<<16); ; {
			if _, err := tw.Write(buf); err != nil {
				return
			}
		}
	}()
	return r, nil
}

func TestReadStopsWithContext(t *testing.T) {
	before := runtime.NumGoroutine()
	l := &endless{testLayer: *layerOf(t, "plain", nil), started: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-l.started
		cancel()
	}()
	r := &layerReader{limits: Limits{}.withDefaults()}
	if _, err := r.read(ctx, l); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, wanted context canceled", err)
	}
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before+1; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines left, %d before", runtime.NumGoroutine(), before)
		}
	}
}

// A reader that is stuck in the network is closed before anybody waits for it.
type stuck struct{ testLayer }

func (l *stuck) Compressed() (io.ReadCloser, error) {
	r, w := io.Pipe()
	go w.Write(append(imagetest.Tar(file("../a", "x")), make([]byte, 1<<20)...)) //nolint:errcheck // ends with the pipe
	return r, nil
}

func TestRefusalDoesNotWaitForTheRest(t *testing.T) {
	t.Parallel()
	_, err := (&layerReader{limits: Limits{}.withDefaults()}).read(t.Context(), &stuck{*layerOf(t, "plain", nil)})
	if err == nil || !strings.Contains(err.Error(), "..") {
		t.Error(err)
	}
}

func FuzzLayer(f *testing.F) {
	for _, c := range mergeCases {
		for _, l := range c.layers {
			f.Add(imagetest.Tar(l...))
		}
	}
	f.Add(sparseTar(1 << 20))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := &layerReader{limits: Limits{Entries: 1000, Bytes: 1 << 22}.withDefaults(), keep: keepUsual}
		x := &layerIndex{diffID: hashOf(raw), contents: map[*inode][]byte{}}
		if err := r.parse(bytes.NewReader(raw), x); err != nil {
			return
		}
		again, err := parseIndex(x.marshal())
		if err != nil {
			t.Fatalf("index of an accepted layer cannot be read back: %v", err)
		}
		m := newMerger(1000)
		if err := errors.Join(m.add(x), m.add(again)); err != nil {
			t.Fatalf("accepted layer cannot be merged: %v", err)
		}
		for range fileList(m.entries()) {
		}
	})
}

var _ v1.Layer = (*endless)(nil)
