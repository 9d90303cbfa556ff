package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"hitoku.dev/internal/ledger/keys"
)

// A ring file is its header (number: the epoch; position: the number of generations) ‖ u64 number of each
// generation, rising ‖ 12 bytes nonce ‖ 48 bytes ring key, sealed under the epoch's snapshot key, aad the
// header without the position ‖ 12 bytes nonce ‖ content, sealed under the ring key, aad header and numbers.
// Content: the generations' keys, 32 bytes each ‖ u32 count ‖ epochs.
const (
	wrapSize       = nonceSize + keySize + tagSize
	maxGenerations = 4096
	maxRing        = headerSize + maxGenerations*(8+keySize) + wrapSize + nonceSize + tagSize + 4 + maxEpochs*epochSize
)

// ring is what must be remembered to write a ring anew without the snapshot key.
type ring struct {
	epoch  uint64
	key    [keySize]byte
	wrap   []byte
	epochs []keys.Epoch
}

func (r *ring) erase() {
	if r != nil {
		r.key = [keySize]byte{}
		clear(r.epochs)
	}
}

func wrapAAD(epoch uint64, ledger [32]byte) []byte {
	return header{kind: kindRing, ledger: ledger, number: epoch}.encode()[:headerSize-8]
}

// WriteRing writes the ring of an epoch: the keys of the generations on the disk, and the epoch keys that
// the tail needs, for who has that epoch's snapshot key. Init is
// left out of them: no later incarnation needs it. From then on it is this ring that learns the
// keys of the generations that compaction begins. A ring of the same epoch is replaced. Where
// nothing else can be loaded it waits for the base, so that a ring always leads to a state. The epochs
// are kept in memory until the next WriteRing or Close. After an error the ring is written at the next
// occasion, and the caller may try again at once.
func (d *Dir) WriteRing(epoch uint64, snap [32]byte, epochs []keys.Epoch) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.ready(); err != nil {
		return err
	}
	d.settle()
	if err := d.ground(); err != nil {
		return err
	}
	key, err := randomKey(d.o.Random)
	if err != nil {
		return failed("make key of", numbered(prefixRing, epoch), err)
	}
	wrap, err := sealRandom(d.o.Random, newAEAD(snap, d.o.Recorder), key[:], wrapAAD(epoch, d.o.Ledger))
	if err != nil {
		return failed("make key of", numbered(prefixRing, epoch), err)
	}
	d.wanted.erase()
	d.wanted = &ring{epoch: epoch, key: key, wrap: wrap, epochs: slices.Clone(epochs)}
	for i := range d.wanted.epochs {
		d.wanted.epochs[i].EraseInit()
	}
	if err := d.finishRing(); err != nil {
		return err
	}
	d.clean()
	return nil
}

// finishRing writes the ring that is wanted. When that failed before, it is not known which of the two
// is on the disk, so no generation is begun or removed until it is done.
func (d *Dir) finishRing() error {
	if d.wanted == nil {
		return nil
	}
	if err := d.saveRing(d.wanted, d.gens); err != nil {
		return err
	}
	d.ring.erase()
	d.ring, d.wanted, d.ringKnows = d.wanted, nil, true
	return nil
}

func (d *Dir) saveRing(r *ring, gens []generation) error {
	name := numbered(prefixRing, r.epoch)
	if len(gens) > maxGenerations || len(r.epochs) > maxEpochs {
		return failed("write", name, ErrLimit)
	}
	clearPart := header{kindRing, d.o.Ledger, r.epoch, uint64(len(gens))}.encode()
	plain := make([]byte, 0, len(gens)*keySize+4+len(r.epochs)*epochSize)
	for _, g := range gens {
		clearPart, plain = binary.BigEndian.AppendUint64(clearPart, g.number), append(plain, g.key[:]...)
	}
	plain = binary.BigEndian.AppendUint32(plain, uint32(len(r.epochs)))
	for _, e := range r.epochs {
		plain = appendEpoch(plain, e)
	}
	sealed, err := sealRandom(d.o.Random, newAEAD(r.key, d.o.Recorder), plain, clearPart)
	clear(plain)
	if err != nil {
		return failed("seal", name, err)
	}
	return d.replaceBytes(name, slices.Concat(clearPart, r.wrap, sealed))
}

