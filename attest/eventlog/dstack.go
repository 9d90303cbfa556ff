package eventlog

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// isJSONLog looks for the beginning of an array of objects.
func isJSONLog(raw []byte) bool {
	rest, ok := bytes.CutPrefix(bytes.TrimLeft(raw, " \t\r\n"), []byte("["))
	if !ok {
		return false
	}
	rest, ok = bytes.CutPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte("{"))
	return ok && bytes.HasPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte(`"`))
}

// readJSON reads dstack's log: [{"imr":0…3,"event_type":n,"digest":hex,"event":name,
// "event_payload":hex}], where imr 0 is RTMR0. Other members are ignored, members
// given twice are refused.
func (l *Log) readJSON() error {
	l.Algs, l.sizes = []Alg{SHA384}, []bank{{SHA384, SHA384.Size()}}
	dec := json.NewDecoder(bytes.NewReader(l.raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('[') {
		return errors.New("not a JSON array")
	}
	for dec.More() {
		if len(l.events) == maxJSONEvents {
			return fmt.Errorf("more than %d events", maxJSONEvents)
		}
		e, err := l.nextJSON(dec)
		if err != nil {
			return fmt.Errorf("event %d: %w", len(l.events)+1, err)
		}
		l.events = append(l.events, e)
	}
	if _, err := dec.Token(); err != nil {
		return err
	}
	if _, err := dec.Token(); err == nil || len(bytes.TrimSpace(l.raw[dec.InputOffset():])) > 0 {
		return errors.New("bytes after the array")
	}
	return nil
}

func (l *Log) nextJSON(dec *json.Decoder) (e Event, err error) {
	e.log, e.Version = l, 1
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return e, errors.New("not an object")
	}
	var imr *int
	var kind *uint32
	var digest, payload string
	seen := make([]string, 0, 16)
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return e, err
		}
		key, _ := t.(string)
		if slices.Contains(seen, key) {
			return e, fmt.Errorf("member %q twice", key)
		}
		if len(seen) == cap(seen) {
			return e, fmt.Errorf("more than %d members", cap(seen))
		}
		seen = append(seen, key)
		switch key {
		case "imr":
			err = dec.Decode(&imr)
		case "event_type":
			err = dec.Decode(&kind)
		case "digest":
			err = dec.Decode(&digest)
		case "event":
			err = dec.Decode(&e.Name)
		case "event_payload":
			err = dec.Decode(&payload)
		case "version":
			err = dec.Decode(&e.Version)
		default:
			var ignored json.RawMessage
			err = dec.Decode(&ignored)
		}
		if err != nil {
			return e, fmt.Errorf("member %q: %w", key, err)
		}
	}
	if _, err := dec.Token(); err != nil {
		return e, err
	}
	switch {
	case imr == nil || *imr < 0 || *imr > 3:
		return e, errors.New("imr is missing or not 0 to 3")
	case kind == nil:
		return e, errors.New("event_type is missing")
	case e.Version != 1 && e.Version != 2:
		return e, fmt.Errorf("version %d, known are 1 and 2", e.Version)
	}
	e.Register, e.Type = *imr+1, *kind
	if e.Data, err = hex.DecodeString(payload); err != nil {
		return e, fmt.Errorf("event_payload: %w", err)
	}
	value, err := hex.DecodeString(digest)
	if err != nil {
		return e, fmt.Errorf("digest: %w", err)
	}
	if len(value) == 0 && e.Type == evDstackRuntime {
		if value, err = e.dstackDigest(); err != nil {
			return e, err
		}
	}
	if len(value) != SHA384.Size() {
		return e, fmt.Errorf("digest of %d bytes, wanted %d", len(value), SHA384.Size())
	}
	e.digests = append(binary.LittleEndian.AppendUint16(make([]byte, 0, 2+len(value)), uint16(SHA384)), value...)
	return e, nil
}

// dstackDigest is SHA-384 of dstack's encoding of a runtime event. Version 1 is type
// (four bytes, little-endian) ":" name ":" payload, which is ambiguous unless the
// name has no colon; version 2 is RFC 8785 JSON.
func (e *Event) dstackDigest() ([]byte, error) {
	if e.Version == 2 {
		name, err := canonicalString(e.Name)
		if err != nil {
			return nil, err
		}
		return SHA384.sum(fmt.Appendf(nil, `{"name":%s,"payload":"%x","type":%d}`, name, e.Data, e.Type)), nil
	}
	if strings.Contains(e.Name, ":") {
		return nil, fmt.Errorf("event name %q has a colon, so its encoding could be another event's", e.Name)
	}
	h := SHA384.New()
	h.Write(binary.LittleEndian.AppendUint32(nil, e.Type))
	h.Write([]byte(":" + e.Name + ":"))
	h.Write(e.Data)
	return h.Sum(nil), nil
}

// canonicalString writes a JSON string as RFC 8785, section 3.2.2.2, does.
func canonicalString(s string) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return "", err
	}
	// The encoder escapes two more characters than RFC 8785 does.
	return strings.NewReplacer(`\u2028`, "\u2028", `\u2029`, "\u2029", `\\`, `\\`).Replace(strings.TrimSuffix(b.String(), "\n")), nil
}
