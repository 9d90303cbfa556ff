package convert

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hitoku.dev/internal/image"
)

// Limits bound what an image may cost before it is refused. Zero values mean the
// defaults.
type Limits struct {
	// Entries of one layer, and of the merged root file system. Default and most: 1,000,000.
	Entries int
	// Bytes of all layers, decompressed and with holes filled. Default 256 GiB.
	Bytes int64
	// Ratio is how many times larger than its compressed form a layer may be once
	// it is beyond ratioFree. Default 250.
	Ratio int64
}

// ratioFree is how far a layer may expand whatever its ratio.
const ratioFree = 1 << 30

func (l Limits) withDefaults() Limits {
	if l.Entries == 0 {
		l.Entries = 1_000_000
	}
	if l.Bytes == 0 {
		l.Bytes = 256 << 30
	}
	if l.Ratio == 0 {
		l.Ratio = 250
	}
	return l
}

// layerIndex is what is known of a layer after reading it once: the folder that
// unpacking it would give, with hashes for contents.
type layerIndex struct {
	diffID   v1.Hash
	size     int64 // stored bytes
	expanded int64 // bytes of the tar
	entries  []entry
	contents map[*inode][]byte // of the files that keep chose
	// sniffed is set when facts has what files say about others; see closure.Sniffer.
	sniffed bool
	facts   map[*inode][]byte
}

// sniffer looks at a file's content while it streams by.
type sniffer interface {
	io.Writer
	Facts() []byte
}

// layerReader reads layers of one image under common limits.
type layerReader struct {
	limits Limits
	used   atomic.Int64                       // bytes against limits.Bytes
	keep   func(path string, size int64) bool // whose content is kept
	// sniff gives the sniffer of a file, nil for none; nil where nobody asks for facts.
	sniff func(path string, size int64) sniffer
	// spill gives where a file's content is copied to, nil for nowhere; may be nil.
	spill func(path string, size int64) io.Writer
	count func(digest v1.Hash, stored int) // progress; may be nil
}

// read makes the index of l: digest, diff id, tree and file hashes in one pass,
// with reading, decompression, the two whole-stream hashes and the file hashes
// in goroutines of their own.
func (r *layerReader) read(ctx context.Context, l v1.Layer) (*layerIndex, error) {
	digest, err := l.Digest()
	if err != nil {
		return nil, err
	}
	diffID, err := l.DiffID()
	if err != nil {
		return nil, err
	}
	size, err := l.Size()
	if err != nil {
		return nil, err
	}
	stored, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	src := &watched{ctx: ctx, r: stored, count: func(n int) {
		if r.count != nil {
			r.count(digest, n)
		}
	}}
	compressed := newPump(src, nil)
	closers := []func(){func() { compressed.Close() }}
	defer func() {
		src.stop.Store(true)
		stored.Close() // first, so that nobody waits for the network
		for _, c := range slices.Backward(closers) {
			c()
		}
	}()
	plain, closePlain, err := decompress(compressed)
	if err != nil {
		return nil, layerError(digest, drained(compressed, err))
	}
	sum := sha256.New()
	limited := &expandLimit{r: plain, rest: compressed, used: &r.used, limits: r.limits, stored: size}
	expanded := newPump(limited, sum)
	closers = append(closers, closePlain, func() { expanded.Close() })

	idx := &layerIndex{diffID: diffID, size: size, contents: map[*inode][]byte{}, sniffed: r.sniff != nil, facts: map[*inode][]byte{}}
	if err := r.parse(expanded, idx); err != nil {
		return nil, layerError(digest, err)
	}
	expanded.wait()
	idx.expanded = limited.seen
	if seen := fmt.Sprintf("%x", sum.Sum(nil)); diffID.Algorithm != "sha256" || seen != diffID.Hex {
		return nil, layerError(digest, &failure{
			KindLayer, fmt.Errorf("wanted diff id %s, seen sha256:%s", diffID, seen),
			"the image's configuration does not belong to its layers, and no engine runs it: build or push it again",
		})
	}
	return idx, nil
}

