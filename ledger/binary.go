package ledger

import (
	"encoding/binary"
	"errors"
	"reflect"
)

var errEncoding = errors.New("ledger: a cell does not hold what its type says")

// appendBinary writes v as a cell's value; the package comment says how.
func (s *shape) appendBinary(b []byte, v reflect.Value) []byte {
	switch s.kind {
	case kindBool:
		if v.Bool() {
			return append(b, 1)
		}
		return append(b, 0)
	case kindUint:
		return appendUint(b, v.Uint(), s.size)
	case kindInt:
		return appendUint(b, uint64(v.Int()), s.size)
	case kindString:
		b = binary.BigEndian.AppendUint32(b, uint32(v.Len()))
		return append(b, v.String()...)
	case kindBytes:
		return appendLV(b, v.Bytes())
	case kindFixed, kindAccount:
		return append(b, v.Bytes()...)
	case kindUint128:
		b = binary.BigEndian.AppendUint64(b, v.Field(0).Uint())
		return binary.BigEndian.AppendUint64(b, v.Field(1).Uint())
	case kindSlice:
		b = binary.BigEndian.AppendUint32(b, uint32(v.Len()))
		for i := range v.Len() {
			b = s.elem.appendBinary(b, v.Index(i))
		}
		return b
	case kindOptional:
		if v.IsNil() {
			return append(b, 0)
		}
		return s.elem.appendBinary(append(b, 1), v.Elem())
	}
	for _, f := range s.fields {
		b = f.appendBinary(b, v.Field(f.index))
	}
	return b
}

// readBinary fills v, which must be settable, and returns what is left of b.
func (s *shape) readBinary(b []byte, v reflect.Value) ([]byte, error) {
	take := func(n int) (x []byte) {
		x, b = b[:n], b[n:]
		return x
	}
	need := s.least()
	if len(b) < need {
		return nil, errEncoding
	}
	var err error
	switch s.kind {
	case kindBool:
		x := take(1)[0]
		if x > 1 {
			return nil, errEncoding
		}
		v.SetBool(x == 1)
	case kindUint:
		v.SetUint(readUint(take(s.size)))
	case kindInt:
		x := readUint(take(s.size))
		v.SetInt(int64(x<<(64-8*s.size)) >> (64 - 8*s.size))
	case kindFixed, kindAccount:
		reflect.Copy(v, reflect.ValueOf(take(need)))
	case kindUint128:
		v.Field(0).SetUint(readUint(take(8)))
		v.Field(1).SetUint(readUint(take(8)))
	case kindString, kindBytes:
		n := readUint(take(4))
		if n > uint64(len(b)) {
			return nil, errEncoding
		}
		if s.kind == kindString {
			v.SetString(string(take(int(n))))
		} else {
			v.SetBytes(append([]byte(nil), take(int(n))...))
		}
	case kindSlice:
		n := readUint(take(4))
		if n > uint64(len(b)) { // an item has at least one byte
			return nil, errEncoding
		}
		v.SetZero()
		for range n {
			item := reflect.New(s.elem.typ).Elem()
			if b, err = s.elem.readBinary(b, item); err != nil {
				return nil, err
			}
			v.Set(reflect.Append(v, item))
		}
	case kindOptional:
		switch take(1)[0] {
		case 0:
			v.SetZero()
		case 1:
			v.Set(reflect.New(s.elem.typ))
			return s.elem.readBinary(b, v.Elem())
		default:
			return nil, errEncoding
		}
	case kindStruct:
		for _, f := range s.fields {
			if b, err = f.readBinary(b, v.Field(f.index)); err != nil {
				return nil, err
			}
		}
	}
	return b, nil
}

// least is how many bytes the beginning of a value takes.
func (s *shape) least() int {
	switch s.kind {
	case kindBool, kindOptional:
		return 1
	case kindString, kindBytes, kindSlice:
		return 4
	case kindUint128:
		return 16
	case kindAccount:
		return len(AccountID{})
	}
	return s.size
}

func appendUint(b []byte, x uint64, size int) []byte {
	for i := size - 1; i >= 0; i-- {
		b = append(b, byte(x>>(8*i)))
	}
	return b
}

func readUint(b []byte) (x uint64) {
	for _, c := range b {
		x = x<<8 | uint64(c)
	}
	return x
}
