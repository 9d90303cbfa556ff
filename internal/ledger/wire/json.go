package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// Base64 is bytes that stand in JSON as standard base64 with padding.
type Base64 []byte

// Base64Hash is 32 bytes that stand in JSON as standard base64 with padding.
type Base64Hash [32]byte

// Base64Signature is 64 bytes that stand in JSON as standard base64 with padding.
type Base64Signature [64]byte

// HexHash is 32 bytes that stand in JSON as 64 lower-case hexadecimal digits.
type HexHash [32]byte

// MarshalText writes base64.
func (b Base64) MarshalText() ([]byte, error) { return base64.StdEncoding.AppendEncode(nil, b), nil }

// UnmarshalText reads the one valid base64 of some bytes.
func (b *Base64) UnmarshalText(text []byte) error {
	if bytes.ContainsAny(text, "\r\n") {
		return errors.New("base64 with line breaks")
	}
	v, err := base64.StdEncoding.Strict().AppendDecode(nil, text)
	*b = v
	return err
}

// MarshalText writes base64.
func (h Base64Hash) MarshalText() ([]byte, error) { return Base64(h[:]).MarshalText() }

// UnmarshalText reads base64 of 32 bytes.
func (h *Base64Hash) UnmarshalText(text []byte) error { return fixedBase64(h[:], text) }

// MarshalText writes base64.
func (s Base64Signature) MarshalText() ([]byte, error) { return Base64(s[:]).MarshalText() }

// UnmarshalText reads base64 of 64 bytes.
func (s *Base64Signature) UnmarshalText(text []byte) error { return fixedBase64(s[:], text) }

// MarshalText writes hexadecimal digits.
func (h HexHash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText reads 64 lower-case hexadecimal digits.
func (h *HexHash) UnmarshalText(text []byte) error {
	if len(text) != 64 || bytes.ContainsAny(text, "ABCDEF") {
		return fmt.Errorf("%q is not 64 lower-case hexadecimal digits", text)
	}
	_, err := hex.Decode(h[:], text)
	return err
}

func fixedBase64(to, text []byte) error {
	var b Base64
	if err := b.UnmarshalText(text); err != nil {
		return err
	}
	if len(b) != len(to) {
		return fmt.Errorf("%d bytes of base64, wanted %d", len(b), len(to))
	}
	copy(to, b)
	return nil
}

// ControlRecord is one effective JOIN, COMMIT or POLICY record with its place and time in the log.
type ControlRecord struct {
	Position uint64 `json:"position"`
	Time     uint64 `json:"time"` // seconds
	Record   Base64 `json:"record"`
}

// Control is a genesis file with the records from which anybody can follow the membership (section 9).
type Control struct {
	Genesis Base64          `json:"genesis"`
	Records []ControlRecord `json:"records"`
}

// MarshalJSON writes the control records; no list is null.
func (c Control) MarshalJSON() ([]byte, error) {
	type plain Control
	c.Records = notNil(c.Records)
	return json.Marshal(plain(c))
}

func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// ReceiptFormat is the format word of receipts.
const ReceiptFormat = "hitoku-ledger-receipt/1"

// ReceiptSignature is an executor's signature over the receipt's checkpoint.
type ReceiptSignature struct {
	Incarnation HexHash         `json:"iid"`
	Signature   Base64Signature `json:"signature"`
}

// Receipt proves what became of one command (section 9). Reading it proves nothing; package
// ledger/receipt verifies it.
type Receipt struct {
	Format         string             `json:"format"`
	Ledger         HexHash            `json:"ledger"`
	Control        Control            `json:"control"`
	Command        Base64             `json:"command"` // Signed
	Outcome        Base64             `json:"outcome"` // Outcome
	Position       uint64             `json:"position"`
	Index          uint32             `json:"index"`
	Blind          Base64Hash         `json:"blind"`
	Count          uint32             `json:"count"`
	Proof          []Base64Hash       `json:"proof"`
	Before         Base64Hash         `json:"before"`
	After          []Base64Hash       `json:"after"`
	Checkpoint     Base64             `json:"checkpoint"`
	Signatures     []ReceiptSignature `json:"signatures"`
	OrderAssurance string             `json:"order_assurance"`
	OrderProof     Base64             `json:"order_proof,omitempty"`
}

// MarshalJSON writes the receipt; no list is null.
func (r Receipt) MarshalJSON() ([]byte, error) {
	type plain Receipt
	r.Proof, r.After, r.Signatures = notNil(r.Proof), notNil(r.After), notNil(r.Signatures)
	return json.Marshal(plain(r))
}

// Limits of the JSON forms in bytes.
const (
	MaxControlJSON = 64 << 20
	MaxReceiptJSON = MaxControlJSON + 4<<20
)

// ParseControl reads control records: rising positions, times that do not fall, and no member that
// is unknown, missing or there twice. Nothing in it is believed yet.
func ParseControl(b []byte) (Control, error) {
	var c Control
	if err := limitJSON("control records", b, MaxControlJSON); err != nil {
		return Control{}, err
	}
	if err := DecodeJSON("control records", b, &c); err != nil {
		return Control{}, err
	}
	if err := c.check(); err != nil {
		return Control{}, err
	}
	return c, nil
}

func (c Control) check() error {
	var position, time uint64
	for i, r := range c.Records {
		if r.Position <= position || r.Time < time || r.Position > maxJSONInteger || r.Time > maxJSONInteger {
			return fmt.Errorf("%w control records: record %d has position %d and time %d after position %d and time %d", ErrMalformed, i, r.Position, r.Time, position, time)
		}
		position, time = r.Position, r.Time
	}
	return nil
}

// ParseReceipt reads a receipt, as strictly as ParseControl.
func ParseReceipt(b []byte) (Receipt, error) {
	var r Receipt
	if err := limitJSON("receipt", b, MaxReceiptJSON); err != nil {
		return Receipt{}, err
	}
	if err := DecodeJSON("receipt", b, &r); err != nil {
		return Receipt{}, err
	}
	if err := r.Control.check(); err != nil {
		return Receipt{}, err
	}
	switch {
	case r.Format != ReceiptFormat:
		return Receipt{}, fmt.Errorf("%w receipt: format %q, wanted %q", ErrMalformed, r.Format, ReceiptFormat)
	case r.Position > maxJSONInteger:
		return Receipt{}, fmt.Errorf("%w receipt: position %d, at most %d is allowed", ErrMalformed, r.Position, uint64(maxJSONInteger))
	case r.Index >= r.Count:
		return Receipt{}, fmt.Errorf("%w receipt: index %d of %d commands", ErrMalformed, r.Index, r.Count)
	case len(r.Proof) > maxProof:
		return Receipt{}, fmt.Errorf("%w receipt: proof of %d hashes, at most %d are allowed", ErrMalformed, len(r.Proof), maxProof)
	case len(r.Signatures) > MaxSlots:
		return Receipt{}, fmt.Errorf("%w receipt: %d signatures, at most %d are allowed", ErrMalformed, len(r.Signatures), MaxSlots)
	}
	return r, nil
}

func limitJSON(of string, b []byte, limit int) error {
	if len(b) > limit {
		return fmt.Errorf("%w %s: %d bytes, at most %d are allowed", ErrMalformed, of, len(b), limit)
	}
	return nil
}

// maxJSONInteger is the largest integer that every reader of JSON holds exactly.
const maxJSONInteger = 1<<53 - 1

// DecodeJSON reads one JSON value into a struct: every member once, by its exact name, none missing
// that is not optional, none unknown, and nothing after the value. The structs are made of strings,
// unsigned integers, lists, structs, json.RawMessage and types that read text. The caller has
// limited the length of b.
func DecodeJSON(of string, b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	err := checkShape(d, reflect.TypeOf(into).Elem(), of)
	if err == nil {
		if _, e := d.Token(); e != io.EOF {
			err = errors.New("bytes after the end")
		}
	}
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		return fmt.Errorf("%w %s: %w", ErrMalformed, of, err)
	}
	return nil
}

