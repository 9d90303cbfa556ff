package convert

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"

	"hitoku.dev/internal/image"
	"hitoku.dev/internal/image/imagetest"
	"hitoku.dev/measure/workload"
)

// bigLayer makes its tar anew at each reading: files of size bytes each, whose
// content is cheap to make, without compression.
type bigLayer struct {
	files          int
	size           int64
	seed           uint64
	digest, diffID v1.Hash
	stored         int64
}

func newBigLayer(t testing.TB, files int, size int64, seed uint64) *bigLayer {
	l := &bigLayer{files: files, size: size, seed: seed}
	h := &countingHash{Hash: sha256.New()}
	l.write(h)
	l.diffID = v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", h.Sum(nil))}
	l.digest, l.stored = l.diffID, h.n
	return l
}

func (l *bigLayer) write(w io.Writer) {
	tw := tar.NewWriter(w)
	body := make([]byte, l.size)
	for i := range body {
		body[i] = byte(i) * byte(l.seed)
	}
	for i := range l.files {
		if i%40 == 0 {
			tw.WriteHeader(&tar.Header{Name: fmt.Sprintf("opt/layer%d/site-packages-%06d/", l.seed, i/40), Typeflag: tar.TypeDir, Mode: 0o755})
		}
		name := fmt.Sprintf("opt/layer%d/site-packages-%06d/module_with_a_name_%02d.py", l.seed, i/40, i%40)
		tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: l.size})
		copy(body, name)
		if _, err := tw.Write(body); err != nil {
			return
		}
	}
	tw.Close()
}

func (l *bigLayer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l *bigLayer) DiffID() (v1.Hash, error)             { return l.diffID, nil }
func (l *bigLayer) Size() (int64, error)                 { return l.stored, nil }
func (l *bigLayer) MediaType() (types.MediaType, error)  { return types.OCIUncompressedLayer, nil }
func (l *bigLayer) Uncompressed() (io.ReadCloser, error) { return l.Compressed() }
func (l *bigLayer) Compressed() (io.ReadCloser, error) {
	r, w := io.Pipe()
	go func() {
		b := bufio.NewWriterSize(w, 256<<10)
		l.write(b)
		b.Flush()
		w.Close()
	}()
	return r, nil
}

// peak measures the most memory that Go holds from the system for its heap and
// stacks while f runs, beyond what it held before.
func peak(f func()) uint64 {
	runtime.GC()
	var start runtime.MemStats
	runtime.ReadMemStats(&start)
	var most atomic.Uint64
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			if held := m.HeapInuse + m.StackInuse; held > most.Load() {
				most.Store(held)
			}
			select {
			case <-done:
				tick.Stop()
				return
			case <-tick.C:
			}
		}
	}()
	f()
	close(done)
	<-stopped
	return most.Load() - min(most.Load(), start.HeapInuse+start.StackInuse)
}

// TestMemoryOfLargeImage converts 200,000 files in four layers, as many bytes as
// the machine makes quickly: memory depends on the number of files only.
func TestMemoryOfLargeImage(t *testing.T) {
	size := int64(25 << 10) // 5 GB
	if testing.Short() || os.Getenv("HITOKU_LARGE") == "" {
		size = 512
	}
	var layers []v1.Layer
	for i := range 4 {
		layers = append(layers, newBigLayer(t, 50_000, size, uint64(i+1)))
	}
	fs := &fakeSource{layers: layers}
	var files int
	var manifest int64
	var stored int
	used := peak(func() {
		entries, adds, m := fs.measure(t)
		files = len(entries)
		own := ownFiles{guest: make([]byte, 8<<20), manifest: func(w io.Writer) error { return workload.EncodeFiles(w, m, fileList(entries)) }}
		sum := &countingHash{Hash: sha256.New()}
		if err := own.manifest(sum); err != nil {
			t.Fatal(err)
		}
		own.manifestSize, own.measurement = sum.n, [32]byte(sum.Sum(nil))
		manifest = sum.n
		l, err := buildLayer(withAdditions(own.entries(), adds), types.OCILayer, "added")
		if err != nil {
			t.Fatal(err)
		}
		stored = int(l.stored.Size())
	})
	t.Logf("%d files of %d bytes, manifest %d bytes, added layer %d bytes: %d MiB", files, size, manifest, stored, used>>20)
	if used > 256<<20 {
		t.Errorf("%d MiB of memory, wanted at most 256", used>>20)
	}
}