// parse reads a layer's tar to the last byte.
func (r *layerReader) parse(src io.Reader, idx *layerIndex) error {
	x := newExtractor(r.limits.Entries)
	hasher := newFileHasher()
	closed := false
	defer func() {
		if !closed {
			hasher.close()
		}
	}()
	tr := tar.NewReader(src)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return drained(src, err)
		}
		ino, path, err := x.add(h)
		if err != nil {
			return err
		}
		if ino == nil {
			continue
		}
		if h.Typeflag == tar.TypeGNUSparse || isSparse(h) {
			if err := charge(&r.used, ino.size, r.limits); err != nil {
				return fmt.Errorf("entry %q: %w", short(h.Name), err)
			}
		}
		var tees []io.Writer
		var kept *bytes.Buffer
		if r.keep != nil && r.keep(path, ino.size) {
			kept = new(bytes.Buffer)
			tees = append(tees, kept)
		}
		var nose sniffer
		if r.sniff != nil {
			if nose = r.sniff(path, ino.size); nose != nil {
				tees = append(tees, nose)
			}
		}
		if r.spill != nil {
			if w := r.spill(path, ino.size); w != nil {
				tees = append(tees, w)
			}
		}
		if err := hasher.file(ino, tr, tee(tees)); err != nil {
			return drained(src, fmt.Errorf("entry %q: %w", short(h.Name), err))
		}
		if kept != nil {
			idx.contents[ino] = kept.Bytes()
		}
		if nose != nil {
			if f := nose.Facts(); len(f) > 0 {
				idx.facts[ino] = f
			}
		}
	}
	hasher.close()
	closed = true
	// What follows the end mark belongs to the digests though engines ignore it.
	if _, err := io.Copy(io.Discard, src); err != nil {
		return err
	}
	idx.entries = x.entries()
	return nil
}

func tee(to []io.Writer) io.Writer {
	switch len(to) {
	case 0:
		return nil
	case 1:
		return to[0]
	}
	return io.MultiWriter(to...)
}

// isSparse recognises the PAX forms of sparse files, whose holes take no room in the archive.
func isSparse(h *tar.Header) bool {
	for k := range h.PAXRecords {
		if len(k) > 11 && k[:11] == "GNU.sparse." {
			return true
		}
	}
	return false
}

// decompress looks at the first bytes and leaves them to be read.
func decompress(in *pump) (io.Reader, func(), error) {
	if err := in.next(); err != nil && err != io.EOF {
		return nil, nil, err
	}
	if head := in.rest; bytes.HasPrefix(head, []byte("BZh")) || bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z'}) {
		return nil, nil, errors.New("compressed with bzip2 or xz; gzip, zstd and plain tar are read")
	}
	return image.Decompress(in.rest, in, 1)
}

// watched passes on what it reads until the context ends.
type watched struct {
	ctx   context.Context
	r     io.Reader
	count func(n int)
	stop  atomic.Bool
}

func (w *watched) Read(p []byte) (int, error) {
	if err := context.Cause(w.ctx); err != nil {
		return 0, err
	}
	if w.stop.Load() {
		return 0, io.ErrClosedPipe
	}
	n, err := w.r.Read(p)
	w.count(n)
	return n, err
}

// expandLimit counts what comes out of a decompressor, and at its end reads the
// stored bytes to theirs, since only there a wrong digest shows.
type expandLimit struct {
	r      io.Reader
	rest   io.Reader
	used   *atomic.Int64
	limits Limits
	stored int64
	seen   int64
}

func (e *expandLimit) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	e.seen += int64(n)
	if over := charge(e.used, int64(n), e.limits); over != nil {
		return 0, over
	}
	if e.seen > ratioFree && e.seen/e.limits.Ratio > e.stored {
		return 0, &failure{
			KindLimit, fmt.Errorf("%d bytes expand to more than %d times as many", e.stored, e.limits.Ratio),
			"raise the limit with --max-ratio if the layer is really like that",
		}
	}
	if err == io.EOF {
		if _, late := io.Copy(io.Discard, e.rest); late != nil {
			return n, late
		}
		return n, io.EOF
	}
	if err != nil {
		return n, drained(e.rest, err)
	}
	return n, nil
}

func charge(used *atomic.Int64, n int64, l Limits) error {
	if used.Add(n) > l.Bytes || n > l.Bytes {
		return &failure{
			KindLimit, fmt.Errorf("the image's layers have more than %d bytes", l.Bytes),
			"raise the limit with --max-size if the image is really that large",
		}
	}
	return nil
}

// drained prefers the reason that the source gives at its end: a damaged layer
// is better told as a wrong digest than as what a parser makes of it.
func drained(rest io.Reader, err error) error {
	var limit *failure
	var pull *image.Error
	if errors.As(err, &limit) || errors.As(err, &pull) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if _, late := io.Copy(io.Discard, rest); late != nil && !errors.Is(late, io.ErrClosedPipe) && late != err {
		return late
	}
	return err
}

// failure is a cause inside a layer, before the layer's digest is put before it.
type failure struct {
	kind   ErrorKind
	err    error
	advice string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func layerError(digest v1.Hash, err error) error {
	e := &Error{Kind: KindLayer, Advice: "the layer is damaged or hostile: no engine unpacks it"}
	var f *failure
	var pull *image.Error
	switch {
	case errors.As(err, &pull), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &f):
		e.Kind, e.Advice = f.kind, f.advice
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("truncated: %w", err)
	}
	e.Err = fmt.Errorf("layer %s: %w", digest, err)
	return e
}
