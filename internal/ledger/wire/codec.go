package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

var (
	// ErrMalformed means that bytes are not the one valid encoding of what they should be.
	ErrMalformed = errors.New("malformed")
	// ErrSignature means that a signature does not hold.
	ErrSignature = errors.New("signature does not hold")
)

// Limits of section 1. Sizes are in bytes, the others are counts.
const (
	MaxRecord       = 128 << 10 // an encoded record; a genesis can only lower it
	MaxGenesis      = 256 << 10 // an encoded genesis file
	MaxSlots        = 256
	MaxAdmins       = 16
	MaxPrograms     = 256
	MaxRoots        = 16
	MaxTCBStatuses  = 16
	MaxApplications = 64
	MaxValidators   = 256
	MaxArguments    = 32 << 10
	MaxBatch        = 1024 // commands of a batch or a payload
	MaxName         = 64
	MaxMessage      = 1024
	MaxResult       = 64 << 10
	MinBucket       = 1 << 10   // the smallest padded size
	maxWrap         = 8 << 10   // the ciphertext of a wrap: 72 bytes, a tag, and 96 bytes an epoch released
	MaxBucket       = 128 << 10 // the largest of a request or a notification
	MaxReply        = 1 << 20   // the largest of a reply

	// MaxSigned is the longest encoded Signed: a command or query with MaxArguments.
	MaxSigned = MaxArguments + 512

	maxKey   = 2048 // HPKE public keys and encapsulated keys
	maxProof = 64
	tagSize  = 16 // of AES-GCM
)

// writer appends fields.
type writer struct{ b []byte }

func (w *writer) u8(v uint8)      { w.b = append(w.b, v) }
func (w *writer) u16(v uint16)    { w.b = binary.BigEndian.AppendUint16(w.b, v) }
func (w *writer) u32(v uint32)    { w.b = binary.BigEndian.AppendUint32(w.b, v) }
func (w *writer) u64(v uint64)    { w.b = binary.BigEndian.AppendUint64(w.b, v) }
func (w *writer) raw(b []byte)    { w.b = append(w.b, b...) }
func (w *writer) lv(b []byte)     { w.u32(uint32(len(b))); w.raw(b) }
func (w *writer) text(s string)   { w.u32(uint32(len(s))); w.b = append(w.b, s...) }
func (w *writer) hash(h [32]byte) { w.raw(h[:]) }

// reader takes fields off the front; after the first fault it gives zero values.
type reader struct {
	of  string
	b   []byte
	err error
}

func (r *reader) fail(format string, a ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w %s: %s", ErrMalformed, r.of, fmt.Sprintf(format, a...))
	}
}

// take returns the next n bytes, which still belong to the input.
func (r *reader) take(n int, field string) []byte {
	if r.err != nil {
		return nil
	}
	if n > len(r.b) {
		r.fail("%s: %d bytes left, wanted %d", field, len(r.b), n)
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u8(field string) uint8 {
	if b := r.take(1, field); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16(field string) uint16 {
	if b := r.take(2, field); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32(field string) uint32 {
	if b := r.take(4, field); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64(field string) uint64 {
	if b := r.take(8, field); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) hash(field string) (h Hash) {
	copy(h[:], r.take(32, field))
	return h
}

func (r *reader) signature(field string) (s [64]byte) {
	copy(s[:], r.take(64, field))
	return s
}

// lv returns a copy of a length-prefixed field of at most limit bytes.
func (r *reader) lv(limit int, field string) []byte {
	n := r.u32(field)
	if uint64(n) > uint64(limit) {
		r.fail("%s: %d bytes, at most %d are allowed", field, n, limit)
		return nil
	}
	return append([]byte{}, r.take(int(n), field)...)
}

// text reads a string: lv of valid UTF-8.
func (r *reader) text(limit int, field string) string {
	b := r.lv(limit, field)
	if !utf8.Valid(b) {
		r.fail("%s: not UTF-8", field)
	}
	return string(b)
}

// oneOf reads a byte that must have one of the values named.
func (r *reader) oneOf(field string, values ...uint8) uint8 {
	v := r.u8(field)
	if r.err == nil && !slices.Contains(values, v) {
		r.fail("%s: %d, wanted one of %v", field, v, values)
	}
	return v
}

// flags reads a byte in which only the known bits may be set.
func (r *reader) flags(field string, known uint8) uint8 {
	v := r.u8(field)
	if v&^known != 0 {
		r.fail("%s: %#x, known are %#x", field, v, known)
	}
	return v
}

// bucket refuses sizes that are no power of two from MinBucket to limit.
func (r *reader) bucket(field string, size, limit int) {
	if r.err == nil && (size < MinBucket || size > limit || size&(size-1) != 0) {
		r.fail("%s: %d bytes, wanted a power of two from %d to %d", field, size, MinBucket, limit)
	}
}

// count reads a list's length: at most limit items of at least size bytes each.
func (r *reader) count(limit, size int, field string) int {
	n := r.u32(field)
	if uint64(n) > uint64(limit) {
		r.fail("%s: %d items, at most %d are allowed", field, n, limit)
		return 0
	}
	if r.err == nil && int(n)*size > len(r.b) {
		r.fail("%s: %d items do not fit into %d bytes", field, n, len(r.b))
		return 0
	}
	return int(n)
}

// end refuses bytes after the last field.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail("%d bytes after the end", len(r.b))
	}
	return r.err
}

// ascending refuses lists that are not in strictly ascending order.
func ascending[T any](r *reader, field string, list []T, compare func(a, b T) int) {
	for i := 1; i < len(list) && r.err == nil; i++ {
		if compare(list[i-1], list[i]) >= 0 {
			r.fail("%s: item %d is not above the one before", field, i)
		}
	}
}

// parse reads all of b with one function.
func parse[T any](of string, b []byte, limit int, fields func(*reader) T) (T, error) {
	r := &reader{of: of, b: b}
	if len(b) > limit {
		r.fail("%d bytes, at most %d are allowed", len(b), limit)
	}
	v := fields(r)
	if err := r.end(); err != nil {
		var none T
		return none, err
	}
	return v, nil
}

// writeList writes a list's count and its items.
func writeList[T any](w *writer, list []T, item func(T)) {
	w.u32(uint32(len(list)))
	for _, v := range list {
		item(v)
	}
}

// list reads a list with one function for an item.
func list[T any](r *reader, limit, size int, field string, item func() T) []T {
	n := r.count(limit, size, field)
	out := make([]T, 0, n)
	for range n {
		if r.err != nil {
			return nil
		}
		out = append(out, item())
	}
	return out
}
