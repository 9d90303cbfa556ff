package disk

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/state"
)

// Items are what sealed contents consist of, each a tag and its bytes. A content is one point, perhaps
// a control state, epochs (in exports alone), cells or changes, and the end with their number.
const (
	itemPoint   = 1 // u64 position ‖ 32 chain ‖ 32 outcomes
	itemControl = 2 // u32 length ‖ bytes
	itemEpoch   = 3 // epochSize bytes
	itemSet     = 4 // u16 length ‖ key ‖ u32 length ‖ value
	itemDelete  = 5 // u16 length ‖ key
	itemEnd     = 6 // u64 number of sets and deletes
)

// MaxControl is the longest control state in bytes, maxEpochs the most epochs that one file carries.
const (
	MaxControl = 256 << 20
	maxEpochs  = 4096
	pointSize  = 8 + 32 + 32
	epochSize  = 8 + 5*32
)

func appendPoint(b []byte, s *Saved) []byte {
	b = binary.BigEndian.AppendUint64(append(b, itemPoint), s.Position)
	return append(append(b, s.Chain[:]...), s.Outcomes[:]...)
}

func appendControl(b, control []byte) []byte {
	if control == nil {
		return b
	}
	return append(binary.BigEndian.AppendUint32(append(b, itemControl), uint32(len(control))), control...)
}

func appendSet(b, key, value []byte) []byte {
	b = append(binary.BigEndian.AppendUint16(append(b, itemSet), uint16(len(key))), key...)
	return append(binary.BigEndian.AppendUint32(b, uint32(len(value))), value...)
}

func appendDelete(b, key []byte) []byte {
	return append(binary.BigEndian.AppendUint16(append(b, itemDelete), uint16(len(key))), key...)
}

func appendEnd(b []byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, itemEnd), n)
}

func appendEpoch(b []byte, e keys.Epoch) []byte {
	b = binary.BigEndian.AppendUint64(b, e.Number)
	for _, k := range [][32]byte{e.Log, e.Digest, e.Snap, e.Random, e.Init} {
		b = append(b, k[:]...)
	}
	return b
}

func parseEpoch(b *[epochSize]byte) (e keys.Epoch) {
	e.Number = binary.BigEndian.Uint64(b[:])
	for i, k := range []*[32]byte{&e.Log, &e.Digest, &e.Snap, &e.Random, &e.Init} {
		*k = [32]byte(b[8+32*i:])
	}
	return e
}

// itemReader reads items. Its slices hold until the next call.
type itemReader struct {
	r       *bufio.Reader
	key     []byte
	value   []byte
	scratch [8]byte
}

func newItemReader(r io.Reader) *itemReader { return &itemReader{r: bufio.NewReaderSize(r, 64<<10)} }

func (r *itemReader) full(b []byte) error {
	_, err := io.ReadFull(r.r, b)
	return short(err)
}

// short makes the end of the bytes inside an item an error of its own.
func short(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return tampered("the content ends inside an item")
	}
	return err
}

func (r *itemReader) tag() (byte, error) {
	t, err := r.r.ReadByte()
	return t, short(err)
}

// number reads an integer of size bytes.
func (r *itemReader) number(size int) (v uint64, err error) {
	err = r.full(r.scratch[:size])
	for _, b := range r.scratch[:size] {
		v = v<<8 | uint64(b)
	}
	return v, err
}

func (r *itemReader) point(s *Saved) error {
	t, err := r.tag()
	if err != nil {
		return err
	}
	if t != itemPoint {
		return tampered("item %d first, wanted a point", t)
	}
	var b [pointSize]byte
	if err := r.full(b[:]); err != nil {
		return err
	}
	s.Position, s.Chain, s.Outcomes = binary.BigEndian.Uint64(b[:]), [32]byte(b[8:]), [32]byte(b[40:])
	return nil
}

func (r *itemReader) control() ([]byte, error) {
	n, err := r.number(4)
	if err != nil {
		return nil, err
	}
	if n > MaxControl {
		return nil, tampered("control state of %d bytes, wanted at most %d", n, MaxControl)
	}
	var c bytes.Buffer // grows with what is there, not with what is claimed
	if _, err := io.CopyN(&c, r.r, int64(n)); err != nil {
		return nil, short(err)
	}
	return append([]byte{}, c.Bytes()...), nil
}

func (r *itemReader) cellKey() ([]byte, error) {
	n, err := r.number(2)
	if err != nil {
		return nil, err
	}
	if n == 0 || n > state.MaxKey {
		return nil, tampered("key of %d bytes, wanted 1 to %d", n, state.MaxKey)
	}
	r.key = append(r.key[:0], make([]byte, n)...)
	return r.key, r.full(r.key)
}

func (r *itemReader) cellValue() ([]byte, error) {
	n, err := r.number(4)
	if err != nil {
		return nil, err
	}
	if n > state.MaxValue {
		return nil, tampered("value of %d bytes, wanted at most %d", n, state.MaxValue)
	}
	r.value = append(r.value[:0], make([]byte, n)...)
	return r.value, r.full(r.value)
}

// end reads what follows the end's tag: the number, and nothing more.
func (r *itemReader) end(seen uint64) error {
	n, err := r.number(8)
	if err != nil {
		return err
	}
	if n != seen {
		return tampered("%d cells, the end says %d", seen, n)
	}
	if _, err := r.r.ReadByte(); err != io.EOF {
		if err == nil {
			err = tampered("bytes after the end")
		}
		return err
	}
	return nil
}
