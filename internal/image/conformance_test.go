package image_test

import (
	"context"
	"errors"
	"io"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"hitoku.dev/internal/image"
	"hitoku.dev/internal/image/imagetest"
)

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, p := range places(t) {
		for name, img := range samples(t) {
			t.Run(p.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				r := p.ref(name)
				res := p.write(t, r, img)
				if want := must(img.Digest()); res.Digest != want {
					t.Errorf("result has digest %s, wanted %s", res.Digest, want)
				}
				s := p.open(t, r)
				same(t, img, s.Image(), !p.rewrites)
				if err := validate.Image(s.Image(), validate.Fast); err != nil {
					t.Error(err)
				}
				if s.Digest() != must(s.Image().Digest()) {
					t.Errorf("source has digest %s, image %s", s.Digest(), must(s.Image().Digest()))
				}
				// Twice gives the same digest, and the layers can be read again.
				if again := p.open(t, r); again.Digest() != s.Digest() {
					t.Errorf("digest %s the second time, %s the first", again.Digest(), s.Digest())
				}
			})
		}
	}
}

// TestCopy goes from every place to every other.
func TestCopy(t *testing.T) {
	t.Parallel()
	img := samples(t)["oci-gzip"]
	all := places(t)
	for _, from := range all {
		for _, to := range all {
			t.Run(from.name+"-"+to.name, func(t *testing.T) {
				t.Parallel()
				first := from.ref("from-" + to.name)
				from.write(t, first, img)
				s := from.open(t, first)
				second := to.ref("to-" + from.name)
				res, err := image.Write(t.Context(), second, s.Image(), image.WriteOptions{Options: to.opts, MountFrom: s})
				if err != nil {
					t.Fatal(err)
				}
				if n := res.Mounted.Blobs + res.Uploaded.Blobs + res.Existing.Blobs; n != 3 {
					t.Errorf("%d blobs counted, wanted 3: %+v", n, res)
				}
				same(t, img, to.open(t, second).Image(), !from.rewrites && !to.rewrites)
			})
		}
	}
}

// TestExtend does what a conversion does: one more layer, another configuration.
func TestExtend(t *testing.T) {
	t.Parallel()
	img := samples(t)["oci-gzip"]
	for _, p := range places(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			p.write(t, p.ref("base"), img)
			s := p.open(t, p.ref("base"))
			top := must(imagetest.NewLayer(imagetest.LayerSpec{Entries: []imagetest.Entry{imagetest.File(".hitoku/init", p.name)}}, true))
			changed := must(mutate.Append(s.Image(), mutate.Addendum{Layer: top, MediaType: types.OCILayer}))
			changed = must(mutate.Config(changed, v1.Config{Entrypoint: []string{"/.hitoku/init"}}))
			res, err := image.Write(t.Context(), p.ref("changed"), changed, image.WriteOptions{Options: p.opts, MountFrom: s})
			if err != nil {
				t.Fatal(err)
			}
			if kept := res.Existing.Blobs + res.Mounted.Blobs; kept < 2 && p.name != "archive" {
				t.Errorf("%d of 2 base layers were kept in place: %+v", kept, res)
			}
			same(t, changed, p.open(t, p.ref("changed")).Image(), !p.rewrites)
			again, err := image.Write(t.Context(), p.ref("changed"), changed, image.WriteOptions{Options: p.opts})
			if err != nil {
				t.Fatal(err)
			}
			if again.Uploaded.Blobs != 0 && p.name != "archive" {
				t.Errorf("second write sent %+v", again.Uploaded)
			}
		})
	}
}

func TestNotThere(t *testing.T) {
	t.Parallel()
	for _, p := range places(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			r := p.ref("missing")
			_, err := image.Open(t.Context(), r, p.opts)
			wantError(t, err, image.Pull, image.ErrNoTag, image.ErrNoName)
			if ok, err := image.Exists(t.Context(), r, p.opts); ok || err != nil {
				t.Errorf("Exists = %v, %v", ok, err)
			}
			p.write(t, r, samples(t)["docker-gzip"])
			if ok, err := image.Exists(t.Context(), r, p.opts); !ok || err != nil {
				t.Errorf("Exists after write = %v, %v", ok, err)
			}
		})
	}
}

func TestWrongPlatform(t *testing.T) {
	t.Parallel()
	arm := imagetest.New(t, imagetest.Spec{OCI: true, Platform: "linux/arm64", Layers: []imagetest.LayerSpec{{Entries: []imagetest.Entry{imagetest.File("a", "b")}}}})
	for _, p := range places(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			r := p.ref("arm")
			p.write(t, r, arm)
			_, err := image.Open(t.Context(), r, p.opts)
			wantError(t, err, image.Pull, image.ErrPlatform)
			o := p.opts
			o.Platform = v1.Platform{OS: "linux", Architecture: "arm64"}
			if _, err := image.Open(t.Context(), r, o); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCanceled(t *testing.T) {
	t.Parallel()
	img := samples(t)["oci-gzip"]
	for _, p := range places(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			p.write(t, p.ref("there"), img)
			ctx, cancel := context.WithCancel(t.Context())
			s, err := image.Open(ctx, p.ref("there"), p.opts)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			cancel()
			_, err = image.Open(ctx, p.ref("there"), p.opts)
			if p.name != "layout" && p.name != "archive" { // which do not wait for anything
				wantError(t, err, image.Pull, image.ErrCanceled)
			}
			_, err = image.Write(ctx, p.ref("new"), img, image.WriteOptions{Options: p.opts})
			wantError(t, err, image.Push, image.ErrCanceled)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v is not context.Canceled", err)
			}
			if ok, err := image.Exists(t.Context(), p.ref("new"), p.opts); ok || err != nil {
				t.Errorf("after a cancelled write Exists = %v, %v", ok, err)
			}
		})
	}
}

