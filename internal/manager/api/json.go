package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
)

// maxDepth bounds the nesting of request bodies.
const maxDepth = 32

// jsonFormat reads JSON strictly: one value, no member twice, bounded nesting.
// Members that are not known are left alone, since clients of other generations
// send them.
func jsonFormat() huma.Format {
	return huma.Format{
		Marshal: func(w io.Writer, v any) error {
			enc := json.NewEncoder(w)
			enc.SetEscapeHTML(false)
			return enc.Encode(v)
		},
		Unmarshal: func(data []byte, v any) error {
			if err := checkJSON(data, reflect.TypeOf(v)); err != nil {
				return err
			}
			return json.Unmarshal(data, v)
		},
	}
}

// checkJSON refuses what encoding/json lets pass: a member given twice, deep
// nesting, and a member that it would take for one of into's although it is
// written in other letters: such a member would overwrite the right one, and
// whatever checks members by name would not see it. into may be nil where the type
// is not known.
func checkJSON(data []byte, into reflect.Type) error {
	if !json.Valid(data) {
		var ignored any
		if err := json.Unmarshal(data, &ignored); err != nil {
			return err
		}
		return errors.New("not a JSON value")
	}
	w := walker{data: data}
	return w.value(into, 0)
}

// walker goes through a text that is known to be valid JSON.
type walker struct {
	data []byte
	at   int
}

// next skips white space and what stands between values, and returns the byte that follows.
func (w *walker) next() byte {
	for {
		switch c := w.data[w.at]; c {
		case ' ', '\t', '\n', '\r', ',', ':':
			w.at++
		default:
			return c
		}
	}
}

func (w *walker) value(into reflect.Type, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	into = target(into)
	switch w.next() {
	case '{':
		w.at++
		return w.object(into, depth)
	case '[':
		w.at++
		var element reflect.Type
		if into != nil && (into.Kind() == reflect.Slice || into.Kind() == reflect.Array) {
			element = into.Elem()
		}
		for w.next() != ']' {
			if err := w.value(element, depth+1); err != nil {
				return err
			}
		}
		w.at++
	case '"':
		w.text()
	default: // a number or a word
		for w.at < len(w.data) && !bytes.ContainsRune([]byte(" \t\n\r,]}"), rune(w.data[w.at])) {
			w.at++
		}
	}
	return nil
}

// text passes a string and returns it with its quotation marks.
func (w *walker) text() []byte {
	from := w.at
	for w.at++; w.data[w.at] != '"'; w.at++ {
		if w.data[w.at] == '\\' {
			w.at++
		}
	}
	w.at++
	return w.data[from:w.at]
}

// name passes the name of a member.
func (w *walker) name() (name string, err error) {
	quoted := w.text()
	for _, c := range quoted {
		if c == '\\' || c >= utf8.RuneSelf {
			err = json.Unmarshal(quoted, &name)
			return name, err
		}
	}
	return string(quoted[1 : len(quoted)-1]), nil
}

func (w *walker) object(into reflect.Type, depth int) error {
	var known map[string]reflect.Type
	var values reflect.Type
	if into != nil {
		switch into.Kind() {
		case reflect.Struct:
			known = map[string]reflect.Type{}
			members(into, known)
		case reflect.Map:
			values = into.Elem()
		}
	}
	seen := map[string]bool{}
	for w.next() != '}' {
		name, err := w.name()
		if err != nil {
			return err
		}
		if seen[name] {
			return fmt.Errorf("member %q is given twice", name)
		}
		seen[name] = true
		value, ok := known[name]
		if !ok {
			value = values
			for right := range known {
				if strings.EqualFold(name, right) {
					return fmt.Errorf("member %q differs from %q in its letters' case only; write it as %q", name, right, right)
				}
			}
		}
		if err := w.value(value, depth+1); err != nil {
			return err
		}
	}
	w.at++
	return nil
}

// target is the type that a JSON value is read into in the end; nil where the type decides by itself.
func target(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		if t.Implements(reflect.TypeFor[json.Unmarshaler]()) {
			return nil
		}
		t = t.Elem()
	}
	if t == nil || t.Kind() == reflect.Interface || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return nil
	}
	return t
}

// members adds the names under which a struct's fields stand in JSON.
func members(t reflect.Type, to map[string]reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		name, _, _ := strings.Cut(tag, ",")
		switch embedded := target(f.Type); {
		case tag == "-":
		case f.Anonymous && name == "" && embedded != nil && embedded.Kind() == reflect.Struct:
			members(embedded, to)
		case !f.IsExported():
		case name == "":
			to[f.Name] = f.Type
		default:
			to[name] = f.Type
		}
	}
}
