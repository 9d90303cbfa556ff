package closure

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"io"
	"strings"
)

// jarReader finds META-INF/MANIFEST.MF among the first files of a JAR.
type jarReader struct {
	buf []byte
	try int // bytes after which it is looked for again
}

func (j *jarReader) write(p []byte) bool {
	j.buf = append(j.buf, p[:min(len(p), maxJAR-len(j.buf))]...)
	if len(j.buf) >= max(j.try, 16<<10) { // mostly it comes first
		if _, whole := j.manifest(); whole {
			return false
		}
		j.try = 2 * len(j.buf)
	}
	return len(j.buf) < maxJAR
}

func (j *jarReader) facts() []fact {
	out, _ := j.manifest()
	return out
}

// manifest reads the manifest, and says whether all of it is there.
func (j *jarReader) manifest() ([]fact, bool) {
	b := j.buf
	le := binary.LittleEndian
	for len(b) >= 30 && le.Uint32(b) == 0x04034b50 {
		method, stored := le.Uint16(b[8:]), uint64(le.Uint32(b[18:]))
		name, extra := uint64(le.Uint16(b[26:])), uint64(le.Uint16(b[28:]))
		if uint64(len(b)) < 30+name+extra {
			return nil, false
		}
		isManifest := strings.EqualFold(string(b[30:30+name]), "META-INF/MANIFEST.MF")
		flags := le.Uint16(b[6:])
		b = b[30+name+extra:]
		if isManifest {
			return manifestFacts(b, method, stored, flags)
		}
		if flags&8 != 0 && stored == 0 { // its length follows it: find the next header
			n := bytes.Index(b, []byte("PK\x03\x04"))
			if n < 0 {
				return nil, false
			}
			stored = uint64(n)
		}
		if uint64(len(b)) < stored {
			return nil, false
		}
		b = b[stored:]
	}
	return nil, false
}

func manifestFacts(b []byte, method uint16, stored uint64, flags uint16) ([]fact, bool) {
	var text []byte
	whole := uint64(len(b)) >= stored
	switch method {
	case 0:
		text = b[:min(uint64(len(b)), stored, maxContent)]
	case 8:
		if flags&8 == 0 {
			b = b[:min(uint64(len(b)), stored)]
		}
		var err error
		text, err = io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(b)), maxContent))
		whole = err == nil
	}
	s := strings.ReplaceAll(string(text), "\r\n", "\n")
	s = strings.ReplaceAll(s, "\n ", "") // a line goes on after a space
	var out []fact
	for line := range strings.SplitSeq(s, "\n") {
		key, value, _ := strings.Cut(line, ":")
		switch strings.ToLower(key) {
		case "class-path":
			for _, e := range strings.Fields(value) {
				out = append(out, fact{tagClassPath, e})
			}
		case "main-class":
			out = append(out, fact{tagMainClass, strings.TrimSpace(value)})
		}
	}
	return out, whole
}
