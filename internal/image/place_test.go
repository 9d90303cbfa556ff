package image_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/moby/moby/client"

	"hitoku.dev/internal/image"
	"hitoku.dev/internal/image/imagetest"
)

// place is one kind of source and sink; every place passes the same tests.
type place struct {
	name string
	opts image.Options
	// ref names a fresh image there.
	ref func(tag string) image.Ref
	// rewrites is set where layers come back uncompressed and the manifest anew.
	rewrites bool
}

func places(t *testing.T) []place {
	t.Helper()
	out := []place{
		registryPlace(t, "http", imagetest.RegistryOptions{}),
		registryPlace(t, "https", imagetest.RegistryOptions{TLS: true}),
		registryPlace(t, "basic", imagetest.RegistryOptions{Username: "ada", Password: "s3cret"}),
		registryPlace(t, "bearer", imagetest.RegistryOptions{Username: "ada", Password: "s3cret", Bearer: true, TLS: true}),
	}
	dir := t.TempDir()
	out = append(out, place{name: "layout", ref: func(tag string) image.Ref { return ref(t, "oci:"+filepath.Join(dir, "layout")+":"+tag) }})
	out = append(out, place{name: "archive", ref: func(tag string) image.Ref {
		return ref(t, "docker-archive:"+filepath.Join(dir, tag+".tar")+":example/app:"+tag)
	}})
	if host := engineHost(t); host != "" {
		out = append(out, enginePlace(t, host))
	}
	return out
}

func registryPlace(t *testing.T, name string, o imagetest.RegistryOptions) place {
	r := imagetest.NewRegistry(t, o)
	p := place{name: name, opts: image.Options{Username: o.Username, Password: o.Password, Anonymous: o.Username == ""}}
	if o.TLS {
		p.opts.CA = r.CA()
	}
	p.ref = func(tag string) image.Ref { return ref(t, r.Image("app:"+tag)) }
	return p
}

// engineHost is the engine for tests, named by DOCKER_HOST or at its usual place.
func engineHost(t *testing.T) string {
	host := os.Getenv("DOCKER_HOST")
	if host == "" {
		host = "unix:///var/run/docker.sock"
	}
	c, err := client.New(client.WithHost(host))
	if err != nil {
		return ""
	}
	defer c.Close()
	if _, err := c.Ping(t.Context(), client.PingOptions{}); err != nil {
		return ""
	}
	return host
}

var engineImages atomic.Int64

func enginePlace(t *testing.T, host string) place {
	prefix := fmt.Sprintf("hitoku-image-test/%d-%d", os.Getpid(), engineImages.Add(1))
	t.Cleanup(func() {
		c, err := client.New(client.WithHost(host))
		if err != nil {
			return
		}
		defer c.Close()
		ctx := context.Background()
		list, err := c.ImageList(ctx, client.ImageListOptions{})
		if err != nil {
			return
		}
		for _, it := range list.Items {
			for _, tag := range it.RepoTags {
				if strings.HasPrefix(tag, prefix+":") {
					c.ImageRemove(ctx, tag, client.ImageRemoveOptions{Force: true})
				}
			}
		}
	})
	return place{
		name: "engine", rewrites: true, opts: image.Options{DockerHost: host},
		ref: func(tag string) image.Ref { return ref(t, "docker-daemon:"+prefix+":"+tag) },
	}
}

func ref(t testing.TB, s string) image.Ref {
	t.Helper()
	r, err := image.Parse(s)
	if err != nil {
		t.Fatalf("Parse(%q): %v", s, err)
	}
	return r
}

func (p place) write(t testing.TB, r image.Ref, img v1.Image) image.Result {
	t.Helper()
	res, err := image.Write(t.Context(), r, img, image.WriteOptions{Options: p.opts})
	if err != nil {
		t.Fatalf("Write to %s: %v", p.name, err)
	}
	return res
}

