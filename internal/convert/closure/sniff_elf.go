package closure

import (
	"bytes"
	"encoding/binary"
	"slices"
)

const (
	elfHeaders = 64 << 10 // bytes at the beginning in which program headers and loader's name stand
	elfTable   = 4 << 20  // bytes of a table of names that is kept
	elfNames   = 64 << 20 // bytes of a large first segment in which names are looked for
	elfFirst   = 64 << 10 // bytes of the first segment that are kept: it has the names of libraries
	elfDynamic = 64 << 10 // bytes of the dynamic section
	elfBefore  = 32 << 10 // bytes kept before and after it
	elfScan    = 2 << 20  // bytes of read-only data in which strings are looked for
	elfStrings = 1024     // strings kept of one file
	elfString  = 512      // bytes of one
)

// elfReader reads an ELF file of 64 bits: program headers, dynamic section, the strings
// that the section points to, and strings in read-only data that are names of libraries or
// paths. Where these stand is known from the headers: it touches nothing else.
type elfReader struct {
	at    uint64
	head  []byte // until the headers are read
	need  uint64 // bytes of head that are wanted next
	segs  []elfSegment
	ready bool // program headers were read
	named bool // the dynamic section was read, and tells where names are
	bad   bool

	machine uint16
	interp  string
	dyn     elfSegment
	kept    []*span
	scans   []*scan

	strings map[uint64]string // by file offset
	size    int
}

type elfSegment struct {
	kind, flags             uint32
	offset, address, length uint64
}

// end is the offset after a segment; one that passes the largest number ends there.
func (s *elfSegment) end() uint64 {
	if s.offset+s.length < s.offset {
		return 1<<64 - 1
	}
	return s.offset + s.length
}

// span is a range of the file that is kept as it streams by.
type span struct {
	from, to uint64
	buf      []byte
}

// part cuts from the bytes p at an offset those between from and to.
func part(begin uint64, p []byte, from, to uint64) (uint64, []byte) {
	end := begin + uint64(len(p))
	if from = max(from, begin); from >= min(to, end) {
		return 0, nil
	}
	return from, p[from-begin : min(to, end)-begin]
}

func (s *span) take(begin uint64, p []byte) {
	at, p := part(begin, p, s.from, s.to)
	if len(p) == 0 || at != s.from+uint64(len(s.buf)) {
		return
	}
	if s.buf == nil && uint64(len(p)) < s.to-s.from {
		// At most what has come already is made room for: a length may be a lie.
		s.buf = make([]byte, 0, min(s.to-s.from, max(64<<10, 2*uint64(len(p)))))
	}
	s.buf = append(s.buf, p...)
}

// text is the string at an offset of the file, if all of it was kept.
func (s *span) text(at uint64) (string, bool) {
	if at < s.from || at-s.from >= uint64(len(s.buf)) {
		return "", false
	}
	b := s.buf[at-s.from:]
	if n := bytes.IndexByte(b[:min(len(b), maxPath)], 0); n >= 0 {
		return string(b[:n]), true
	}
	return "", false
}

// scan is a range in which strings are looked for.
type scan struct {
	from, to uint64
	names    bool   // a table of names: no paths are looked for
	carry    []byte // end of what came last: a string may go on
}

func newELFReader() *elfReader { return &elfReader{strings: map[uint64]string{}} }

func (e *elfReader) write(p []byte) bool {
	begin := e.at
	e.at += uint64(len(p))
	if !e.ready {
		had := len(e.head)
		for e.need = 64; !e.ready; {
			if e.need > elfHeaders {
				e.bad = true
				return false
			}
			if uint64(had+len(p)) < e.need {
				e.head = append(e.head[:had], p...)
				return true
			}
			e.head = append(e.head[:had], p[:max(0, int(e.need)-had)]...)
			if !e.headers() && e.bad {
				return false
			}
		}
		if e.dyn.length == 0 && e.interp == "" {
			return false // static: it names no libraries
		}
		e.choose()
		e.look(0, e.head[:had])
	}
	e.look(begin, p)
	return slices.ContainsFunc(e.kept, func(s *span) bool { return s.to > e.at }) ||
		slices.ContainsFunc(e.scans, func(s *scan) bool { return s.to > e.at })
}

// headers reads the file and program headers as soon as they are there.
func (e *elfReader) headers() bool {
	h := e.head
	if len(h) < 64 {
		return false
	}
	if h[4] != 2 || h[5] != 1 { // 64 bits, little endian
		e.bad = true
		return false
	}
	le := binary.LittleEndian
	e.machine = le.Uint16(h[18:])
	off, size, n := le.Uint64(h[32:]), uint64(le.Uint16(h[54:])), uint64(le.Uint16(h[56:]))
	if size != 56 || n > 512 || off < 64 || off > 16<<10 {
		e.bad = true
		return false
	}
	if e.need = max(e.need, off+size*n); uint64(len(h)) < e.need {
		return false
	}
	e.segs, e.dyn = nil, elfSegment{}
	for i := range n {
		b := h[off+i*size:]
		s := elfSegment{le.Uint32(b), le.Uint32(b[4:]), le.Uint64(b[8:]), le.Uint64(b[16:]), le.Uint64(b[32:])}
		switch s.kind {
		case 1:
			e.segs = append(e.segs, s)
		case 2:
			e.dyn = s
			e.dyn.length = min(s.length, elfDynamic)
		case 3:
			if s.offset >= elfHeaders-maxPath || s.length > maxPath {
				break
			}
			if e.need = max(e.need, s.offset+s.length); uint64(len(h)) < e.need {
				return false // come again when it is there
			}
			name, _, _ := bytes.Cut(h[s.offset:s.offset+s.length], []byte{0})
			e.interp = string(name)
		}
	}
	e.ready = true
	return true
}

