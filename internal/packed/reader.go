package packed

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
)

// Reader reads an archive, and refuses what [Writer] does not write.
type Reader struct {
	r     io.Reader
	order order
	at    int64 // offset in the archive
	left  int64 // of the present file's content
	pad   int64
	err   error // io.EOF at the proper end
}

// NewReader returns a reader; r should be buffered.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next returns the next entry, whose content Read gives, and io.EOF after the
// last. What was not read of the entry before is skipped. After another error
// every call fails.
func (r *Reader) Next() (Entry, error) {
	if r.err != nil {
		return Entry{}, r.err
	}
	at := r.at
	e, err := r.next()
	switch {
	case err == io.EOF:
		r.err = err
	case err != nil:
		r.err = fmt.Errorf("packed archive: entry at byte %d: %w", at, err)
	}
	return e, r.err
}

func (r *Reader) next() (e Entry, err error) {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return e, err
	}
	if err := r.zeros(r.pad); err != nil {
		return e, fmt.Errorf("padding: %w", err)
	}
	r.pad = 0
	h, err := r.block()
	if err != nil {
		return e, err
	}
	if h == [blockSize]byte{} {
		return e, r.end()
	}
	long := ""
	if h[156] == 'x' {
		if long, err = r.extended(&h); err != nil {
			return e, err
		}
		if h, err = r.block(); err != nil {
			return e, err
		}
	}
	if e, err = entryOf(&h, long); err != nil {
		return e, err
	}
	if err := r.order.next(&e); err != nil {
		return e, err
	}
	r.left, r.pad = e.Size, padding(e.Size)
	return e, nil
}

// extended reads the content of an extended header and returns the name in it.
func (r *Reader) extended(h *[blockSize]byte) (string, error) {
	size, err := strconv.ParseInt(string(h[124:135]), 8, 64)
	if most := len(pathRecord(strings.Repeat("x", MaxName+1))); err != nil || size < 1 || size > int64(most) {
		return "", fmt.Errorf("extended header of size %q, wanted at most %d bytes", h[124:136], most)
	}
	if want := header(extendedName, 'x', 0o644, size); want != *h {
		return "", errors.New("an extended header of another form")
	}
	record := make([]byte, size)
	if err := r.full(record); err != nil {
		return "", err
	}
	if err := r.zeros(padding(size)); err != nil {
		return "", fmt.Errorf("padding of an extended header: %w", err)
	}
	_, name, _ := strings.Cut(string(record), " path=")
	name = strings.TrimSuffix(name, "\n")
	if len(name) <= nameField || pathRecord(name) != string(record) {
		return "", fmt.Errorf("extended header %q, wanted the one record \"path\" of a name of more than %d bytes", record, nameField)
	}
	return name, nil
}

// entryOf reads a header block. That the block is what [Entry.blocks] makes is the
// whole check of its form.
func entryOf(h *[blockSize]byte, long string) (e Entry, err error) {
	name := long
	if name == "" {
		name, _, _ = strings.Cut(string(h[:nameField]), "\x00")
	}
	e.Dir = h[156] == '5'
	if h[156] != '0' && h[156] != '5' {
		return e, fmt.Errorf("type %q, wanted a file ('0') or a folder ('5')", h[156])
	}
	e.Name = name
	if e.Dir {
		var ok bool
		if e.Name, ok = strings.CutSuffix(name, "/"); !ok {
			return e, fmt.Errorf("folder %q without a final '/'", name)
		}
	}
	mode, err := strconv.ParseUint(string(h[100:107]), 8, 12)
	if err != nil {
		return e, fmt.Errorf("mode %q, wanted seven octal digits", h[100:108])
	}
	if e.Size, err = strconv.ParseInt(string(h[124:135]), 8, 64); err != nil {
		return e, fmt.Errorf("size %q, wanted eleven octal digits", h[124:136])
	}
	e.Mode = fs.FileMode(mode)
	if err := e.check(); err != nil {
		return e, err
	}
	want := e.blocks()
	if !bytes.Equal(want[len(want)-blockSize:], h[:]) || (long != "") != (len(want) > blockSize) {
		return e, fmt.Errorf("%s: a header of another form: wanted ustar, owner 0, time 0, no link, the right checksum", e.Name)
	}
	return e, nil
}

// end wants the second block of zeros, and nothing after it.
func (r *Reader) end() error {
	h, err := r.block()
	if err != nil {
		return err
	}
	if h != [blockSize]byte{} {
		return errors.New("one block of zeros, wanted two")
	}
	var extra [1]byte
	switch n, err := io.ReadFull(r.r, extra[:]); {
	case n > 0:
		return errors.New("bytes after the end")
	case err != io.EOF:
		return err
	}
	return io.EOF
}

func (r *Reader) block() (b [blockSize]byte, err error) { return b, r.full(b[:]) }

func (r *Reader) full(b []byte) error {
	n, err := io.ReadFull(r.r, b)
	r.at += int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (r *Reader) zeros(n int64) error {
	var b [blockSize]byte
	if err := r.full(b[:n]); err != nil {
		return err
	}
	if b != [blockSize]byte{} {
		return errors.New("bytes that are not zero")
	}
	return nil
}

// Read gives the content of the entry that Next returned, then io.EOF.
func (r *Reader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.r.Read(p[:min(int64(len(p)), r.left)])
	r.at += int64(n)
	r.left -= int64(n)
	if err == io.EOF && r.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}
