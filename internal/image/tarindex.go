package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Bounds of an image archive: entries, bytes of all JSON documents kept while
// streaming, and links followed for one name.
const (
	maxArchiveEntries   = 1 << 16
	maxArchiveDocuments = 32 << 20
	maxArchiveLinks     = 8
)

// tarEntry is a file or link in an image archive.
type tarEntry struct {
	name  string
	link  string // target, cleaned, of a symbolic or hard link
	order int
	size  int64
	at    int64 // where the content starts; -1 in a stream
	// In a stream only: what one reading found.
	head   []byte
	digest v1.Hash
	body   []byte // documents
}

// tarIndex lists an image archive. Its names are keys of a map and nothing else:
// no path of the archive ever reaches the file system.
type tarIndex struct {
	entries map[string]*tarEntry
	file    io.ReaderAt  // random access, or
	streams *tarSessions // the same archive read again and again
}

// indexFileTar lists an uncompressed archive without reading layers.
func indexFileTar(r io.ReadSeeker, at io.ReaderAt) (*tarIndex, error) {
	x := &tarIndex{entries: map[string]*tarEntry{}, file: at}
	return x, x.scan(tar.NewReader(r), func(_ *tar.Reader, e *tarEntry) error {
		pos, err := r.Seek(0, io.SeekCurrent)
		e.at = pos
		return err
	})
}

// indexStreamTar reads the archive once from end to end, hashing what it holds
// and keeping its JSON documents.
func indexStreamTar(open func() (io.ReadCloser, error)) (*tarIndex, error) {
	x := &tarIndex{entries: map[string]*tarEntry{}, streams: &tarSessions{open: open}}
	rc, err := open()
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	documents := int64(0)
	err = x.scan(tar.NewReader(rc), func(tr *tar.Reader, e *tarEntry) error {
		e.at = -1
		h := sha256.New()
		var w io.Writer = h
		head := make([]byte, 4)
		n, err := io.ReadFull(tr, head)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		e.head = head[:n]
		var keep *bytes.Buffer
		if n > 0 && (head[0] == '{' || head[0] == '[') && e.size <= MaxConfigSize {
			if documents += e.size; documents > maxArchiveDocuments {
				return failf(ErrTooLarge, "archive holds more than %d bytes of JSON", maxArchiveDocuments)
			}
			keep = new(bytes.Buffer)
			w = io.MultiWriter(h, keep)
		}
		w.Write(e.head)
		if _, err := io.Copy(w, tr); err != nil {
			return err
		}
		e.digest = v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
		if keep != nil {
			e.body = keep.Bytes()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	// What follows the archive's end must be read too: a compressed stream has its
	// check sum there, and an engine tells a failure late.
	if _, err := io.Copy(io.Discard, rc); err != nil {
		return nil, err
	}
	return x, nil
}

func (x *tarIndex) scan(tr *tar.Reader, file func(*tar.Reader, *tarEntry) error) error {
	for order := 0; ; order++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if errors.Is(err, tar.ErrHeader) && order == 0 {
			return failf(ErrInvalid, "it is no tar file")
		}
		if err != nil {
			return tarError(err)
		}
		if order >= maxArchiveEntries {
			return failf(ErrTooLarge, "archive has more than %d entries", maxArchiveEntries)
		}
		e := &tarEntry{name: cleanName(h.Name), order: order, size: h.Size}
		switch h.Typeflag {
		case tar.TypeReg:
			if sparse(h) {
				return failf(ErrInvalid, "archive entry %q is sparse", h.Name)
			}
			if err := file(tr, e); err != nil {
				return tarError(err)
			}
		case tar.TypeSymlink:
			e.link = cleanName(path.Join(path.Dir(e.name), h.Linkname))
		case tar.TypeLink:
			e.link = cleanName(h.Linkname)
		default:
			continue
		}
		if _, twice := x.entries[e.name]; twice {
			return failf(ErrInvalid, "archive has two entries %q", h.Name)
		}
		x.entries[e.name] = e
	}
}

func sparse(h *tar.Header) bool {
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return true
		}
	}
	return false
}

func tarError(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return failf(ErrTruncated, "archive ends inside an entry: %w", err)
	}
	if errors.Is(err, tar.ErrHeader) {
		return failf(ErrInvalid, "archive is damaged: %w", err)
	}
	return err
}

func cleanName(s string) string { return strings.TrimPrefix(path.Clean("/"+s), "/") }

// find follows links to the entry that holds the bytes.
func (x *tarIndex) find(name string) (*tarEntry, error) {
	at := cleanName(name)
	for range maxArchiveLinks {
		e, ok := x.entries[at]
		if !ok {
			return nil, failf(ErrInvalid, "archive lacks %q", name)
		}
		if e.link == "" {
			return e, nil
		}
		at = e.link
	}
	return nil, failf(ErrInvalid, "archive entry %q is a chain of links without end", name)
}

