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

// Begin starts writing: a new generation with a new key at s, which is what Load returned or a state from
// elsewhere. Its base is written in the background. No ring knows the key until WriteRing is called.
// It is called once.
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
	switch {
	case d.closed:
		return ErrClosed
	case d.begun:
		return fmt.Errorf("begin at position %d: writing has begun before; Rekey changes the key, Append goes on", s.Position)
	}
	// What was loaded may be in the kernel's memory alone, after a failed fsync, so nothing is built on it.
	if err := d.rotate(&s, [32]byte{}); err != nil {
		return err
	}
	d.begun = true
	d.pending.Lock()
	defer d.pending.Unlock()
	d.last = &s
	return nil
}

// Rekey starts a new generation at the newest state, with a key that no ring knows until WriteRing is
// called with the keys of another epoch. It is for after the removal of a member: who knows the old epoch's
// snapshot key and has the old ring cannot read on.
func (d *Dir) Rekey() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.ready(); err != nil {
		return err
	}
	d.stopBase()
	saved := d.save()
	knew := d.ringKnows
	d.ringKnows = false
	var err error
	if saved == nil && d.loadable() {
		err = d.rotate(d.sealed, d.log.chain)
	} else {
		err = d.startAnew()
	}
	if err != nil {
		d.ringKnows = knew
	}
	return err
}

// loadable says whether the newest log leads somewhere: over the generation before, or from its own base.
func (d *Dir) loadable() bool { return d.linked || d.baseDone }

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
	if err := d.finishRing(); err != nil && !d.ringKnows {
		return err
	}
	if !d.ringKnows {
		return ErrNoRing
	}
	if d.log.broken != nil {
		if err := d.startAnew(); err != nil {
			return err
		}
	}
	if err := d.save(); err != nil {
		return err
	}
	if err := d.ground(); err != nil {
		return err
	}
	d.compact()
	return nil
}

// ground waits until the newest log can be loaded, and begins it anew when its base has failed.
func (d *Dir) ground() error {
	if d.loadable() {
		return nil
	}
	if d.base == nil {
		if err := d.startAnew(); err != nil {
			return err
		}
	}
	<-d.base.done
	d.settle()
	if !d.baseDone {
		return d.fault
	}
	return nil
}

// startAnew leaves a generation of which it is not known what lies on the disk.
func (d *Dir) startAnew() error {
	d.stopBase()
	d.pending.Lock()
	s := d.last
	d.pending.Unlock()
	if err := d.rotate(s, [32]byte{}); err != nil {
		return err
	}
	d.pending.Lock()
	defer d.pending.Unlock()
	if d.last == s { // else something was appended meanwhile
		d.unsaved, d.control = false, nil
	}
	return nil
}

// save makes durable what was appended. A step that could not be written before goes first and alone: no
// two steps are on their way to the disk at once, so that a crash tears one at most.
func (d *Dir) save() error {
	if err := d.log.flush(); err != nil {
		return err
	}
	d.sealNewest()
	return d.log.flush()
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
