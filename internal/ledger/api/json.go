package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxDepth bounds the nesting of bodies.
const maxDepth = 8

// decode reads one JSON object strictly: members that are known, each once, and
// nothing after it.
func decode(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if err := once(d, 0); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	d = json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) { // its text would repeat the value
			return fmt.Errorf("member %q: wanted a %s", wrong.Field, wrong.Type)
		}
		return errors.New("a member is not known, or its value is not of the form wanted")
	}
	return nil
}

// once walks over a value and refuses members that stand twice, in any letters, since
// encoding/json would take the last of them.
func once(d *json.Decoder, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested deeper than %d", maxDepth)
	}
	t, err := d.Token()
	if err != nil {
		return errors.New("not a JSON value")
	}
	open, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[string]bool{}
	for d.More() {
		if open == '{' {
			name, err := d.Token()
			if err != nil {
				return errors.New("not a JSON value")
			}
			text, _ := name.(string) // names of members are strings
			lower := string(bytes.ToLower([]byte(text)))
			if text != lower {
				return errors.New("names of members are in small letters")
			}
			if seen[lower] {
				return errors.New("a member stands twice")
			}
			seen[lower] = true
		}
		if err := once(d, depth+1); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return errors.New("not a JSON value")
	}
	return nil
}
