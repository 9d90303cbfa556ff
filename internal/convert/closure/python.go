package closure

import (
	"slices"
	"strings"
)

// python is the interpreter of a request: where it finds modules.
type python struct {
	version string // "3.11"
	lib     string // folder of the standard library
	sites   []string
	path    []string
	done    map[string]bool // modules that were looked for
	meta    bool            // metadata of all packages is taken
}

func (s *selector) pythonScript(p string) bool {
	line, ok := s.one(p, tagInterpreter)
	return ok && !s.isELF(p) && strings.Contains(line, "python")
}

// startPython finds the interpreter's folders, takes what it reads at its start, and
// follows the program that its arguments name.
func (s *selector) startPython(called, at string, args []string) {
	if s.python == nil && !s.findPython(called, at) {
		s.notice("%s: its standard library is not found; see --include and --trace", called)
		return
	}
	py := s.python
	work := clean(s.q.WorkDir)
	for _, k := range []string{"FLASK_APP", "DJANGO_SETTINGS_MODULE", "CELERY_APP", "UVICORN_APP"} {
		s.pythonTarget(s.env[k])
	}
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "-m" && i+1 < len(args) {
			py.add(work)
			s.pythonModule(args[i+1])
			s.pythonModule(args[i+1] + ".__main__")
			s.pythonArgs(args[i+2:])
			return
		}
		if a == "-c" && i+1 < len(args) {
			py.add(work)
			s.pythonFacts("", pythonFactsOf(args[i+1]))
			return
		}
		if a == "-W" || a == "-X" {
			i++
			continue
		}
		if !strings.HasPrefix(a, "-") {
			if p, _, ok := s.real(under(work, a)); ok {
				py.add(parent(p))
				s.take(p, "program of Python")
				if s.isDir(p) {
					py.add(p)
					s.take(p+"/__main__.py", "program of Python")
				}
				s.pythonFile(p)
			}
			s.pythonArgs(args[i+1:])
			return
		}
	}
}

func (s *selector) pythonArgs(args []string) {
	s.python.add(clean(s.q.WorkDir))
	for _, a := range args {
		if _, v, ok := strings.Cut(a, "="); ok && strings.HasPrefix(a, "-") {
			a = v
		}
		s.pythonTarget(a)
	}
}

// pythonTarget follows a.b, a.b:app and a/b.py:app, which servers take as applications.
func (s *selector) pythonTarget(a string) {
	a, _, _ = strings.Cut(a, ":")
	if a == "" || len(a) > 255 {
		return
	}
	if p := under(clean(s.q.WorkDir), a); s.isFile(p) {
		s.take(p, "application")
		s.ownFolder(parent(p), "folder of")
	} else if moduleName(a) && !strings.HasPrefix(a, ".") {
		s.python.add(clean(s.q.WorkDir))
		s.pythonModule(a)
	}
}

func (py *python) add(dir string) {
	if !slices.Contains(py.path, dir) {
		py.path = append([]string{dir}, py.path...)
	}
}

func (s *selector) findPython(called, at string) bool {
	var roots []string
	var sites []string
	for _, d := range []string{parent(called), parent(parent(called))} {
		if s.isFile(d + "/pyvenv.cfg") {
			s.take(d+"/pyvenv.cfg", "virtual environment")
			for line := range strings.SplitSeq(s.content(d+"/pyvenv.cfg"), "\n") {
				if k, v, ok := strings.Cut(line, "="); ok && strings.TrimSpace(k) == "home" {
					roots = append(roots, parent(clean(strings.TrimSpace(v))))
				}
			}
			sites = append(sites, d)
		}
	}
	if h := s.env["PYTHONHOME"]; h != "" {
		roots = append([]string{clean(h)}, roots...)
	}
	roots = append(roots, parent(parent(at)), "/usr", "/usr/local")
	want := strings.TrimPrefix(base(at), "python")
	for _, r := range roots {
		names := s.t.Names(mustReal(s, r+"/lib"))
		slices.Reverse(names)
		for _, n := range names {
			v, ok := strings.CutPrefix(n, "python")
			lib := r + "/lib/" + n
			if !ok || strings.Contains(want, ".") && v != want || !s.isFile(lib+"/os.py") {
				continue
			}
			py := &python{version: v, lib: mustReal(s, lib), done: map[string]bool{}}
			for d := range strings.SplitSeq(s.env["PYTHONPATH"], ":") {
				if d != "" {
					py.path = append(py.path, under(clean(s.q.WorkDir), d))
				}
			}
			py.path = append(py.path, lib, lib+"/lib-dynload")
			for _, v := range sites {
				py.sites = append(py.sites, v+"/lib/"+n+"/site-packages")
			}
			py.sites = append(py.sites, "/usr/local/lib/"+n+"/dist-packages", "/usr/lib/python3/dist-packages", lib+"/site-packages", lib+"/dist-packages", "/usr/local/lib/"+n+"/site-packages")
			if h := s.env["HOME"]; h != "" {
				py.sites = append(py.sites, h+"/.local/lib/"+n+"/site-packages")
			}
			s.python = py
			s.runtimes["python"+v] = true
			s.pythonStart()
			return true
		}
	}
	return false
}

var pythonFirst = []string{
	"encodings", "encodings.aliases", "encodings.utf_8", "encodings.utf_8_sig", "encodings.latin_1", "encodings.ascii", "encodings.idna",
	"encodings.punycode", "encodings.utf_16", "encodings.utf_32", "encodings.cp437", "encodings.cp1252", "encodings.iso8859_1",
	"encodings.iso8859_15", "encodings.raw_unicode_escape", "encodings.unicode_escape", "encodings.charmap", "encodings.hex_codec",
	"encodings.base64_codec", "encodings.utf_16_le", "encodings.utf_16_be", "encodings.utf_7",
	"codecs", "io", "abc", "site", "os", "stat", "posixpath", "genericpath", "_collections_abc", "_sitebuiltins", "sitecustomize",
	"usercustomize", "runpy", "linecache", "traceback", "warnings", "locale", "importlib.util", "importlib.machinery", "__future__", "zipimport",
}

func (s *selector) pythonStart() {
	py := s.python
	var found []string
	for _, d := range py.sites {
		if !s.isDir(d) {
			continue
		}
		found = append(found, d)
		at := mustReal(s, d)
		for _, n := range s.t.Names(at) {
			if !strings.HasSuffix(n, ".pth") {
				continue
			}
			p, _ := s.take(join(at, n), "read by site")
			for line := range strings.SplitSeq(s.content(p), "\n") {
				line = strings.TrimSpace(line)
				if strings.HasPrefix(line, "import ") {
					defer s.pythonFacts("", pythonFactsOf(strings.ReplaceAll(line, ";", "\n")))
				} else if q := under(at, line); line != "" && line[0] != '#' && s.isDir(q) {
					found = append(found, q)
				}
			}
		}
	}
	py.sites = found
	py.path = append(py.path, found...)
	for _, m := range pythonFirst {
		s.pythonModule(m)
	}
	for _, n := range s.t.Names(py.lib) {
		if strings.HasPrefix(n, "_sysconfigdata") && hasEnding(n, ".py") {
			s.pythonTake(py.lib+"/"+n, "sysconfig")
		}
	}
}
