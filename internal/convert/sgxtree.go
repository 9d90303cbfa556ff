package convert

import (
	"slices"
	"strings"

	"hitoku.dev/internal/convert/closure"
)

// imageTree shows a merged root file system to package closure.
type imageTree struct {
	fs       *rootfs
	children map[nodeID][]string // sorted
}

func newImageTree(fs *rootfs) *imageTree {
	t := &imageTree{fs: fs, children: map[nodeID][]string{}}
	for k := range fs.names {
		t.children[k.parent] = append(t.children[k.parent], k.name)
	}
	for _, names := range t.children {
		slices.Sort(names)
	}
	return t
}

// bare finds a path of names alone: no link is followed, not even the last.
func (t *tree) bare(path string) (nodeID, bool) {
	at := rootNode
	if path == "/" {
		return at, true
	}
	for e := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if at = t.child(at, e); at == noNode {
			return noNode, false
		}
	}
	return at, true
}

// Lstat is closure.Tree's.
func (t *imageTree) Lstat(path string) (closure.File, bool) {
	id, ok := t.fs.bare(path)
	if !ok {
		return closure.File{}, false
	}
	ino := t.fs.nodes[id].ino
	f := closure.File{Kind: closure.Other, Size: ino.size, Link: ino.link, Mode: ino.mode & 0o777, Facts: t.fs.facts[ino]}
	switch ino.kind {
	case kindDir:
		f.Kind = closure.Dir
	case kindFile:
		f.Kind = closure.Regular
	case kindSymlink:
		f.Kind = closure.Symlink
	}
	return f, true
}

// Names is closure.Tree's.
func (t *imageTree) Names(dir string) []string {
	id, ok := t.fs.bare(dir)
	if !ok || t.fs.nodes[id].ino.kind != kindDir {
		return nil
	}
	return slices.Clip(t.children[id])
}

// sniffFiles is the scanner's sniff for conversions that choose files.
func sniffFiles(path string, size int64) sniffer {
	if s := closure.NewSniffer(path, size); s != nil {
		return s
	}
	return nil
}
