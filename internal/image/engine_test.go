package image_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"hitoku.dev/internal/image"
	"hitoku.dev/internal/image/imagetest"
)

func needEngine(t *testing.T) place {
	t.Helper()
	host := engineHost(t)
	if host == "" {
		t.Skip("no Docker Engine answers at DOCKER_HOST or /var/run/docker.sock; install docker.io and start it")
	}
	return enginePlace(t, host)
}

// TestEngineSharesLayers converts inside one engine: the lower layers must not be
// sent, and the same image a second time is only given its name.
func TestEngineSharesLayers(t *testing.T) {
	t.Parallel()
	p := needEngine(t)
	noise := imagetest.LayerSpec{Entries: []imagetest.Entry{imagetest.File("n", imagetest.Noise(uint64(os.Getpid()), 2<<20))}}
	img := imagetest.New(t, imagetest.Spec{Layers: []imagetest.LayerSpec{noise, {Entries: []imagetest.Entry{imagetest.File("a", "b")}}, noise}})
	p.write(t, p.ref("base"), img)
	s := p.open(t, p.ref("base"))
	top := must(imagetest.NewLayer(noise, false)) // once more, on top: must be sent
	changed := must(mutate.Append(s.Image(), mutate.Addendum{Layer: top, MediaType: types.DockerLayer}))
	res, err := image.Write(t.Context(), p.ref("changed"), changed, image.WriteOptions{Options: p.opts, MountFrom: s})
	if err != nil {
		t.Fatal(err)
	}
	if res.Mounted.Blobs != 2 {
		t.Errorf("%+v, wanted the two different base layers not sent", res)
	}
	same(t, changed, p.open(t, p.ref("changed")).Image(), false)
	res, err = image.Write(t.Context(), p.ref("again"), changed, image.WriteOptions{Options: p.opts})
	if err != nil {
		t.Fatal(err)
	}
	if res.Uploaded.Blobs != 0 || res.Existing.Blobs != 4 {
		t.Errorf("%+v, wanted all there", res)
	}
	if h, err := image.ResolveDigest(t.Context(), p.ref("again"), p.opts); err != nil || h != res.ImageID {
		t.Errorf("engine has %s, %v; wanted %s", h, err, res.ImageID)
	}
	byID := p.open(t, ref(t, "docker-daemon:"+res.ImageID.String()))
	same(t, changed, byID.Image(), false)
	_, err = image.Write(t.Context(), ref(t, "docker-daemon:"+res.ImageID.String()), changed, image.WriteOptions{Options: p.opts})
	wantError(t, err, image.Push, image.ErrReference)
}

// TestEngineParallel reads all layers at once, in an order of no help.
func TestEngineParallel(t *testing.T) {
	t.Parallel()
	p := needEngine(t)
	var s imagetest.Spec
	for i := range 6 {
		s.Layers = append(s.Layers, imagetest.LayerSpec{Entries: []imagetest.Entry{imagetest.File("n", imagetest.Noise(uint64(i+100), 1<<20))}})
	}
	img := imagetest.New(t, s)
	p.write(t, p.ref("many"), img)
	src := p.open(t, p.ref("many"))
	var wg sync.WaitGroup
	for _, i := range src.ReadOrder() {
		wg.Go(func() {
			if !bytes.Equal(read(t, must(src.Image().Layers())[i].Uncompressed), read(t, must(img.Layers())[i].Uncompressed)) {
				t.Errorf("layer %d differs", i)
			}
		})
	}
	wg.Wait()
}

func TestEngineUnreachable(t *testing.T) {
	t.Parallel()
	img := samples(t)["docker-gzip"]
	for _, host := range []string{"unix://" + filepath.Join(t.TempDir(), "none.sock"), "tcp://127.0.0.1:1", "nonsense"} {
		o := image.Options{DockerHost: host}
		_, err := image.Open(t.Context(), ref(t, "docker-daemon:a"), o)
		wantError(t, err, image.Pull, image.ErrEngine)
		if !strings.Contains(err.Error(), "DOCKER_HOST") {
			t.Errorf("error gives no advice: %v", err)
		}
		_, err = image.Write(t.Context(), ref(t, "docker-daemon:a"), img, image.WriteOptions{Options: o})
		wantError(t, err, image.Push, image.ErrEngine)
	}
}

