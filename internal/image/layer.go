package image

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layerOpener gives the stored bytes of a layer, not yet verified.
type layerOpener func() (io.ReadCloser, error)

// storedLayer is a v1.Layer whose Compressed gives the stored bytes, whatever
// their compression, and whose Uncompressed finds the compression by itself.
type storedLayer struct {
	desc   v1.Descriptor
	diffID v1.Hash
	open   layerOpener
	// checkDiffID is set where desc.Digest was computed from the bytes
	// themselves, so that only the diff id can show damage.
	checkDiffID bool
	// serial is set where layers come from one stream, at place rank of it.
	serial   bool
	rank     int
	ctx      context.Context
	ref      Ref
	progress *progress
}

func (l *storedLayer) Digest() (v1.Hash, error)            { return l.desc.Digest, nil }
func (l *storedLayer) DiffID() (v1.Hash, error)            { return l.diffID, nil }
func (l *storedLayer) Size() (int64, error)                { return l.desc.Size, nil }
func (l *storedLayer) MediaType() (types.MediaType, error) { return l.desc.MediaType, nil }
func (l *storedLayer) Descriptor() (*v1.Descriptor, error) { return l.desc.DeepCopy(), nil }
func (l *storedLayer) wrap(err error) error                { return wrapError(l.ctx, l.ref, Pull, err) }

// Compressed returns the stored bytes. The last Read fails with an *Error of
// kind ErrDigest or ErrTruncated unless they have the layer's digest and size.
func (l *storedLayer) Compressed() (io.ReadCloser, error) {
	rc, err := l.open()
	if err != nil {
		return nil, l.wrap(fmt.Errorf("layer %s: %w", l.desc.Digest, err))
	}
	v, err := newVerifier(rc, l.desc.Digest, l.desc.Size)
	if err != nil {
		rc.Close()
		return nil, l.wrap(err)
	}
	v.wrap = l.wrap
	v.count = l.progress.counter(Pull, "layer", l.desc.Digest.String(), l.desc.Size)
	return v, nil
}

// Uncompressed returns the layer's tar. Everything that Compressed verifies is
// verified when Read gives io.EOF.
func (l *storedLayer) Uncompressed() (io.ReadCloser, error) {
	stored, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(stored, 64<<10)
	head, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		stored.Close()
		return nil, err
	}
	u := &uncompressed{layer: l, stored: stored, rest: in}
	if u.plain, u.closePlain, err = Decompress(head, in, 2); err != nil {
		u.Close()
		return nil, l.wrap(failf(ErrInvalid, "layer %s is %w", l.desc.Digest, err))
	}
	if l.checkDiffID {
		if u.check, err = v1.Hasher(l.diffID.Algorithm); err != nil {
			u.Close()
			return nil, l.wrap(err)
		}
	}
	return u, nil
}

type uncompressed struct {
	layer      *storedLayer
	stored     io.Closer
	rest       io.Reader // what the decompressor reads from
	plain      io.Reader
	closePlain func()
	check      hash.Hash
	err        error
}

func (u *uncompressed) Read(p []byte) (int, error) {
	if u.err != nil {
		return 0, u.err
	}
	n, err := u.plain.Read(p)
	if u.check != nil {
		u.check.Write(p[:n])
	}
	if err != nil {
		u.err = u.finish(err)
	}
	return n, u.err
}

// finish reads the stored bytes to their end, because a decompressor stops
// before it, and because damage is better told as a wrong digest than as what
// the decompressor makes of it.
func (u *uncompressed) finish(err error) error {
	var done *Error
	if errors.As(err, &done) {
		return err
	}
	if _, drained := io.Copy(io.Discard, u.rest); drained != nil {
		return drained
	}
	if !errors.Is(err, io.EOF) {
		return u.layer.wrap(failf(ErrInvalid, "layer %s cannot be decompressed: %w", u.layer.desc.Digest, err))
	}
	if u.check != nil {
		if seen := fmt.Sprintf("%x", u.check.Sum(nil)); seen != u.layer.diffID.Hex {
			return u.layer.wrap(failf(ErrDigest, "layer: wanted diff id %s, seen %s:%s", u.layer.diffID, u.layer.diffID.Algorithm, seen))
		}
	}
	return io.EOF
}

func (u *uncompressed) Close() error {
	if u.closePlain != nil {
		u.closePlain()
		u.closePlain = nil
	}
	return u.stored.Close()
}

// verifier passes bytes through and turns the end into an error unless size and
// digest are right. It never passes more than size bytes.
type verifier struct {
	rc    io.ReadCloser
	want  v1.Hash
	size  int64
	seen  int64
	hash  hash.Hash
	wrap  func(error) error
	count func(n int, done bool)
	err   error
}

func newVerifier(rc io.ReadCloser, want v1.Hash, size int64) (*verifier, error) {
	h, err := v1.Hasher(want.Algorithm)
	if err != nil {
		return nil, failf(ErrUnsupported, "%w", err)
	}
	return &verifier{
		rc: rc, want: want, size: size, hash: h,
		wrap: func(err error) error { return err }, count: func(int, bool) {},
	}, nil
}

func (v *verifier) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	n, err := v.rc.Read(p)
	if over := v.seen + int64(n) - v.size; over > 0 {
		n -= int(over)
		v.err = v.wrap(failf(ErrDigest, "blob %s has more than its %d bytes", v.want, v.size))
	}
	v.hash.Write(p[:n])
	v.seen += int64(n)
	v.count(n, false)
	if v.err == nil && err != nil {
		v.err = v.end(err)
	}
	return n, v.err
}

func (v *verifier) end(err error) error {
	sum := fmt.Sprintf("%x", v.hash.Sum(nil))
	whole := v.seen == v.size
	// A client library that verifies too tells a wrong digest in its own words.
	ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "error verifying")
	switch {
	case ended && whole && sum == v.want.Hex:
		v.count(0, true)
		return io.EOF
	case ended && whole:
		return v.wrap(failf(ErrDigest, "blob: wanted digest %s, seen %s:%s", v.want, v.want.Algorithm, sum))
	case ended:
		return v.wrap(failf(ErrTruncated, "blob %s ends after %d of %d bytes", v.want, v.seen, v.size))
	}
	return v.wrap(fmt.Errorf("blob %s after %d of %d bytes: %w", v.want, v.seen, v.size, err))
}

func (v *verifier) Close() error { return v.rc.Close() }
