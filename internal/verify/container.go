package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"hitoku.dev/attest/cmw"
	"hitoku.dev/attest/eventlog"
)

// Limits on the unwrapping of containers.
const (
	maxWraps   = 5   // containers within containers
	maxMembers = 256 // of a JSON object
	maxPieces  = 17  // a TEE and its devices
	minText    = 64  // characters of a member that is worth decoding
)

// piece is evidence that a format recognised, and the containers that it was in.
type piece struct {
	raw    []byte
	in     []string // outermost first
	format *format
}

// finder unwraps containers.
type finder struct {
	formats []format
	pieces  []piece
	logs    [][]byte // event logs that lay beside the evidence
	seen    map[[32]byte]bool
	err     error
}

// errNothing says that no format knows the bytes.
var errNothing = errors.New("no evidence in any format that is known here")

// find returns every piece of evidence in raw and the event logs beside them. The
// first piece is the TEE's, if there is one.
func find(raw []byte) ([]piece, [][]byte, error) {
	f := &finder{formats: formats(), seen: make(map[[32]byte]bool)}
	f.look(raw, nil)
	pieces, err := f.sorted()
	return pieces, f.logs, err
}

// sorted returns what was found, the TEE's evidence first, and refuses what is ambiguous.
func (f *finder) sorted() ([]piece, error) {
	if f.err != nil {
		return nil, f.err
	}
	if len(f.pieces) == 0 {
		return nil, errNothing
	}
	first := -1
	for i := range f.pieces {
		switch {
		case f.pieces[i].format.device:
		case first >= 0:
			return nil, fmt.Errorf("two pieces of evidence, %s and %s: it is not clear which one counts; give one of them",
				f.pieces[first].where(), f.pieces[i].where())
		default:
			first = i
		}
	}
	if first > 0 {
		f.pieces[0], f.pieces[first] = f.pieces[first], f.pieces[0]
	}
	return f.pieces, nil
}

func (p *piece) where() string {
	s := "a " + p.format.name
	for i := len(p.in) - 1; i >= 0; i-- {
		s += " in " + p.in[i]
	}
	return s
}

func (f *finder) fail(err error) {
	if f.err == nil {
		f.err = err
	}
}

// look tries the formats on raw, and then its containers.
func (f *finder) look(raw []byte, in []string) {
	if f.err != nil || len(raw) == 0 {
		return
	}
	format := f.formatOf(raw)
	text := bytes.TrimSpace(raw)
	within := func(name string) []string { return append(in[:len(in):len(in)], name) }
	if format != nil {
		if format.holds != nil && bytes.HasPrefix(text, []byte("{")) && len(in) < maxWraps && !format.holds(raw) {
			before := len(f.pieces)
			if f.object(text, within); len(f.pieces) > before {
				return // it was only around the evidence
			}
		}
		f.take(piece{raw, in, format})
		return
	}
	if len(in) >= maxWraps {
		return
	}
	if plain, kind := decodeText(text); plain != nil {
		f.look(plain, within(kind))
		return
	}
	if m, err := cmw.Parse(raw); err == nil {
		for _, r := range m.Records() {
			name := "a wrapper of RFC 9999"
			if r.Path != "" {
				name += fmt.Sprintf(", label %.64q", r.Path)
			}
			f.look(r.Value, within(name))
		}
		return
	}
	if bytes.HasPrefix(text, []byte("{")) {
		f.object(text, within)
	}
}

// formatOf returns the first format that recognises raw, or nil.
func (f *finder) formatOf(raw []byte) *format {
	for i := range f.formats {
		if f.formats[i].recognise(raw) {
			return &f.formats[i]
		}
	}
	return nil
}

// isLog reports whether a member is an event log. Of JSON any array of objects could
// be one; its events name registers.
func (f *finder) isLog(raw []byte) bool {
	return eventlog.Recognise(raw) && f.formatOf(raw) == nil && (bytes.TrimSpace(raw)[0] != '[' || bytes.Contains(raw, []byte(`"imr"`)))
}

