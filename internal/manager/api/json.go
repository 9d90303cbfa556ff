package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

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

// checkJSON refuses what encoding/json lets pass: a member given twice, text
// after the value, deep nesting, and a member that it would take for one of into's
// although it is written in other letters: such a member would overwrite the
// right one, and whatever checks members by name would not see it. into may be
// nil where the type is not known.
func checkJSON(data []byte, into reflect.Type) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := checkValue(dec, into, 0); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON value")
	}
	return nil
}

func checkValue(dec *json.Decoder, into reflect.Type, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	tok, err := dec.Token()
	if err != nil {
		return err
	}
	into = target(into)
	switch tok {
	case json.Delim('{'):
		return checkObject(dec, into, depth)
	case json.Delim('['):
		var element reflect.Type
		if into != nil && (into.Kind() == reflect.Slice || into.Kind() == reflect.Array) {
			element = into.Elem()
		}
		for dec.More() {
			if err := checkValue(dec, element, depth+1); err != nil {
				return err
			}
		}
		_, err = dec.Token()
	}
	return err
}

func checkObject(dec *json.Decoder, into reflect.Type, depth int) error {
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
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		name, ok := key.(string)
		if !ok {
			return fmt.Errorf("member name %v is not text", key)
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
		if err := checkValue(dec, value, depth+1); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
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
