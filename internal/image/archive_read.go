package image

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const manifestFile = "manifest.json"

// archiveItem is one image in the manifest.json that docker save writes.
type archiveItem struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func openArchive(ctx context.Context, ref Ref, o Options) (*Source, error) {
	info, err := os.Stat(ref.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, failf(ErrNoName, "file %s does not exist", ref.path)
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, failf(ErrReference, "%s is no regular file (a folder is opened with oci:)", ref.path)
	}
	f, err := os.Open(ref.path)
	if err != nil {
		return nil, err
	}
	s, err := readArchive(ctx, ref, o, f, info.Size())
	if err != nil {
		f.Close()
		return nil, err
	}
	inner := s.close
	s.close = func() error {
		inner()
		return f.Close()
	}
	return s, nil
}

// readArchive opens the archive in size bytes of f, which may be compressed.
func readArchive(ctx context.Context, ref Ref, o Options, f io.ReaderAt, size int64) (*Source, error) {
	head := make([]byte, 4)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var x *tarIndex
	if open := decompressor(ctx, head[:n], f, size); open != nil {
		x, err = indexStreamTar(open)
		if err != nil && classify(err) == ErrOther {
			err = failf(ErrInvalid, "compressed archive is damaged: %w", err)
		}
	} else {
		x, err = indexFileTar(io.NewSectionReader(f, 0, size), f)
	}
	if err != nil {
		return nil, err
	}
	return x.source(ctx, ref, o)
}

func decompressor(ctx context.Context, head []byte, f io.ReaderAt, size int64) func() (io.ReadCloser, error) {
	stored := func() io.Reader {
		return bufio.NewReaderSize(&contextReader{ctx: ctx, r: io.NewSectionReader(f, 0, size)}, 256<<10)
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return func() (io.ReadCloser, error) { return gzip.NewReader(stored()) }
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return func() (io.ReadCloser, error) {
			z, err := zstd.NewReader(stored(), zstd.WithDecoderMaxWindow(maxZstdWindow), zstd.WithDecoderLowmem(true))
			if err != nil {
				return nil, err
			}
			return z.IOReadCloser(), nil
		}
	}
	return nil
}

// source finds the image in an archive of either form: newer engines write an
// OCI layout with a manifest.json beside it, older ones manifest.json only.
func (x *tarIndex) source(ctx context.Context, ref Ref, o Options) (*Source, error) {
	s, err := x.choose(ctx, ref, o)
	if err != nil {
		return nil, err
	}
	s.close = func() error {
		if x.streams != nil {
			x.streams.close()
		}
		return nil
	}
	if x.streams != nil {
		s.readOrder = x.order(s.img)
		for rank, i := range s.readOrder {
			s.img.layers[i].serial, s.img.layers[i].rank = true, rank
		}
	}
	return s, nil
}

func (x *tarIndex) choose(ctx context.Context, ref Ref, o Options) (*Source, error) {
	if x.has(indexFile) && x.has(layoutFile) {
		raw, err := x.document(indexFile, MaxIndexSize)
		if err != nil {
			return nil, err
		}
		index, err := parseIndex(bytes.NewReader(raw))
		if err != nil {
			return nil, err
		}
		// No second try by manifest.json: it would give the same image another digest.
		d, err := findInIndex(index, ref.tag, "", o)
		if err != nil {
			return nil, err
		}
		return openBlobs(ctx, ref, o, d, x.blob)
	}
	items, err := x.items()
	if err != nil {
		return nil, err
	}
	item, err := findItem(items, ref.tag)
	if err != nil {
		return nil, err
	}
	img, err := x.legacyImage(item, o)
	if err != nil {
		return nil, err
	}
	img.attach(ctx, ref, newProgress(o.Progress))
	return &Source{ref: ref, img: img}, nil
}

func (x *tarIndex) items() ([]archiveItem, error) {
	if !x.has(manifestFile) {
		if x.has("repositories") {
			return nil, failf(ErrUnsupported, "archive is of the format before Docker 1.10; save it again with a newer engine")
		}
		return nil, failf(ErrInvalid, "archive has neither %s nor %s: it is no image, or its end is missing", manifestFile, indexFile)
	}
	raw, err := x.document(manifestFile, MaxManifestSize)
	if err != nil {
		return nil, err
	}
	var items []archiveItem
	if err := json.Unmarshal(raw, &items); err != nil {
		return nil, failf(ErrInvalid, "%s is not valid: %w", manifestFile, err)
	}
	return items, nil
}

