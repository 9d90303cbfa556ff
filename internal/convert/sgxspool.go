package convert

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// spool has the contents of some files of an image, read once more from their layers, in one
// temporary file.
type spool struct {
	file *os.File
	at   map[*inode]int64
	held map[*inode][]byte // contents in memory already
}

// tempFile makes a file without a name: its descriptor keeps it.
func tempFile(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".hitoku-*")
	if err != nil {
		return nil, fail(KindCache, "temporary file: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// newSpool reads the contents of the files that are wanted into f.
func (r *rootfs) newSpool(ctx context.Context, f *os.File, wanted map[*inode]bool) (*spool, error) {
	s := &spool{file: f, at: map[*inode]int64{}, held: maps.Clone(r.contents)}
	for i, x := range r.indexes {
		names := map[string]*inode{}
		for j := range x.entries {
			if e := &x.entries[j]; e.ino.kind == kindFile && wanted[e.ino] && s.held[e.ino] == nil {
				names[e.path] = e.ino
			}
		}
		if len(names) == 0 {
			continue
		}
		if err := r.spill(ctx, r.layers[i], s, names); err != nil {
			return nil, err
		}
	}
	for ino := range wanted {
		if _, ok := s.at[ino]; !ok && s.held[ino] == nil && ino.size > 0 {
			return nil, fmt.Errorf("a file of %d bytes, SHA-256 %x, was not found when its layer was read again", ino.size, ino.hash)
		}
	}
	return s, nil
}

// spill reads a layer once more and keeps the contents of the named files.
func (r *rootfs) spill(ctx context.Context, l v1.Layer, s *spool, names map[string]*inode) error {
	again := &layerReader{limits: r.reread.limits}
	var failed error
	again.spill = func(path string, size int64) io.Writer {
		ino := names[path]
		if ino == nil || ino.size != size || failed != nil {
			return nil
		}
		at, err := s.file.Seek(0, io.SeekEnd)
		if err != nil {
			failed = err
			return nil
		}
		s.at[ino] = at // a later entry of the same name takes the earlier one's place
		return s.file
	}
	if _, err := again.read(ctx, l); err != nil {
		return err
	}
	return failed
}

// open gives a file's content, which is checked as it is read.
func (s *spool) open(ino *inode) io.Reader {
	var r io.Reader = bytes.NewReader(s.held[ino])
	if at, ok := s.at[ino]; ok {
		r = io.NewSectionReader(s.file, at, ino.size)
	}
	return &checkedReader{r: r, sum: sha256.New(), want: ino.hash}
}

// hold keeps a content that was made here.
func (s *spool) hold(ino *inode, content []byte) { s.held[ino] = content }

// checkedReader fails at the end when the content is not the one that was hashed before.
type checkedReader struct {
	r    io.Reader
	sum  hash.Hash
	want [32]byte
}

func (c *checkedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.sum.Write(p[:n])
	if err == io.EOF && [32]byte(c.sum.Sum(nil)) != c.want {
		err = fmt.Errorf("content with SHA-256 %x, wanted %x as read before", c.sum.Sum(nil), c.want)
	}
	return n, err
}
