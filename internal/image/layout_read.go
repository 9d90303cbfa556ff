package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Names of the OCI image layout specification.
const (
	layoutFile    = "oci-layout"
	indexFile     = "index.json"
	blobsDir      = "blobs"
	layoutVersion = `{"imageLayoutVersion":"1.0.0"}`

	refNameKey        = "org.opencontainers.image.ref.name"
	containerdNameKey = "io.containerd.image.name"
)

func openLayout(ctx context.Context, ref Ref, o Options) (*Source, error) {
	index, err := readLayoutIndex(ref.path)
	if err != nil {
		return nil, err
	}
	d, err := findInIndex(index, ref.tag, ref.digest, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref.path, err)
	}
	blob := func(d v1.Descriptor) layerOpener {
		return func() (io.ReadCloser, error) { return openLayoutBlob(ref.path, d) }
	}
	return openBlobs(ctx, ref, o, d, blob)
}

// openBlobs builds a source over any store of blobs, starting at a manifest or
// index.
func openBlobs(ctx context.Context, ref Ref, o Options, top v1.Descriptor, blob func(v1.Descriptor) layerOpener) (*Source, error) {
	fetch := func(d v1.Descriptor) ([]byte, types.MediaType, error) {
		b, err := readBlob(blob(d), d, MaxManifestSize, "manifest")
		return b, d.MediaType, err
	}
	raw, mt, err := fetch(top)
	if err != nil {
		return nil, err
	}
	raw, mt, fromIndex, err := resolve(raw, mt, o, fetch)
	if err != nil {
		return nil, err
	}
	m, _, err := checkManifest(raw, mt)
	if err != nil {
		return nil, err
	}
	config, err := readBlob(blob(m.Config), m.Config, MaxConfigSize, "configuration")
	if err != nil {
		return nil, err
	}
	img, err := newImage(raw, mt, config, o, func(_ int, d v1.Descriptor) layerOpener { return blob(d) })
	if err != nil {
		return nil, err
	}
	img.attach(ctx, ref, newProgress(o.Progress))
	s := &Source{ref: ref, img: img}
	if fromIndex {
		s.indexDigest = top.Digest
	}
	return s, nil
}

func readLayoutIndex(dir string) (*v1.IndexManifest, error) {
	f, err := os.Open(filepath.Join(dir, indexFile))
	if errors.Is(err, fs.ErrNotExist) {
		if _, serr := os.Stat(dir); errors.Is(serr, fs.ErrNotExist) {
			return nil, failf(ErrNoName, "folder %s does not exist", dir)
		}
		return nil, failf(ErrNoName, "folder %s is no OCI layout: it has no %s", dir, indexFile)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseIndex(f)
}

// parseIndex reads an index.json within its limit.
func parseIndex(r io.Reader) (*v1.IndexManifest, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxIndexSize+1))
	if err != nil {
		return nil, err
	}
	if len(b) > MaxIndexSize {
		return nil, failf(ErrTooLarge, "%s has more than %d bytes", indexFile, MaxIndexSize)
	}
	index := new(v1.IndexManifest)
	if err := json.Unmarshal(b, index); err != nil {
		return nil, failf(ErrInvalid, "%s is not valid: %w", indexFile, err)
	}
	return index, nil
}

// findInIndex chooses the entry that a tag or digest names. Without either there
// must be one image only, or several of which one fits the platform.
func findInIndex(index *v1.IndexManifest, tag, digest string, o Options) (v1.Descriptor, error) {
	var found []v1.Descriptor
	var names []string
	for _, d := range index.Manifests {
		entry := entryNames(d)
		switch {
		case digest != "":
			if d.Digest.String() == digest {
				return d, nil
			}
		case tag != "":
			if slices.Contains(entry, tag) {
				found = append(found, d)
			}
		case isImageEntry(d):
			found = append(found, d)
		}
		for _, n := range entry[:min(1, len(entry))] {
			if !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	have := "it names none"
	if len(names) > 0 {
		have = "it has " + strings.Join(names, ", ")
	}
	switch {
	case digest != "":
		return v1.Descriptor{}, failf(ErrNoTag, "index has no manifest %s", digest)
	case len(found) == 0 && tag != "":
		return v1.Descriptor{}, failf(ErrNoTag, "index has no image %q; %s", tag, have)
	case len(found) == 0:
		return v1.Descriptor{}, failf(ErrNoTag, "index holds no image")
	case len(found) == 1:
		return found[0], nil
	case sameDigest(found):
		return found[0], nil
	case tag == "" && len(names) > 1:
		return v1.Descriptor{}, failf(ErrNoTag, "index has several images, name one: %s", have)
	}
	return pickFrom(found, o)
}

func sameDigest(ds []v1.Descriptor) bool {
	return !slices.ContainsFunc(ds, func(d v1.Descriptor) bool { return d.Digest != ds[0].Digest })
}

// entryNames are the names an index entry answers to. Engines write the tag
// under one key and the whole name under another.
func entryNames(d v1.Descriptor) []string {
	var out []string
	for _, key := range []string{containerdNameKey, refNameKey} {
		n := d.Annotations[key]
		if n == "" {
			continue
		}
		out = append(out, n)
		if full, err := normalName(n); err == nil && strings.ContainsAny(n, ":/") && full != n {
			out = append(out, full)
		}
	}
	return out
}

func blobPath(dir string, h v1.Hash) string {
	return filepath.Join(dir, blobsDir, h.Algorithm, h.Hex)
}

func openLayoutBlob(dir string, d v1.Descriptor) (io.ReadCloser, error) {
	path := blobPath(dir, d.Digest)
	// A FIFO would block for ever.
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, failf(ErrInvalid, "the layout lacks blob %s", d.Digest)
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, failf(ErrInvalid, "%s is no regular file", path)
	}
	return os.Open(path)
}
