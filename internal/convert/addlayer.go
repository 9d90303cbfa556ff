package convert

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"

	"hitoku.dev/measure/workload"
)

// addedLayer is a gzipped tar in memory or, when it can be large, in a temporary file.
type addedLayer struct {
	stored         *io.SectionReader
	digest, diffID v1.Hash
	expanded       int64
	mediaType      types.MediaType
	what           string // for the image's history
}

func (l *addedLayer) Digest() (v1.Hash, error)            { return l.digest, nil }
func (l *addedLayer) DiffID() (v1.Hash, error)            { return l.diffID, nil }
func (l *addedLayer) Size() (int64, error)                { return l.stored.Size(), nil }
func (l *addedLayer) MediaType() (types.MediaType, error) { return l.mediaType, nil }

func (l *addedLayer) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(l.open()), nil
}

func (l *addedLayer) Uncompressed() (io.ReadCloser, error) {
	return gzip.NewReader(l.open())
}

func (l *addedLayer) open() io.Reader { return io.NewSectionReader(l.stored, 0, l.stored.Size()) }

// ownFiles are what /.hitoku holds. The manifest is written twice, once to be
// hashed and once here, so that it need not be in memory.
type ownFiles struct {
	guest        []byte
	manifestSize int64
	measurement  [32]byte
	manifest     func(w io.Writer) error
	sigstruct    []byte
}

// buildLayer makes an added layer in memory.
func buildLayer(list []layerEntry, mt types.MediaType, what string) (*addedLayer, error) {
	var out bytes.Buffer
	size := int64(0)
	for i := range list {
		size += list[i].ino.size
	}
	out.Grow(int(min(size/3, 64<<20)))
	l, err := writeLayer(&out, list, mt, what)
	if err != nil {
		return nil, err
	}
	stored := slices.Clip(out.Bytes())
	l.stored = io.NewSectionReader(bytes.NewReader(stored), 0, int64(len(stored)))
	return l, nil
}

// buildLayerIn makes an added layer in a file.
func buildLayerIn(f *os.File, list []layerEntry, mt types.MediaType, what string) (*addedLayer, error) {
	l, err := writeLayer(f, list, mt, what)
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	l.stored = io.NewSectionReader(f, 0, size)
	return l, nil
}

// writeLayer writes an added layer: entries sorted by path, owner root where
// nothing else is said, no times, one way to write each header.
func writeLayer(to io.Writer, list []layerEntry, mt types.MediaType, what string) (*addedLayer, error) {
	sum, stored := &countingHash{Hash: sha256.New()}, sha256.New()
	z, err := gzip.NewWriterLevel(io.MultiWriter(to, stored), 6)
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(io.MultiWriter(z, sum))
	for _, e := range list {
		if err := e.write(w); err != nil {
			return nil, fmt.Errorf("added layer: %s: %w", e.path, err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		return nil, fmt.Errorf("added layer: %w", err)
	}
	return &addedLayer{
		digest:    v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(stored.Sum(nil))},
		diffID:    v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))},
		expanded:  sum.n,
		mediaType: mt,
		what:      what,
	}, nil
}

type countingHash struct {
	hash.Hash
	n int64
}

func (c *countingHash) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return c.Hash.Write(p)
}

// layerEntry is one entry of the added layer; body writes its content.
type layerEntry struct {
	path string
	ino  *inode
	body func(w io.Writer) error
}

// entries are the files of /.hitoku, and the folder.
func (own *ownFiles) entries() []layerEntry {
	return []layerEntry{
		{workload.Dir, impliedFolder(), nil},
		fileEntry(workload.GuestPath, 0o555, own.guest),
		{workload.ManifestPath, &inode{kind: kindFile, mode: 0o444, size: own.manifestSize}, own.writeManifest},
		fileEntry(workload.SigstructPath, 0o444, own.sigstruct),
	}
}

func fileEntry(path string, mode uint16, content []byte) layerEntry {
	return layerEntry{path, &inode{kind: kindFile, mode: mode, size: int64(len(content))}, bytesOf(content)}
}

func bytesOf(b []byte) func(io.Writer) error {
	return func(w io.Writer) error { _, err := w.Write(b); return err }
}

// withAdditions joins what the conversion adds by itself with its changes outside of
// /.hitoku, in the order of a layer.
func withAdditions(list []layerEntry, adds []addition) []layerEntry {
	for _, a := range adds {
		e := layerEntry{path: a.path, ino: a.ino}
		if a.ino.kind == kindFile {
			e.body = bytesOf(a.content)
		}
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b layerEntry) int { return strings.Compare(a.path, b.path) })
	return list
}

// writeManifest writes the manifest and makes sure that it is the one measured.
func (own *ownFiles) writeManifest(w io.Writer) error {
	h := sha256.New()
	if err := own.manifest(io.MultiWriter(w, h)); err != nil {
		return err
	}
	if [32]byte(h.Sum(nil)) != own.measurement {
		return errors.New("the manifest changed between two writings")
	}
	return nil
}

func (e *layerEntry) write(w *tar.Writer) error {
	h := &tar.Header{
		Name: strings.TrimPrefix(e.path, "/"), Mode: int64(e.ino.mode), Uid: int(e.ino.uid), Gid: int(e.ino.gid),
		ModTime: time.Unix(0, 0), Typeflag: tar.TypeReg, Size: e.ino.size,
	}
	switch e.ino.kind {
	case kindDir:
		h.Typeflag, h.Size = tar.TypeDir, 0
		h.Name = path.Clean(h.Name) + "/"
	case kindSymlink:
		h.Typeflag, h.Size, h.Linkname = tar.TypeSymlink, 0, e.ino.link
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	if e.body == nil {
		return nil
	}
	return e.body(w)
}
