package nvgpu

import (
	"errors"
	"fmt"
	"slices"
)

// scanner reads the subset of JSON that evidence comes in, without copying: objects,
// arrays and strings of printable ASCII that need no escape.
type scanner struct {
	rest []byte
}

// skip passes over white space.
func (s *scanner) skip() {
	for len(s.rest) > 0 && (s.rest[0] == ' ' || s.rest[0] == '\t' || s.rest[0] == '\n' || s.rest[0] == '\r') {
		s.rest = s.rest[1:]
	}
}

// next skips white space and reports whether c is next; then it is taken.
func (s *scanner) next(c byte) bool {
	s.skip()
	if len(s.rest) > 0 && s.rest[0] == c {
		s.rest = s.rest[1:]
		return true
	}
	return false
}

func (s *scanner) want(c byte) error {
	if s.next(c) {
		return nil
	}
	return fmt.Errorf("wanted %q at %.12q", c, s.rest)
}

func (s *scanner) text() ([]byte, error) {
	if err := s.want('"'); err != nil {
		return nil, err
	}
	for i, c := range s.rest {
		switch {
		case c == '"':
			out := s.rest[:i:i]
			s.rest = s.rest[i+1:]
			return out, nil
		case c < 0x20 || c > 0x7e || c == '\\':
			return nil, fmt.Errorf("byte %#02x in a string", c)
		}
	}
	return nil, errors.New("a string has no end")
}

// object calls f for every member, whose value f must read. No member may be twice.
func (s *scanner) object(most int, f func(name string) error) error {
	if err := s.want('{'); err != nil {
		return err
	}
	var seen []string
	for first := true; !s.next('}'); first = false {
		if !first {
			if err := s.want(','); err != nil {
				return err
			}
		}
		b, err := s.text()
		if err != nil {
			return err
		}
		name := string(b[:min(len(b), 40)])
		switch {
		case slices.Contains(seen, name):
			return fmt.Errorf("member %q twice", name)
		case len(seen) == most:
			return fmt.Errorf("more than %d members", most)
		}
		seen = append(seen, name)
		if err := s.want(':'); err != nil {
			return err
		}
		if err := f(name); err != nil {
			return fmt.Errorf("member %q: %w", name, err)
		}
	}
	return nil
}

// array calls f for every element, which f must read.
func (s *scanner) array(most int, f func() error) error {
	if err := s.want('['); err != nil {
		return err
	}
	for n := 0; !s.next(']'); n++ {
		if n > 0 {
			if err := s.want(','); err != nil {
				return err
			}
		}
		if n == most {
			return fmt.Errorf("more than %d elements", most)
		}
		if err := f(); err != nil {
			return fmt.Errorf("element %d: %w", n+1, err)
		}
	}
	return nil
}