// ringFile is a ring as it is read without keys.
type ringFile struct {
	epoch   uint64
	numbers []uint64 // of the generations, rising, at least one
	clear   []byte   // header and numbers
	wrap    []byte
	sealed  []byte
}

func parseRing(b []byte, ledger [32]byte) (*ringFile, error) {
	h, err := parseHeader(b, kindRing, ledger)
	if err != nil {
		return nil, err
	}
	n, rest := h.position, b[headerSize:]
	if n == 0 || n > maxGenerations || uint64(len(rest)) < 8*n+wrapSize {
		return nil, tampered("%d generations in %d bytes", n, len(b))
	}
	r := &ringFile{epoch: h.number, clear: b[:headerSize+8*n]}
	for i := range n {
		r.numbers = append(r.numbers, binary.BigEndian.Uint64(rest[8*i:]))
		if i > 0 && r.numbers[i] <= r.numbers[i-1] {
			return nil, tampered("generations do not rise")
		}
	}
	rest = rest[8*n:]
	r.wrap, r.sealed = rest[:wrapSize], rest[wrapSize:]
	return r, nil
}

// open gives the generations and the epochs, with the epoch's snapshot key.
func (r *ringFile) open(snap, ledger [32]byte) ([]generation, []keys.Epoch, error) {
	key, err := openRandom(newAEAD(snap, nil), r.wrap, wrapAAD(r.epoch, ledger))
	if err != nil {
		return nil, nil, err
	}
	plain, err := openRandom(newAEAD([keySize]byte(key), nil), r.sealed, r.clear)
	clear(key)
	if err != nil {
		return nil, nil, err
	}
	defer clear(plain)
	return parseRingContent(r.numbers, plain)
}

func parseRingContent(numbers []uint64, b []byte) (gens []generation, epochs []keys.Epoch, err error) {
	if len(b) < keySize*len(numbers)+4 {
		return nil, nil, tampered("%d generations in %d bytes", len(numbers), len(b))
	}
	for _, n := range numbers {
		gens = append(gens, generation{n, [keySize]byte(b)})
		b = b[keySize:]
	}
	count := binary.BigEndian.Uint32(b)
	b = b[4:]
	if count > maxEpochs || int(count)*epochSize != len(b) {
		return nil, nil, tampered("%d epochs in %d bytes", count, len(b))
	}
	for range count {
		epochs = append(epochs, parseEpoch((*[epochSize]byte)(b)))
		b = b[epochSize:]
	}
	return gens, epochs, nil
}

// FileEpoch is the epoch of the newest ring on the disk, 0 for none. It needs no keys, and believes the
// names: the epoch goes into a JOIN, and a wrong one opens nothing.
func (d *Dir) FileEpoch() uint64 {
	rings, err := d.numbers(prefixRing)
	if err != nil {
		return 0
	}
	for _, n := range slices.Backward(rings) {
		if _, err := d.readRing(n); err == nil {
			return n
		}
	}
	return 0
}

// readRing reads what is in the clear of an epoch's ring.
func (d *Dir) readRing(epoch uint64) (*ringFile, error) {
	name := numbered(prefixRing, epoch)
	b, err := d.read(name, maxRing)
	if err != nil {
		return nil, err
	}
	r, err := parseRing(b, d.o.Ledger)
	if err == nil && r.epoch != epoch {
		err = tampered("it is the ring of epoch %d, wanted %d", r.epoch, epoch)
	}
	if err != nil {
		return nil, failed("read", name, err)
	}
	return r, nil
}

// DropRings removes the rings of epochs below one. While the folder is being written it wants a newer
// ring to be there, so that the state stays loadable.
func (d *Dir) DropRings(below uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	if d.begun && (d.ring == nil || d.ring.epoch < below) {
		return fmt.Errorf("drop rings below epoch %d: write that epoch's ring first", below)
	}
	rings, err := d.numbers(prefixRing)
	if err != nil {
		return err
	}
	for _, n := range rings {
		if n < below {
			name := numbered(prefixRing, n)
			err = errors.Join(err, failed("remove", name, d.o.FS.Remove(name)))
		}
	}
	return errors.Join(err, failed("fsync", "folder", d.o.FS.SyncFolder()))
}
