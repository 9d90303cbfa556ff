package disk

import (
	"errors"
	"fmt"
	"math"

	"hitoku.dev/internal/ledger/state"
)

func (d *Dir) ready() error {
	switch {
	case d.closed:
		return ErrClosed
	case !d.begun:
		return ErrNotBegun
	}
	return nil
}

// Begin starts a new generation with a new key at s: what Load returned, or a state from elsewhere, or
// the newest one, when the key shall change because a member was removed. Its base is written in the
// background. No ring knows the new key until WriteRing is called.
func (d *Dir) Begin(s Saved) error {
	if s.Tree == nil {
		s.Tree = new(state.Tree)
	}
	if len(s.Control) > MaxControl {
		return fmt.Errorf("begin at position %d: control state of %d bytes, wanted at most %d: %w", s.Position, len(s.Control), MaxControl, ErrLimit)
	}
	s.Epochs = nil
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	d.stopBase()
	var link [32]byte
	if d.begun {
		d.sealNewest()
		if d.log.flush() == nil && d.loadable() && same(d.sealed, &s) {
			link = d.log.chain
		}
	} else if d.loaded != nil && same(d.loaded, &s) {
		link = d.loadedEnd
	}
	knew := d.ringKnows
	d.ringKnows = false
	if err := d.rotate(&s, link); err != nil {
		d.ringKnows = knew
		return err
	}
	d.pending.Lock()
	defer d.pending.Unlock()
	d.last, d.unsaved, d.control, d.begun = &s, false, nil, true
	return nil
}

// loadable says whether the newest log leads somewhere: over the generation before, or from its own base.
func (d *Dir) loadable() bool { return d.linked || d.baseDone }

func same(a, b *Saved) bool {
	return a.Position == b.Position && a.Chain == b.Chain && a.Outcomes == b.Outcomes && a.Tree == b.Tree
}

// rotate makes the next generation at s. A link that is not zero says that it goes on from the one before.
func (d *Dir) rotate(s *Saved, link [32]byte) error {
	if err := d.finishRing(); err != nil {
		return err
	}
	number, err := d.nextNumber()
	if err != nil {
		return err
	}
	g, name := generation{number: number}, numbered(prefixLog, number)
	if g.key, err = randomKey(d.o.Random); err != nil {
		return failed("make key of", name, err)
	}
	log, err := createLog(d.o.FS, name, newAEAD(g.key, d.o.Recorder), header{kindLog, d.o.Ledger, g.number, s.Position}, link)
	if err == nil {
		gens := append(append([]generation(nil), d.gens...), g)
		if err = failed("fsync folder of", name, d.o.FS.SyncFolder()); err == nil && d.ringKnows {
			err = d.saveRing(d.ring, gens)
		}
		if err == nil {
			d.gens = gens
		} else {
			err = errors.Join(err, log.file.Close())
		}
	}
	if err != nil {
		_ = d.o.FS.Remove(name) // the next generation's clean removes what stays
		return err
	}
	if d.log != nil {
		_ = d.log.file.Close() // all that counts in it was synced
	}
	d.log, d.sealed, d.linked, d.baseDone, d.retry, d.fault = log, s, link != [32]byte{}, false, 0, nil
	d.startBase(g, s)
	return nil
}

// nextNumber never gives a number that a file or a ring has named, be it of a generation given up.
func (d *Dir) nextNumber() (uint64, error) {
	numbers, err := d.numbers(prefixBase, prefixLog)
	if err != nil {
		return 0, err
	}
	rings, err := d.numbers(prefixRing)
	if err != nil {
		return 0, err
	}
	for _, n := range rings {
		if r, err := d.readRing(n); err == nil { // one that is damaged names nothing
			numbers = append(numbers, r.numbers...)
		}
	}
	n := d.highest
	for _, m := range numbers {
		n = max(n, m)
	}
	if n == math.MaxUint64 {
		return 0, failed("begin", "generation", tampered("the folder names a generation of the highest number"))
	}
	d.highest = n + 1
	return d.highest, nil
}