func (f *finder) take(p piece) {
	id := sha256.Sum256(p.raw)
	if f.seen[id] { // the same evidence under two names is one piece
		return
	}
	f.seen[id] = true
	if f.pieces = append(f.pieces, p); len(f.pieces) > maxPieces {
		f.fail(fmt.Errorf("more than %d pieces of evidence", maxPieces))
	}
}

// object looks into the members of a JSON object. A member that stands there twice
// would let two readers see two things.
func (f *finder) object(text []byte, within func(string) []string) {
	if !utf8.Valid(text) || !json.Valid(text) {
		return
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	if _, err := dec.Token(); err != nil {
		return
	}
	seen := make(map[string]bool)
	for dec.More() {
		key, err := dec.Token()
		name, ok := key.(string)
		if err != nil || !ok {
			return
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return
		}
		if seen[name] {
			f.fail(fmt.Errorf("member %.64q stands twice in the JSON object: it is not clear which one counts", name))
			return
		}
		if seen[name] = true; len(seen) > maxMembers {
			f.fail(fmt.Errorf("more than %d members in the JSON object", maxMembers))
			return
		}
		f.member(name, value, within)
	}
}

// member looks at one member: a text that is evidence or an event log once it is
// decoded, an object with either in it, or an array of events or bytes.
func (f *finder) member(name string, value json.RawMessage, within func(string) []string) {
	in := within(fmt.Sprintf("member %.64q of a JSON object", name))
	if len(in) > maxWraps {
		return
	}
	switch value[0] {
	case '{':
		f.look(value, in)
	case '[':
		if b := byteArray(value); b != nil {
			f.look(b, in)
		} else if f.isLog(value) {
			f.logs = append(f.logs, value)
		} else {
			f.look(value, in)
		}
	case '"':
		var s string
		if len(value) < minText || json.Unmarshal(value, &s) != nil {
			return
		}
		plain := []byte(s)
		if f.isLog(plain) {
			f.logs = append(f.logs, plain)
			return
		}
		if decoded, _ := decodeText(plain); decoded != nil && f.isLog(decoded) {
			f.logs = append(f.logs, decoded)
			return
		}
		f.look(plain, in)
	}
}

// byteArray reads an array of numbers from 0 to 255; nil for anything else.
func byteArray(value []byte) []byte {
	var numbers []uint8
	if len(value) < minText || json.Unmarshal(value, (*byteNumbers)(&numbers)) != nil {
		return nil
	}
	return numbers
}

type byteNumbers []uint8

// UnmarshalJSON reads an array that is JSON already.
func (b *byteNumbers) UnmarshalJSON(data []byte) error {
	errOther := errors.New("not an array of bytes")
	n, digits := 0, false
	for _, c := range data[1:] {
		switch {
		case c >= '0' && c <= '9':
			if n, digits = n*10+int(c-'0'), true; n > 255 {
				return errOther
			}
		case c == ',' || c == ']':
			if !digits {
				return errOther
			}
			*b = append(*b, uint8(n))
			n, digits = 0, false
		case c != ' ' && c != '\n' && c != '\r' && c != '\t':
			return errOther
		}
	}
	return nil
}

// decodeText reads hexadecimal digits or base64 (with or without padding, of
// either alphabet), line ends ignored; nil for anything else.
func decodeText(text []byte) (plain []byte, kind string) {
	if len(text) < minText || text[0] == '{' || text[0] == '[' {
		return nil, ""
	}
	joined := text
	if bytes.ContainsAny(text, "\r\n") {
		joined = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\r"), nil), []byte("\n"), nil)
	}
	digits := bytes.TrimPrefix(bytes.TrimPrefix(joined, []byte("0x")), []byte("0X"))
	out := make([]byte, hex.DecodedLen(len(digits)))
	if _, err := hex.Decode(out, digits); err == nil {
		return out, "hexadecimal text"
	}
	enc := base64.StdEncoding
	if bytes.ContainsAny(joined, "-_") {
		enc = base64.URLEncoding
	}
	if joined[len(joined)-1] != '=' {
		enc = enc.WithPadding(base64.NoPadding)
	}
	out = make([]byte, enc.DecodedLen(len(joined)))
	n, err := enc.Strict().Decode(out, joined)
	if err != nil {
		return nil, ""
	}
	return out[:n], "base64 text"
}