// choose tells from the headers which bytes are wanted. Linkers put the names of libraries
// into the first segment, with the symbols; tools that change files put them before the
// dynamic section in a new one. Strings of the program stand in the read-only segment after
// the code, else in the only one there is, else with the code.
func (e *elfReader) choose() {
	dyn := &span{from: e.dyn.offset, to: e.dyn.end()}
	e.kept = []*span{dyn}
	var data, code []elfSegment
	for i, s := range e.segs {
		if i == 0 && s.length > elfFirst {
			e.scans = append(e.scans, &scan{from: s.offset, to: min(s.end(), s.offset+elfNames), names: true})
		} else if i == 0 {
			e.kept = append(e.kept, &span{from: s.offset, to: s.end()})
		}
		if i > 0 && len(e.kept) < 3 && s.offset <= dyn.from && dyn.from < s.end() && e.dyn.length > 0 {
			e.kept = append(e.kept, &span{from: max(s.offset, dyn.from-min(dyn.from, elfBefore)), to: min(s.end(), dyn.from+elfBefore)})
		}
		switch s.flags & 7 {
		case 4:
			data = append(data, s)
		case 5, 7:
			code = append(code, s)
		}
	}
	if len(data) > 1 && data[0].offset == 0 {
		data = data[1:]
	}
	if len(data) == 0 {
		data = code
	}
	for _, s := range data[:min(len(data), 2)] {
		e.scans = append(e.scans, &scan{from: s.offset, to: min(s.end(), s.offset+elfScan)})
	}
}

// look takes the wanted ones of the bytes at an offset.
func (e *elfReader) look(begin uint64, p []byte) {
	for _, s := range e.kept {
		s.take(begin, p)
	}
	if d := e.kept[0]; !e.named && uint64(len(d.buf)) == e.dyn.length && e.dyn.length > 0 {
		// The table of names may come after the section that tells where it is.
		e.named = true
		t := &span{}
		if at, ok := e.fileOffset(dynamicValue(d.buf, 5)); ok && at >= begin {
			t.from, t.to = at, at+min(dynamicValue(d.buf, 10), elfTable, 1<<63-min(at, 1<<63))
			t.take(begin, p)
		}
		e.kept = append(e.kept, t)
	}
	for _, s := range e.scans {
		at, q := part(begin, p, s.from, s.to)
		if len(q) == 0 || len(e.strings) >= elfStrings {
			continue
		}
		if len(s.carry) > 0 { // a string over the seam: the part before it, and some of what follows
			e.find(s, at-uint64(len(s.carry)), slices.Concat(s.carry, q[:min(len(q), elfString)]))
		}
		e.find(s, at, q)
		s.carry = append(s.carry, q[max(0, len(q)-elfString):]...)
		s.carry = slices.Delete(s.carry, 0, max(0, len(s.carry)-elfString))
	}
}

// dynamicValue is the first value of a tag in a dynamic section.
func dynamicValue(b []byte, tag uint64) uint64 {
	for ; len(b) >= 16; b = b[16:] {
		switch t := binary.LittleEndian.Uint64(b); t {
		case tag:
			return binary.LittleEndian.Uint64(b[8:])
		case 0:
			return 0
		}
	}
	return 0
}

// find finds strings with ".so" in them, and absolute paths or, in a table of names, folders
// to search.
func (e *elfReader) find(s *scan, at uint64, p []byte) {
	search := func(word string) {
		for i := 0; len(e.strings) < elfStrings; {
			n := bytes.Index(p[i:], []byte(word))
			if n < 0 {
				return
			}
			i += n + 1
			e.keep(at, p, i)
		}
	}
	search(".so")
	if s.names {
		search("$ORIGIN")
		search("/lib")
		return
	}
	for i := 0; len(e.strings) < elfStrings; {
		n := bytes.IndexByte(p[i:], '/')
		if n < 0 {
			break
		}
		i += n + 1
		if i >= 2 && p[i-2] == 0 && i < len(p) && p[i] >= 'a' && p[i] <= 'z' {
			i = max(i, e.keep(at, p, i))
		}
	}
}

// keep takes the string around p[i] if it ends in p, and returns its end.
func (e *elfReader) keep(at uint64, p []byte, i int) int {
	from, to := i, i
	for from > 0 && i-from < elfString && printable(p[from-1]) {
		from--
	}
	for to < len(p) && to-i < elfString && printable(p[to]) {
		to++
	}
	if to == len(p) || p[to] != 0 || from == 0 && at != 0 {
		return to
	}
	s := string(p[from:to])
	if e.size+len(s) > MaxFacts/2 {
		return to
	}
	if _, known := e.strings[at+uint64(from)]; !known {
		e.size += len(s) + 3
		e.strings[at+uint64(from)] = s
	}
	return to
}

func printable(b byte) bool { return b > ' ' && b < 0x7f }