// checkShape walks one JSON value beside the type it is for.
func checkShape(d *json.Decoder, t reflect.Type, at string) error {
	if t == reflect.TypeFor[json.RawMessage]() {
		var any json.RawMessage
		return d.Decode(&any)
	}
	token, err := d.Token()
	if err != nil {
		return err
	}
	text := reflect.PointerTo(t).Implements(reflect.TypeFor[interface{ UnmarshalText([]byte) error }]())
	switch {
	case text || t.Kind() == reflect.String:
		if _, ok := token.(string); !ok {
			return fmt.Errorf("%s: %v, wanted a string", at, token)
		}
		return nil
	case t.Kind() == reflect.Slice:
		if token != json.Delim('[') {
			return fmt.Errorf("%s: %v, wanted a list", at, token)
		}
		for d.More() {
			if err := checkShape(d, t.Elem(), at); err != nil {
				return err
			}
		}
		_, err = d.Token()
		return err
	case t.Kind() == reflect.Struct:
		if token != json.Delim('{') {
			return fmt.Errorf("%s: %v, wanted an object", at, token)
		}
		return checkMembers(d, t, at)
	}
	if _, ok := token.(json.Number); !ok { // the rest are unsigned integers, which Unmarshal reads exactly
		return fmt.Errorf("%s: %v, wanted a number", at, token)
	}
	return nil
}

func checkMembers(d *json.Decoder, t reflect.Type, at string) error {
	members, optional := map[string]reflect.Type{}, map[string]bool{}
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		members[name], optional[name] = f.Type, options == "omitempty"
	}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		of, ok := members[name]
		if !ok {
			return fmt.Errorf("%s: member %q is not known or stands there twice", at, name)
		}
		delete(members, name)
		if err := checkShape(d, of, at+"."+name); err != nil {
			return err
		}
	}
	for name := range members {
		if !optional[name] {
			return fmt.Errorf("%s: member %q is missing", at, name)
		}
	}
	_, err := d.Token()
	return err
}
