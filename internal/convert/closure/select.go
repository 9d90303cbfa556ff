package closure

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"hitoku.dev/measure/workload"
)

const (
	// MaxFolder is how many files of an application's own folder are taken whole.
	MaxFolder = 4000
	// MaxFiles is how many files a selection has at most.
	MaxFiles    = 300_000
	maxCommands = 2000
)

// Request says what an image starts, and what is wanted besides.
type Request struct {
	Argv    []string // entry point and arguments
	Env     []string // NAME=VALUE
	WorkDir string   // absolute; empty means /
	Include []string // paths, folders and globs, added with what they need
	Exclude []string // paths, folders and globs, left out at the end
	Trace   []string // paths that a run opened
	// Folder is how many files of an application's own folder are taken; 0 is MaxFolder.
	Folder int
}

// Selection is what a program needs of an image.
type Selection struct {
	Program  string            // the file that the request starts, by its path without links
	Files    []string          // regular files, by paths without links; sorted
	Links    []string          // symbolic links that look-ups went through; sorted
	Runtimes []string          // "elf-glibc", "elf-musl", "static", "python3.11", "node", "java", …; sorted
	Why      map[string]string // for each file what asked for it
	// Libraries are the folders in which a dynamic loader looks after LD_LIBRARY_PATH: those of
	// /etc/ld.so.conf, then the usual ones; only what the image has.
	Libraries []string
	Notices   []string // what could not be seen, and which option helps
}

type selector struct {
	*resolver
	ctx      context.Context
	q        Request
	env      map[string]string
	why      map[string]string
	queue    []string
	decoded  map[string][]fact
	runtimes map[string]bool
	notices  map[string]bool
	commands map[string]bool
	owned    map[string]bool // application folders that were taken
	libs     []string        // default folders of the loader
	lacking  []lackingLibrary

	interpreters int // of scripts, one in another
	python       *python
}

// Select finds what the program of a request needs of the tree. An error names the file
// that is missing, and the option that helps.
func Select(ctx context.Context, t Tree, q Request) (*Selection, error) {
	if q.WorkDir == "" {
		q.WorkDir = "/"
	}
	if q.Folder == 0 {
		q.Folder = MaxFolder
	}
	s := &selector{
		resolver: newResolver(t), ctx: ctx, q: q, env: map[string]string{}, why: map[string]string{},
		decoded: map[string][]fact{}, runtimes: map[string]bool{}, notices: map[string]bool{},
		commands: map[string]bool{}, owned: map[string]bool{},
	}
	for _, e := range q.Env {
		if k, v, ok := strings.Cut(e, "="); ok {
			s.env[k] = v
		}
	}
	if len(q.Argv) == 0 {
		return nil, fmt.Errorf("the image starts no program: it has neither ENTRYPOINT nor CMD; name one, or use --files all")
	}
	program, ok := s.program(q.Argv[0])
	if !ok {
		return nil, fmt.Errorf("%s: the program to start is not in the image (PATH=%s, working folder %s); correct the entry point, or use --files all", q.Argv[0], s.env["PATH"], q.WorkDir)
	}
	s.command(q.Argv, "entry point")
	s.ownFolder(clean(q.WorkDir), ownWorkDir)
	for _, g := range q.Include {
		if !s.include(g) {
			s.notice("--include %s: nothing in the image has this name", g)
		}
	}
	if err := s.run(); err != nil {
		return nil, err
	}
	s.tellLacking()
	for _, p := range q.Trace {
		if at, f, ok := s.real(under(clean(q.WorkDir), p)); ok && f.Kind == Regular && s.why[at] == "" {
			s.why[at] = "opened in the trace"
		}
	}
	out := s.selection()
	out.Program, _, _ = s.real(program)
	return out, nil
}

func (s *selector) selection() *Selection {
	for p := range s.why {
		if s.excluded(p) {
			delete(s.why, p)
		}
	}
	for l := range s.links {
		if s.excluded(l) {
			delete(s.links, l)
		}
	}
	var folders []string
	for _, d := range s.libraryFolders() {
		if s.isDir(d) {
			folders = append(folders, d)
		}
	}
	return &Selection{
		Libraries: folders, Files: slices.Sorted(maps.Keys(s.why)), Links: slices.Sorted(maps.Keys(s.links)),
		Runtimes: slices.Sorted(maps.Keys(s.runtimes)), Why: s.why, Notices: slices.Sorted(maps.Keys(s.notices)),
	}
}

func (s *selector) excluded(p string) bool {
	for _, g := range s.q.Exclude {
		if Match(g, p) {
			return true
		}
	}
	return false
}

// Match says whether a path is, or is below, what a path or glob names. "**" stands for
// any number of folders at a pattern's end.
func Match(pattern, p string) bool {
	pattern = strings.TrimSuffix(strings.TrimSuffix(pattern, "/**"), "/")
	if !strings.HasPrefix(pattern, "/") { // a name anywhere
		for e := range strings.SplitSeq(p, "/") {
			if ok, _ := path.Match(pattern, e); ok && e != "" {
				return true
			}
		}
		return false
	}
	for at := p; at != "/"; at = parent(at) {
		if at == pattern {
			return true
		}
		if ok, _ := path.Match(pattern, at); ok {
			return true
		}
	}
	return pattern == ""
}

func (s *selector) notice(format string, a ...any) { s.notices[fmt.Sprintf(format, a...)] = true }

// run follows the facts of all files taken, until there are no new ones.
func (s *selector) run() error {
	for len(s.queue) > 0 {
		if err := context.Cause(s.ctx); err != nil {
			return err
		}
		if len(s.why) > MaxFiles {
			return fmt.Errorf("more than %d files are needed; use --exclude, or --files packed", MaxFiles)
		}
		p := s.queue[0]
		s.queue = s.queue[1:]
		s.process(p)
	}
	return nil
}

