package closure

import (
	"encoding/binary"
	"slices"
	"strings"
)

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
	offset, ok := e.fileOffset(dynamicValue(e.kept[0].buf, 5))
	if !ok {
		return nil
	}
	var out []fact
	var rpath string
	runpath := false
	for b, n := e.kept[0].buf, 0; len(b) >= 16 && n < elfStrings; b = b[16:] {
		t := le.Uint64(b)
		if t == 0 {
			break
		}
		if t != 1 && t != 15 && t != 29 { // NEEDED, RPATH, RUNPATH
			continue
		}
		n++
		s, ok := e.text(offset + le.Uint64(b[8:]))
		switch {
		case !ok || s == "":
		case t == 1:
			out = append(out, fact{tagNeeded, s})
		case t == 15:
			rpath = s
		case t == 29:
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

// text is the string at a file offset.
func (e *elfReader) text(at uint64) (string, bool) {
	for _, s := range e.kept {
		if t, ok := s.text(at); ok {
			return t, true
		}
	}
	for back := range uint64(elfString) { // linkers let a name be the end of another
		if s, ok := e.strings[at-back]; ok && uint64(len(s)) > back {
			return s[back:], true
		}
		if back == at {
			break
		}
	}
	return "", false
}
