package closure

import (
	"os"
	"slices"
	"strings"
	"testing"

	"hitoku.dev/measure/workload"
)

// memoryTree is a Tree of texts; a text that begins with "->" is a link.
type memoryTree map[string]string

func (t memoryTree) Lstat(p string) (File, bool) {
	text, ok := t[p]
	if !ok {
		if p == "/" || len(t.Names(p)) > 0 {
			return File{Kind: Dir}, true
		}
		return File{}, false
	}
	if l, ok := strings.CutPrefix(text, "->"); ok {
		return File{Kind: Symlink, Link: l}, true
	}
	f := File{Kind: Regular, Size: int64(len(text))}
	if s := NewSniffer(p, f.Size); s != nil {
		for i := range len(text) { // byte by byte: nothing may depend on how content is cut
			_, _ = s.Write([]byte{text[i]})
		}
		f.Facts = s.Facts()
	}
	return f, true
}

func (t memoryTree) Names(d string) []string {
	var out []string
	for p := range t {
		if p != d && workload.Within(p, d) {
			name, _, _ := strings.Cut(strings.TrimPrefix(p[len(strings.TrimSuffix(d, "/")):], "/"), "/")
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestSelect(t *testing.T) {
	t.Parallel()
	python := memoryTree{
		"/usr/bin/python3": "->python3.11", "/usr/bin/python3.11": "program", "/usr/lib/python3.11/os.py": "import stat\n",
		"/usr/lib/python3.11/stat.py": "#\n#\n", "/usr/lib/python3.11/json/__init__.py": "from .decoder import x\n", "/usr/lib/python3.11/json/decoder.py": "# nothing\n",
		"/usr/lib/python3.11/unused.py": "# nothing\n", "/usr/lib/python3.11/lazy.py": "# nothing\n",
		"/app/main.py": "def f():\n    import lazy\nfrom json import (\n  decoder,\n  x)\n", "/app/templates/a.html": "<p>",
	}
	tests := []struct {
		name    string
		tree    memoryTree
		q       Request
		want    []string // in Files or Links
		not     []string
		runtime string
	}{
		{
			"python", python,
			Request{Argv: []string{"python3", "main.py"}, WorkDir: "/app"},
			[]string{"/usr/bin/python3.11", "/usr/bin/python3", "/usr/lib/python3.11/lazy.py", "/usr/lib/python3.11/json/decoder.py", "/app/templates/a.html"},
			[]string{"/usr/lib/python3.11/unused.py"},
			"python3.11",
		},
		{
			"shell",
			memoryTree{
				"/bin": "->usr/bin", "/usr/bin/sh": "program", "/usr/bin/tool": "program", "/usr/bin/other": "program", "/etc/tool.conf": "x = 1\n", "/usr/bin/env": "program",
				"/start.sh": "#!/bin/sh\n# other\nset -e\n. /lib.sh\nF=/etc/tool.conf\nif true; then exec tool \"$F\"; fi\nexec \"$@\"\n", "/lib.sh": "#!/bin/sh\nx=$(sub)\n",
				"/usr/bin/sub": "program", "/usr/bin/server": "program",
			},
			Request{Argv: []string{"/start.sh", "server", "-x"}},
			[]string{"/bin", "/usr/bin/sh", "/usr/bin/tool", "/etc/tool.conf", "/lib.sh", "/usr/bin/sub", "/usr/bin/server"},
			[]string{"/usr/bin/other"},
			"",
		},
		{
			"node",
			memoryTree{
				"/usr/bin/node": "program", "/srv/a/index.js": "const a = require('dep')\nimport x from \"./x.mjs\"\n", "/srv/a/x.mjs": "export {}\n",
				"/srv/a/node_modules/dep/package.json": `{"main":"lib/m","exports":{".":{"require":"./lib/m.js"}}}`, "/srv/a/node_modules/dep/lib/m.js": "require('node:fs')\n",
				"/srv/a/node_modules/dep/other.js": "nothing", "/srv/a/node_modules/no/index.js": "nothing",
			},
			Request{Argv: []string{"node", "/srv/a/index.js"}},
			[]string{"/srv/a/x.mjs", "/srv/a/node_modules/dep/lib/m.js", "/srv/a/node_modules/dep/package.json"},
			[]string{"/srv/a/node_modules/no/index.js", "/srv/a/node_modules/dep/other.js"},
			"node",
		},
		{
			"include, exclude, trace",
			memoryTree{"/p": "program", "/d/a": "1", "/d/b": "2", "/t": "3", "/loop": "->loop"},
			Request{Argv: []string{"/p"}, Include: []string{"/d", "/loop"}, Exclude: []string{"/d/b"}, Trace: []string{"/t", "/none"}},
			[]string{"/p", "/d/a", "/t"},
			[]string{"/d/b", "/loop"},
			"",
		},
		{"names that are no text", memoryTree{"/p": "program", "/d/\xff\xfe": "1"}, Request{Argv: []string{"/p"}, Include: []string{"/d"}}, []string{"/d/\xff\xfe"}, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := Select(t.Context(), tt.tree, tt.q)
			if err != nil {
				t.Fatal(err)
			}
			all := slices.Concat(s.Files, s.Links)
			for _, w := range tt.want {
				if !slices.Contains(all, w) {
					t.Errorf("%s is missing in %q", w, all)
				}
			}
			for _, n := range tt.not {
				if slices.Contains(all, n) {
					t.Errorf("%s is chosen: %s", n, s.Why[n])
				}
			}
			if tt.runtime != "" && !slices.Contains(s.Runtimes, tt.runtime) {
				t.Errorf("runtimes %q, wanted %s", s.Runtimes, tt.runtime)
			}
		})
	}
}

func TestInterpretersInCircle(t *testing.T) {
	t.Parallel()
	counted := &countingTree{Tree: memoryTree{"/bin/app": "#!app\n", "/bin/other": "#!/bin/app x\n"}}
	s, err := Select(t.Context(), counted, Request{Argv: []string{"other"}, Env: []string{"PATH=/bin"}})
	if err != nil || !slices.Equal(s.Files, []string{"/bin/app", "/bin/other"}) || counted.asked > 1000 {
		t.Errorf("%v %v after %d questions", s, err, counted.asked)
	}
}

type countingTree struct {
	Tree
	asked int
}

func (t *countingTree) Lstat(p string) (File, bool) {
	t.asked++
	return t.Tree.Lstat(p)
}

func TestSelectRefuses(t *testing.T) {
	t.Parallel()
	for _, argv := range [][]string{nil, {"/none"}, {"none"}} {
		if _, err := Select(t.Context(), memoryTree{}, Request{Argv: argv}); err == nil || !strings.Contains(err.Error(), "--files all") {
			t.Errorf("%q: %v", argv, err)
		}
	}
}

func TestELFOfThisMachine(t *testing.T) {
	t.Parallel()
	s, err := Select(t.Context(), folderTree{""}, Request{Argv: []string{"/bin/sh"}})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(s.Files, func(p string) bool { return strings.Contains(p, "libc.") || strings.Contains(p, "ld-") }) && !slices.Contains(s.Runtimes, "static") {
		t.Errorf("no C library in %q", s.Files)
	}
}

func TestParseTrace(t *testing.T) {
	t.Parallel()
	in := "12 openat(AT_FDCWD, \"/etc/a b\\n\", O_RDONLY|O_CLOEXEC) = 3\n12 open(\"/no\", O_RDONLY) = -1 ENOENT (No such file)\n" +
		"execve(\"/bin/x\", [\"x\"], 0x7 /* 3 vars */) = 0\n/plain\n/plain\n12 stat(\"/s\", {}) = 0\nopenat(AT_FDCWD, \"/d\", O_RDONLY|O_DIRECTORY) = 3\n"
	got, err := ParseTrace(strings.NewReader(in))
	if want := []string{"/etc/a b\n", "/bin/x", "/plain"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; wanted %q", got, err, want)
	}
	if _, err := ParseTrace(strings.NewReader(strings.Repeat("x", 65<<10))); err == nil {
		t.Error("a line that is too long passes")
	}
}

func FuzzSniffer(f *testing.F) {
	if b, err := os.ReadFile("/bin/true"); err == nil {
		f.Add("/bin/true", b[:min(len(b), 40<<10)])
	}
	f.Add("/a.py", []byte("from a import (b,\n c)\nimport x\n"))
	f.Add("/package.json", []byte(`{"exports":{"./*":["./a"]}}`))
	f.Add("/a.jar", []byte("PK\x03\x04"))
	f.Add("/a.js", []byte("require('a');import(`b`)"))
	f.Add("/s", []byte("#!/bin/sh\nexec \"$@\" ${A:-b}\n"))
	f.Fuzz(func(t *testing.T, path string, b []byte) {
		s := NewSniffer(path, int64(len(b)))
		if s == nil {
			return
		}
		_, _ = s.Write(b[:len(b)/2])
		_, _ = s.Write(b[len(b)/2:])
		facts := s.Facts()
		if len(facts) > MaxFacts {
			t.Fatalf("%d bytes", len(facts))
		}
		decodeFacts(facts)
		decodeFacts(b)
		shellCommands(string(b), map[string]string{"A": "b"})
	})
}
