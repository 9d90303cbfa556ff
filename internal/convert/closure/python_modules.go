package closure

import (
	"strings"

	"hitoku.dev/measure/workload"
)

// pythonModule finds a module and all packages above it.
func (s *selector) pythonModule(name string) bool {
	py := s.python
	if py.done[name] || strings.Contains(name, "..") || strings.HasSuffix(name, ".") {
		return true
	}
	parts := strings.Split(name, ".")
	if len(parts) > 32 {
		return false
	}
	folders := py.path
	for i, part := range parts {
		full := strings.Join(parts[:i+1], ".")
		var below []string
		found := false
		for _, d := range folders {
			p := join(d, part)
			if s.isDir(p) {
				at := mustReal(s, p)
				if s.pythonTake(at+"/__init__.py", "module "+full) || s.pythonBinary(at, "__init__", full) {
					below, found = []string{at}, true
					s.pythonPackage(at, i == 0)
					break
				}
				below = append(below, at)
			}
			if s.pythonTake(p+".py", "module "+full) || s.pythonBinary(d, part, full) {
				found = true
				break
			}
		}
		if !found && len(below) == 0 {
			return false
		}
		py.done[full] = true
		folders = below
	}
	if name == "importlib.metadata" || name == "pkg_resources" || name == "importlib_metadata" {
		s.pythonMetadata()
	}
	return true
}

// pythonTake takes a source and what was compiled from it.
func (s *selector) pythonTake(p, why string) bool {
	at, ok := s.take(p, why)
	if !ok {
		return false
	}
	s.pythonCompiled(at)
	s.pythonCompiled(clean(p)) // beside the name that was found, where that is a link
	return true
}

func (s *selector) pythonCompiled(at string) {
	tag := "cpython-" + strings.ReplaceAll(s.python.version, ".", "")
	name := strings.TrimSuffix(base(at), ".py")
	level := ""
	switch o := s.env["PYTHONOPTIMIZE"]; o {
	case "", "0":
	default:
		level = ".opt-" + o
	}
	s.take(parent(at)+"/__pycache__/"+name+"."+tag+level+".pyc", "compiled "+at)
}

// pythonBinary takes an extension module, or one that is there in compiled form only.
func (s *selector) pythonBinary(dir, name, full string) bool {
	tag := "cpython-" + strings.ReplaceAll(s.python.version, ".", "")
	for _, e := range []string{
		"." + tag + "-x86_64-linux-gnu.so", "." + tag + "-x86_64-linux-musl.so", "." + tag + "-aarch64-linux-gnu.so", ".abi3.so", ".so", ".pyc",
	} {
		if _, ok := s.take(join(dir, name)+e, "module "+full); ok {
			return true
		}
	}
	return false
}

// pythonPackage takes the files of an installed package that are no modules.
func (s *selector) pythonPackage(dir string, top bool) {
	if !top || workload.Within(dir, s.python.lib) && !strings.Contains(dir, "-packages") || s.owned["data:"+dir] {
		return
	}
	s.owned["data:"+dir] = true
	s.folderFiles(dir, "data of package "+base(dir), 1000, func(p string, dir bool) bool {
		if dir {
			return pythonDull(p)
		}
		return hasEnding(p, ".py", ".pyc", ".pyx", ".pxd", ".pyi", ".h", ".c", ".po", ".md", ".rst", ".so", "py.typed")
	})
}

func pythonDull(p string) bool {
	switch base(p) {
	case "__pycache__", "tests", "test", "testing", "docs", "examples", "idle_test":
		return true
	}
	return false
}

// pythonMetadata takes the metadata of all installed packages: entry points are looked for in it.
func (s *selector) pythonMetadata() {
	if s.python.meta {
		return
	}
	s.python.meta = true
	for _, d := range s.python.sites {
		at := mustReal(s, d)
		for _, n := range s.t.Names(at) {
			if !hasEnding(n, ".dist-info", ".egg-info") {
				continue
			}
			s.take(join(at, n), "metadata")
			for _, f := range []string{"METADATA", "PKG-INFO", "entry_points.txt", "top_level.txt", "requires.txt"} {
				s.take(join(at, n)+"/"+f, "metadata of packages")
			}
			// A console script may be started through its entry point.
			if name := base(s.q.Argv[0]); strings.Contains(s.content(join(at, n)+"/entry_points.txt"), "\n"+name) {
				for line := range strings.SplitSeq(s.content(join(at, n)+"/entry_points.txt"), "\n") {
					if k, v, ok := strings.Cut(line, "="); ok && strings.TrimSpace(k) == name {
						v, _, _ = strings.Cut(strings.TrimSpace(v), ":")
						s.pythonModule(v)
					}
				}
			}
		}
	}
}

// pythonFile follows the imports of one source.
func (s *selector) pythonFile(p string) {
	if s.python == nil {
		at, ok := s.program("python3")
		if !ok || !s.findPython(at, mustReal(s, at)) {
			return
		}
	}
	s.pythonCompiled(p)
	s.pythonFacts(p, s.facts(p))
}

func (s *selector) pythonFacts(p string, facts []fact) {
	for _, f := range facts {
		switch f.tag {
		case tagImport:
			s.pythonImport(p, f.text, "")
		case tagFrom:
			module, name, _ := strings.Cut(f.text, ":")
			s.pythonImport(p, module, name)
		case tagDynamic:
			s.pythonDynamic(p)
		}
	}
}

func (s *selector) pythonImport(p, module, name string) {
	if !strings.HasPrefix(module, ".") {
		if name != "" {
			module += "." + name
		}
		if s.pythonModule(module) || p == "" {
			return
		}
		// A program's own folder, for scripts that put it into sys.path.
		if d := parent(p); s.owned[d] {
			s.pythonBeside(d, strings.Split(module, "."))
		}
		return
	}
	d := parent(p)
	module = module[1:]
	for strings.HasPrefix(module, ".") {
		d, module = parent(d), module[1:]
	}
	parts := strings.Split(module, ".")
	if module == "" {
		parts = nil
	}
	if name != "" {
		parts = append(parts, name)
	}
	s.pythonBeside(d, parts)
}

func (s *selector) pythonBeside(d string, parts []string) {
	s.pythonTake(d+"/__init__.py", "package of a module")
	for _, part := range parts {
		p := join(d, part)
		switch {
		case s.pythonTake(p+"/__init__.py", "imported in "+d):
			d = p
		case s.pythonTake(p+".py", "imported in "+d), s.pythonBinary(d, part, part):
			return
		case s.isDir(p):
			d = p
		default:
			return
		}
	}
}

// pythonDynamic takes the whole package of a module that imports by computed names.
func (s *selector) pythonDynamic(p string) {
	d := parent(p)
	if p == "" || workload.Within(d, s.python.lib) && !strings.Contains(d, "-packages") || !s.isFile(d+"/__init__.py") || s.owned["all:"+d] {
		return
	}
	s.owned["all:"+d] = true
	s.notice("%s imports by names that it computes: its package %s is taken whole; see --include and --trace for others", p, d)
	s.folderFiles(d, "package that imports by computed names", MaxFolder, func(p string, dir bool) bool {
		return dir && pythonDull(p) || hasEnding(p, ".pyc")
	})
}
