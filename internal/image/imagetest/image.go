package imagetest

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Compression of a layer's stored bytes.
type Compression int

const (
	Gzip Compression = iota
	Plain
	Zstd
)

// LayerSpec says what a layer holds.
type LayerSpec struct {
	Entries     []Entry
	Tar         []byte // instead of Entries; need not be a valid tar
	Compression Compression
	MediaType   types.MediaType // what follows from Compression if empty
}

// Spec says what an image holds. The zero Spec is an image without layers for
// linux/amd64 with Docker media types.
type Spec struct {
	OCI      bool
	Platform string // "linux/amd64" if empty
	Config   v1.Config
	Layers   []LayerSpec
}

// New makes the image that s describes.
func New(t testing.TB, s Spec) v1.Image {
	t.Helper()
	img, err := Build(s)
	if err != nil {
		t.Fatalf("image: %v", err)
	}
	return img
}

// FromFiles makes an image with one gzip layer a map: names and contents.
// Programs (names below bin/) are executable.
func FromFiles(t testing.TB, layers ...map[string]string) v1.Image {
	t.Helper()
	s := Spec{OCI: true}
	for _, files := range layers {
		var entries []Entry
		for _, name := range slices.Sorted(maps.Keys(files)) {
			e := File(name, files[name])
			if strings.Contains("/"+name, "/bin/") {
				e.Mode = 0o755
			}
			entries = append(entries, e)
		}
		s.Layers = append(s.Layers, LayerSpec{Entries: entries})
	}
	return New(t, s)
}

// Build is New without a test.
func Build(s Spec) (v1.Image, error) {
	img := empty.Image
	if s.OCI {
		img = mutate.MediaType(img, types.OCIManifestSchema1)
		img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	}
	platform := s.Platform
	if platform == "" {
		platform = "linux/amd64"
	}
	p, err := v1.ParsePlatform(platform)
	if err != nil {
		return nil, err
	}
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{
		OS: p.OS, Architecture: p.Architecture, Variant: p.Variant,
		Config: s.Config, RootFS: v1.RootFS{Type: "layers"},
	})
	if err != nil {
		return nil, err
	}
	for i, ls := range s.Layers {
		l, err := NewLayer(ls, s.OCI)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		mt, err := l.MediaType()
		if err != nil {
			return nil, err
		}
		if img, err = mutate.Append(img, mutate.Addendum{
			Layer: l, MediaType: mt,
			History: v1.History{CreatedBy: fmt.Sprintf("imagetest layer %d", i)},
		}); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
	}
	return img, nil
}

// NewLayer makes a layer; oci chooses the media type where the spec does not.
func NewLayer(s LayerSpec, oci bool) (v1.Layer, error) {
	plain := s.Tar
	if plain == nil {
		plain = Tar(s.Entries...)
	}
	stored, err := compress(plain, s.Compression)
	if err != nil {
		return nil, err
	}
	l := &layer{plain: plain, stored: stored, mediaType: s.MediaType}
	if l.mediaType == "" {
		l.mediaType = mediaType(s.Compression, oci)
	}
	if l.diffID, _, err = v1.SHA256(bytes.NewReader(plain)); err != nil {
		return nil, err
	}
	l.digest, _, err = v1.SHA256(bytes.NewReader(stored))
	return l, err
}

func mediaType(c Compression, oci bool) types.MediaType {
	switch {
	case c == Zstd:
		return types.OCILayerZStd
	case c == Plain && oci:
		return types.OCIUncompressedLayer
	case c == Plain:
		return types.DockerUncompressedLayer
	case oci:
		return types.OCILayer
	}
	return types.DockerLayer
}

func compress(b []byte, c Compression) ([]byte, error) {
	var out bytes.Buffer
	var w io.WriteCloser
	switch c {
	case Plain:
		return b, nil
	case Gzip:
		w = gzip.NewWriter(&out)
	case Zstd:
		var err error
		if w, err = zstd.NewWriter(&out); err != nil {
			return nil, err
		}
	}
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	err := w.Close()
	return out.Bytes(), err
}

type layer struct {
	plain, stored  []byte
	diffID, digest v1.Hash
	mediaType      types.MediaType
}

func (l *layer) Digest() (v1.Hash, error)            { return l.digest, nil }
func (l *layer) DiffID() (v1.Hash, error)            { return l.diffID, nil }
func (l *layer) Size() (int64, error)                { return int64(len(l.stored)), nil }
func (l *layer) MediaType() (types.MediaType, error) { return l.mediaType, nil }
func (l *layer) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.stored)), nil
}

func (l *layer) Uncompressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.plain)), nil
}

// Noise is n bytes that do not compress, the same for the same seed.
func Noise(seed uint64, n int) string {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)}).Read(b)
	return string(b)
}

// Index joins images into a multi-platform index, each under its own platform.
func Index(t testing.TB, images ...v1.Image) v1.ImageIndex {
	t.Helper()
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, img := range images {
		cf, err := img.ConfigFile()
		if err != nil {
			t.Fatalf("index: %v", err)
		}
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{
			Add:        img,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: cf.OS, Architecture: cf.Architecture, Variant: cf.Variant}},
		})
	}
	return idx
}