// take adds the regular file that a path leads to.
func (s *selector) take(p, why string) (string, bool) {
	at, f, ok := s.real(p)
	if !ok || f.Kind != Regular {
		return "", false
	}
	if s.why[at] == "" {
		s.why[at] = why
		s.queue = append(s.queue, at)
	}
	return at, true
}

func (s *selector) facts(real string) []fact {
	if f, ok := s.decoded[real]; ok {
		return f
	}
	f, _ := s.t.Lstat(real)
	d := decodeFacts(f.Facts)
	s.decoded[real] = d
	return d
}

// one is the text of a file's first fact with a tag.
func (s *selector) one(real string, t tag) (string, bool) {
	for _, f := range s.facts(real) {
		if f.tag == t {
			return f.text, true
		}
	}
	return "", false
}

func (s *selector) content(p string) string {
	at, _, ok := s.real(p)
	if !ok {
		return ""
	}
	text, _ := s.one(at, tagContent)
	return text
}

func (s *selector) isDir(p string) bool {
	_, f, ok := s.real(p)
	return ok && f.Kind == Dir
}

func (s *selector) isFile(p string) bool {
	_, f, ok := s.real(p)
	return ok && f.Kind == Regular
}

// tree takes the files below a folder, but those that skip refuses, up to most.
func (s *selector) folderFiles(dir, why string, most int, skip func(p string, dir bool) bool) int {
	n := 0
	seen := map[string]bool{}
	var visit func(p string)
	visit = func(p string) {
		at, f, ok := s.real(p)
		if !ok || f.Kind != Dir || seen[at] || n >= most {
			return
		}
		seen[at] = true
		for _, name := range s.t.Names(at) {
			c := join(at, name)
			l, ok := s.t.Lstat(c)
			if !ok || skip != nil && skip(c, l.Kind == Dir) {
				continue
			}
			switch l.Kind {
			case Dir:
				visit(c)
			case Regular, Symlink:
				if n >= most {
					s.notice("%s has more than %d files: the others are left out; see --include %s, or --files packed", dir, most, dir)
					return
				}
				if to, g, ok := s.real(c); ok && g.Kind == Dir {
					if workload.Within(to, dir) {
						visit(c)
					}
				} else if _, ok := s.take(c, why); ok {
					n++
				}
			}
		}
	}
	visit(dir)
	return n
}

var systemFolders = []string{"/bin", "/sbin", "/lib", "/lib64", "/usr", "/etc", "/var", "/proc", "/sys", "/dev", "/run", "/tmp", "/boot"}

var ownBelow = []string{"/usr/src", "/usr/local/app", "/usr/app", "/usr/share/nginx/html", "/var/www", "/var/task", "/var/lib/app"}

const ownWorkDir = "working folder"

// ownFolder takes an application's own folder whole, if it is one.
func (s *selector) ownFolder(dir, why string) {
	at, f, ok := s.real(dir)
	if !ok || f.Kind != Dir || at == "/" || at == "/opt" || at == "/home" || at == "/srv" && why != ownWorkDir || s.owned[at] {
		return
	}
	own := slices.ContainsFunc(ownBelow, func(d string) bool { return workload.Within(at, d) })
	if !own && slices.ContainsFunc(systemFolders, func(d string) bool { return workload.Within(at, d) }) {
		return
	}
	s.owned[at] = true
	s.folderFiles(at, why+" "+at, s.q.Folder, func(p string, dir bool) bool {
		switch base(p) {
		case "node_modules", ".git", ".cache", ".npm", "__pycache__", ".venv", "venv", ".hitoku":
			return dir
		}
		if dir {
			_, venv := s.t.Lstat(join(p, "pyvenv.cfg"))
			return venv
		}
		return hasEnding(p, ".pyc")
	})
}

// include adds what --include names: a file, a folder, or a glob.
func (s *selector) include(pattern string) bool {
	why := "--include " + pattern
	pattern = under(clean(s.q.WorkDir), pattern)
	if !strings.ContainsAny(pattern, "*?[") {
		if s.isDir(pattern) {
			return s.folderFiles(pattern, why, MaxFiles, nil) > 0
		}
		_, ok := s.take(pattern, why)
		return ok
	}
	fixed := pattern[:strings.IndexAny(pattern, "*?[")]
	found := false
	s.folderNames(parent(fixed+"x"), 0, func(p string) {
		if Match(pattern, p) {
			if _, ok := s.take(p, why); ok {
				found = true
			}
		}
	})
	return found
}

func (s *selector) folderNames(dir string, depth int, visit func(p string)) {
	at, f, ok := s.real(dir)
	if !ok || f.Kind != Dir || depth > 64 {
		return
	}
	for _, name := range s.t.Names(at) {
		p := join(at, name)
		if l, ok := s.t.Lstat(p); ok && l.Kind == Dir {
			s.folderNames(p, depth+1, visit)
		} else if ok {
			visit(p)
		}
	}
}

// process follows the facts of one file.
func (s *selector) process(p string) {
	facts := s.facts(p)
	for _, f := range facts {
		switch f.tag {
		case tagELF:
			s.elf(p, facts)
			return
		case tagInterpreter:
			s.script(p, f.text, nil)
		}
	}
	switch {
	case hasEnding(p, ".py") || s.pythonScript(p):
		s.pythonFile(p)
	case hasEnding(p, ".js", ".mjs", ".cjs") || s.nodeScript(p):
		s.nodeFile(p)
	case hasEnding(p, ".jar", ".war"):
		s.jar(p)
	}
}
