package ledger

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// kind is how a type is written, in cells, keys and JSON.
type kind uint8

const (
	kindBool kind = iota
	kindUint
	kindInt
	kindString
	kindBytes
	kindFixed // [N]byte
	kindAccount
	kindUint128
	kindSlice
	kindStruct
	kindOptional
)

// shape is a type that cells, keys, parameters and results can have. One shape serves all four, so that
// what a command takes can be kept and given back.
type shape struct {
	kind   kind
	typ    reflect.Type
	size   int // kindUint, kindInt, kindFixed: bytes
	elem   *shape
	fields []field
}

type field struct {
	*shape
	index int
	names []string // the first one is written; all are read
	max   int      // longest string, []byte or slice that is read from JSON; 0: no limit of its own
}

// maxDepth bounds how deep types, and so JSON, nest.
const maxDepth = 8

func shapeOf(t reflect.Type) (*shape, error) { return shapeAt(t, 0) }

func shapeAt(t reflect.Type, depth int) (*shape, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("type %s nests deeper than %d", t, maxDepth)
	}
	s := &shape{typ: t}
	switch t {
	case reflect.TypeFor[AccountID]():
		s.kind = kindAccount
		return s, nil
	case reflect.TypeFor[Uint128]():
		s.kind = kindUint128
		return s, nil
	}
	var err error
	switch t.Kind() {
	case reflect.Bool:
		s.kind = kindBool
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		s.kind, s.size = kindUint, t.Bits()/8
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		s.kind, s.size = kindInt, t.Bits()/8
	case reflect.String:
		s.kind = kindString
	case reflect.Array:
		if t.Elem() != reflect.TypeFor[byte]() || t.Len() == 0 {
			return nil, fmt.Errorf("type %s: arrays are of bytes, at least one", t)
		}
		s.kind, s.size = kindFixed, t.Len()
	case reflect.Slice:
		if t.Elem() == reflect.TypeFor[byte]() {
			s.kind = kindBytes
			return s, nil
		}
		s.kind = kindSlice
		if s.elem, err = shapeAt(t.Elem(), depth+1); err != nil {
			return nil, err
		}
		if s.elem.kind == kindStruct && len(s.elem.fields) == 0 {
			return nil, fmt.Errorf("type %s: items without fields take no bytes", t)
		}
	case reflect.Pointer:
		s.kind = kindOptional
		if s.elem, err = shapeAt(t.Elem(), depth+1); err != nil {
			return nil, err
		}
		if s.elem.kind == kindOptional {
			return nil, fmt.Errorf("type %s: a pointer to a pointer", t)
		}
	case reflect.Struct:
		s.kind = kindStruct
		if s.fields, err = fieldsOf(t, depth); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("type %s cannot be used: want bool, integers of a stated width, string, []byte, [N]byte, AccountID, Uint128, slices, structs and pointers (optional) of these", t)
	}
	return s, nil
}

func fieldsOf(t reflect.Type, depth int) ([]field, error) {
	var fields []field
	seen := map[string]bool{}
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() || f.Anonymous {
			return nil, fmt.Errorf("type %s, field %s: want an exported field that is not embedded", t, f.Name)
		}
		name, tagged := f.Tag.Lookup("json")
		if !tagged {
			name = snakeCase(f.Name)
		}
		inner, err := shapeAt(f.Type, depth+1)
		if err != nil {
			return nil, fmt.Errorf("type %s, field %s: %w", t, f.Name, err)
		}
		max := 0
		if tag, ok := f.Tag.Lookup("max"); ok {
			if max, err = strconv.Atoi(tag); err != nil || max < 1 {
				return nil, fmt.Errorf("type %s, field %s: tag max is %q, want a number above 0", t, f.Name, tag)
			}
		}
		names := []string{name}
		if alias := f.Tag.Get("alias"); alias != "" {
			names = append(names, strings.Split(alias, ",")...)
		}
		for _, n := range names {
			if !validName(n) || seen[n] {
				return nil, fmt.Errorf("type %s, field %s: name %q is taken twice or is not 1 to 64 letters, digits and _", t, f.Name, n)
			}
			seen[n] = true
		}
		fields = append(fields, field{shape: inner, index: i, names: names, max: max})
	}
	return fields, nil
}

// snakeCase makes total_supply of TotalSupply and auction_id of AuctionID.
func snakeCase(s string) string {
	upper := func(i int) bool { return i < len(s) && s[i] >= 'A' && s[i] <= 'Z' }
	var b []byte
	for i := range len(s) {
		if upper(i) && i > 0 && (!upper(i-1) || i+1 < len(s) && !upper(i+1)) {
			b = append(b, '_')
		}
		b = append(b, s[i])
	}
	return strings.ToLower(string(b))
}

// validName is for cells, commands, queries and members: 1 to 64 letters, digits and _, a letter first.
func validName(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '_') {
			return false
		}
	}
	return true
}

// maxName is the longest name of anything, in bytes.
const maxName = 64
