package ledger

import (
	"bytes"
	"fmt"
	"reflect"
)

// keyable says whether values of the shape can be keys of a map.
func (s *shape) keyable() error {
	switch s.kind {
	case kindSlice, kindOptional:
		return fmt.Errorf("type %s cannot be a key: a slice or a pointer has no order of its own", s.typ)
	case kindStruct:
		if len(s.fields) == 0 {
			return fmt.Errorf("type %s cannot be a key: it has no fields", s.typ)
		}
		for _, f := range s.fields {
			if err := f.keyable(); err != nil {
				return err
			}
		}
	}
	return nil
}

// appendKey writes v so that the order of the bytes is the order of the values, and no key is the
// beginning of another.
func (s *shape) appendKey(b []byte, v reflect.Value) []byte {
	switch s.kind {
	case kindInt:
		return appendUint(b, uint64(v.Int())^1<<(8*s.size-1), s.size)
	case kindString, kindBytes:
		text := v.Bytes
		if s.kind == kindString {
			text = func() []byte { return []byte(v.String()) }
		}
		for _, c := range text() {
			if b = append(b, c); c == 0 {
				b = append(b, 255)
			}
		}
		return append(b, 0, 1)
	case kindStruct:
		for _, f := range s.fields {
			b = f.appendKey(b, v.Field(f.index))
		}
		return b
	}
	return s.appendBinary(b, v)
}

// readKey reads what appendKey wrote.
func (s *shape) readKey(b []byte, v reflect.Value) (rest []byte, err error) {
	switch s.kind {
	case kindInt:
		if len(b) < s.size {
			return nil, errEncoding
		}
		x := readUint(b[:s.size]) ^ 1<<(8*s.size-1)
		v.SetInt(int64(x<<(64-8*s.size)) >> (64 - 8*s.size))
		return b[s.size:], nil
	case kindString, kindBytes:
		var text []byte
		for {
			i := bytes.IndexByte(b, 0)
			if i < 0 || i+1 >= len(b) {
				return nil, errEncoding
			}
			text = append(text, b[:i]...)
			mark := b[i+1]
			b = b[i+2:]
			switch mark {
			case 1:
				if s.kind == kindString {
					v.SetString(string(text))
				} else {
					v.SetBytes(text)
				}
				return b, nil
			case 255:
				text = append(text, 0)
			default:
				return nil, errEncoding
			}
		}
	case kindStruct:
		for _, f := range s.fields {
			if b, err = f.readKey(b, v.Field(f.index)); err != nil {
				return nil, err
			}
		}
		return b, nil
	}
	return s.readBinary(b, v)
}
