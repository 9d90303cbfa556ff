package image

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"

	"hitoku.dev/internal/image/imagetest"
)

func seedImage(tb testing.TB) v1.Image {
	return imagetest.New(tb, imagetest.Spec{OCI: true, Layers: []imagetest.LayerSpec{
		{Entries: []imagetest.Entry{imagetest.File("a", "content")}},
		{Entries: []imagetest.Entry{imagetest.File("b", "more")}, Compression: imagetest.Plain},
	}})
}

// FuzzArchive reads any bytes as an image archive. Whatever is accepted must have
// layers with the digests that it names.
func FuzzArchive(f *testing.F) {
	img := seedImage(f)
	var saved bytes.Buffer
	if err := (&archiveWriter{ctx: context.Background(), name: "a:1"}).write(&saved, img); err != nil {
		f.Fatal(err)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		f.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		f.Fatal(err)
	}
	legacy := []imagetest.Entry{
		imagetest.File("c.json", string(config)), imagetest.Symlink("l", "1"),
		imagetest.File("manifest.json", `[{"Config":"c.json","RepoTags":["a:1"],"Layers":["0","l"]}]`),
	}
	for i, l := range layers {
		rc, err := l.Uncompressed()
		if err != nil {
			f.Fatal(err)
		}
		b, err := io.ReadAll(rc)
		if err != nil {
			f.Fatal(err)
		}
		legacy = append(legacy, imagetest.File(string(rune('0'+i)), string(b)))
	}
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	w.Write(saved.Bytes())
	w.Close()
	f.Add(saved.Bytes())
	f.Add(zipped.Bytes())
	f.Add(imagetest.Tar(legacy...))
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := readArchive(t.Context(), Ref{kind: KindArchive}, Options{}.withDefaults(), bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		defer s.close()
		for _, l := range s.img.layers {
			rc, err := l.Compressed()
			if err != nil {
				continue
			}
			body, err := io.ReadAll(rc)
			rc.Close()
			if err != nil {
				var e *Error
				if !errors.As(err, &e) {
					t.Errorf("error without a kind: %v", err)
				}
				continue
			}
			if h, n, _ := v1.SHA256(bytes.NewReader(body)); h != l.desc.Digest && l.desc.Digest.Algorithm == "sha256" || n != l.desc.Size {
				t.Errorf("layer %v gave %d bytes of %s", l.desc, n, h)
			}
			if rc, err := l.Uncompressed(); err == nil {
				io.Copy(io.Discard, io.LimitReader(rc, 1<<20))
				rc.Close()
			}
		}
	})
}

// FuzzManifest reads any bytes as index and as manifest with a configuration.
func FuzzManifest(f *testing.F) {
	img := seedImage(f)
	raw, err := img.RawManifest()
	if err != nil {
		f.Fatal(err)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		f.Fatal(err)
	}
	index, err := imagetest.Index(f, img).RawManifest()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw, config)
	f.Add(index, config)
	f.Add([]byte(`{"schemaVersion":1}`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, raw, config []byte) {
		o := Options{}.withDefaults()
		if idx, err := parseIndex(bytes.NewReader(raw)); err == nil {
			for _, tag := range []string{"", "a:1"} {
				if d, err := findInIndex(idx, tag, "", o); err == nil && d.Digest == (v1.Hash{}) && len(idx.Manifests) == 0 {
					t.Error("chose an entry of an empty index")
				}
			}
		}
		fetch := func(d v1.Descriptor) ([]byte, types.MediaType, error) { return raw, d.MediaType, nil }
		one, mt, _, err := resolve(raw, "", o, fetch)
		if err != nil {
			return
		}
		img, err := newImage(one, mt, config, o, func(int, v1.Descriptor) layerOpener { return bytesOpener(nil) })
		if err != nil {
			return
		}
		if len(img.layers) != len(img.manifest.Layers) {
			t.Error("layers lost")
		}
	})
}

// FuzzParse: what Parse accepts, it accepts again in its own words.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"busybox", "h:5000/a/b:c@sha256:" + strings.Repeat("0", 64), "oci:d:t", "docker-archive:f:a:1", "docker-daemon:a", "docker://x", `oci:C:\d:t`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(r.String())
		if err != nil || again != r {
			t.Errorf("Parse(%q) = %q, which parses as %q, %v", s, r, again, err)
		}
	})
}
