package closure

import "strings"

func (s *selector) nodeScript(p string) bool {
	line, ok := s.one(p, tagInterpreter)
	return ok && !s.isELF(p) && strings.Contains(line, "node")
}

// nodeCommand follows the arguments of node: the first that is no option is the program.
func (s *selector) nodeCommand(args []string) {
	for word := range strings.FieldsSeq(s.env["NODE_OPTIONS"]) {
		if _, v, ok := strings.Cut(word, "="); ok {
			s.nodeModule(v, clean(s.q.WorkDir))
		}
	}
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "-r" || a == "--require" || a == "--import" || a == "--loader":
			if i++; i < len(args) {
				s.nodeModule(args[i], clean(s.q.WorkDir))
			}
		case a == "-e" || a == "-p" || a == "--eval" || a == "--print":
			return
		case !strings.HasPrefix(a, "-"):
			s.nodePath(under(clean(s.q.WorkDir), a), "program of Node.js")
			return
		}
	}
}

// nodeFile follows what one JavaScript file requires.
func (s *selector) nodeFile(p string) {
	whole := false
	for _, f := range s.facts(p) {
		switch f.tag {
		case tagImport:
			s.nodeModule(f.text, parent(p))
		case tagDynamic, tagData:
			whole = true
		}
	}
	for d := parent(p); d != "/"; d = parent(d) {
		if pkg := d + "/package.json"; s.isFile(pkg) {
			s.take(pkg, "package of "+p)
			if whole && strings.Contains(d, "/node_modules/") && !s.owned[d] {
				s.owned[d] = true
				s.folderFiles(d, "package that computes names", MaxFolder, nodeDull)
			}
			return
		}
		if base(d) == "node_modules" {
			return
		}
	}
}

func nodeDull(p string, dir bool) bool {
	if dir {
		switch base(p) {
		case "node_modules", "test", "tests", "__tests__", "docs", "doc", "example", "examples", ".github", "man":
			return true
		}
		return false
	}
	return hasEnding(p, ".md", ".map", ".ts", ".markdown", ".flow", "LICENSE")
}

// nodeModule finds a specifier as require and import do.
func (s *selector) nodeModule(name, from string) {
	name = strings.TrimPrefix(name, "file://")
	switch {
	case name == "" || strings.HasPrefix(name, "node:"):
		return
	case strings.HasPrefix(name, "/"):
		s.nodePath(name, "required from "+from)
		return
	case strings.HasPrefix(name, "."):
		s.nodePath(under(from, name), "required from "+from)
		return
	case strings.HasPrefix(name, "#"):
		for d := from; d != "/"; d = parent(d) {
			if s.isFile(d + "/package.json") {
				s.nodeExports(d, name)
				return
			}
		}
		return
	}
	pkg, rest := name, ""
	if i := strings.IndexByte(name, '/'); i > 0 {
		if name[0] == '@' {
			if j := strings.IndexByte(name[i+1:], '/'); j > 0 {
				pkg, rest = name[:i+1+j], name[i+2+j:]
			}
		} else {
			pkg, rest = name[:i], name[i+1:]
		}
	}
	var folders []string
	for d := from; ; d = parent(d) {
		if base(d) != "node_modules" {
			folders = append(folders, join(d, "node_modules"))
		}
		if d == "/" {
			break
		}
	}
	for d := range strings.SplitSeq(s.env["NODE_PATH"], ":") {
		if d != "" {
			folders = append(folders, clean(d))
		}
	}
	folders = append(folders, "/usr/share/nodejs", "/usr/lib/nodejs", "/usr/lib/x86_64-linux-gnu/nodejs", "/usr/local/lib/node_modules")
	for _, f := range folders {
		d := f + "/" + pkg
		if s.isDir(d) {
			s.take(d+"/package.json", "package "+pkg)
			key := "."
			if rest != "" {
				key = "./" + rest
			}
			if !s.nodeExports(d, key) || rest != "" {
				s.nodePath(clean(d+"/"+rest), "package "+pkg)
			}
			return
		}
		if s.nodePath(d, "module "+pkg) {
			return
		}
	}
}

// nodeExports takes all that a key of a package's exports or imports can mean.
func (s *selector) nodeExports(dir, key string) bool {
	pkg := mustReal(s, dir+"/package.json")
	found := false
	for _, f := range s.facts(pkg) {
		if f.tag != tagExport {
			continue
		}
		k, to, _ := strings.Cut(f.text, " ")
		if before, after, star := strings.Cut(k, "*"); star {
			if !strings.HasPrefix(key, before) || !strings.HasSuffix(key, after) || len(key) < len(before)+len(after) {
				continue
			}
			to = strings.ReplaceAll(to, "*", key[len(before):len(key)-len(after)])
		} else if k != key {
			continue
		}
		if strings.HasPrefix(to, ".") {
			found = s.nodePath(under(dir, to), "exported by "+dir) || found
		} else {
			s.nodeModule(to, dir)
		}
	}
	return found
}

// nodePath takes a file, with the endings that require adds, or a folder's main file.
func (s *selector) nodePath(p, why string) bool {
	for _, e := range [...]string{"", ".js", ".json", ".node", ".mjs", ".cjs"} {
		if _, ok := s.take(p+e, why); ok {
			return true
		}
	}
	if !s.isDir(p) {
		return false
	}
	s.take(p+"/package.json", why)
	if main, ok := s.one(mustReal(s, p+"/package.json"), tagMain); ok {
		m := under(p, main)
		for _, e := range [...]string{"", ".js", ".json", ".node", "/index.js"} {
			if _, ok := s.take(m+e, why); ok {
				return true
			}
		}
	}
	for _, e := range [...]string{"/index.js", "/index.json", "/index.node"} {
		if _, ok := s.take(p+e, why); ok {
			return true
		}
	}
	return false
}
