package snp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// The JSON here is read without copying it: a document is checked once as a whole
// by the standard library, then cut into members. Members that are not known are
// ignored, duplicates and wrong types are refused.

const maxMembers = 64

func validObject(doc []byte) error {
	if !json.Valid(doc) {
		return errors.New("not JSON")
	}
	return nil
}

// eachMember calls f with every member of an object, part of a valid document.
func eachMember(doc []byte, f func(name string, value []byte) error) error {
	doc = bytes.TrimLeft(doc, jsonSpace)
	if len(doc) == 0 || doc[0] != '{' {
		return errors.New("not an object")
	}
	var seen []string
	for rest := nextItem(doc[1:]); rest[0] != '}'; rest = nextItem(rest) {
		n := valueLength(rest)
		var name string
		if err := json.Unmarshal(rest[:n], &name); err != nil {
			return err
		}
		if slices.Contains(seen, name) {
			return fmt.Errorf("member %.40q is there twice", name)
		}
		if len(seen) == maxMembers {
			return fmt.Errorf("more than %d members", maxMembers)
		}
		seen = append(seen, name)
		rest = nextItem(rest[n:])
		n = valueLength(rest)
		if err := f(name, rest[:n]); err != nil {
			return fmt.Errorf("%.40s: %w", name, err)
		}
		rest = rest[n:]
	}
	return nil
}

// eachElement calls f with every element of an array, part of a valid document.
func eachElement(doc []byte, f func(value []byte) error) error {
	doc = bytes.TrimLeft(doc, jsonSpace)
	if len(doc) == 0 || doc[0] != '[' {
		return errors.New("not an array")
	}
	for rest := nextItem(doc[1:]); rest[0] != ']'; rest = nextItem(rest) {
		n := valueLength(rest)
		if err := f(rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

const jsonSpace = " \t\r\n"

// nextItem skips what stands between values of a valid document.
func nextItem(doc []byte) []byte { return bytes.TrimLeft(doc, jsonSpace+",:") }

// valueLength is the length of the value at the start of doc, part of a valid document.
func valueLength(doc []byte) int {
	depth, quoted := 0, false
	for i := 0; i < len(doc); i++ {
		c := doc[i]
		switch {
		case quoted && c == '\\':
			i++
		case c == '"':
			if quoted = !quoted; !quoted && depth == 0 {
				return i + 1
			}
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth == 0 {
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case depth == 0 && bytes.IndexByte([]byte(jsonSpace+",:"), c) >= 0:
			return i
		}
	}
	return len(doc)
}

// number reads an unsigned number of at most the given bits.
func number(value []byte, bits int) (uint64, error) {
	if len(value) > 20 {
		return 0, fmt.Errorf("not a number of %d bits", bits)
	}
	v, err := strconv.ParseUint(string(value), 10, bits)
	if err != nil {
		return 0, fmt.Errorf("not a number of %d bits", bits)
	}
	return v, nil
}

// numbers reads an array of exactly len(out) bytes.
func numbers(value, out []byte) error {
	n := 0
	err := eachElement(value, func(v []byte) error {
		b, err := number(v, 8)
		if err != nil || n == len(out) {
			return fmt.Errorf("not an array of %d bytes", len(out))
		}
		out[n] = byte(b)
		n++
		return nil
	})
	if err == nil && n != len(out) {
		err = fmt.Errorf("%d bytes, wanted %d", n, len(out))
	}
	return err
}

// base64Member reads a string of standard base64.
func base64Member(value []byte) ([]byte, error) {
	var text string
	if err := json.Unmarshal(value, &text); err != nil {
		return nil, errors.New("not a string")
	}
	out, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errors.New("not in base64")
	}
	return out, nil
}

// readTSM reads what configfs-tsm gave, in a JSON object: provider, outblob and auxblob.
func readTSM(raw []byte) (*Evidence, error) {
	if err := validObject(raw); err != nil {
		return nil, formatError("configfs-tsm: %w", err)
	}
	var out, aux []byte
	provider := ""
	err := eachMember(raw, func(name string, value []byte) (err error) {
		switch name {
		case "provider":
			err = json.Unmarshal(value, &provider)
		case "outblob":
			out, err = base64Member(value)
		case "auxblob":
			if !isNull(value) {
				aux, err = base64Member(value)
			}
		}
		return err
	})
	if err == nil && provider != "sev_guest" {
		err = fmt.Errorf("provider %.40q, wanted \"sev_guest\"", provider)
	}
	if err != nil {
		return nil, formatError("configfs-tsm: %w", err)
	}
	e, err := readReport(out)
	if err != nil {
		return nil, err
	}
	if len(aux) > 0 {
		e.readTable(aux)
	}
	e.form = formTSM
	return e, nil
}

func isNull(value []byte) bool { return string(value) == "null" }
