package closure

import (
	"path"
	"strings"
)

// Kind is the type of a file in a Tree.
type Kind uint8

// The kinds of files. Other is a device, a pipe or a socket.
const (
	Dir Kind = iota + 1
	Regular
	Symlink
	Other
)

// File is what a Tree knows of one name.
type File struct {
	Kind  Kind
	Size  int64  // bytes, of a regular file
	Link  string // target of a symbolic link, as it is stored
	Mode  uint16 // permission bits
	Facts []byte // what a Sniffer found in it; nil if there was nothing
}

// Tree is an image's root file system. Paths are absolute and clean; links are not
// followed, neither in the path nor at its end.
type Tree interface {
	// Lstat returns what has this path.
	Lstat(path string) (File, bool)
	// Names lists a folder, sorted; nil if there is no such folder.
	Names(dir string) []string
}

const (
	maxLinks = 40   // links followed for one path, as the kernel does
	maxPath  = 4096 // bytes
)

// resolver follows links in a tree and remembers those that led somewhere.
type resolver struct {
	t       Tree
	folders map[string]resolved // by cleaned path
	links   map[string]bool
}

type resolved struct {
	path  string
	links []string
	ok    bool
}

func newResolver(t Tree) *resolver {
	return &resolver{t: t, folders: map[string]resolved{}, links: map[string]bool{}}
}

// real returns the path of what a path leads to, without links, and what is there.
func (r *resolver) real(path string) (string, File, bool) {
	if len(path) > maxPath || !strings.HasPrefix(path, "/") || strings.IndexByte(path, 0) >= 0 {
		return "", File{}, false
	}
	var links []string
	at, f, ok := r.follow(clean(path), &links)
	if !ok {
		return "", File{}, false
	}
	for _, l := range links {
		r.links[l] = true
	}
	return at, f, true
}

func (r *resolver) follow(path string, links *[]string) (string, File, bool) {
	for range maxLinks {
		if path == "/" {
			return "/", File{Kind: Dir}, true
		}
		dir, base := split(path)
		at, ok := r.folder(dir, links)
		if !ok {
			return "", File{}, false
		}
		path = join(at, base)
		f, ok := r.t.Lstat(path)
		if !ok {
			return "", File{}, false
		}
		if f.Kind != Symlink {
			return path, f, true
		}
		*links = append(*links, path)
		if path = target(at, f.Link); len(path) > maxPath {
			return "", File{}, false
		}
	}
	return "", File{}, false
}

// folder resolves a folder, part by part, and keeps the answer.
func (r *resolver) folder(dir string, links *[]string) (string, bool) {
	if dir == "/" {
		return "/", true
	}
	if known, ok := r.folders[dir]; ok {
		*links = append(*links, known.links...)
		return known.path, known.ok
	}
	answer := resolved{}
	at := "/"
	todo := strings.Split(dir[1:], "/")
	for steps := 0; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at, _ = split(at)
			continue
		}
		p := join(at, name)
		f, ok := r.t.Lstat(p)
		switch {
		case ok && f.Kind == Dir:
			at = p
			continue
		case ok && f.Kind == Symlink && steps < maxLinks && len(f.Link) <= maxPath && len(todo) < maxPath:
			steps++
			answer.links = append(answer.links, p)
			if strings.HasPrefix(f.Link, "/") {
				at = "/"
			}
			todo = append(strings.Split(f.Link, "/"), todo...)
			continue
		}
		r.folders[dir] = resolved{}
		return "", false
	}
	answer.path, answer.ok = at, true
	r.folders[dir] = answer
	*links = append(*links, answer.links...)
	return at, true
}

func target(dir, link string) string {
	if strings.HasPrefix(link, "/") {
		return rooted(link)
	}
	return rooted(dir + "/" + link)
}

// rooted keeps ".." of link targets that follow links themselves: they are cleaned only
// where no part before them can be a link that was not followed, so folder does it.
func rooted(path string) string {
	dir, base := path[:strings.LastIndexByte(path, '/')], path[strings.LastIndexByte(path, '/')+1:]
	if base == "" || base == "." || base == ".." {
		return clean(path)
	}
	if dir == "" {
		return "/" + base
	}
	return dir + "/" + base
}

func split(path string) (dir, base string) {
	i := strings.LastIndexByte(path, '/')
	if i <= 0 {
		return "/", path[i+1:]
	}
	return path[:i], path[i+1:]
}

func join(dir, base string) string {
	if dir == "/" {
		return "/" + base
	}
	return dir + "/" + base
}

// clean makes an absolute path in its shortest form; ".." stops at the root.
func clean(p string) string {
	if !strings.HasPrefix(p, "/") {
		p = "/" + p
	}
	return path.Clean(p)
}

// under makes a path absolute as seen from a folder.
func under(dir, path string) string {
	if strings.HasPrefix(path, "/") {
		return clean(path)
	}
	return clean(dir + "/" + path)
}

func base(path string) string { _, b := split(path); return b }
func parent(path string) string {
	d, _ := split(path)
	return d
}
