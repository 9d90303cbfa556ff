package cmw

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Limits.
const (
	MaxSize = 256 << 10 // bytes of a whole message in any form
	// MaxExtension is the limit in bytes of a message in a certificate, which anybody who opens a
	// connection may present: reading one costs less than 1 MiB.
	MaxExtension = 96 << 10
	MaxItems     = 64  // records and collections in a message
	maxDepth     = 4   // collections within collections
	maxText      = 256 // bytes of a type or label
)

// Indicator says which conceptual messages of RFC 9334 a record holds; 0 where it does not say.
type Indicator uint8

// The bits of an indicator (RFC 9999, section 3.1).
const (
	ReferenceValues Indicator = 1 << iota
	Endorsements
	Evidence
	AttestationResults
	AppraisalPolicy
)

// Message is a record or a collection; exactly one is set.
type Message struct {
	Record     *Record
	Collection *Collection
}

// Record is one value with its type.
type Record struct {
	Type string // media type, with parameters if any; empty where Format is meant
	// Format is a CoAP Content-Format. Only CBOR has it.
	Format uint16
	Value  []byte // at least one byte
	// Indicator is 0 in the tag form, which has no place for it.
	Indicator Indicator
	// Tagged is CBOR's short form: a tag derived from Format around the value (RFC 9277, appendix B).
	Tagged bool
}

// Collection is messages under labels, which are unique.
type Collection struct {
	Type  string // absolute URI or dotted OID; may be empty
	Items []Item // at least one
}

// Item is a member of a collection.
type Item struct {
	Label   Label
	Message Message
}

// Label names an item: a text, or in CBOR a number.
type Label struct {
	Text   string // empty where Number is meant
	Number int64
}

func (l Label) String() string {
	if l.Text != "" {
		return l.Text
	}
	return fmt.Sprint(l.Number)
}

// typeLabel is the member of a collection that holds its type.
const typeLabel = "__cmwc_t"

// Records returns the records of m with the labels that lead to them, in order.
func (m *Message) Records() []Labelled {
	var out []Labelled
	m.walk("", &out)
	return out
}

// Labelled is a record of a message and the labels that lead to it, joined by "/".
type Labelled struct {
	Path string
	*Record
}

func (m *Message) walk(path string, out *[]Labelled) {
	if m.Record != nil {
		*out = append(*out, Labelled{path, m.Record})
		return
	}
	for i := range m.Collection.Items {
		item := &m.Collection.Items[i]
		item.Message.walk(strings.TrimPrefix(path+"/"+item.Label.String(), "/"), out)
	}
}

// Get returns the record under a text label of a collection, or nil.
func (m *Message) Get(label string) *Record {
	if m.Collection == nil {
		return nil
	}
	for i := range m.Collection.Items {
		if item := &m.Collection.Items[i]; item.Label.Text == label {
			return item.Message.Record
		}
	}
	return nil
}

// Parse reads a message in either form, told apart by its first byte (RFC 9999, section 3.4).
func Parse(raw []byte) (*Message, error) {
	if isJSON(raw) {
		return ParseJSON(raw)
	}
	return ParseCBOR(raw)
}

func isJSON(raw []byte) bool {
	for _, c := range raw {
		switch c {
		case ' ', '\t', '\r', '\n':
		case '[', '{':
			return true
		default:
			return false
		}
	}
	return false
}

var (
	mediaType      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}( *;[\x20-\x7e]+)?$`)
	collectionType = regexp.MustCompile(`^([0-2](\.(0|[1-9][0-9]*))+|[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7e]+)$`)
)

// checker holds what was counted of one message.
type checker struct{ items int }

func (m *Message) check() error { return new(checker).message(m, 0) }

func (c *checker) message(m *Message, depth int) error {
	if c.items++; c.items > MaxItems {
		return fmt.Errorf("more than %d records and collections", MaxItems)
	}
	switch {
	case (m.Record == nil) == (m.Collection == nil):
		return errors.New("a message must be either a record or a collection")
	case m.Record != nil:
		return m.Record.check()
	case depth >= maxDepth:
		return fmt.Errorf("collections lie more than %d deep", maxDepth)
	}
	col := m.Collection
	if col.Type != "" && (len(col.Type) > maxText || !collectionType.MatchString(col.Type)) {
		return fmt.Errorf("type %.64q of a collection is neither an absolute URI nor an OID", col.Type)
	}
	if len(col.Items) == 0 {
		return errors.New("a collection without an item")
	}
	seen := make(map[Label]bool, min(len(col.Items), MaxItems))
	for i := range col.Items {
		item := &col.Items[i]
		switch l := item.Label; {
		case l.Text == typeLabel:
			return fmt.Errorf("%q is no label of an item", typeLabel)
		case len(l.Text) > maxText:
			return fmt.Errorf("a label of %d bytes, at most %d allowed", len(l.Text), maxText)
		case l.Text != "" && l.Number != 0:
			return fmt.Errorf("a label is both text %q and number %d", l.Text, l.Number)
		case seen[l]:
			return fmt.Errorf("label %q stands there twice", l)
		}
		seen[item.Label] = true
		if err := c.message(&item.Message, depth+1); err != nil {
			return fmt.Errorf("%.64q: %w", item.Label, err)
		}
	}
	return nil
}

func (r *Record) check() error {
	switch {
	case r.Type != "" && (r.Format != 0 || r.Tagged):
		return errors.New("a record has both a media type and a content format")
	case r.Type != "" && (len(r.Type) > maxText || !mediaType.MatchString(r.Type)):
		return fmt.Errorf("%.64q is no media type", r.Type)
	case len(r.Value) == 0:
		return errors.New("a record without a value")
	case r.Indicator >= 1<<5:
		return fmt.Errorf("indicator %#x has bits that are not known", uint8(r.Indicator))
	case r.Tagged && r.Format > maxTagged:
		return fmt.Errorf("content format %d has no tag", r.Format)
	case r.Tagged && r.Indicator != 0:
		return errors.New("the tag form has no indicator")
	}
	return nil
}
