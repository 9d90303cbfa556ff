package image_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"hitoku.dev/internal/image"
	"hitoku.dev/internal/image/imagetest"
)

// legacy writes images the way Docker Engine before 25 does, or with compressed
// layers as other tools do.
type legacy struct {
	compressed bool
	links      bool // a layer that was there already is a link to the first
	damage     func(name string, body []byte) []byte
}

func (l legacy) entries(t testing.TB, images map[string]v1.Image) []imagetest.Entry {
	t.Helper()
	type item struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	var items []item
	var out []imagetest.Entry
	done := map[string]string{}
	put := func(name string, body []byte) {
		if l.damage != nil {
			body = l.damage(name, body)
		}
		out = append(out, imagetest.Entry{Name: name, Body: string(body)})
	}
	for _, tag := range sortedKeys(images) {
		img := images[tag]
		config := must(img.RawConfigFile())
		it := item{Config: fmt.Sprintf("%x.json", sha256.Sum256(config)), RepoTags: []string{tag}}
		for i, layer := range must(img.Layers()) {
			open := layer.Uncompressed
			if l.compressed {
				open = layer.Compressed
			}
			body := read(t, open)
			dir := fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%s %d", tag, i)))
			file := dir + "/layer.tar"
			it.Layers = append(it.Layers, file)
			first, seen := done[string(body)]
			out = append(out, imagetest.Dir(dir+"/"))
			if seen && l.links {
				out = append(out, imagetest.Symlink(file, "../"+first))
				continue
			}
			put(dir+"/VERSION", []byte("1.0"))
			put(dir+"/json", []byte("{}"))
			put(file, body)
			done[string(body)] = file
		}
		put(it.Config, config)
		items = append(items, it)
	}
	put("manifest.json", must(json.Marshal(items)))
	put("repositories", []byte("{}"))
	return out
}

func sortedKeys(m map[string]v1.Image) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	for i := range keys {
		for j := i + 1; j < len(keys); j++ {
			if keys[j] < keys[i] {
				keys[i], keys[j] = keys[j], keys[i]
			}
		}
	}
	return keys
}

func writeFile(t testing.TB, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func gz(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func zst(b []byte) []byte {
	w, _ := zstd.NewWriter(nil)
	return w.EncodeAll(b, nil)
}

func TestArchiveForms(t *testing.T) {
	t.Parallel()
	all := samples(t)
	img, twice := all["docker-gzip"], all["same-twice"]
	one := map[string]v1.Image{"example/app:1": img}
	for name, c := range map[string]struct {
		bytes  []byte
		want   v1.Image
		inner  string
		stored bool // compressed layers keep their bytes
	}{
		"legacy":                   {imagetest.Tar(legacy{}.entries(t, one)...), img, "", false},
		"legacy named":             {imagetest.Tar(legacy{}.entries(t, one)...), img, ":example/app:1", false},
		"legacy named in full":     {imagetest.Tar(legacy{}.entries(t, one)...), img, ":docker.io/example/app:1", false},
		"legacy in gzip":           {gz(imagetest.Tar(legacy{}.entries(t, one)...)), img, "", false},
		"legacy in zstd":           {zst(imagetest.Tar(legacy{}.entries(t, one)...)), img, "", false},
		"links":                    {imagetest.Tar(legacy{links: true}.entries(t, map[string]v1.Image{"a:1": twice})...), twice, "", false},
		"links in gzip":            {gz(imagetest.Tar(legacy{links: true}.entries(t, map[string]v1.Image{"a:1": twice})...)), twice, "", false},
		"compressed layers":        {imagetest.Tar(legacy{compressed: true}.entries(t, one)...), img, "", true},
		"compressed layers, gzip":  {gz(imagetest.Tar(legacy{compressed: true}.entries(t, one)...)), img, "", true},
		"zstd layers":              {imagetest.Tar(legacy{compressed: true}.entries(t, map[string]v1.Image{"a:1": all["oci-mixed"]})...), all["oci-mixed"], "", true},
		"two images, second named": {imagetest.Tar(legacy{links: true}.entries(t, map[string]v1.Image{"a:1": twice, "b:1": img})...), img, ":b:1", false},
		"written here, gzip":       {gz(saved(t, img)), img, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := ref(t, "docker-archive:"+writeFile(t, c.bytes)+c.inner)
			s := place{opts: anonymous}.open(t, r)
			same(t, c.want, s.Image(), false)
			for i, l := range must(s.Image().Layers()) {
				want := must(c.want.Layers())[i]
				if c.stored && must(l.Digest()) != must(want.Digest()) {
					t.Errorf("layer %d was changed", i)
				}
				if !c.stored && must(l.Digest()) != must(want.DiffID()) {
					t.Errorf("uncompressed layer %d has digest %s", i, must(l.Digest()))
				}
			}
			if name == "zstd layers" && must(s.Image().MediaType()) != types.OCIManifestSchema1 {
				t.Error("zstd layers need an OCI manifest")
			}
			order := s.ReadOrder()
			for i := len(order) - 1; i >= 0; i-- { // backwards, the costly way
				read(t, must(s.Image().Layers())[order[i]].Compressed)
			}
		})
	}
}

func saved(t testing.TB, img v1.Image) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "saved.tar")
	place{opts: anonymous}.write(t, ref(t, "docker-archive:"+path), img)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestArchiveIsReproducible(t *testing.T) {
	t.Parallel()
	img := samples(t)["oci-gzip"]
	if !bytes.Equal(saved(t, img), saved(t, img)) {
		t.Error("the same image gave two different archives")
	}
}