// evilEngine answers like an engine and lies as a case says.
type evilEngine struct {
	id      string
	exports [][]byte // one after the other; the last for ever
	load    string   // reply to a load
	mu      sync.Mutex
	loaded  []byte
	asked   int // for exports
}

func (e *evilEngine) start(t *testing.T) image.Options {
	t.Helper()
	sock := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: e}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return image.Options{DockerHost: "unix://" + sock}
}

func (e *evilEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Api-Version", "1.41")
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case strings.HasSuffix(r.URL.Path, "/_ping"):
	case strings.HasSuffix(r.URL.Path, "/info"):
		w.Write([]byte(`{}`))
	case strings.HasSuffix(r.URL.Path, "/images/get"):
		e.asked++
		export := e.exports[0]
		if len(e.exports) > 1 {
			e.exports = e.exports[1:]
		}
		w.Write(export) // one export at a time: the next waits for this one
	case strings.HasSuffix(r.URL.Path, "/images/load"):
		e.loaded, _ = io.ReadAll(r.Body)
		w.Write([]byte(e.load))
	case e.id != "" && (e.loaded != nil || e.exports != nil):
		json.NewEncoder(w).Encode(map[string]any{"Id": e.id, "Os": "linux", "Architecture": "amd64"})
	default:
		http.Error(w, `{"message":"No such image"}`, http.StatusNotFound)
	}
}

func TestEvilEngineExport(t *testing.T) {
	t.Parallel()
	img := samples(t)["docker-gzip"]
	good := imagetest.Tar(legacy{}.entries(t, map[string]v1.Image{"a:1": img})...)
	bad := imagetest.Tar(legacy{damage: func(name string, b []byte) []byte {
		if strings.HasSuffix(name, "layer.tar") {
			return flip(b, 600)
		}
		return b
	}}.entries(t, map[string]v1.Image{"a:1": img})...)
	for name, c := range map[string]struct {
		exports [][]byte
		kinds   []image.ErrorKind
	}{
		"nothing":            {[][]byte{nil}, []image.ErrorKind{image.ErrInvalid, image.ErrTruncated}},
		"cut":                {[][]byte{good[:len(good)/2]}, []image.ErrorKind{image.ErrTruncated}},
		"damaged":            {[][]byte{bad}, []image.ErrorKind{image.ErrDigest}},
		"damaged later":      {[][]byte{good, bad}, []image.ErrorKind{image.ErrDigest}},
		"cut later":          {[][]byte{good, good[:len(good)/3]}, []image.ErrorKind{image.ErrTruncated}},
		"other image later":  {[][]byte{good, imagetest.Tar(imagetest.File("x", "y"))}, []image.ErrorKind{image.ErrInvalid}},
		"no tar later":       {[][]byte{good, []byte(strings.Repeat("x", 2000))}, []image.ErrorKind{image.ErrInvalid}},
		"fine":               {[][]byte{good}, nil},
		"config is not json": {[][]byte{imagetest.Tar(imagetest.File("manifest.json", `[{"Config":"c","Layers":[]}]`), imagetest.File("c", "xyz"))}, []image.ErrorKind{image.ErrInvalid}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := &evilEngine{id: must(img.ConfigName()).String(), exports: c.exports}
			err := readAll(t, ref(t, "docker-daemon:a:1"), e.start(t))
			if c.kinds == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, image.Pull, c.kinds...)
		})
	}
}

