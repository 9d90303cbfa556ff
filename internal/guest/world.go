package guest

import (
	"path"
	"strings"

	"hitoku.dev/measure/workload"
)

// allowance says what may stand at a path beside, or instead of, the manifest's entry.
type allowance uint8

const (
	allowFolder   allowance = 1 << iota // an unlisted folder, closed inside
	allowAnything                       // a writable folder: its content is nobody's promise
	allowFile                           // an unlisted regular file of any content
	allowEmpty                          // an unlisted empty regular file
	allowLink                           // a symbolic link to node.link
	allowSocket                         // a socket
	allowMount                          // a mount accepted by judgeMounts
	allowOwn                            // the guest's own files, checked by their own rules
)

// node is a path of the closed world: a manifest entry, an allowance, or both.
type node struct {
	file     *workload.File
	allow    allowance
	link     string
	children map[string]*node
	print    fingerprint // of a regular file whose content was right
	inode    inode       // of a regular file, for hard links
}

// World is the tree of everything that may exist in the root file system
// (security decision S14). It is built from the manifest, the writable folders
// and the measured list of what engines make by themselves.
type World struct {
	root  *node
	guest string // SHA-256 of the guest program
	links []hardlink
}

type hardlink struct {
	path, first       string
	node, firstTarget *node
}

// NewWorld indexes a manifest that Decode has accepted: every entry's folder is
// listed before it, and every hard link's first name is a listed file.
func NewWorld(m *workload.Manifest) *World {
	w := &World{root: &node{}, guest: m.Guest}
	for i := range m.Files {
		f := &m.Files[i]
		w.at(f.Name()).file = f
	}
	for i := range m.Files {
		if f := &m.Files[i]; f.Type == workload.TypeHardlink {
			w.links = append(w.links, hardlink{f.Name(), f.Target(), w.at(f.Name()), w.at(f.Target())})
		}
	}
	for _, e := range engineMade {
		w.permit(e.path, e.allow).link = e.link
	}
	for _, p := range []string{workload.GuestPath, workload.ManifestPath, workload.SigstructPath} {
		w.permit(p, allowOwn)
	}
	w.permit(appSocket, allowSocket)
	for _, f := range m.Folders {
		w.permit(f.Path, allowAnything)
		w.permit(w.resolve(f.Path), allowAnything)
	}
	w.permit(m.Exec.WorkDir, allowFolder) // engines make a missing working folder
	for i := range m.Certificates {
		for _, l := range certificateLinks(i, &m.Certificates[i]) {
			w.permit(l.path, allowLink).link = l.target
			w.permit(w.resolve(l.path), allowLink).link = l.target
		}
	}
	return w
}

// permit adds an allowance at name; missing folders above it are allowed too.
func (w *World) permit(name string, a allowance) *node {
	n := w.root
	for part := range parts(name) {
		n.allow |= allowFolder
		n = n.child(part)
	}
	n.allow |= a
	return n
}

// resolve follows the manifest's symbolic links, as the engine does when it
// places a volume. A path that leads in a circle is returned as it is.
func (w *World) resolve(name string) string {
	done, rest := "/", name
	for hops := 0; hops < 40; {
		rest = strings.TrimLeft(rest, "/")
		if rest == "" {
			return done
		}
		part, tail, _ := strings.Cut(rest, "/")
		next := path.Join(done, part)
		n := w.find(next)
		if n == nil || n.file == nil || n.file.Type != workload.TypeSymlink {
			done, rest = next, tail
			continue
		}
		target := n.file.Target()
		if path.IsAbs(target) {
			done = "/"
		}
		rest = target + "/" + tail
		hops++
	}
	return name
}

func (w *World) at(name string) *node {
	n := w.root
	for part := range parts(name) {
		n = n.child(part)
	}
	return n
}

func (w *World) find(name string) *node {
	n := w.root
	for part := range parts(name) {
		if n = n.children[part]; n == nil {
			return nil
		}
	}
	return n
}

// under reports whether name is, or lies below, a node with allowance a.
func (w *World) under(name string, a allowance) bool {
	n := w.root
	for part := range parts(name) {
		if n = n.children[part]; n == nil {
			return false
		}
		if n.allow&a != 0 {
			return true
		}
	}
	return false
}

func (n *node) child(name string) *node {
	c := n.children[name]
	if c == nil {
		c = &node{}
		if n.children == nil {
			n.children = make(map[string]*node)
		}
		n.children[name] = c
	}
	return c
}

// parts yields the components of an absolute path.
func parts(name string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for part := range strings.SplitSeq(name, "/") {
			if part != "" && !yield(part) {
				return
			}
		}
	}
}
