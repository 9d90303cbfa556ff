package closure

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
)

const (
	elfHead    = 1 << 20  // bytes of the first segment that are kept: it has the names of libraries
	elfDynamic = 64 << 10 // bytes of the dynamic section
	elfStrings = 1024     // strings kept of one file
	elfString  = 512      // bytes of one
)

// elfReader reads an ELF file of 64 bits: program headers, dynamic section, the strings
// that the section points to, and strings that are names of libraries or paths.
type elfReader struct {
	at    uint64
	head  []byte
	segs  []elfSegment
	ready bool // program headers were read
	bad   bool

	machine uint16
	interp  string
	dyn     elfSegment
	dynamic []byte

	strings map[uint64]string // by file offset
	size    int
	carry   []byte // end of what came last: a string may go on
}

type elfSegment struct {
	kind, flags             uint32
	offset, address, length uint64
}

func newELFReader() *elfReader { return &elfReader{strings: map[uint64]string{}} }

func (e *elfReader) write(p []byte) bool {
	begin := e.at
	e.at += uint64(len(p))
	if uint64(len(e.head)) == begin && len(e.head) < elfHead {
		e.head = append(e.head, p[:min(len(p), elfHead-len(e.head))]...)
	}
	if !e.ready {
		if !e.headers() {
			return !e.bad
		}
		if e.dyn.length == 0 && e.interp == "" {
			return false // static: it names no libraries
		}
		// What came before the headers were complete is looked at from head.
		e.look(0, e.head)
		if uint64(len(e.head)) >= e.at {
			return true
		}
		begin, p = uint64(len(e.head)), p[uint64(len(e.head))-begin:]
	}
	e.look(begin, p)
	return true
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
	if size != 56 || n > 512 || off < 64 || off > 64<<10 {
		e.bad = true
		return false
	}
	if uint64(len(h)) < off+size*n {
		return false
	}
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
			if s.offset >= 64<<10 || s.length > maxPath {
				break
			}
			if uint64(len(h)) < s.offset+s.length {
				e.segs, e.dyn = nil, elfSegment{}
				return false // come again when it is there
			}
			name, _, _ := bytes.Cut(h[s.offset:s.offset+s.length], []byte{0})
			e.interp = string(name)
		}
	}
	e.ready = true
	return true
}

// look takes bytes at an offset: those of the dynamic section, and strings in segments
// that are not only code.
func (e *elfReader) look(begin uint64, p []byte) {
	end := begin + uint64(len(p))
	if d := e.dyn; d.length > 0 && begin < d.offset+d.length && end > d.offset {
		from := max(begin, d.offset)
		if uint64(len(e.dynamic)) == from-d.offset {
			e.dynamic = append(e.dynamic, p[from-begin:min(end, d.offset+d.length)-begin]...)
		}
	}
	for _, s := range e.segs {
		if s.flags&1 != 0 && len(e.segs) > 2 { // code; data is elsewhere
			continue
		}
		stop := s.offset + s.length
		if stop < s.offset || begin >= stop || end <= s.offset {
			continue
		}
		from := max(begin, s.offset)
		e.scan(from, p[from-begin:min(end, stop)-begin], from == begin)
	}
	e.carry = append(e.carry[:0], p[max(0, len(p)-elfString):]...)
}

// scan finds strings with ".so" in them, and absolute paths.
func (e *elfReader) scan(at uint64, p []byte, joined bool) {
	if joined && len(e.carry) > 0 && at > 0 {
		// A string over the seam: the part before it, and some of what follows.
		seam := slices.Concat(e.carry, p[:min(len(p), elfString)])
		e.find(at-uint64(len(e.carry)), seam)
	}
	e.find(at, p)
}

func (e *elfReader) find(at uint64, p []byte) {
	for i := 0; len(e.strings) < elfStrings; {
		n := bytes.IndexByte(p[i:], '.')
		if n < 0 || i+n+3 > len(p) {
			break
		}
		i += n + 1
		if p[i] == 's' && p[i+1] == 'o' {
			e.keep(at, p, i)
		}
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

func (e *elfReader) facts() []fact {
	if e.bad || !e.ready {
		return nil
	}
	if e.dyn.length == 0 && e.interp == "" {
		return []fact{{tagELF, "static"}}
	}
	out := []fact{{tagELF, "dynamic" + string([]byte{byte(e.machine), byte(e.machine >> 8)})}}
	if e.interp != "" {
		out = append(out, fact{tagInterpreter, e.interp})
	}
	out = append(out, e.linked()...)
	var names, paths []string
	for _, s := range e.strings {
		switch {
		case strings.HasPrefix(s, "/"):
			if !strings.ContainsAny(s, "%*") {
				paths = append(paths, s)
			}
		case strings.HasPrefix(s, "lib") && !strings.Contains(s, "/") && strings.Contains(s, ".so"):
			names = append(names, s)
		}
	}
	for t, list := range map[tag][]string{tagName: names, tagPath: paths} {
		slices.Sort(list)
		for _, s := range slices.Compact(list) {
			out = append(out, fact{t, s})
		}
	}
	slices.SortStableFunc(out, func(a, b fact) int { return int(a.tag) - int(b.tag) })
	return out
}

// linked reads the dynamic section: the libraries that the loader finds at the start.
func (e *elfReader) linked() []fact {
	le := binary.LittleEndian
	var table uint64
	type item struct{ tag, value uint64 }
	var items []item
	for b := e.dynamic; len(b) >= 16; b = b[16:] {
		t, v := le.Uint64(b), le.Uint64(b[8:])
		switch t {
		case 0:
			b = b[:16]
		case 5:
			table = v
		case 1, 15, 29: // NEEDED, RPATH, RUNPATH
			if len(items) < elfStrings {
				items = append(items, item{t, v})
			}
		}
		if t == 0 {
			break
		}
	}
	offset, ok := e.fileOffset(table)
	if !ok {
		return nil
	}
	var out []fact
	var rpath string
	runpath := false
	for _, it := range items {
		s, ok := e.text(offset + it.value)
		if !ok || s == "" {
			continue
		}
		switch it.tag {
		case 1:
			out = append(out, fact{tagNeeded, s})
		case 15:
			rpath = s
		case 29:
			runpath = true
			out = append(out, fact{tagRunPath, s})
		}
	}
	if rpath != "" && !runpath {
		out = append(out, fact{tagRunPath, rpath}, fact{tagRPath, "1"})
	}
	return out
}

func (e *elfReader) fileOffset(address uint64) (uint64, bool) {
	for _, s := range e.segs {
		if address >= s.address && address-s.address < s.length {
			return s.offset + (address - s.address), true
		}
	}
	return 0, false
}

// text is the string at a file offset: from the head, or part of a string that was kept.
func (e *elfReader) text(at uint64) (string, bool) {
	if at < uint64(len(e.head)) {
		b := e.head[at:]
		if n := bytes.IndexByte(b[:min(len(b), maxPath)], 0); n >= 0 {
			return string(b[:n]), true
		}
	}
	for back := range uint64(elfString) {
		if s, ok := e.strings[at-back]; ok && uint64(len(s)) > back {
			return s[back:], true
		}
		if back == at {
			break
		}
	}
	return "", false
}