// TestBrokenSource writes an image whose layer fails half way, and one whose
// layer is not what its digest says.
func TestBrokenSource(t *testing.T) {
	t.Parallel()
	boom := errors.New("disk on fire")
	for _, p := range places(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			good := imagetest.New(t, imagetest.Spec{OCI: true, Layers: []imagetest.LayerSpec{
				{Entries: []imagetest.Entry{imagetest.File(p.name, imagetest.Noise(9, 200_000))}},
			}})
			broken := &spoiled{Image: good, read: func(b []byte) (io.Reader, error) {
				return &failingReader{b: b[:len(b)/2], err: boom}, nil
			}}
			_, err := image.Write(t.Context(), p.ref("broken"), broken, image.WriteOptions{Options: p.opts})
			if !errors.Is(err, boom) {
				t.Errorf("error %v, wanted %v", err, boom)
			}
			flipped := &spoiled{Image: good, read: func(b []byte) (io.Reader, error) {
				b[len(b)/2] ^= 1
				return &failingReader{b: b, err: io.EOF}, nil
			}}
			_, err = image.Write(t.Context(), p.ref("broken"), flipped, image.WriteOptions{Options: p.opts})
			wantError(t, err, image.Push, image.ErrDigest)
			if ok, err := image.Exists(t.Context(), p.ref("broken"), p.opts); ok || err != nil {
				t.Errorf("after a failed write Exists = %v, %v", ok, err)
			}
			p.write(t, p.ref("broken"), good)
		})
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	img := imagetest.New(t, imagetest.Spec{OCI: true, Layers: []imagetest.LayerSpec{
		{Entries: []imagetest.Entry{imagetest.File("big", imagetest.Noise(3, 3<<20))}},
	}})
	digest := must(must(img.Layers())[0].Digest()).String()
	for _, p := range places(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			var events []image.Event
			o := p.opts
			o.Progress = func(e image.Event) { events = append(events, e) }
			if _, err := image.Write(t.Context(), p.ref("big"), img, image.WriteOptions{Options: o}); err != nil {
				t.Fatal(err)
			}
			s, err := image.Open(t.Context(), p.ref("big"), o)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			read(t, must(s.Image().Layers())[0].Uncompressed)
			last := map[image.Side]image.Event{}
			for _, e := range events {
				if e.Stage == "layer" {
					if e.Bytes < last[e.Side].Bytes || e.Bytes > e.Total {
						t.Errorf("bytes go from %d to %d of %d", last[e.Side].Bytes, e.Bytes, e.Total)
					}
					last[e.Side] = e
				}
			}
			for _, side := range []image.Side{image.Push, image.Pull} {
				if e := last[side]; !e.Done || e.Bytes != e.Total || side == image.Push && e.Object != digest {
					t.Errorf("last event of %s: %+v", side, e)
				}
			}
		})
	}
}

// wantError fails unless err is an *image.Error of that side and one of the kinds.
func wantError(t testing.TB, err error, side image.Side, kinds ...image.ErrorKind) {
	t.Helper()
	var e *image.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v (%T), wanted an *image.Error of kind %v", err, err, kinds)
	}
	if e.Side != side {
		t.Errorf("side %s, wanted %s: %v", e.Side, side, err)
	}
	for _, k := range kinds {
		if e.Kind == k {
			return
		}
	}
	t.Errorf("kind %s, wanted %v: %v", e.Kind, kinds, err)
}

// spoiled is an image whose layers read wrong.
type spoiled struct {
	v1.Image
	read func(stored []byte) (io.Reader, error)
}

func (s *spoiled) Layers() ([]v1.Layer, error) {
	layers, err := s.Image.Layers()
	for i, l := range layers {
		layers[i] = &spoiledLayer{l, s.read}
	}
	return layers, err
}

type spoiledLayer struct {
	v1.Layer
	read func([]byte) (io.Reader, error)
}

func (l *spoiledLayer) Compressed() (io.ReadCloser, error) {
	rc, err := l.Layer.Compressed()
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(rc)
	if err != nil {
		return nil, err
	}
	r, err := l.read(b)
	return io.NopCloser(r), err
}

type failingReader struct {
	b   []byte
	err error
}

func (r *failingReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, r.err
	}
	n := copy(p, r.b)
	r.b = r.b[n:]
	return n, nil
}