// Append takes the state of a later position, to be made durable by the next Sync. It writes nothing
// and returns at once; of several states between two Syncs the last is written. A Control that is nil
// stays as it was.
func (d *Dir) Append(s Saved) error {
	if s.Tree == nil {
		s.Tree = new(state.Tree)
	}
	if len(s.Control) > MaxControl {
		return fmt.Errorf("append position %d: control state of %d bytes, wanted at most %d: %w", s.Position, len(s.Control), MaxControl, ErrLimit)
	}
	s.Epochs = nil
	d.pending.Lock()
	defer d.pending.Unlock()
	switch {
	case d.last == nil:
		return ErrNotBegun
	case s.Position <= d.last.Position:
		return fmt.Errorf("append position %d: wanted one above %d, which was appended before", s.Position, d.last.Position)
	}
	if s.Control != nil {
		d.control = s.Control
	} else {
		s.Control = d.last.Control
	}
	d.last, d.unsaved = &s, true
	return nil
}

// Sync makes the newest appended state durable: one write and one fsync. After an error the state
// that was durable before stays so, and the next Sync tries again; where nothing on the disk leads to
// this generation yet, it waits for the base.
func (d *Dir) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.ready(); err != nil {
		return err
	}
	d.settle()
	if d.log.broken != nil || !d.loadable() && d.base == nil {
		if err := d.startAnew(); err != nil {
			return err
		}
	}
	d.sealNewest()
	if err := d.log.flush(); err != nil {
		return err
	}
	if !d.loadable() {
		<-d.base.done
		d.settle()
		if !d.baseDone {
			return d.fault
		}
	}
	d.compact()
	return nil
}

// startAnew leaves a generation of which it is not known what lies on the disk.
func (d *Dir) startAnew() error {
	d.stopBase()
	d.pending.Lock()
	s := d.last
	d.unsaved, d.control = false, nil
	d.pending.Unlock()
	if err := d.rotate(s, [32]byte{}); err != nil {
		d.pending.Lock()
		d.unsaved = true
		d.pending.Unlock()
		return err
	}
	return nil
}

// sealNewest seals what was appended since the last call.
func (d *Dir) sealNewest() {
	d.pending.Lock()
	s, control, unsaved := d.last, d.control, d.unsaved
	d.unsaved, d.control = false, nil
	d.pending.Unlock()
	if !unsaved {
		return
	}
	items := appendChanges(nil, d.sealed.Tree, s, control)
	d.log.step(items, s.Position)
	clear(items)
	d.sealed = s
}

// compact begins a new generation when the log has outgrown its base. That it fails harms nothing:
// the log goes on.
func (d *Dir) compact() {
	if d.base != nil || d.log.end < max(d.o.Compact, d.baseSize, d.retry) {
		return
	}
	if err := d.rotate(d.sealed, d.log.chain); err != nil {
		d.fault, d.retry = err, d.log.end+max(d.o.Compact, d.baseSize/4)
	}
}

// Settle waits until the base that is being written is complete, and returns why the newest one could
// not be. Sync goes on without it, and tries again when the log has grown.
func (d *Dir) Settle() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.ready(); err != nil {
		return err
	}
	if d.base != nil {
		<-d.base.done
		d.settle()
	}
	return d.fault
}

// Usage is what the files take.
type Usage struct {
	Generation uint64
	Position   uint64 // of the newest state that was sealed
	BaseBytes  int64  // of the newest complete base
	LogBytes   int64
}

// Usage returns the figures of the generation that is written.
func (d *Dir) Usage() Usage {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ready() != nil {
		return Usage{}
	}
	d.settle()
	return Usage{d.gens[len(d.gens)-1].number, d.sealed.Position, d.baseSize, d.log.end}
}
