package convert

import (
	"fmt"
	"slices"
	"strings"

	"hitoku.dev/measure/workload"
)

// trustedFile is a path under which an enclave may open a file of the image. Gramine
// compares paths as they are and follows no link for it: each name of a file is one.
type trustedFile struct {
	path string
	ino  *inode
}

// alias is a symbolic link to a folder, and the folder that it leads to: both absolute and
// without links. A mount serves it, so that files below need one entry for both paths.
type alias struct{ path, target string }

// view is what of the root file system an enclave may open.
type view struct {
	files   []trustedFile // sorted by path
	aliases []alias       // sorted by path
	left    []string      // links that lead nowhere, sorted
}

// ownFolders are made by Gramine itself, whatever the image has there.
var ownFolders = []string{"/proc", "/sys", "/dev"}

func inFolders(path string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return workload.Within(path, f) })
}

// wholeView has every file of the image once, but those in hidden folders.
func wholeView(fs *rootfs, entries []entry, hidden []string) *view {
	v := &view{}
	hidden = slices.Concat(hidden, ownFolders, []string{workload.Dir})
	for i := range entries {
		e := &entries[i]
		if !inFolders(e.path, hidden) {
			v.add(fs, e.path, e.ino, hidden)
		}
	}
	return v.sorted()
}

// chosenView has the files and links at the given paths, which contain no links but in
// their last element.
func chosenView(fs *rootfs, paths []string, hidden []string) (*view, error) {
	v := &view{}
	hidden = slices.Concat(hidden, ownFolders, []string{workload.Dir})
	for _, p := range paths {
		if inFolders(p, hidden) {
			continue
		}
		id, err := fs.bare(p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		v.add(fs, p, fs.nodes[id].ino, hidden)
	}
	return v.sorted(), nil
}

// bare finds a path that has no link but in its last element.
func (t *tree) bare(path string) (nodeID, error) {
	at := rootNode
	for e := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if e == "" {
			continue
		}
		if at = t.child(at, e); at == noNode {
			return noNode, errNotFound
		}
	}
	return at, nil
}

func (v *view) add(fs *rootfs, path string, ino *inode, hidden []string) {
	switch ino.kind {
	case kindFile:
		v.files = append(v.files, trustedFile{path, ino})
	case kindSymlink:
		id, err := fs.lookup(path)
		if err != nil {
			v.left = append(v.left, path)
			return
		}
		target := fs.path(id)
		switch to := fs.nodes[id].ino; {
		case inFolders(target, hidden): // what is there is another file inside the enclave
			v.left = append(v.left, path)
		case to.kind == kindFile:
			v.files = append(v.files, trustedFile{path, to})
		case to.kind == kindDir && !workload.Within(path, target):
			v.aliases = append(v.aliases, alias{path, target})
		default:
			v.left = append(v.left, path)
		}
	}
}

func (v *view) sorted() *view {
	slices.SortFunc(v.files, func(a, b trustedFile) int { return strings.Compare(a.path, b.path) })
	v.files = slices.CompactFunc(v.files, func(a, b trustedFile) bool { return a.path == b.path })
	slices.SortFunc(v.aliases, func(a, b alias) int { return strings.Compare(a.path, b.path) })
	v.aliases = slices.Compact(v.aliases)
	slices.Sort(v.left)
	return v
}
