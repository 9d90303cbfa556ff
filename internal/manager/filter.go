package manager

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"hitoku.dev/internal/manager/store"
)

// maxFilterValues bounds the values of one filter.
const maxFilterValues = 256

// filter reads the parameter `filter` of a list: a JSON object whose members
// must all hold. A member's value is a text, or a list of texts of which one must
// be the item's:
//
//	{"node_id":["…","…"],"name":"node-1"}
//
// A key that is not known is refused, since an item that should not be in the
// list would be in it otherwise.
func filter(text string, by columns) ([]store.Condition, error) {
	bad := func(format string, args ...any) error {
		return invalid(CodeInvalidValue, "filter: "+format, args...)
	}
	known := strings.Join(keysOf(by), ", ")
	d := json.NewDecoder(strings.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, bad("wanted a JSON object of keys (%s) and values", known)
	}
	var where []store.Condition
	seen, values := map[string]bool{}, 0
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, bad("%v", err)
		}
		key := t.(string) // the decoder lets nothing else pass in this place
		column, ok := by[key]
		switch {
		case !ok:
			return nil, bad("%q is none of %s", clip(key), known)
		case seen[key]:
			return nil, bad("%q is given twice", key)
		}
		seen[key] = true
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, bad("%q: %v", key, err)
		}
		wanted, err := filterValues(raw)
		if err != nil {
			return nil, bad("%q: %v", key, err)
		}
		if values += len(wanted); values > maxFilterValues {
			return nil, bad("more than %d values", maxFilterValues)
		}
		where = append(where, store.OneOf(column, wanted...))
	}
	if _, err := d.Token(); err != nil {
		return nil, bad("%v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, bad("something follows the JSON object")
	}
	return where, nil
}

func filterValues(raw json.RawMessage) ([]string, error) {
	var one *string
	if err := json.Unmarshal(raw, &one); err == nil && one != nil {
		return []string{*one}, nil
	}
	var many []*string
	if err := json.Unmarshal(raw, &many); err != nil || bytes.Equal(raw, []byte("null")) {
		return nil, errors.New("wanted a text or a list of texts")
	}
	var out []string
	for _, s := range many {
		if s == nil {
			return nil, errors.New("wanted texts, seen null")
		}
		out = append(out, *s)
	}
	return out, nil
}
