package closure

import (
	"bytes"
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"testing"
)

// dynamicFile is the beginning of a dynamic ELF file whose segments claim to have a length.
func dynamicFile(length uint64) []byte {
	le := binary.LittleEndian
	h := make([]byte, 64+4*56)
	copy(h, "\x7fELF\x02\x01")
	le.PutUint64(h[32:], 64)
	le.PutUint16(h[54:], 56)
	le.PutUint16(h[56:], 4)
	for i, s := range []elfSegment{{1, 4, 0, 0, length}, {1, 4, 4096, 4096, length}, {1, 6, 8192, 8192, length}, {2, 6, 1 << 20, 1 << 20, length}} {
		b := h[64+i*56:]
		le.PutUint32(b, s.kind)
		le.PutUint32(b[4:], s.flags)
		le.PutUint64(b[8:], s.offset)
		le.PutUint64(b[16:], s.address)
		le.PutUint64(b[32:], s.length)
	}
	return h
}

func TestLargeBinaryTakesLittleMemory(t *testing.T) {
	t.Parallel()
	for _, length := range []uint64{300 << 20, 1 << 62, 1<<64 - 1} {
		r := newELFReader()
		r.write(dynamicFile(length))
		block := bytes.Repeat([]byte("\x05\x00\x00\x00\x00\x00\x00\x00lib.so\x00\x00/etc/x\x00/"), 32<<10)
		for range 300 {
			if !r.write(block) {
				break
			}
		}
		held := cap(r.head)
		for _, s := range r.kept {
			held += cap(s.buf)
		}
		for _, s := range r.scans {
			held += cap(s.carry)
		}
		if held > 16<<20 || r.size > MaxFacts/2 || len(encodeFacts(r.facts())) > MaxFacts {
			t.Errorf("length %d: %d bytes are held, and %d of strings", length, held, r.size)
		}
	}
}

func TestTruncatedBinary(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	for n := 4; n < len(b); n += 1 + n/7 {
		s := NewSniffer("/bin/sh", int64(n))
		_, _ = s.Write(b[:n])
		if len(s.Facts()) > MaxFacts {
			t.Fatalf("%d bytes of facts from %d bytes", len(s.Facts()), n)
		}
	}
}

func TestFactsDoNotDependOnBlocks(t *testing.T) {
	t.Parallel()
	sh, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		"/bin/sh": string(sh),
		"/a.py":   strings.Repeat("# nothing here\n", 5000) + "from a import (b, # one\n  c)\nfrom d \\\n  import e\nx = 1; import f\nif __name__ == '__main__':\n  import no\n",
		"/a.js":   strings.Repeat("// nothing here\n", 5000) + "const x = require('y'); import z from 'w'; __dirname",
		"/s":      "#!/usr/bin/python3\nimport a\n",
	} {
		var first []byte
		for _, size := range []int{1 << 30, 64 << 10, 4096, 100, 7} {
			s := NewSniffer(path, int64(len(text)))
			for c := range slices.Chunk([]byte(text), size) {
				_, _ = s.Write(c)
			}
			if f := s.Facts(); first == nil {
				first = f
			} else if !bytes.Equal(f, first) {
				t.Errorf("%s in blocks of %d bytes gives %q, wanted %q", path, size, decodeFacts(f), decodeFacts(first))
			}
		}
		if len(decodeFacts(first)) < 2 {
			t.Errorf("%s gives %q only", path, decodeFacts(first))
		}
	}
}

func TestPythonStatements(t *testing.T) {
	t.Parallel()
	got := pythonFactsOf("#import x\nfrom a import (b, # one)\n  c)\nfrom d \\\n  import e\nx = 1; import f\ny = important\nz = __import__('g')\nimport h, i as j\n")
	want := []fact{{tagImport, "a"}, {tagFrom, "a:b"}, {tagFrom, "a:c"}, {tagImport, "d"}, {tagFrom, "d:e"}, {tagImport, "f"}, {tagImport, "g"}, {tagImport, "h"}, {tagImport, "i"}}
	if !slices.Equal(got, want) {
		t.Errorf("%q, wanted %q", got, want)
	}
}

func TestSelectHardTrees(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("/"+strings.Repeat("d", 200), 20) // more than 4,000 bytes
	tree := memoryTree{
		"/srv/app/run": "#!/srv/app/a/../a/../run2\n", "/srv/app/run2": "program", "/srv/app/self": "->.", "/srv/app/up": "->..", "/srv/app/out": "->/",
		"/srv/app/x": "->y", "/srv/app/y": "->x", "/srv/app/n\xff": "1", "/srv/app" + long[:3600] + "/f": "2", "/srv/app/a/k": "3",
	}
	s, err := Select(t.Context(), tree, Request{Argv: []string{"/srv/app/run"}, WorkDir: "/srv/app", Include: []string{"/srv/app/self/self/up", long + long, "/srv/**"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/srv/app/a/k", "/srv/app" + long[:3600] + "/f", "/srv/app/n\xff", "/srv/app/run", "/srv/app/run2"}
	if !slices.Equal(s.Files, want) {
		t.Errorf("%q, wanted %q", s.Files, want)
	}
}

func FuzzSelect(f *testing.F) {
	f.Add("/a\x00#!/b\n\x01/b\x00#!/a x\n\x01/l\x00->/l/x", "/a", "/l")
	f.Add("/usr/bin/python3\x00x\x01/usr/lib/python3.9/os.py\x00import site\n\x01/m.py\x00from . import x\n", "python3", "/**")
	f.Add("/n/i.js\x00require('./x')\x01/n/package.json\x00{\"exports\":{\"*\":\"./*\"}}\x01/bin/node\x00x", "node", "../..")
	f.Fuzz(func(t *testing.T, files, argv, include string) {
		if len(files) > 4096 {
			return
		}
		tree := memoryTree{}
		for e := range strings.SplitSeq(files, "\x01") {
			if p, text, ok := strings.Cut(e, "\x00"); ok && len(tree) < 20 {
				tree[clean(p)] = text
			}
		}
		delete(tree, "/")
		s, err := Select(t.Context(), tree, Request{Argv: strings.Split(argv, " "), WorkDir: "/n", Include: []string{include}})
		if err != nil {
			return
		}
		for _, p := range s.Files {
			if _, ok := tree[p]; !ok {
				t.Fatalf("%q is chosen, and is no file of the tree", p)
			}
		}
	})
}
