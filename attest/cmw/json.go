package cmw

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"unicode/utf8"
)

// JSON returns the message as a JSON text without white space, the members of
// collections sorted by label after the type.
func (m *Message) JSON() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("cmw: %w", err)
	}
	out, err := m.appendJSON(nil)
	if err == nil && len(out) > MaxSize {
		err = fmt.Errorf("%d bytes, at most %d allowed", len(out), MaxSize)
	}
	if err != nil {
		return nil, fmt.Errorf("cmw: %w", err)
	}
	return out, nil
}

func (m *Message) appendJSON(out []byte) ([]byte, error) {
	if r := m.Record; r != nil {
		if r.Type == "" {
			return nil, fmt.Errorf("content format %d: JSON has media types only", r.Format)
		}
		out = append(appendString(append(out, '['), r.Type), ",\""...)
		out = append(base64.RawURLEncoding.AppendEncode(out, r.Value), '"')
		if r.Indicator != 0 {
			out = strconv.AppendUint(append(out, ','), uint64(r.Indicator), 10)
		}
		return append(out, ']'), nil
	}
	items := slices.Clone(m.Collection.Items)
	slices.SortFunc(items, func(a, b Item) int { return cmp.Compare(a.Label.Text, b.Label.Text) })
	out = append(out, '{')
	if m.Collection.Type != "" {
		out = appendString(append(appendString(out, typeLabel), ':'), m.Collection.Type)
	}
	for i := range items {
		if items[i].Label.Text == "" {
			return nil, fmt.Errorf("label %s: JSON has texts only", items[i].Label)
		}
		if out[len(out)-1] != '{' {
			out = append(out, ',')
		}
		out = append(appendString(out, items[i].Label.Text), ':')
		var err error
		if out, err = items[i].Message.appendJSON(out); err != nil {
			return nil, err
		}
	}
	return append(out, '}'), nil
}

func appendString(out []byte, s string) []byte {
	text, err := json.Marshal(s)
	if err != nil { // a string always has a JSON form
		return append(out, `""`...)
	}
	return append(out, text...)
}

// ParseJSON reads a message from a JSON text.
func ParseJSON(text []byte) (*Message, error) {
	if len(text) > MaxSize {
		return nil, fmt.Errorf("cmw: %d bytes, at most %d allowed", len(text), MaxSize)
	}
	if !utf8.Valid(text) {
		return nil, errors.New("cmw: not UTF-8")
	}
	p := &jsonParser{dec: json.NewDecoder(bytes.NewReader(text))}
	p.dec.UseNumber()
	m, err := p.message(0)
	if err == nil {
		if _, more := p.dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("text after the end")
		}
	}
	if err == nil {
		err = m.check()
	}
	if err != nil {
		return nil, fmt.Errorf("cmw: %w", err)
	}
	return m, nil
}

type jsonParser struct {
	dec   *json.Decoder
	items int
}

func (p *jsonParser) message(depth int) (*Message, error) {
	if p.items++; p.items > MaxItems || depth > maxDepth {
		return nil, fmt.Errorf("more than %d records and collections, or more than %d deep", MaxItems, maxDepth)
	}
	start, err := p.dec.Token()
	if err != nil {
		return nil, err
	}
	switch start {
	case json.Delim('['):
		r, err := p.record()
		return &Message{Record: r}, err
	case json.Delim('{'):
		c, err := p.collection(depth)
		return &Message{Collection: c}, err
	}
	return nil, errors.New("neither a record (an array) nor a collection (an object)")
}

func (p *jsonParser) text() (string, error) {
	t, err := p.dec.Token()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", fmt.Errorf("%v, wanted a text", t)
	}
	return s, nil
}

func (p *jsonParser) record() (*Record, error) {
	r := new(Record)
	var err error
	if r.Type, err = p.text(); err != nil {
		return nil, fmt.Errorf("type of a record: %w", err)
	}
	if r.Type == "" {
		return nil, errors.New("a record without a media type")
	}
	value, err := p.text()
	if err != nil {
		return nil, fmt.Errorf("value of a record: %w", err)
	}
	for i := range len(value) { // the decoder of the standard library skips line ends
		if value[i] == '\n' || value[i] == '\r' {
			return nil, errors.New("value of a record: a line end inside base64url")
		}
	}
	if r.Value, err = base64.RawURLEncoding.Strict().DecodeString(value); err != nil {
		return nil, fmt.Errorf("value of a record is no base64url without padding: %w", err)
	}
	t, err := p.dec.Token()
	if n, ok := t.(json.Number); err == nil && ok {
		ind, bad := strconv.ParseUint(n.String(), 10, 5)
		if bad != nil || ind == 0 {
			return nil, fmt.Errorf("indicator %.32s, wanted a whole number from 1 to 31", n)
		}
		r.Indicator = Indicator(ind)
		t, err = p.dec.Token()
	}
	if err != nil {
		return nil, err
	}
	if t != json.Delim(']') {
		return nil, errors.New("a record has two or three items: type, value, indicator")
	}
	return r, nil
}

func (p *jsonParser) collection(depth int) (*Collection, error) {
	c := new(Collection)
	typed := false
	for p.dec.More() {
		label, err := p.text()
		if err != nil {
			return nil, err
		}
		if label == typeLabel {
			if typed {
				return nil, errors.New("the type of a collection stands there twice")
			}
			typed = true
			if c.Type, err = p.text(); err != nil {
				return nil, fmt.Errorf("type of a collection: %w", err)
			}
			if c.Type == "" {
				return nil, errors.New("the type of a collection is empty")
			}
			continue
		}
		if label == "" {
			return nil, errors.New("an empty label")
		}
		m, err := p.message(depth + 1)
		if err != nil {
			return nil, fmt.Errorf("%.64q: %w", label, err)
		}
		c.Items = append(c.Items, Item{Label{Text: label}, *m})
	}
	_, err := p.dec.Token()
	return c, err
}
