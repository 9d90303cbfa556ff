package packed

import (
	"errors"
	"fmt"
	"io"
)

// Writer makes an archive. The same entries give the same bytes.
type Writer struct {
	w     io.Writer
	order order
	n     int64
	ended bool
	err   error
}

// NewWriter returns a writer; the caller buffers w and must call Close.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Add appends an entry; content must give exactly e.Size bytes and is not read for
// folders. After an error the archive is worth nothing and every call fails.
func (w *Writer) Add(e Entry, content io.Reader) error {
	if w.ended {
		return errEnded
	}
	if w.err == nil {
		w.err = w.add(e, content)
	}
	return w.err
}

func (w *Writer) add(e Entry, content io.Reader) error {
	if err := w.order.next(&e); err != nil {
		return fmt.Errorf("packed archive: %w", err)
	}
	if err := w.write(e.blocks()); err != nil {
		return err
	}
	if e.Size == 0 {
		return nil
	}
	n, err := io.Copy(w.w, io.LimitReader(content, e.Size))
	w.n += n
	if err != nil {
		return fmt.Errorf("packed archive: %s: %w", e.Name, err)
	}
	if n < e.Size {
		return fmt.Errorf("packed archive: %s: content of %d bytes, wanted %d: %w", e.Name, n, e.Size, io.ErrUnexpectedEOF)
	}
	var extra [1]byte
	if n, err := content.Read(extra[:]); n > 0 || err != nil && !errors.Is(err, io.EOF) {
		return errors.Join(fmt.Errorf("packed archive: %s: content of more than %d bytes, or unreadable at its end", e.Name, e.Size), err)
	}
	return w.write(make([]byte, padding(e.Size)))
}

func (w *Writer) write(b []byte) error {
	n, err := w.w.Write(b)
	w.n += int64(n)
	if err != nil {
		return fmt.Errorf("packed archive: %w", err)
	}
	return nil
}

// Close writes the end. It does not close what the archive is written to.
func (w *Writer) Close() error {
	if w.ended {
		return errEnded
	}
	w.ended = true
	if w.err == nil {
		w.err = w.write(make([]byte, 2*blockSize))
	}
	return w.err
}

// Size is the number of bytes written so far.
func (w *Writer) Size() int64 { return w.n }
