package ledger

import (
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// parse reads arguments into v, a settable struct. It is stricter than encoding/json: members that are
// unknown, given twice, missing (but for pointers) or written in another case are refused, as are numbers
// that are no integers of the field's width, text that is no UTF-8, and bytes after the value. Nothing at
// all stands for {}.
func (s *shape) parse(args []byte, v reflect.Value) error {
	if len(args) == 0 {
		args = []byte("{}")
	}
	p := &parser{rest: args}
	if err := s.readJSON(p, v, 0); err != nil {
		return err
	}
	if p.space(); len(p.rest) > 0 {
		return fmt.Errorf("%d bytes after the value", len(p.rest))
	}
	return nil
}

func (s *shape) readJSON(p *parser, v reflect.Value, max int) error {
	switch s.kind {
	case kindBool:
		switch {
		case p.word("true"):
			v.SetBool(true)
		case p.word("false"):
			v.SetBool(false)
		default:
			return errors.New("want true or false")
		}
		return nil
	case kindUint, kindInt, kindUint128:
		digits, err := p.integer()
		if err != nil {
			return err
		}
		return s.setInteger(digits, v)
	case kindString:
		text, err := p.text()
		if err != nil {
			return err
		}
		v.SetString(text)
		return tooLong(len(text), max, "bytes")
	case kindBytes, kindFixed:
		text, err := p.text()
		if err != nil {
			return err
		}
		if s.kind == kindBytes {
			v.SetBytes(make([]byte, len(text)/2))
		}
		if len(text) != 2*v.Len() {
			return fmt.Errorf("%d characters, want two lower-case hexadecimal digits for each byte, of %d bytes", len(text), v.Len())
		}
		if err := tooLong(v.Len(), max, "bytes"); err != nil {
			return err
		}
		return fromHex(v.Bytes(), text)
	case kindAccount:
		id, err := p.account()
		v.Set(reflect.ValueOf(id))
		return err
	case kindOptional:
		if p.word("null") {
			v.SetZero()
			return nil
		}
		v.Set(reflect.New(s.elem.typ))
		return s.elem.readJSON(p, v.Elem(), max)
	case kindSlice:
		v.SetZero()
		return p.list('[', ']', func(n int) error {
			if err := tooLong(n+1, max, "items"); err != nil {
				return err
			}
			item := reflect.New(s.elem.typ).Elem()
			if err := s.elem.readJSON(p, item, 0); err != nil {
				return fmt.Errorf("item %d: %w", n, err)
			}
			v.Set(reflect.Append(v, item))
			return nil
		})
	}
	return s.readMembers(p, v)
}

func (s *shape) readMembers(p *parser, v reflect.Value) error {
	seen := make([]bool, len(s.fields))
	err := p.list('{', '}', func(int) error {
		name, err := p.text()
		if err != nil {
			return fmt.Errorf("name of a member: %w", err)
		}
		at := slices.IndexFunc(s.fields, func(f field) bool { return slices.Contains(f.names, name) })
		switch {
		case at < 0:
			return fmt.Errorf("unknown member %q", clip(name))
		case seen[at]:
			return fmt.Errorf("member %q is given twice", name)
		case !p.take(':'):
			return fmt.Errorf("member %q: want a colon", name)
		}
		seen[at] = true
		f := s.fields[at]
		if err := f.readJSON(p, v.Field(f.index), f.max); err != nil {
			return fmt.Errorf("member %q: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, f := range s.fields {
		if !seen[i] && f.kind != kindOptional {
			return fmt.Errorf("member %q is missing", f.names[0])
		}
	}
	return nil
}

func (s *shape) setInteger(digits string, v reflect.Value) error {
	switch s.kind {
	case kindUint128:
		n, err := ParseUint128(digits)
		v.Set(reflect.ValueOf(n))
		return err
	case kindUint:
		n, err := strconv.ParseUint(digits, 10, 8*s.size)
		if err != nil {
			return fmt.Errorf("%s is no unsigned integer of %d bits", clip(digits), 8*s.size)
		}
		v.SetUint(n)
	case kindInt:
		n, err := strconv.ParseInt(digits, 10, 8*s.size)
		if err != nil {
			return fmt.Errorf("%s is no integer of %d bits", clip(digits), 8*s.size)
		}
		v.SetInt(n)
	}
	return nil
}

func tooLong(n, max int, what string) error {
	if max > 0 && n > max {
		return fmt.Errorf("%d %s, want at most %d", n, what, max)
	}
	return nil
}

func clip(s string) string {
	if len(s) > maxName {
		return strings.ToValidUTF8(s[:maxName], "") + "…"
	}
	return s
}

// appendJSON writes v as readJSON reads it; absent optional members are left out.
func (s *shape) appendJSON(b []byte, v reflect.Value) []byte {
	switch s.kind {
	case kindBool:
		return strconv.AppendBool(b, v.Bool())
	case kindUint:
		return strconv.AppendUint(b, v.Uint(), 10)
	case kindInt:
		return strconv.AppendInt(b, v.Int(), 10)
	case kindUint128:
		return appendText(b, v.Interface().(Uint128).String())
	case kindString:
		return appendText(b, v.String())
	case kindBytes, kindFixed, kindAccount:
		return append(hex.AppendEncode(append(b, '"'), v.Bytes()), '"')
	case kindOptional:
		if v.IsNil() {
			return append(b, "null"...)
		}
		return s.elem.appendJSON(b, v.Elem())
	case kindSlice:
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = s.elem.appendJSON(b, v.Index(i))
		}
		return append(b, ']')
	}
	b = append(b, '{')
	first := true
	for _, f := range s.fields {
		inner := v.Field(f.index)
		if f.kind == kindOptional && inner.IsNil() {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(appendText(b, f.names[0]), ':')
		b = f.appendJSON(b, inner)
	}
	return append(b, '}')
}

func appendText(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < 0x20:
			b = append(b, '\\', 'u', '0', '0', digits[r>>4], digits[r&15])
		default:
			b = utf8.AppendRune(b, r) // what is no UTF-8 becomes U+FFFD
		}
		s = s[n:]
	}
	return append(b, '"')
}
