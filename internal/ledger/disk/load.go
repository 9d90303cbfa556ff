package disk

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Load opens the ring of an epoch with that epoch's snapshot key and returns the newest state that the
// files lead to. A log that a crash tore gives the last complete step. It is for use before Begin.
// Errors are [ErrNone], [ErrTampered] and [ErrForeign], with which the caller goes on without files, and
// those of the disk, after which it may try again.
func (d *Dir) Load(epoch uint64, snap [32]byte) (*Saved, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return nil, ErrClosed
	case d.begun:
		return nil, errors.New("load: the folder is being written; load before Begin")
	}
	r, err := d.readRing(epoch)
	if err != nil {
		return nil, err
	}
	gens, epochs, err := r.open(snap, d.o.Ledger)
	if err != nil {
		return nil, failed("open", numbered(prefixRing, epoch), err)
	}
	var faults error
	for i := len(gens) - 1; i >= 0; i-- {
		s, err := d.follow(gens[i:])
		switch {
		case err == nil:
			s.Epochs = epochs
			d.gens = gens
			return s, nil
		case errors.Is(err, ErrTampered), errors.Is(err, ErrForeign):
			faults = errors.Join(faults, err)
		case !errors.Is(err, ErrNone): // the disk failed: an older state is not what the caller wants
			return nil, err
		}
	}
	if faults == nil {
		faults = fmt.Errorf("load epoch %d: no generation has a base: %w", epoch, ErrNone)
	}
	return nil, faults
}

// follow reads the first generation's base, its log, and the logs that go on from there.
func (d *Dir) follow(gens []generation) (*Saved, error) {
	s, err := d.readBase(gens[0])
	if err != nil {
		return nil, err
	}
	var end [32]byte // chain value that was reached
	for i, g := range gens {
		var link *[32]byte
		if i > 0 {
			link = &end
		}
		next, chain, err := d.readLog(g, s, link)
		switch {
		case errors.Is(err, errNotLinked):
			continue // begun, and left by a crash before its base was there
		case err != nil:
			return nil, err
		}
		s, end = next, chain
	}
	return s, nil
}

// errNotLinked means that a log does not go on from the state reached.
var errNotLinked = errors.New("the log does not go on from here")

func (d *Dir) readBase(g generation) (*Saved, error) {
	name := numbered(prefixBase, g.number)
	file, err := d.o.FS.Open(name)
	if err != nil {
		return nil, failed("open", name, err)
	}
	defer func() { _ = file.Close() }() // nothing was written
	s, err := readBase(file, newAEAD(g.key, nil), g.number, d.o.Ledger)
	return s, failed("read", name, err)
}

func readBase(file File, a *aead, number uint64, ledger [32]byte) (*Saved, error) {
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(io.NewSectionReader(file, 0, size), 256<<10)
	b := make([]byte, headerSize)
	if _, err := io.ReadFull(in, b); err != nil {
		return nil, cut(err, 0)
	}
	h, err := parseHeader(b, kindBase, ledger)
	if err != nil {
		return nil, err
	}
	if h.number != number {
		return nil, tampered("it is the base of generation %d, wanted %d", h.number, number)
	}
	s, err := readState(newStreamReader(in, a, domainBase, b), false)
	if err == nil && s.Position != h.position {
		err = tampered("position %d, the header says %d", s.Position, h.position)
	}
	return s, err
}

// readLog applies a generation's log to s. With a link the log must go on from it.
func (d *Dir) readLog(g generation, s *Saved, link *[32]byte) (*Saved, [32]byte, error) {
	name := numbered(prefixLog, g.number)
	file, err := d.o.FS.Open(name)
	if err != nil {
		if err = failed("open", name, err); errors.Is(err, ErrNone) {
			err = errNotLinked
		}
		return nil, [32]byte{}, err
	}
	defer func() { _ = file.Close() }() // nothing was written
	s, end, err := applyLog(file, newAEAD(g.key, nil), g.number, d.o.Ledger, s, link)
	return s, end, failed("read", name, err)
}

func applyLog(file File, a *aead, number uint64, ledger [32]byte, s *Saved, link *[32]byte) (*Saved, [32]byte, error) {
	in, err := openLog(file, a, number, ledger)
	switch {
	case errors.Is(err, errTorn), err == nil && link != nil && !in.goesOnFrom(*link):
		return nil, [32]byte{}, errNotLinked
	case err != nil:
		return nil, [32]byte{}, err
	case in.header.position != s.Position:
		return nil, [32]byte{}, tampered("it begins at position %d, wanted %d", in.header.position, s.Position)
	}
	end := in.chain
	for {
		next, err := in.apply(s)
		if err == io.EOF || errors.Is(err, errTorn) {
			return s, end, nil
		}
		if err != nil {
			return nil, end, err
		}
		s, end = next, in.chain
	}
}

// FilePosition is the position that Load of the newest ring will give, as far as can be told without
// keys; 0 for none. It believes the files: what it says decides only from where records are kept.
func (d *Dir) FilePosition() uint64 {
	r, err := d.readRing(d.FileEpoch())
	if err != nil {
		return 0
	}
	for i := range slices.Backward(r.numbers) {
		if p, err := d.positionFrom(r.numbers[i:]); err == nil {
			return p
		}
	}
	return 0
}

// positionFrom does what follow does, without keys.
func (d *Dir) positionFrom(numbers []uint64) (position uint64, err error) {
	b, err := d.readHead(numbered(prefixBase, numbers[0]), headerSize)
	if err != nil {
		return 0, err
	}
	h, err := parseHeader(b, kindBase, d.o.Ledger)
	if err != nil {
		return 0, err
	}
	position = h.position
	var end [32]byte
	for i, n := range numbers {
		var link *[32]byte
		if i > 0 {
			link = &end
		}
		if p, chain, err := d.skipLog(n, position, link); err == nil {
			position, end = p, chain
		}
	}
	return position, nil
}

func (d *Dir) skipLog(number, position uint64, link *[32]byte) (uint64, [32]byte, error) {
	file, err := d.o.FS.Open(numbered(prefixLog, number))
	if err != nil {
		return 0, [32]byte{}, err
	}
	defer func() { _ = file.Close() }() // nothing was written
	in, err := openLog(file, nil, number, d.o.Ledger)
	if err != nil {
		return 0, [32]byte{}, err
	}
	if link != nil && !in.goesOnFrom(*link) || in.header.position != position {
		return 0, [32]byte{}, errNotLinked
	}
	for {
		end := in.chain
		p, err := in.skip()
		if err != nil {
			return position, end, nil
		}
		position = p
	}
}

func (d *Dir) readHead(name string, size int) ([]byte, error) {
	file, err := d.o.FS.Open(name)
	if err != nil {
		return nil, failed("open", name, err)
	}
	defer func() { _ = file.Close() }() // nothing was written
	b := make([]byte, size)
	if _, err := file.ReadAt(b, 0); err != nil {
		return nil, failed("read", name, cut(err, 0))
	}
	return b, nil
}
