package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// decodeObject reads one JSON object: the members named in want into the strings
// given for them, others ignored, as the clients of this interface expect. It
// refuses a member that appears twice, a wanted member that is not a string, and
// anything after the object. A member that is null counts as absent.
func decodeObject(raw []byte, want map[string]*string) error {
	if !utf8.Valid(raw) {
		return errors.New("request body: not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	open, err := dec.Token()
	if err != nil || open != json.Delim('{') {
		return errors.New("request body: wanted a JSON object")
	}
	seen := map[string]bool{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return fmt.Errorf("request body: %w", err)
		}
		key := name.(string) // the decoder accepts nothing else in this place
		if seen[key] {
			return fmt.Errorf("request body: member %q appears twice", clip(key))
		}
		seen[key] = true
		dst, ok := want[key]
		if !ok {
			var ignored json.RawMessage
			if err := dec.Decode(&ignored); err != nil {
				return fmt.Errorf("request body: %w", err)
			}
			continue
		}
		value, err := dec.Token()
		if err != nil {
			return fmt.Errorf("request body: %w", err)
		}
		switch value := value.(type) {
		case nil:
		case string:
			*dst = value
		default:
			return fmt.Errorf("request body: member %q: wanted a string", key)
		}
	}
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("request body: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("request body: bytes after the JSON object")
	}
	return nil
}
