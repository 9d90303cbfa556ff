package disk

import (
	"io"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/state"
)

// writeState writes a whole state as items. stop, when it returns an error, ends it.
func writeState(w io.Writer, s *Saved, epochs []keys.Epoch, stop func() error) error {
	const batch = 64 << 10
	b := appendControl(appendPoint(nil, s), s.Control)
	for _, e := range epochs {
		b = appendEpoch(append(b, itemEpoch), e)
	}
	var n uint64
	var err error
	flush := func() bool {
		if err = stop(); err == nil {
			_, err = w.Write(b)
		}
		clear(b)
		b = b[:0]
		return err == nil
	}
	s.Tree.Scan(nil, func(key, value []byte) bool {
		b = appendSet(b, key, value)
		n++
		return len(b) < batch || flush()
	})
	if err != nil {
		return err
	}
	b = appendEnd(b, n)
	flush()
	return err
}

// readState reads what writeState wrote; epochs only where they are allowed.
func readState(r io.Reader, withEpochs bool) (*Saved, error) {
	in, s := newItemReader(r), new(Saved)
	if err := in.point(s); err != nil {
		return nil, err
	}
	var (
		n     uint64
		tag   byte
		fault error
	)
	next := func() bool {
		tag, fault = in.tag()
		return fault == nil
	}
	if !next() {
		return nil, fault
	}
	if tag == itemControl {
		if s.Control, fault = in.control(); fault != nil || !next() {
			return nil, fault
		}
	}
	for withEpochs && tag == itemEpoch {
		var b [epochSize]byte
		if fault = in.full(b[:]); fault != nil {
			return nil, fault
		}
		if len(s.Epochs) == maxEpochs {
			return nil, tampered("more than %d epochs", maxEpochs)
		}
		s.Epochs = append(s.Epochs, parseEpoch(&b))
		if !next() {
			return nil, fault
		}
	}
	tree, err := state.Build(func(yield func(key, value []byte) bool) {
		for tag == itemSet {
			var key, value []byte
			if key, fault = in.cellKey(); fault != nil {
				return
			}
			if value, fault = in.cellValue(); fault != nil {
				return
			}
			n++
			if !yield(key, value) || !next() {
				return
			}
		}
	})
	switch {
	case fault != nil:
		return nil, fault
	case err != nil:
		return nil, tampered("%v", err)
	case tag != itemEnd:
		return nil, tampered("item %d among cells", tag)
	}
	if err := in.end(n); err != nil {
		return nil, err
	}
	s.Tree = tree
	return s, nil
}

// appendChanges appends one step of a log: the point, the control state unless it is nil, and what leads
// from the tree before to the one of s.
func appendChanges(b []byte, before *state.Tree, s *Saved, control []byte) []byte {
	b = appendControl(appendPoint(b, s), control)
	var n uint64
	before.Diff(s.Tree, func(c state.Change) bool {
		n++
		if c.Deleted {
			b = appendDelete(b, c.Key)
		} else {
			b = appendSet(b, c.Key, c.Value)
		}
		return true
	})
	return appendEnd(b, n)
}

// readChanges reads what appendChanges wrote and applies it to s.
func readChanges(r io.Reader, s *Saved) (*Saved, error) {
	in, out := newItemReader(r), &Saved{Control: s.Control}
	if err := in.point(out); err != nil {
		return nil, err
	}
	tag, err := in.tag()
	if err == nil && tag == itemControl {
		if out.Control, err = in.control(); err == nil {
			tag, err = in.tag()
		}
	}
	if err != nil {
		return nil, err
	}
	// A tree of the cells that were set, in linear time, goes over what is left of the one before.
	tx := s.Tree.Begin()
	var n uint64
	var fault error
	set, err := state.Build(func(yield func(key, value []byte) bool) {
		for ; fault == nil && (tag == itemSet || tag == itemDelete); tag, fault = in.tag() {
			var key, value []byte
			if key, fault = in.cellKey(); fault != nil {
				return
			}
			n++
			if tag == itemDelete {
				tx.Delete(key)
				continue
			}
			if value, fault = in.cellValue(); fault != nil || !yield(key, value) {
				return
			}
		}
	})
	switch {
	case fault != nil:
		return nil, fault
	case err != nil:
		return nil, tampered("%v", err)
	case tag != itemEnd:
		return nil, tampered("item %d among changes", tag)
	}
	if err := in.end(n); err != nil {
		return nil, err
	}
	out.Tree = tx.Commit().Merge(set)
	return out, nil
}