func (x *tarIndex) has(name string) bool {
	_, err := x.find(name)
	return err == nil
}

// document reads a JSON document of the archive.
func (x *tarIndex) document(name string, limit int64) ([]byte, error) {
	e, err := x.find(name)
	if err != nil {
		return nil, err
	}
	if e.size > limit {
		return nil, failf(ErrTooLarge, "%s has %d bytes, at most %d are read", name, e.size, limit)
	}
	if e.body != nil {
		return e.body, nil
	}
	if x.file == nil {
		return nil, failf(ErrInvalid, "%s is no JSON document", name)
	}
	b := make([]byte, e.size)
	if _, err := x.file.ReadAt(b, e.at); err != nil && !(errors.Is(err, io.EOF) && e.size == 0) {
		return nil, fmt.Errorf("%s: %w", name, truncatedAt(err))
	}
	return b, nil
}

func truncatedAt(err error) error {
	if errors.Is(err, io.EOF) {
		return failf(ErrTruncated, "archive ends early")
	}
	return err
}

// open gives the bytes of an entry.
func (x *tarIndex) open(e *tarEntry) (io.ReadCloser, error) {
	if x.file != nil {
		return io.NopCloser(io.NewSectionReader(x.file, e.at, e.size)), nil
	}
	if e.body != nil {
		return io.NopCloser(bytes.NewReader(e.body)), nil
	}
	return x.streams.entry(e)
}

// probe tells how an entry begins and, when digest is wanted, its SHA-256.
func (x *tarIndex) probe(e *tarEntry, digest bool) (head []byte, sum v1.Hash, err error) {
	if x.file == nil {
		return e.head, e.digest, nil
	}
	head = make([]byte, min(4, e.size))
	if _, err := x.file.ReadAt(head, e.at); err != nil && !errors.Is(err, io.EOF) {
		return nil, v1.Hash{}, err
	}
	if digest {
		var n int64
		if sum, n, err = v1.SHA256(io.NewSectionReader(x.file, e.at, e.size)); err == nil && n < e.size {
			err = truncatedAt(io.EOF)
		}
	}
	return head, sum, err
}

// tarSessions reads entries of an archive that cannot be sought in. Entries read
// in the archive's order share one stream; each step back, and each entry read
// beside another, opens one more.
type tarSessions struct {
	open func() (io.ReadCloser, error)

	mu     sync.Mutex
	idle   []*tarSession
	closed bool
}

type tarSession struct {
	tr   *tar.Reader
	rc   io.ReadCloser
	next int // number of the entry that Next gives
}

func (s *tarSessions) entry(e *tarEntry) (io.ReadCloser, error) {
	for {
		t, fresh, err := s.take(e.order)
		if err != nil {
			return nil, err
		}
		found, err := t.forward(e)
		if found {
			return &sessionReader{s: s, t: t, Reader: t.tr}, nil
		}
		t.rc.Close()
		if err != nil {
			return nil, tarError(err)
		}
		if fresh {
			return nil, failf(ErrInvalid, "archive lacks %q when read again: it changed meanwhile", e.name)
		}
	}
}

// take gives the idle stream that is furthest on but not past the entry, or a new one.
func (s *tarSessions) take(order int) (*tarSession, bool, error) {
	s.mu.Lock()
	best := -1
	for i, t := range s.idle {
		if t.next <= order && (best < 0 || t.next > s.idle[best].next) {
			best = i
		}
	}
	if best >= 0 {
		t := s.idle[best]
		s.idle = append(s.idle[:best], s.idle[best+1:]...)
		s.mu.Unlock()
		return t, false, nil
	}
	// Streams that are past it go: an engine might make the next one wait for them.
	s.drop()
	s.mu.Unlock()
	rc, err := s.open()
	if err != nil {
		return nil, false, err
	}
	return &tarSession{tr: tar.NewReader(rc), rc: rc}, true, nil
}

func (t *tarSession) forward(e *tarEntry) (bool, error) {
	for {
		h, err := t.tr.Next()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		t.next++
		if h.Typeflag == tar.TypeReg && cleanName(h.Name) == e.name {
			return true, nil
		}
	}
}

func (s *tarSessions) put(t *tarSession) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.idle) >= maxIdleSessions {
		t.rc.Close()
		return
	}
	s.idle = append(s.idle, t)
}

const maxIdleSessions = 4

func (s *tarSessions) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.drop()
}

func (s *tarSessions) drop() {
	for _, t := range s.idle {
		t.rc.Close()
	}
	s.idle = nil
}

type sessionReader struct {
	io.Reader
	s    *tarSessions
	t    *tarSession
	once sync.Once
}

func (r *sessionReader) Close() error {
	r.once.Do(func() { r.s.put(r.t) })
	return nil
}