// fakeSource is the middle of a conversion over layers that no place holds.
type fakeSource struct{ layers []v1.Layer }

func (f *fakeSource) measure(t testing.TB) ([]entry, []addition, *workload.Manifest) {
	limits := Limits{}.withDefaults()
	s := &scanner{limits: limits, note: &notices{}, tell: newProgress(nil), keep: keepUsual}
	order := make([]int, len(f.layers))
	for i := range order {
		order[i] = i
	}
	fs, _, err := s.scanLayers(context.Background(), f.layers, order, 2)
	if err != nil {
		t.Fatal(err)
	}
	c := &conversion{Request: &Request{}, config: &v1.ConfigFile{}, m: &workload.Manifest{
		Schema: 1, TEE: "sim", Source: "linux/amd64", Guest: testRoot, Exec: workload.Exec{Entry: []string{"/x"}, WorkDir: "/"},
	}}
	adds, entries, err := c.measure(context.Background(), fs)
	if err != nil {
		t.Fatal(err)
	}
	return entries, adds.list(), c.m
}

// benchSize is the uncompressed size of the benchmark's image; HITOKU_BENCH_MB changes it.
func benchSize() int {
	mb := 256
	if s := os.Getenv("HITOKU_BENCH_MB"); s != "" {
		fmt.Sscan(s, &mb)
	}
	return mb << 20
}

// benchImage is an OCI layout with gzip layers of source-like text, four of them
// as most images have, and its reference.
func benchImage(b *testing.B, total int) string {
	b.Helper()
	words := make([]string, 4096)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range words {
		n := 2 + r.IntN(9)
		w := make([]byte, n)
		for j := range w {
			w[j] = "etaoinshrdlucmfwypvbgkjqxz"[r.IntN(26)]
		}
		words[i] = string(w)
	}
	var spec imagetest.Spec
	spec.OCI = true
	spec.Config.Cmd = []string{"/bin/app"}
	const layers, fileSize = 4, 24 << 10
	for l := range layers {
		var es []imagetest.Entry
		for i := range total / layers / fileSize {
			body := make([]byte, 0, fileSize+16)
			for len(body) < fileSize {
				if r.IntN(3) == 0 { // a third is as programs are: hard to compress
					body = append(body, byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()))
				} else {
					body = append(append(body, words[r.IntN(len(words))]...), ' ')
				}
			}
			es = append(es, imagetest.File(fmt.Sprintf("usr/lib/pkg%d/dir%04d/file%02d", l, i/40, i%40), string(body)))
		}
		spec.Layers = append(spec.Layers, imagetest.LayerSpec{Entries: es})
	}
	return save(b, imagetest.New(b, spec))
}

// BenchmarkConvert measures a cold conversion into another OCI layout as a dry
// run, and the same again with the cache, beside reading the same bytes.
func BenchmarkConvert(b *testing.B) {
	ref := benchImage(b, benchSize())
	guest := testGuest(b)
	run := func(b *testing.B, cache string) {
		q := Request{Input: ref, TEE: "sim", Guest: guest, Signing: testSigning(), Options: Options{AccountRoot: testRoot}, DryRun: true, CacheDir: cache}
		if _, err := Convert(b.Context(), q); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("read-decompress-hash", func(b *testing.B) {
		b.SetBytes(int64(benchSize()))
		for b.Loop() {
			readDecompressHash(b, ref)
		}
	})
	b.Run("cold", func(b *testing.B) {
		b.SetBytes(int64(benchSize()))
		for b.Loop() {
			run(b, "")
		}
	})
	cache := filepath.Join(b.TempDir(), "cache")
	b.Run("cached", func(b *testing.B) {
		b.SetBytes(int64(benchSize()))
		run(b, cache)
		for b.Loop() {
			run(b, cache)
		}
	})
}

// readDecompressHash is the yardstick: each layer read once, decompressed with
// the same library and hashed, one after the other.
func readDecompressHash(b *testing.B, ref string) {
	r, err := image.Parse(ref)
	if err != nil {
		b.Fatal(err)
	}
	src, err := image.Open(b.Context(), r, image.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer src.Close()
	layers, err := src.Image().Layers()
	if err != nil {
		b.Fatal(err)
	}
	for _, l := range layers {
		rc, err := l.Compressed()
		if err != nil {
			b.Fatal(err)
		}
		z, err := gzip.NewReader(rc)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(sha256.New(), z); err != nil {
			b.Fatal(err)
		}
		rc.Close()
	}
}