func TestEvilEngineLoad(t *testing.T) {
	t.Parallel()
	img := samples(t)["docker-gzip"]
	for name, c := range map[string]struct {
		e    *evilEngine
		kind image.ErrorKind
	}{
		"refuses":     {&evilEngine{load: `{"errorDetail":{"message":"no space"},"error":"no space"}`}, image.ErrEngine},
		"babbles":     {&evilEngine{load: `<html>`}, image.ErrEngine},
		"forgets":     {&evilEngine{load: `{"stream":"Loaded"}`}, image.ErrNoTag},
		"swaps image": {&evilEngine{id: "sha256:" + strings.Repeat("0", 64), load: `{}`}, image.ErrDigest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := image.Write(t.Context(), ref(t, "docker-daemon:a:1"), img, image.WriteOptions{Options: c.e.start(t)})
			wantError(t, err, image.Push, c.kind)
		})
	}
}

// TestEngineGetsOneTar checks what is sent: docker's manifest and OCI's.
func TestEngineGetsOneTar(t *testing.T) {
	t.Parallel()
	img := samples(t)["oci-gzip"]
	e := &evilEngine{id: must(img.ConfigName()).String(), load: `{"stream":"Loaded image"}`}
	if _, err := image.Write(t.Context(), ref(t, "docker-daemon:a:1"), img, image.WriteOptions{Options: e.start(t)}); err != nil {
		t.Fatal(err)
	}
	tr := tar.NewReader(bytes.NewReader(e.loaded))
	var names []string
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	all := strings.Join(names, " ")
	for _, want := range []string{"oci-layout", "index.json", "manifest.json", "blobs/sha256/" + must(img.ConfigName()).Hex} {
		if !strings.Contains(all, want) {
			t.Errorf("tar has no %s: %s", want, all)
		}
	}
}

func TestEngineCancelMidway(t *testing.T) {
	t.Parallel()
	p := needEngine(t)
	img := samples(t)["oci-gzip"]
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	broken := &spoiled{Image: img, read: func(b []byte) (io.Reader, error) {
		cancel()
		return &failingReader{b: b, err: io.EOF}, nil
	}}
	_, err := image.Write(ctx, p.ref("midway"), broken, image.WriteOptions{Options: p.opts})
	wantError(t, err, image.Push, image.ErrCanceled)
	if ok, err := image.Exists(t.Context(), p.ref("midway"), p.opts); ok || err != nil {
		t.Errorf("Exists = %v, %v", ok, err)
	}
}

// TestEngineCache opens an image that is remembered, and then with a memory that
// was tampered with: that may cost an export, but never gives another image.
func TestEngineCache(t *testing.T) {
	t.Parallel()
	img := samples(t)["docker-gzip"]
	good := imagetest.Tar(legacy{}.entries(t, map[string]v1.Image{"a:1": img})...)
	e := &evilEngine{id: must(img.ConfigName()).String(), exports: [][]byte{good}}
	o := e.start(t)
	o.CacheDir = filepath.Join(t.TempDir(), "cache")
	r := ref(t, "docker-daemon:a:1")
	first := place{opts: o}.open(t, r)
	asked := e.asked
	second := place{opts: o}.open(t, r)
	if e.asked != asked {
		t.Errorf("%d exports were read to open the image again", e.asked-asked)
	}
	if first.Digest() != second.Digest() {
		t.Errorf("digest %s with the cache, %s without", second.Digest(), first.Digest())
	}
	same(t, img, second.Image(), false)

	kept, err := filepath.Glob(filepath.Join(o.CacheDir, "*"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("cache holds %v, %v", kept, err)
	}
	body, err := os.ReadFile(kept[0])
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(body); at += 7 {
		if err := os.WriteFile(kept[0], flip(body, at), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := image.Open(t.Context(), r, o)
		if err != nil {
			t.Fatalf("byte %d flipped: %v", at, err)
		}
		if s.Digest() != first.Digest() {
			t.Errorf("byte %d flipped: another image", at)
		}
		s.Close()
	}
}