func TestArchiveRefused(t *testing.T) {
	t.Parallel()
	all := samples(t)
	img, twice := all["docker-gzip"], all["same-twice"]
	one := map[string]v1.Image{"a:1": img}
	good := imagetest.Tar(legacy{}.entries(t, one)...)
	only := func(names ...string) func(string, []byte) []byte {
		return func(name string, body []byte) []byte {
			for _, n := range names {
				if strings.HasSuffix(name, n) {
					body = bytes.Clone(body)
					body[len(body)/2] ^= 1
				}
			}
			return body
		}
	}
	manifest := func(s string) []byte { return imagetest.Tar(imagetest.File("manifest.json", s)) }
	digest := []image.ErrorKind{image.ErrDigest}
	for name, c := range map[string]struct {
		bytes []byte
		inner string
		kinds []image.ErrorKind
		text  string
	}{
		"empty file":            {nil, "", []image.ErrorKind{image.ErrInvalid, image.ErrTruncated}, ""},
		"no tar":                {[]byte(strings.Repeat("no tar ", 1000)), "", []image.ErrorKind{image.ErrInvalid}, "no tar file"},
		"no image":              {imagetest.Tar(imagetest.File("a", "b")), "", []image.ErrorKind{image.ErrInvalid}, "no image"},
		"before 1.10":           {imagetest.Tar(imagetest.File("repositories", "{}")), "", []image.ErrorKind{image.ErrUnsupported}, "1.10"},
		"no such name":          {good, ":b:2", []image.ErrorKind{image.ErrNoTag}, "a:1"},
		"two images, none said": {imagetest.Tar(legacy{}.entries(t, map[string]v1.Image{"a:1": img, "b:1": twice})...), "", []image.ErrorKind{image.ErrNoTag}, "a:1, b:1"},
		"layer flipped":         {imagetest.Tar(legacy{damage: only("layer.tar")}.entries(t, one)...), "", digest, ""},
		"layer flipped, gzip":   {gz(imagetest.Tar(legacy{damage: only("layer.tar")}.entries(t, one)...)), "", digest, "diff id"},
		"stored layer flipped":  {imagetest.Tar(legacy{compressed: true, damage: only("layer.tar")}.entries(t, one)...), "", []image.ErrorKind{image.ErrInvalid, image.ErrDigest}, ""},
		"config flipped":        {imagetest.Tar(legacy{damage: onlyConfig}.entries(t, one)...), "", digest, "configuration"},
		"cut in a layer":        {good[:len(good)/3], "", []image.ErrorKind{image.ErrTruncated}, ""},
		"cut at its end":        {good[:len(good)-6*512], "", []image.ErrorKind{image.ErrTruncated, image.ErrInvalid}, ""},
		"gzip cut":              {gz(good)[:len(gz(good))/2], "", []image.ErrorKind{image.ErrTruncated}, ""},
		"gzip flipped":          {flip(gz(good), 4000), "", []image.ErrorKind{image.ErrInvalid, image.ErrDigest}, ""},
		"gzip check sum":        {flip(gz(good), len(gz(good))-6), "", []image.ErrorKind{image.ErrInvalid}, ""},
		"manifest no JSON":      {manifest("{"), "", []image.ErrorKind{image.ErrInvalid}, "manifest.json"},
		"manifest empty":        {manifest("[]"), "", []image.ErrorKind{image.ErrInvalid}, "no image"},
		"config not there":      {manifest(`[{"Config":"../../etc/passwd","Layers":[]}]`), "", []image.ErrorKind{image.ErrInvalid}, "lacks"},
		"fewer layers":          {imagetest.Tar(imagetest.File("manifest.json", `[{"Config":"c","Layers":["x"]}]`), imagetest.File("c", "{}")), "", []image.ErrorKind{image.ErrInvalid}, "0 layers"},
		"entry twice":           {imagetest.Tar(imagetest.File("a", "1"), imagetest.File("./a", "2")), "", []image.ErrorKind{image.ErrInvalid}, "two entries"},
		"links for ever":        {imagetest.Tar(imagetest.File("manifest.json", `[{"Config":"a","Layers":[]}]`), imagetest.Symlink("a", "b"), imagetest.Symlink("b", "a")), "", []image.ErrorKind{image.ErrInvalid}, "without end"},
		"huge manifest":         {manifest("[" + strings.Repeat(" ", image.MaxManifestSize) + "]"), "", []image.ErrorKind{image.ErrTooLarge}, ""},
		"huge config, gzip":     {gz(imagetest.Tar(imagetest.File("manifest.json", `[{"Config":"c","Layers":[]}]`), imagetest.File("c", "{"+strings.Repeat(" ", image.MaxConfigSize)+"}"))), "", []image.ErrorKind{image.ErrTooLarge}, ""},
		"many entries":          {manyEntries(), "", []image.ErrorKind{image.ErrTooLarge}, "entries"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := readAll(t, ref(t, "docker-archive:"+writeFile(t, c.bytes)+c.inner), anonymous)
			wantError(t, err, image.Pull, c.kinds...)
			if !strings.Contains(err.Error(), c.text) {
				t.Errorf("error does not name %q: %v", c.text, err)
			}
		})
	}
	for name, path := range map[string]string{"no file": filepath.Join(t.TempDir(), "none.tar"), "a folder": t.TempDir()} {
		_, err := image.Open(t.Context(), ref(t, "docker-archive:"+path), anonymous)
		t.Log(name, err)
		wantError(t, err, image.Pull, image.ErrNoName, image.ErrReference)
	}
}

