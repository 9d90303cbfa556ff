package image_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"hitoku.dev/internal/image"
	"hitoku.dev/internal/image/imagetest"
)

func files(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if path != dir {
			out = append(out, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestLayoutIsStandard reads what was written with another implementation.
func TestLayoutIsStandard(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	p := place{opts: anonymous}
	// That implementation decompresses gzip only.
	written := []string{"docker-gzip", "oci-gzip", "same-twice"}
	for _, name := range written {
		p.write(t, ref(t, "oci:"+dir+":"+name), samples(t)[name])
	}
	path, err := layout.FromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	idx := must(path.ImageIndex())
	if err := validate.Index(idx); err != nil {
		t.Error(err)
	}
	if n := len(must(idx.IndexManifest()).Manifests); n != len(written) {
		t.Errorf("%d entries in the index, wanted %d", n, len(written))
	}
	// And the other way round: what that implementation wrote.
	other := layout.Path(filepath.Join(t.TempDir(), "other"))
	if _, err := layout.Write(string(other), imagetest.Index(t, samples(t)["oci-zstd"])); err != nil {
		t.Fatal(err)
	}
	same(t, samples(t)["oci-zstd"], p.open(t, ref(t, "oci:"+string(other))).Image(), true)
}

func TestLayoutNames(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := place{opts: anonymous}
	all := samples(t)
	a, b := all["oci-gzip"], all["oci-plain"]
	p.write(t, ref(t, "oci:"+dir+":a"), a)
	same(t, a, p.open(t, ref(t, "oci:"+dir)).Image(), true)
	p.write(t, ref(t, "oci:"+dir+":b"), b)
	same(t, b, p.open(t, ref(t, "oci:"+dir+":b")).Image(), true)
	same(t, b, p.open(t, ref(t, "oci:"+dir+"@"+must(b.Digest()).String())).Image(), true)
	_, err := image.Open(t.Context(), ref(t, "oci:"+dir), anonymous)
	wantError(t, err, image.Pull, image.ErrNoTag)
	_, err = image.Open(t.Context(), ref(t, "oci:"+dir+":c"), anonymous)
	wantError(t, err, image.Pull, image.ErrNoTag)
	if !strings.Contains(err.Error(), "a, b") {
		t.Errorf("error does not list what is there: %v", err)
	}
	_, err = image.Open(t.Context(), ref(t, "oci:"+dir+"@sha256:"+strings.Repeat("1", 64)), anonymous)
	wantError(t, err, image.Pull, image.ErrNoTag)
	// A tag moves.
	p.write(t, ref(t, "oci:"+dir+":a"), b)
	same(t, b, p.open(t, ref(t, "oci:"+dir+":a")).Image(), true)
	same(t, b, p.open(t, ref(t, "oci:"+dir)).Image(), true)
}

func TestLayoutFailureLeavesNothing(t *testing.T) {
	t.Parallel()
	good := samples(t)["oci-gzip"]
	other := imagetest.New(t, imagetest.Spec{OCI: true, Layers: []imagetest.LayerSpec{
		{Entries: []imagetest.Entry{imagetest.File("first", "1")}}, {Entries: []imagetest.Entry{imagetest.File("second", imagetest.Noise(4, 50_000))}},
	}})
	for name, fresh := range map[string]bool{"new folder": true, "folder in use": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			top := t.TempDir()
			dir := filepath.Join(top, "x", "y")
			if !fresh {
				place{opts: anonymous}.write(t, ref(t, "oci:"+dir+":good"), good)
			}
			before := fmt.Sprint(files(t, top))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			n := 0
			broken := &spoiled{Image: other, read: func(b []byte) (io.Reader, error) {
				if n++; n == 2 {
					cancel() // the first layer is in place by now
				}
				return &failingReader{b: b, err: io.EOF}, nil
			}}
			_, err := image.Write(ctx, ref(t, "oci:"+dir+":new"), broken, image.WriteOptions{})
			wantError(t, err, image.Push, image.ErrCanceled)
			if after := fmt.Sprint(files(t, top)); after != before {
				t.Errorf("left behind:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
}

func TestArchiveFailureLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "out.tar")
	good := samples(t)["oci-gzip"]
	broken := &spoiled{Image: good, read: func([]byte) (io.Reader, error) { return nil, errors.New("no") }}
	for _, want := range []string{"[]", "[out.tar]"} {
		if _, err := image.Write(t.Context(), ref(t, "docker-archive:"+path), broken, image.WriteOptions{}); err == nil {
			t.Error("wrote a broken image")
		}
		if seen := fmt.Sprint(files(t, dir)); seen != want {
			t.Errorf("folder has %s, wanted %s", seen, want)
		}
		place{opts: anonymous}.write(t, ref(t, "docker-archive:"+path), good)
	}
	same(t, good, place{opts: anonymous}.open(t, ref(t, "docker-archive:"+path)).Image(), true)
}

func TestLayoutLinks(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	p := place{opts: anonymous}
	img := samples(t)["oci-gzip"]
	p.write(t, ref(t, "oci:"+top+"/one:1"), img)
	s := p.open(t, ref(t, "oci:"+top+"/one:1"))
	res, err := image.Write(t.Context(), ref(t, "oci:"+top+"/two:1"), s.Image(), image.WriteOptions{MountFrom: s})
	if err != nil {
		t.Fatal(err)
	}
	if res.Mounted.Blobs != 3 || res.Uploaded.Blobs != 0 {
		t.Errorf("%+v, wanted 3 links", res)
	}
	layer := must(must(img.Layers())[0].Digest())
	a, aerr := os.Stat(filepath.Join(top, "one/blobs/sha256", layer.Hex))
	b, berr := os.Stat(filepath.Join(top, "two/blobs/sha256", layer.Hex))
	if aerr != nil || berr != nil || !os.SameFile(a, b) {
		t.Error("the layer was copied and not linked")
	}
	// A damaged blob is not linked further.
	path := filepath.Join(top, "one/blobs/sha256", layer.Hex)
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, flip(body, 100), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = image.Write(t.Context(), ref(t, "oci:"+top+"/three:1"), s.Image(), image.WriteOptions{MountFrom: s})
	wantError(t, err, image.Pull, image.ErrDigest)
	if left := files(t, filepath.Join(top, "three")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestLayoutRefused(t *testing.T) {
	t.Parallel()
	img := samples(t)["oci-gzip"]
	layer := must(must(img.Layers())[0].Digest())
	manifest := must(img.Digest())
	for name, c := range map[string]struct {
		damage func(dir string) error
		kind   image.ErrorKind
	}{
		"no folder":       {os.RemoveAll, image.ErrNoName},
		"no index":        {func(d string) error { return os.Remove(d + "/index.json") }, image.ErrNoName},
		"index no JSON":   {func(d string) error { return os.WriteFile(d+"/index.json", []byte("{"), 0o644) }, image.ErrInvalid},
		"index empty":     {func(d string) error { return os.WriteFile(d+"/index.json", []byte("{}"), 0o644) }, image.ErrNoTag},
		"index huge":      {func(d string) error { return os.Truncate(d+"/index.json", image.MaxIndexSize+10) }, image.ErrTooLarge},
		"index and more":  {func(d string) error { return appendTo(d+"/index.json", "{}") }, image.ErrInvalid},
		"no manifest":     {func(d string) error { return os.Remove(d + "/blobs/sha256/" + manifest.Hex) }, image.ErrInvalid},
		"manifest longer": {func(d string) error { return appendTo(d+"/blobs/sha256/"+manifest.Hex, " ") }, image.ErrDigest},
		"layer cut":       {func(d string) error { return os.Truncate(d+"/blobs/sha256/"+layer.Hex, 100) }, image.ErrTruncated},
		"layer a folder":  {func(d string) error { return toFolder(d + "/blobs/sha256/" + layer.Hex) }, image.ErrInvalid},
		"index in itself": {func(d string) error { return deepIndex(d, manifest) }, image.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "l")
			r := ref(t, "oci:"+dir)
			place{opts: anonymous}.write(t, r, img)
			if err := c.damage(dir); err != nil {
				t.Fatal(err)
			}
			wantError(t, readAll(t, r, anonymous), image.Pull, c.kind)
		})
	}
	for name, make := range map[string]func(dir string) error{
		"not empty": func(d string) error { return os.WriteFile(d+"/file", nil, 0o644) },
		"other version": func(d string) error {
			return os.WriteFile(d+"/oci-layout", []byte(`{"imageLayoutVersion":"9"}`), 0o644)
		},
	} {
		dir := t.TempDir()
		if err := make(dir); err != nil {
			t.Fatal(err)
		}
		before := fmt.Sprint(files(t, dir))
		_, err := image.Write(t.Context(), ref(t, "oci:"+dir+":x"), img, image.WriteOptions{})
		wantError(t, err, image.Push, image.ErrStorage, image.ErrInvalid)
		if after := fmt.Sprint(files(t, dir)); after != before {
			t.Errorf("%s: folder has %s, before %s", name, after, before)
		}
	}
}

func appendTo(path, s string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, s...), 0o644)
}

func toFolder(path string) error {
	return errors.Join(os.Remove(path), os.Mkdir(path, 0o755))
}

// deepIndex puts indexes inside each other above the image.
func deepIndex(dir string, below v1.Hash) error {
	d := v1.Descriptor{MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: below}
	for range 6 {
		b, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: "application/vnd.oci.image.index.v1+json", Manifests: []v1.Descriptor{d}})
		if err != nil {
			return err
		}
		h, n, err := v1.SHA256(strings.NewReader(string(b)))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "blobs", "sha256", h.Hex), b, 0o644); err != nil {
			return err
		}
		d = v1.Descriptor{MediaType: "application/vnd.oci.image.index.v1+json", Digest: h, Size: n}
		if err := os.WriteFile(filepath.Join(dir, "index.json"), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func TestLayoutWritersTakeTurns(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "l")
	all := samples(t)
	var wg sync.WaitGroup
	for name, img := range all {
		wg.Go(func() {
			if _, err := image.Write(t.Context(), ref(t, "oci:"+dir+":"+name), img, image.WriteOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for name, img := range all {
		same(t, img, place{opts: anonymous}.open(t, ref(t, "oci:"+dir+":"+name)).Image(), true)
	}
}