func findItem(items []archiveItem, tag string) (archiveItem, error) {
	var names []string
	for _, it := range items {
		for _, t := range it.RepoTags {
			full, err := normalName(t)
			if err != nil {
				full = t
			}
			if tag != "" && full == tag {
				return it, nil
			}
			names = append(names, full)
		}
	}
	have := "it names none"
	if len(names) > 0 {
		slices.Sort(names)
		have = "it has " + strings.Join(names, ", ")
	}
	switch {
	case len(items) == 0:
		return archiveItem{}, failf(ErrInvalid, "%s lists no image", manifestFile)
	case tag != "":
		return archiveItem{}, failf(ErrNoTag, "archive has no image %q; %s", tag, have)
	case len(items) > 1:
		return archiveItem{}, failf(ErrNoTag, "archive has %d images, name one after the file: %s", len(items), have)
	}
	return items[0], nil
}

// blob opens blobs/ALGORITHM/HEX of an archive that is an OCI layout.
func (x *tarIndex) blob(d v1.Descriptor) layerOpener {
	return func() (io.ReadCloser, error) {
		e, err := x.find(blobsDir + "/" + d.Digest.Algorithm + "/" + d.Digest.Hex)
		if err != nil {
			return nil, err
		}
		if e.size != d.Size {
			return nil, failf(ErrDigest, "blob %s has %d bytes, wanted %d", d.Digest, e.size, d.Size)
		}
		return x.open(e)
	}
}

// legacyImage makes the manifest that such an archive lacks. Layers are named by
// the digest of their stored bytes: for uncompressed ones that is the diff id,
// which the configuration gives and each reading verifies.
func (x *tarIndex) legacyImage(item archiveItem, o Options) (*storedImage, error) {
	config, err := x.document(item.Config, MaxConfigSize)
	if err != nil {
		return nil, err
	}
	id, _, err := v1.SHA256(bytes.NewReader(config))
	if err != nil {
		return nil, err
	}
	if stem := strings.TrimSuffix(item.Config[strings.LastIndexByte(item.Config, '/')+1:], ".json"); len(stem) == len(id.Hex) && stem != id.Hex {
		return nil, failf(ErrDigest, "configuration: wanted digest sha256:%s, seen %s", stem, id)
	}
	var info configInfo
	if err := json.Unmarshal(config, &info); err != nil {
		return nil, failf(ErrInvalid, "configuration %s is not valid: %w", item.Config, err)
	}
	if len(info.RootFS.DiffIDs) != len(item.Layers) {
		return nil, failf(ErrInvalid, "configuration lists %d layers, %s %d", len(info.RootFS.DiffIDs), manifestFile, len(item.Layers))
	}
	entries := make([]*tarEntry, len(item.Layers))
	m := v1.Manifest{
		SchemaVersion: 2, MediaType: types.DockerManifestSchema2, Layers: []v1.Descriptor{},
		Config: v1.Descriptor{MediaType: types.DockerConfigJSON, Size: int64(len(config)), Digest: id},
	}
	oci := false
	for i, name := range item.Layers {
		e, err := x.find(name)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		d, err := x.describe(e, info.RootFS.DiffIDs[i])
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		oci = oci || d.MediaType == types.OCILayerZStd
		m.Layers = append(m.Layers, d)
		entries[i] = e
	}
	if oci {
		m.MediaType, m.Config.MediaType = types.OCIManifestSchema1, types.OCIConfigJSON
		for i := range m.Layers {
			m.Layers[i].MediaType = ociLayerType(m.Layers[i].MediaType)
		}
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	img, err := newImage(raw, m.MediaType, config, o, func(i int, _ v1.Descriptor) layerOpener {
		return func() (io.ReadCloser, error) { return x.open(entries[i]) }
	})
	if err != nil {
		return nil, err
	}
	for _, l := range img.layers {
		l.checkDiffID = !plainLayer(l.desc.MediaType)
	}
	return img, nil
}

func (x *tarIndex) describe(e *tarEntry, diffID v1.Hash) (v1.Descriptor, error) {
	head, _, err := x.probe(e, false)
	if err != nil {
		return v1.Descriptor{}, err
	}
	d := v1.Descriptor{MediaType: types.DockerUncompressedLayer, Size: e.size, Digest: diffID}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		d.MediaType = types.DockerLayer
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}) || skippableFrame(head):
		d.MediaType = types.OCILayerZStd
	default:
		if e.digest != (v1.Hash{}) && e.digest != diffID {
			return v1.Descriptor{}, failf(ErrDigest, "wanted diff id %s, seen %s", diffID, e.digest)
		}
		return d, nil
	}
	_, d.Digest, err = x.probe(e, true)
	return d, err
}

func ociLayerType(mt types.MediaType) types.MediaType {
	switch mt {
	case types.DockerUncompressedLayer:
		return types.OCIUncompressedLayer
	case types.DockerLayer:
		return types.OCILayer
	}
	return mt
}

// order sorts the layers by their place in the stream.
func (x *tarIndex) order(img *storedImage) []int {
	place := map[v1.Hash]int{}
	for _, e := range x.entries {
		place[e.digest] = e.order
	}
	order := make([]int, len(img.layers))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return place[img.layers[a].desc.Digest] - place[img.layers[b].desc.Digest]
	})
	return order
}