func onlyConfig(name string, body []byte) []byte {
	if strings.HasSuffix(name, ".json") && name != "manifest.json" {
		body = bytes.Replace(body, []byte(`"A=1"`), []byte(`"A=2"`), 1)
	}
	return body
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

func manyEntries() []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i := range 70_000 {
		w.WriteHeader(&tar.Header{Name: fmt.Sprint(i), Typeflag: tar.TypeReg, Format: tar.FormatUSTAR})
	}
	w.Close()
	return out.Bytes()
}

// TestArchiveFlip flips bytes of a small archive's content: reading all of
// it fails, or what is read is the same as before.
func TestArchiveFlip(t *testing.T) {
	t.Parallel()
	small := imagetest.New(t, imagetest.Spec{OCI: true, Layers: []imagetest.LayerSpec{{Entries: []imagetest.Entry{imagetest.File("a", "content")}}}})
	for name, good := range map[string][]byte{
		"OCI form": saved(t, small),
		"legacy":   imagetest.Tar(legacy{}.entries(t, map[string]v1.Image{"a:1": small})...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := writeFile(t, good)
			r := ref(t, "docker-archive:"+path)
			want := place{opts: anonymous}.open(t, r).Digest()
			for at := range good {
				if good[at] == 0 && at%61 != 0 {
					continue // mostly padding
				}
				if err := os.WriteFile(path, flip(good, at), 0o644); err != nil {
					t.Fatal(err)
				}
				s, err := image.Open(t.Context(), r, anonymous)
				if err != nil {
					continue
				}
				seen := s.Digest()
				s.Close()
				if readAll(t, r, anonymous) == nil && seen != want {
					t.Errorf("byte %d flipped: accepted as another image %s", at, seen)
				}
			}
		})
	}
}