func (p place) open(t testing.TB, r image.Ref) *image.Source {
	t.Helper()
	s, err := image.Open(t.Context(), r, p.opts)
	if err != nil {
		t.Fatalf("Open from %s: %v", p.name, err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func samples(t *testing.T) map[string]v1.Image {
	t.Helper()
	base := []imagetest.Entry{imagetest.Dir("etc"), imagetest.File("etc/motd", "hello\n"), imagetest.Program("bin/sh", imagetest.Noise(1, 100_000))}
	more := []imagetest.Entry{imagetest.File("srv/data", imagetest.Noise(2, 300_000)), imagetest.Symlink("srv/link", "data"), imagetest.Whiteout("etc/motd")}
	cfg := v1.Config{Entrypoint: []string{"/bin/sh"}, Env: []string{"A=1"}}
	n := 0
	spec := func(oci bool, c ...imagetest.Compression) imagetest.Spec {
		n++ // no two images share layers: an engine would not read the second one's
		s := imagetest.Spec{OCI: oci, Config: cfg}
		for i, c := range c {
			entries := base
			if i%2 == 1 {
				entries = more
			}
			entries = append(slices.Clone(entries), imagetest.File("number", fmt.Sprint(n)))
			s.Layers = append(s.Layers, imagetest.LayerSpec{Entries: entries, Compression: c})
		}
		return s
	}
	return map[string]v1.Image{
		"docker-gzip":  imagetest.New(t, spec(false, imagetest.Gzip, imagetest.Gzip)),
		"oci-gzip":     imagetest.New(t, spec(true, imagetest.Gzip, imagetest.Gzip)),
		"oci-zstd":     imagetest.New(t, spec(true, imagetest.Zstd, imagetest.Zstd)),
		"oci-plain":    imagetest.New(t, spec(true, imagetest.Plain, imagetest.Plain)),
		"docker-plain": imagetest.New(t, spec(false, imagetest.Plain, imagetest.Plain)),
		"oci-mixed":    imagetest.New(t, spec(true, imagetest.Plain, imagetest.Zstd, imagetest.Gzip)),
		"same-twice":   imagetest.New(t, spec(true, imagetest.Gzip, imagetest.Gzip, imagetest.Gzip)),
	}
}

// same compares two images; stored is false where the place may change the
// manifest and the compression but nothing else.
func same(t testing.TB, want, got v1.Image, stored bool) {
	t.Helper()
	equal := func(what string, want, got any) {
		t.Helper()
		if fmt.Sprint(want) != fmt.Sprint(got) {
			t.Errorf("%s: wanted %v, seen %v", what, want, got)
		}
	}
	equal("config", must(want.ConfigName()), must(got.ConfigName()))
	if !bytes.Equal(must(want.RawConfigFile()), must(got.RawConfigFile())) {
		t.Error("configuration differs")
	}
	if stored {
		equal("digest", must(want.Digest()), must(got.Digest()))
		equal("media type", must(want.MediaType()), must(got.MediaType()))
		if !bytes.Equal(must(want.RawManifest()), must(got.RawManifest())) {
			t.Error("manifest differs")
		}
	}
	wl, gl := must(want.Layers()), must(got.Layers())
	if len(wl) != len(gl) {
		t.Fatalf("%d layers, wanted %d", len(gl), len(wl))
	}
	for i := range wl {
		equal(fmt.Sprintf("layer %d diff id", i), must(wl[i].DiffID()), must(gl[i].DiffID()))
		if !bytes.Equal(read(t, wl[i].Uncompressed), read(t, gl[i].Uncompressed)) {
			t.Errorf("layer %d: content differs", i)
		}
		if stored {
			equal(fmt.Sprintf("layer %d digest", i), must(wl[i].Digest()), must(gl[i].Digest()))
			if !bytes.Equal(read(t, wl[i].Compressed), read(t, gl[i].Compressed)) {
				t.Errorf("layer %d: stored bytes differ", i)
			}
		} else if mt := must(gl[i].MediaType()); mt != types.DockerUncompressedLayer && mt != types.OCIUncompressedLayer {
			sum, n := digestOf(t, gl[i])
			equal(fmt.Sprintf("layer %d own digest", i), sum, must(gl[i].Digest()))
			equal(fmt.Sprintf("layer %d own size", i), n, must(gl[i].Size()))
		}
	}
}

func digestOf(t testing.TB, l v1.Layer) (v1.Hash, int64) {
	h, n, err := v1.SHA256(bytes.NewReader(read(t, l.Compressed)))
	if err != nil {
		t.Fatal(err)
	}
	return h, n
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func read(t testing.TB, open func() (io.ReadCloser, error)) []byte {
	t.Helper()
	rc, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
