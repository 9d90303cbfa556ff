package store

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"time"
)

// field ties one column to one member of a row's struct, for reading and for
// writing. Every field is authenticated by the row's MAC unless it is plain.
type field struct {
	name  string
	value func() (any, error) // what the driver gets: string, int64, bool or []byte
	dest  any                 // what Scan fills
	plain bool
}

// unsealed marks a field that the MAC leaves out, because it changes without a decision.
func (f field) unsealed() field { f.plain = true; return f }

func text[S ~string](name string, p *S) field {
	return field{name: name, dest: p, value: func() (any, error) { return string(*p), nil }}
}

func number[N ~int | ~int32 | ~int64 | ~uint16](name string, p *N) field {
	return field{name: name, dest: p, value: func() (any, error) { return int64(*p), nil }}
}

func flag(name string, p *bool) field {
	return field{name: name, dest: p, value: func() (any, error) { return *p, nil }}
}

func blob(name string, p *[]byte) field {
	return field{name: name, dest: p, value: func() (any, error) {
		if *p == nil {
			return []byte{}, nil
		}
		return *p, nil
	}}
}

// instant keeps a time in microseconds since 1970; the zero time is 0.
func instant(name string, p *time.Time) field {
	return field{name: name, dest: &instantScan{p}, value: func() (any, error) {
		if p.IsZero() {
			return int64(0), nil
		}
		return p.UnixMicro(), nil
	}}
}

type instantScan struct{ p *time.Time }

func (s *instantScan) Scan(v any) error {
	var n sql.NullInt64
	if err := n.Scan(v); err != nil {
		return err
	}
	*s.p = time.Time{}
	if n.Int64 != 0 {
		*s.p = time.UnixMicro(n.Int64).UTC()
	}
	return nil
}

// document keeps a value as JSON. The text that was read is the text that is
// authenticated, so that a later version of the struct does not break old rows.
func document(name string, p any) field {
	d := &documentScan{p: p}
	return field{name: name, dest: d, value: func() (any, error) {
		if d.scanned {
			return d.raw, nil
		}
		b, err := json.Marshal(p)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", name, err)
		}
		return string(b), nil
	}}
}

type documentScan struct {
	p       any
	raw     string
	scanned bool
}

func (s *documentScan) Scan(v any) error {
	switch v := v.(type) {
	case string:
		s.raw = v
	case []byte:
		s.raw = string(v)
	default:
		return fmt.Errorf("JSON column holds %T", v)
	}
	s.scanned = true
	return nil
}

// decode is called once the row's MAC has been verified.
func (s *documentScan) decode() error {
	if err := json.Unmarshal([]byte(s.raw), s.p); err != nil {
		return fmt.Errorf("JSON column: %w", err)
	}
	return nil
}
