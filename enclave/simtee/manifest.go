package simtee

import (
	"bytes"
	"errors"
	"fmt"
)

const (
	maxManifestName  = 64
	maxManifestDepth = 64
	guestMember      = "guest"
)

// manifestScanner finds the guest's digest, the top-level member "guest", in the
// bytes of a workload manifest as they are written to it, without keeping them:
// a manifest may have 50 MB. It knows the outer object's form exactly (RFC 8785:
// no white space, members sorted, none twice) and of the values inside only
// where they end; the guest, whose digest this is, decodes the rest strictly.
type manifestScanner struct {
	state  scanState
	at     int64
	name   []byte // of the present member
	last   string // name before it
	opened uint64 // one bit a level: set for an object, clear for an array
	depth  int
	guest  []byte
	err    error
}

type scanState uint8

const (
	scanStart     scanState = iota
	scanFirstName           // after {
	scanName                // after ,
	scanInName
	scanColon
	scanValue
	scanGuest   // in the string that is looked for
	scanString  // in a string at top level
	scanEscape  // after \ in it
	scanScalar  // in a number or literal at top level
	scanNested  // between tokens of a nested value
	scanNString // in a string of a nested value
	scanNEscape
	scanAfter // after a value at top level
	scanEnd
)

// Write implements io.Writer. It takes everything; digest returns what was wrong.
func (s *manifestScanner) Write(p []byte) (int, error) {
	if s.err != nil {
		return len(p), nil
	}
	for i := 0; i < len(p); i++ {
		if s.state == scanNString { // most of a manifest; skip to where it may end
			n := bytes.IndexByte(p[i:], '"')
			if n < 0 {
				n = len(p) - i
			}
			if bytes.IndexByte(p[i:i+n], '\\') < 0 {
				if i += n; i == len(p) {
					break
				}
			}
		}
		if c := p[i]; !s.step(c) {
			if s.err == nil {
				s.err = fmt.Errorf("byte %d (%q) is out of place", s.at+int64(i), c)
			}
			return len(p), nil
		}
	}
	s.at += int64(len(p))
	return len(p), nil
}

// digest returns the guest's digest, 64 lower-case hexadecimal digits, after
// the last Write.
func (s *manifestScanner) digest() (string, error) {
	switch {
	case s.err != nil:
		return "", s.err
	case s.state != scanEnd:
		return "", errors.New("it ends too early")
	case s.guest == nil:
		return "", fmt.Errorf("it has no member %q", guestMember)
	case len(s.guest) != 64:
		return "", fmt.Errorf("member %q has %d digits, wanted 64", guestMember, len(s.guest))
	}
	return string(s.guest), nil
}

func (s *manifestScanner) step(c byte) bool {
	switch s.state {
	case scanNString:
		switch c {
		case '"':
			s.state = scanNested
		case '\\':
			s.state = scanNEscape
		}
		return true
	case scanNested:
		return s.nested(c)
	case scanNEscape:
		s.state = scanNString
		return true
	case scanString:
		switch {
		case c == '"':
			s.state = scanAfter
		case c == '\\':
			s.state = scanEscape
		}
		return c >= 0x20
	case scanEscape:
		s.state = scanString
		return c >= 0x20
	case scanStart:
		s.state = scanFirstName
		return c == '{'
	case scanFirstName, scanName:
		if c == '}' && s.state == scanFirstName {
			s.state = scanEnd
			return true
		}
		s.state, s.name = scanInName, s.name[:0]
		return c == '"'
	case scanInName:
		return s.inName(c)
	case scanColon:
		s.state = scanValue
		return c == ':'
	case scanValue:
		return s.value(c)
	case scanGuest:
		if c == '"' {
			s.state = scanAfter
			return true
		}
		s.guest = append(s.guest, c)
		return len(s.guest) <= 64 && (c >= '0' && c <= '9' || c >= 'a' && c <= 'f')
	case scanScalar:
		if c == ',' || c == '}' {
			return s.after(c)
		}
		return scalarByte(c)
	case scanAfter:
		return s.after(c)
	}
	return false // after the end
}

func (s *manifestScanner) inName(c byte) bool {
	if c != '"' {
		s.name = append(s.name, c)
		return len(s.name) <= maxManifestName && c >= 0x20 && c < 0x7f && c != '\\'
	}
	if name := string(s.name); name <= s.last {
		s.err = fmt.Errorf("member %q comes after %q", name, s.last)
		return false
	}
	s.last, s.state = string(s.name), scanColon
	return true
}

func (s *manifestScanner) value(c byte) bool {
	switch {
	case s.last == guestMember:
		s.state, s.guest = scanGuest, make([]byte, 0, 65)
		return c == '"'
	case c == '"':
		s.state = scanString
		return true
	case c == '{' || c == '[':
		s.state = scanNested
		return s.nested(c)
	}
	s.state = scanScalar
	return scalarByte(c)
}

func (s *manifestScanner) nested(c byte) bool {
	switch c {
	case '"':
		s.state = scanNString
	case '{', '[':
		if s.depth == maxManifestDepth {
			s.err = fmt.Errorf("more than %d levels", maxManifestDepth)
			return false
		}
		s.opened <<= 1
		if c == '{' {
			s.opened |= 1
		}
		s.depth++
	case '}', ']':
		if (s.opened&1 == 1) != (c == '}') {
			return false
		}
		s.opened >>= 1
		if s.depth--; s.depth == 0 {
			s.state = scanAfter
		}
	case ',', ':':
	default:
		return scalarByte(c)
	}
	return true
}

func (s *manifestScanner) after(c byte) bool {
	switch c {
	case ',':
		s.state = scanName
		return true
	case '}':
		s.state = scanEnd
		return true
	}
	return false
}

// scalarByte reports whether c may stand in a number or in true, false, null.
func scalarByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c == '-' || c == '+' || c == '.' || c == 'E'
}
