package ledger

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// parser reads JSON (RFC 8259) from the front. The shape that it is read into says what may come next, so
// nothing is built that nobody asked for, and nesting is bounded by the type.
type parser struct{ rest []byte }

func (p *parser) space() {
	for len(p.rest) > 0 && strings.IndexByte(" \t\r\n", p.rest[0]) >= 0 {
		p.rest = p.rest[1:]
	}
}

// take reads the one byte c, after white space.
func (p *parser) take(c byte) bool {
	p.space()
	if len(p.rest) == 0 || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

func (p *parser) word(w string) bool {
	p.space()
	if len(p.rest) < len(w) || string(p.rest[:len(w)]) != w {
		return false
	}
	p.rest = p.rest[len(w):]
	return true
}

// list reads what stands between open and close, separated by commas; item reads one of them.
func (p *parser) list(open, end byte, item func(n int) error) error {
	if !p.take(open) {
		return fmt.Errorf("want %q", open)
	}
	if p.take(end) {
		return nil
	}
	for n := 0; ; n++ {
		p.space()
		if err := item(n); err != nil {
			return err
		}
		switch {
		case p.take(end):
			return nil
		case !p.take(','):
			return fmt.Errorf("want a comma or %q", end)
		}
	}
}

// integer reads an integer, bare or as a string, and returns its digits.
func (p *parser) integer() (string, error) {
	p.space()
	quoted := p.take('"')
	n := 0
	for n < len(p.rest) && strings.IndexByte("+-.eE0123456789", p.rest[n]) >= 0 {
		n++
	}
	digits := string(p.rest[:n])
	p.rest = p.rest[n:]
	if quoted && (len(p.rest) == 0 || p.rest[0] != '"') {
		return "", errors.New("want an integer")
	}
	if quoted {
		p.rest = p.rest[1:]
	}
	bare, negative := strings.CutPrefix(digits, "-")
	if bare == "" || strings.Trim(bare, "0123456789") != "" || bare[0] == '0' && (negative || bare != "0") {
		return "", fmt.Errorf("%q is no integer", clip(digits))
	}
	return digits, nil
}

// account reads 64 hexadecimal digits, or the 20 numbers of a claimed account.
func (p *parser) account() (AccountID, error) {
	p.space()
	if len(p.rest) == 0 || p.rest[0] != '[' {
		text, err := p.text()
		if err != nil {
			return AccountID{}, err
		}
		return ParseAccountID(text)
	}
	var id [20]byte
	count := 0
	err := p.list('[', ']', func(n int) error {
		digits, err := p.integer()
		if err != nil {
			return err
		}
		if n >= len(id) {
			return errors.New("account id has more than 20 numbers")
		}
		for _, d := range digits {
			next := 10*int(id[n]) + int(d-'0')
			if d == '-' || next > 255 {
				return fmt.Errorf("account id: %s is no byte", clip(digits))
			}
			id[n] = byte(next)
		}
		count++
		return nil
	})
	if err == nil && count != len(id) {
		err = fmt.Errorf("account id has %d numbers, want 20", count)
	}
	return claimed(id), err
}

var errText = errors.New("want a string in UTF-8")

// text reads a string. Control characters, bytes that are no UTF-8 and half surrogate pairs are refused.
func (p *parser) text() (string, error) {
	if !p.take('"') {
		return "", errText
	}
	var b []byte
	for {
		r, n := utf8.DecodeRune(p.rest)
		switch {
		case r == utf8.RuneError && n <= 1, r < 0x20:
			return "", errText
		case r == '"':
			p.rest = p.rest[1:]
			return string(b), nil
		case r == '\\':
			p.rest = p.rest[1:]
			var err error
			if r, err = p.escape(); err != nil {
				return "", err
			}
		default:
			p.rest = p.rest[n:]
		}
		b = utf8.AppendRune(b, r)
	}
}

func (p *parser) escape() (rune, error) {
	if len(p.rest) == 0 {
		return 0, errText
	}
	c := p.rest[0]
	p.rest = p.rest[1:]
	if at := strings.IndexByte(`"\/bfnrt`, c); at >= 0 {
		return rune("\"\\/\b\f\n\r\t"[at]), nil
	}
	if c != 'u' {
		return 0, errText
	}
	r, err := p.unit()
	if err != nil || !utf16.IsSurrogate(r) {
		return r, err
	}
	if len(p.rest) < 2 || p.rest[0] != '\\' || p.rest[1] != 'u' {
		return 0, errText
	}
	p.rest = p.rest[2:]
	low, err := p.unit()
	if err != nil {
		return 0, err
	}
	if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
		return 0, errText
	}
	return r, nil
}

// unit reads the four hexadecimal digits of a UTF-16 code unit.
func (p *parser) unit() (r rune, err error) {
	if len(p.rest) < 4 {
		return 0, errText
	}
	for _, c := range p.rest[:4] {
		at := strings.IndexByte("0123456789abcdef", c|0x20)
		if c < '0' || at < 0 {
			return 0, errText
		}
		r = r<<4 | rune(at)
	}
	p.rest = p.rest[4:]
	return r, nil
}
