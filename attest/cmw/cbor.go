package cmw

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/fxamacker/cbor/v2"
)

// firstTag is TN(0) of RFC 9277, appendix B; the tags of the content formats
// follow it, 255 of every 256.
const firstTag = 1668546817

// maxTagged is the highest content format that has a tag, 1668612095.
const maxTagged = 65024

// tagNumber returns TN(format).
func tagNumber(format uint16) uint64 {
	n := uint64(format)
	return firstTag + n/255*256 + n%255
}

// contentFormat is the inverse of tagNumber.
func contentFormat(tag uint64) (uint16, bool) {
	if tag < firstTag || tag > tagNumber(maxTagged) || (tag-firstTag)%256 == 255 {
		return 0, false
	}
	n := tag - firstTag
	return uint16(n/256*255 + n%256), true
}

func encoder() (cbor.EncMode, error) { return cbor.CoreDetEncOptions().EncMode() }

func decoder() (cbor.DecMode, error) {
	return cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		MaxNestedLevels:  maxDepth + 2,
		MaxArrayElements: MaxItems,
		MaxMapPairs:      MaxItems + 1,
		UTF8:             cbor.UTF8RejectInvalid,
	}.DecMode()
}

// CBOR returns the message in deterministic CBOR.
func (m *Message) CBOR() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("cmw: %w", err)
	}
	enc, err := encoder()
	var out []byte
	if err == nil {
		out, err = enc.Marshal(m.tree())
	}
	if err == nil && len(out) > MaxSize {
		err = fmt.Errorf("%d bytes, at most %d allowed", len(out), MaxSize)
	}
	if err != nil {
		return nil, fmt.Errorf("cmw: %w", err)
	}
	return out, nil
}

// tree returns the values that CBOR encodes.
func (m *Message) tree() any {
	if r := m.Record; r != nil {
		switch {
		case r.Tagged:
			return cbor.Tag{Number: tagNumber(r.Format), Content: r.Value}
		case r.Type == "" && r.Indicator != 0:
			return []any{r.Format, r.Value, uint8(r.Indicator)}
		case r.Type == "":
			return []any{r.Format, r.Value}
		case r.Indicator != 0:
			return []any{r.Type, r.Value, uint8(r.Indicator)}
		}
		return []any{r.Type, r.Value}
	}
	out := make(map[any]any, len(m.Collection.Items)+1)
	if m.Collection.Type != "" {
		out[typeLabel] = m.Collection.Type
	}
	for i := range m.Collection.Items {
		item := &m.Collection.Items[i]
		if item.Label.Text != "" {
			out[item.Label.Text] = item.Message.tree()
		} else {
			out[item.Label.Number] = item.Message.tree()
		}
	}
	return out
}

// ParseCBOR reads a message from deterministic CBOR.
func ParseCBOR(raw []byte) (*Message, error) {
	if len(raw) > MaxSize {
		return nil, fmt.Errorf("cmw: %d bytes, at most %d allowed", len(raw), MaxSize)
	}
	dec, err := decoder()
	if err != nil {
		return nil, fmt.Errorf("cmw: %w", err)
	}
	var v any
	if err := dec.Unmarshal(raw, &v); err != nil {
		return nil, fmt.Errorf("cmw: %w", err)
	}
	m, err := fromTree(v, 0)
	if err == nil {
		err = m.check()
	}
	if err != nil {
		return nil, fmt.Errorf("cmw: %w", err)
	}
	again, err := m.CBOR()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, raw) {
		return nil, errors.New("cmw: not in the one valid encoding, deterministic CBOR")
	}
	return m, nil
}

func fromTree(v any, depth int) (*Message, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("collections lie more than %d deep", maxDepth)
	}
	switch v := v.(type) {
	case cbor.Tag:
		format, ok := contentFormat(v.Number)
		value, isBytes := v.Content.([]byte)
		if !ok || !isBytes {
			return nil, fmt.Errorf("tag %d is not that of a content format around a byte string", v.Number)
		}
		return &Message{Record: &Record{Format: format, Value: value, Tagged: true}}, nil
	case []any:
		return recordOf(v)
	case map[any]any:
		return collectionOf(v, depth)
	}
	return nil, errors.New("neither a record (an array or a tag) nor a collection (a map)")
}

func recordOf(v []any) (*Message, error) {
	r := new(Record)
	if len(v) != 2 && len(v) != 3 {
		return nil, fmt.Errorf("a record of %d items, wanted type, value and perhaps an indicator", len(v))
	}
	switch t := v[0].(type) {
	case string:
		if r.Type = t; t == "" {
			return nil, errors.New("a record without a media type")
		}
	case uint64:
		if t > math.MaxUint16 {
			return nil, fmt.Errorf("content format %d, at most %d allowed", t, math.MaxUint16)
		}
		r.Format = uint16(t)
	default:
		return nil, errors.New("the type of a record is neither a text nor a number")
	}
	var ok bool
	if r.Value, ok = v[1].([]byte); !ok {
		return nil, errors.New("the value of a record is no byte string")
	}
	if len(v) == 3 {
		ind, ok := v[2].(uint64)
		if !ok || ind == 0 || ind > 31 {
			return nil, errors.New("the indicator of a record is no number from 1 to 31")
		}
		r.Indicator = Indicator(ind)
	}
	return &Message{Record: r}, nil
}

func collectionOf(v map[any]any, depth int) (*Message, error) {
	c := new(Collection)
	for key, value := range v {
		var label Label
		switch k := key.(type) {
		case string:
			if k == typeLabel {
				var ok bool
				if c.Type, ok = value.(string); !ok || c.Type == "" {
					return nil, errors.New("the type of a collection is no text")
				}
				continue
			}
			if label.Text = k; k == "" {
				return nil, errors.New("an empty label")
			}
		case uint64:
			if k > math.MaxInt64 {
				return nil, fmt.Errorf("label %d is out of range", k)
			}
			label.Number = int64(k)
		case int64:
			label.Number = k
		default:
			return nil, errors.New("a label is neither a text nor a number")
		}
		m, err := fromTree(value, depth+1)
		if err != nil {
			return nil, fmt.Errorf("%.64q: %w", label, err)
		}
		c.Items = append(c.Items, Item{label, *m})
	}
	slices.SortFunc(c.Items, func(a, b Item) int {
		return cmp.Or(cmp.Compare(a.Label.Text, b.Label.Text), cmp.Compare(a.Label.Number, b.Label.Number))
	})
	return &Message{Collection: c}, nil
}
