package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// An exported file that a node keeps, such as a vault's backup, lies in two files: the head, which Rewrap
// replaces, and the body. The head's file is the head ‖ u64 number of the body's file, drawn at random.
const (
	prefixHead   = "snapshot-head-"
	prefixBody   = "snapshot-body-"
	headFileSize = HeadSize + 8
)

// StoreSnapshot keeps an exported file of at most limit bytes. It looks at the head alone; what was kept
// of the same position is replaced once the new one is there, whole.
func (d *Dir) StoreSnapshot(r io.Reader, limit int64) (Head, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return Head{}, ErrClosed
	}
	in := &limited{r, limit}
	b := make([]byte, headFileSize)
	if _, err := io.ReadFull(in, b[:HeadSize]); err != nil {
		return Head{}, fmt.Errorf("store snapshot: %w", cut(err, 0))
	}
	h, err := ReadHead(b, d.o.Ledger)
	if err != nil {
		return h, fmt.Errorf("store snapshot: %w", err)
	}
	if _, err := io.ReadFull(d.o.Random, b[HeadSize:]); err != nil {
		return h, fmt.Errorf("store snapshot: %w", err)
	}
	if err := d.replace(bodyName(b), func(w io.Writer) error {
		_, err := io.Copy(w, in)
		return err
	}); err != nil {
		return h, err
	}
	if err := d.replaceBytes(numbered(prefixHead, h.Position), b); err != nil {
		return h, err
	}
	return h, d.cleanSnapshots()
}

func bodyName(headFile []byte) string {
	return numbered(prefixBody, binary.BigEndian.Uint64(headFile[HeadSize:]))
}

// Snapshots lists the exported files that are kept, by rising position.
func (d *Dir) Snapshots() ([]Head, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	positions, err := d.numbers(prefixHead)
	if err != nil {
		return nil, err
	}
	var out []Head
	for _, p := range positions {
		if _, h, err := d.snapshotHead(p); err == nil { // a damaged one is as none
			out = append(out, h)
		}
	}
	return out, nil
}

func (d *Dir) snapshotHead(position uint64) ([]byte, Head, error) {
	name := numbered(prefixHead, position)
	b, err := d.read(name, headFileSize)
	if err != nil {
		return nil, Head{}, err
	}
	h, err := ReadHead(b, d.o.Ledger)
	if err == nil && len(b) != headFileSize {
		err = tampered("%d bytes, wanted %d", len(b), headFileSize)
	}
	if err == nil && h.Position != position {
		err = tampered("it is of position %d, wanted %d", h.Position, position)
	}
	return b, h, failed("read", name, err)
}

// OpenSnapshot opens a kept file of a position, to be sent or imported.
func (d *Dir) OpenSnapshot(position uint64) (io.ReadCloser, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	head, _, err := d.snapshotHead(position)
	if err != nil {
		return nil, err
	}
	name := bodyName(head)
	file, err := d.o.FS.Open(name)
	if err != nil {
		return nil, failed("open", name, err)
	}
	size, err := file.Size()
	if err != nil {
		return nil, errors.Join(failed("read", name, err), file.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head[:HeadSize]), io.NewSectionReader(file, 0, size)), file}, nil
}

// RewrapSnapshot makes a kept file readable under another epoch's snapshot key instead. The body stays as it is.
func (d *Dir) RewrapSnapshot(position uint64, snap [32]byte, epoch uint64, next [32]byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	head, _, err := d.snapshotHead(position)
	if err != nil {
		return err
	}
	anew, err := Exporter{d.o.Ledger, d.o.Random, d.o.Recorder}.Rewrap(head[:HeadSize], snap, epoch, next)
	if err != nil {
		return failed("read", numbered(prefixHead, position), err)
	}
	return d.replaceBytes(numbered(prefixHead, position), append(anew, head[HeadSize:]...))
}

// DropSnapshots removes the kept files of positions below one.
func (d *Dir) DropSnapshots(below uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	positions, err := d.numbers(prefixHead)
	for _, p := range positions {
		if p < below {
			name := numbered(prefixHead, p)
			err = errors.Join(err, failed("remove", name, d.o.FS.Remove(name)))
		}
	}
	return errors.Join(err, d.cleanSnapshots())
}

// cleanSnapshots removes the bodies that no head names.
func (d *Dir) cleanSnapshots() error {
	positions, err := d.numbers(prefixHead)
	if err != nil {
		return err
	}
	named := map[string]bool{}
	for _, p := range positions {
		if b, _, err := d.snapshotHead(p); err == nil {
			named[bodyName(b)] = true
		}
	}
	bodies, err := d.numbers(prefixBody)
	for _, n := range bodies {
		if name := numbered(prefixBody, n); !named[name] {
			err = errors.Join(err, failed("remove", name, d.o.FS.Remove(name)))
		}
	}
	return errors.Join(err, failed("fsync", "folder", d.o.FS.SyncFolder()))
}
