package eventlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// cursor reads little-endian numbers. Every read checks the length first.
type cursor struct {
	b   []byte
	off int
}

var errShort = errors.New("ends early")

func (c *cursor) take(n int) ([]byte, error) {
	if n < 0 || n > len(c.b)-c.off {
		return nil, fmt.Errorf("%w: %d bytes wanted at %d of %d", errShort, n, c.off, len(c.b))
	}
	c.off += n
	return c.b[c.off-n : c.off : c.off], nil
}

func (c *cursor) u16() (uint16, error) {
	b, err := c.take(2)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint16(b), nil
}

func (c *cursor) u32() (uint32, error) {
	b, err := c.take(4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

// sized reads a length of four bytes and as many bytes.
func (c *cursor) sized() ([]byte, error) {
	n, err := c.u32()
	if err != nil {
		return nil, err
	}
	if uint64(n) > uint64(len(c.b)-c.off) {
		return nil, fmt.Errorf("%w: %d bytes announced at %d of %d", errShort, n, c.off, len(c.b))
	}
	return c.take(int(n))
}

const (
	legacyHeader   = 4 + 4 + 20 + 4 // register, type, SHA-1, size of the data
	specSignature  = "Spec ID Event03\x00"
	localityMarker = "StartupLocality\x00"
	noRegister     = 0xffffffff
)

// isAgile looks for the header event of a crypto-agile log (TCG PC Client
// Platform Firmware Profile, section 10.4.5.1).
func isAgile(raw []byte) bool {
	return len(raw) >= legacyHeader+len(specSignature) &&
		binary.LittleEndian.Uint32(raw[4:]) == evNoAction && string(raw[legacyHeader:legacyHeader+len(specSignature)]) == specSignature
}

// isLegacy looks at one event of a SHA-1 log, which has no magic: register, type and size must be possible.
func isLegacy(raw []byte) bool {
	if len(raw) < legacyHeader || binary.LittleEndian.Uint32(raw) > 7 {
		return false
	}
	kind, size := binary.LittleEndian.Uint32(raw[4:]), binary.LittleEndian.Uint32(raw[28:])
	return (kind < 0x100 || kind>>12 == 0x80000) && int64(size) <= int64(len(raw)-legacyHeader) &&
		(kind != 0 || size != 0) && !bytes.Equal(raw[8:28], make([]byte, 20))
}

func (l *Log) readAgile() error {
	if err := l.readSpecID(); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	return l.check()
}

func (l *Log) readLegacy() error {
	l.Algs, l.sizes = []Alg{SHA1}, []bank{{SHA1, SHA1.Size()}}
	return l.check()
}

// readSpecID reads TCG_EfiSpecIDEvent.
func (l *Log) readSpecID() error {
	h := cursor{b: l.raw, off: legacyHeader - 4}
	data, err := h.sized()
	if err != nil {
		return err
	}
	c := cursor{b: data, off: len(specSignature) + 4} // platform class
	version, err := c.take(4)                         // minor, major, errata, size of a native integer
	if err != nil {
		return err
	}
	if version[1] != 2 {
		return fmt.Errorf("specification version %d.%d, wanted 2", version[1], version[0])
	}
	n, err := c.u32()
	if err != nil {
		return err
	}
	if n == 0 || n > maxBanks {
		return fmt.Errorf("%d hash algorithms, wanted 1 to %d", n, maxBanks)
	}
	for range n {
		id, err := c.u16()
		if err != nil {
			return err
		}
		size, err := c.u16()
		if err != nil {
			return err
		}
		alg := Alg(id)
		if want := alg.Size(); size == 0 || size > 64 || want != 0 && int(size) != want {
			return fmt.Errorf("%v with digests of %d bytes", alg, size)
		}
		if slices.Contains(l.Algs, alg) {
			return fmt.Errorf("%v named twice", alg)
		}
		l.Algs, l.sizes = append(l.Algs, alg), append(l.sizes, bank{alg, int(size)})
	}
	vendor, err := c.take(1)
	if err != nil {
		return err
	}
	if _, err := c.take(int(vendor[0])); err != nil {
		return err
	}
	if c.off != len(data) {
		return fmt.Errorf("%d bytes after its end", len(data)-c.off)
	}
	return nil
}

// check walks the log once for its limits and its markers.
func (l *Log) check() error {
	n, located, begun := 0, false, false
	return l.walkTCG(func(e Event) error {
		if n++; n > maxEvents {
			return fmt.Errorf("more than %d events", maxEvents)
		}
		if e.Type == evNoAction {
			rest, ok := bytes.CutPrefix(e.Data, []byte(localityMarker))
			switch {
			case !ok:
			case located || begun || e.Register != 0 || len(rest) != 1 || rest[0] != 0 && rest[0] != 3 && rest[0] != 4:
				return fmt.Errorf("event %d: a startup locality that cannot be", n)
			default:
				l.Locality, located = rest[0], true
			}
			return nil
		}
		begun = begun || e.Register == 0
		return nil
	})
}

// walkTCG calls yield with every event. It sets Padding.
func (l *Log) walkTCG(yield func(Event) error) error {
	c := cursor{b: l.raw}
	agile := l.Kind == TCG
	if agile {
		c.off = legacyHeader - 4
		if _, err := c.sized(); err != nil { // the header event
			return err
		}
	}
	for i := 1; c.off < len(c.b); i++ {
		if isPadding(c.b[c.off:]) {
			l.Padding = len(c.b) - c.off
			return nil
		}
		e, err := l.nextTCG(&c, agile)
		if err != nil {
			return fmt.Errorf("event %d: %w", i, err)
		}
		if err := yield(e); err != nil {
			return err
		}
	}
	return nil
}

// isPadding reports whether the rest is the unused end of a log area: all 00 or all ff.
func isPadding(rest []byte) bool {
	fill := rest[0]
	return (fill == 0 || fill == 0xff) && bytes.Count(rest, []byte{fill}) == len(rest)
}

func (l *Log) nextTCG(c *cursor, agile bool) (e Event, err error) {
	e.log = l
	register, err := c.u32()
	if err != nil {
		return e, err
	}
	if e.Type, err = c.u32(); err != nil {
		return e, err
	}
	e.Register = int(register)
	if register == noRegister && e.Type == evNoAction { // Windows ends its logs so
		e.Register = -1
	} else if register > maxRegister {
		return e, fmt.Errorf("register %d, at most %d", register, maxRegister)
	}
	if agile {
		e.digests, err = l.readDigests(c)
	} else {
		e.digests, err = c.take(SHA1.Size())
	}
	if err != nil {
		return e, err
	}
	e.Data, err = c.sized()
	return e, err
}

// readDigests reads TPML_DIGEST_VALUES: every bank of the header once.
func (l *Log) readDigests(c *cursor) ([]byte, error) {
	n, err := c.u32()
	if err != nil {
		return nil, err
	}
	if int64(n) != int64(len(l.sizes)) {
		return nil, fmt.Errorf("%d digests, the header names %d banks", n, len(l.sizes))
	}
	from, seen := c.off, 0
	for range n {
		id, err := c.u16()
		if err != nil {
			return nil, err
		}
		i := slices.Index(l.Algs, Alg(id))
		if i < 0 || seen&(1<<i) != 0 {
			return nil, fmt.Errorf("a digest of %v that is not in the header, or twice", Alg(id))
		}
		seen |= 1 << i
		if _, err := c.take(l.sizes[i].size); err != nil {
			return nil, err
		}
	}
	return c.b[from:c.off:c.off], nil
}
