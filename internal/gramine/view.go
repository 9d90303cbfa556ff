package gramine

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

const (
	maxFile    = 64 << 20  // bytes of one file that is kept
	maxKept    = 512 << 20 // bytes of all of them
	maxNames   = 1_000_000 // entries of a source
	maxLinks   = 40
	maxPath    = 4096
	maxLinkSum = 64 << 20 // bytes of names and link targets
	maxWork    = 1 << 30  // names looked at to take others away
)

// view is what is kept of a source: the files that matter, and all symbolic links.
type view struct {
	nodes map[string]node
	kept  int64
	names int64
	count int
	layer int
	work  int64
	saved bool // the archive is an image, not a root file system
}

type node struct {
	data  []byte
	link  string
	layer int
}

func newView() *view { return &view{nodes: map[string]node{}} }

// wanted says whether a file's content is needed.
func wanted(name string) bool {
	dir, base := path.Split(name)
	switch {
	case strings.Contains(dir, "/gramine/runtime/"):
		return isLibrary(base)
	case strings.HasSuffix(dir, "/gramine/sgx/"):
		return base == "loader" || base == "libpal.so"
	case strings.HasSuffix(dir, "/gramine/") && base == "libsysdb.so":
		return true
	case strings.HasSuffix(dir, "/graminelibos/") && base == "__init__.py", strings.Contains(dir, "/graminelibos") && base == "METADATA":
		return true
	case strings.HasPrefix(dir, "/usr/share/doc/gramine") && base == "copyright", strings.Contains(dir, "/gramine") && isLicence(base):
		return true
	case strings.Contains(dir, "/gramine"):
		return false
	}
	return base == hostInterpreter || base == "libc.so.6" || strings.HasPrefix(base, "libprotobuf-c.so.1")
}

func isLicence(base string) bool {
	return strings.HasPrefix(base, "LICENSE") || strings.HasPrefix(base, "COPYING") || base == "copyright"
}

// isLibrary is true for what a program loads: not for archives, objects, linker scripts and
// libraries of debuggers.
func isLibrary(base string) bool {
	switch {
	case strings.HasPrefix(base, "libthread_db"), strings.HasPrefix(base, "libpcprofile"), strings.HasPrefix(base, "libmemusage"):
		return false
	case base == "ld.so":
		return false // a second name of the loader, by which no program asks for it
	}
	return strings.HasSuffix(base, ".so") || strings.Contains(base, ".so.")
}

func (v *view) add(name string, n node) error {
	if v.count++; v.count > maxNames {
		return fmt.Errorf("more than %d entries", maxNames)
	}
	if len(name) > maxPath || len(n.link) > maxPath || strings.IndexByte(name, 0) >= 0 {
		return fmt.Errorf("name of %d bytes, or with a zero byte", len(name))
	}
	if v.names += int64(len(name) + len(n.link)); v.names > maxLinkSum {
		return fmt.Errorf("names of more than %d bytes together", maxLinkSum)
	}
	if v.kept += int64(len(n.data)); v.kept > maxKept {
		return fmt.Errorf("more than %d bytes of files of Gramine", maxKept)
	}
	n.layer = v.layer
	v.nodes[name] = n
	return nil
}

// remove takes a name and all below it away; with lower only what earlier layers put there.
func (v *view) remove(name string, itself, lower bool) error {
	if v.work += int64(len(v.nodes)); v.work > maxWork {
		return errors.New("more removals than an image needs")
	}
	for p, n := range v.nodes {
		if (itself && p == name || strings.HasPrefix(p, name+"/")) && (!lower || n.layer < v.layer) {
			delete(v.nodes, p)
		}
	}
	return nil
}

var errNotThere = errors.New("not there")

// find follows links inside the source. The result has content.
func (v *view) find(name string) (string, node, error) {
	done, todo := "/", strings.Split(strings.TrimPrefix(name, "/"), "/")
	for followed := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			done = path.Dir(done)
			continue
		}
		at := path.Join(done, part)
		n, ok := v.nodes[at]
		if !ok || n.link == "" {
			done = at
			continue
		}
		if followed++; followed > maxLinks || len(todo) > maxPath {
			return "", node{}, fmt.Errorf("%s: links lead in a circle", name)
		}
		if strings.HasPrefix(n.link, "/") {
			done = "/"
		}
		todo = slices.Concat(strings.Split(n.link, "/"), todo)
	}
	n, ok := v.nodes[done]
	if !ok || n.link != "" {
		return "", node{}, fmt.Errorf("%s: %w", name, errNotThere)
	}
	return done, n, nil
}

// below lists the names directly in a folder, sorted.
func (v *view) below(dir string) []string {
	var out []string
	for p := range v.nodes {
		if path.Dir(p) == dir {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

// named lists every name with a suffix, sorted.
func (v *view) named(suffix string) []string {
	var out []string
	for p, n := range v.nodes {
		if strings.HasSuffix(p, suffix) && n.link == "" {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}
