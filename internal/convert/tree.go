package convert

import (
	"errors"
	"path"
	"slices"
	"strings"
)

// kind is the type of a file.
type kind uint8

const (
	kindDir kind = iota + 1
	kindFile
	kindSymlink
	kindFIFO
	kindChar
	kindBlock
	// kindWhiteout stands in a layer where it removes a name of the layers below.
	kindWhiteout
)

// inode is one file. Two names of one inode are hard links.
type inode struct {
	hash [32]byte // SHA-256 of a regular file's content
	size int64    // of regular files, in bytes
	rdev uint64   // major<<32 | minor
	link string   // target of a symbolic link
	caps string   // security.capability as it is stored, or empty
	uid  uint32
	gid  uint32
	mode uint16 // permission, set-id and sticky bits
	kind kind
}

// entry is a name in a layer that has been unpacked by itself, or in the merged
// root file system.
type entry struct {
	path    string // "/" or absolute and clean
	ino     *inode
	implied bool // a folder that the archive implies but does not list
	opaque  bool // a folder that hides what the layers below have in it
}

// nodeID is a name's number in a tree. The root is 0.
type nodeID int32

const (
	rootNode nodeID = 0
	noNode   nodeID = -1
)

type nodeKey struct {
	parent nodeID
	name   string
}

type node struct {
	nodeKey
	ino     *inode
	length  uint16 // of the path in bytes; 0 for the root
	implied bool
	opaque  bool
}

// tree is a file system of names without contents. Removing a folder only
// removes its own name: what is below becomes unreachable, so that a hostile
// archive cannot make removals expensive.
type tree struct {
	nodes []node
	names map[nodeKey]nodeID
}

func newTree() *tree {
	t := &tree{names: map[nodeKey]nodeID{}}
	t.nodes = append(t.nodes, node{nodeKey: nodeKey{parent: noNode}, ino: impliedFolder(), implied: true})
	return t
}

// impliedFolder is what engines make for a folder that no archive lists.
func impliedFolder() *inode { return &inode{kind: kindDir, mode: 0o755} }

func (t *tree) child(parent nodeID, name string) nodeID {
	if id, ok := t.names[nodeKey{parent, name}]; ok {
		return id
	}
	return noNode
}

// put gives the name a new inode and no children, whatever it had before.
func (t *tree) put(parent nodeID, name string, ino *inode) nodeID {
	id := nodeID(len(t.nodes))
	k := nodeKey{parent, name}
	t.nodes = append(t.nodes, node{nodeKey: k, ino: ino, length: t.nodes[parent].length + 1 + uint16(len(name))})
	t.names[k] = id
	return id
}

func (t *tree) remove(parent nodeID, name string) { delete(t.names, nodeKey{parent, name}) }

// maxLinks bounds the symbolic links followed for one path, as the kernel does.
const maxLinks = 40

var (
	errNotFolder = errors.New("a part of the path is no folder")
	errLoop      = errors.New("too many symbolic links in the path")
	errNotFound  = errors.New("not found")
)

// walk finds the folder that elements lead to, following symbolic links as
// inside a container: absolute targets begin at the root, ".." stops there.
// Missing folders are made by create; with create nil they are an error.
func (t *tree) walk(at nodeID, elements []string, create func(parent nodeID, name string) (nodeID, error)) (nodeID, error) {
	links := 0
	todo := slices.Clone(elements)
	slices.Reverse(todo) // next element last
	for len(todo) > 0 {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		switch name {
		case "", ".":
			continue
		case "..":
			if at != rootNode {
				at = t.nodes[at].parent
			}
			continue
		}
		id := t.child(at, name)
		if id == noNode {
			if create == nil {
				return noNode, errNotFound
			}
			var err error
			if id, err = create(at, name); err != nil {
				return noNode, err
			}
		}
		switch ino := t.nodes[id].ino; ino.kind {
		case kindDir:
			at = id
		case kindSymlink:
			if links++; links > maxLinks {
				return noNode, errLoop
			}
			target := strings.Split(ino.link, "/")
			if len(todo)+len(target) > 1<<13 {
				return noNode, errLoop
			}
			if strings.HasPrefix(ino.link, "/") {
				at = rootNode
			}
			slices.Reverse(target)
			todo = append(todo, target...)
		default:
			return noNode, errNotFolder
		}
	}
	return at, nil
}

// lookup follows every symbolic link of an absolute path and returns what is there.
func (t *tree) lookup(path string) (nodeID, error) {
	from, elements := rootNode, strings.Split(path, "/")
	for range maxLinks {
		last := elements[len(elements)-1]
		if last == "" || last == "." || last == ".." {
			return t.walk(from, elements, nil)
		}
		parent, err := t.walk(from, elements[:len(elements)-1], nil)
		if err != nil {
			return noNode, err
		}
		id := t.child(parent, last)
		if id == noNode {
			return noNode, errNotFound
		}
		ino := t.nodes[id].ino
		if ino.kind != kindSymlink {
			return id, nil
		}
		from, elements = parent, strings.Split(ino.link, "/")
		if strings.HasPrefix(ino.link, "/") {
			from = rootNode
		}
	}
	return noNode, errLoop
}

// path is the absolute path of a name that is still reachable.
func (t *tree) path(id nodeID) string {
	if id == rootNode {
		return "/"
	}
	var parts []string
	for id != rootNode {
		parts = append(parts, t.nodes[id].name)
		id = t.nodes[id].parent
	}
	slices.Reverse(parts)
	return "/" + strings.Join(parts, "/")
}

// entries lists every reachable name, sorted by path, bytewise; the root first.
// The paths of one folder's children share no memory with each other.
func (t *tree) entries() []entry {
	children := make(map[nodeID][]nodeID)
	for k, id := range t.names {
		children[k.parent] = append(children[k.parent], id)
	}
	out := make([]entry, 0, len(t.names)+1)
	var visit func(id nodeID, path string)
	visit = func(id nodeID, path string) {
		n := &t.nodes[id]
		out = append(out, entry{path: path, ino: n.ino, implied: n.implied, opaque: n.opaque})
		below := children[id]
		if len(below) == 0 {
			return
		}
		prefix := path + "/"
		if id == rootNode {
			prefix = "/"
		}
		for _, c := range below {
			visit(c, prefix+t.nodes[c].name)
		}
	}
	visit(rootNode, "/")
	slices.SortFunc(out, func(a, b entry) int { return strings.Compare(a.path, b.path) })
	return out
}

func splitPath(path string) (dir, base string) {
	i := strings.LastIndexByte(path, '/')
	return path[:i], path[i+1:]
}

// cleanPath makes an absolute path in its shortest form; ".." stops at the root.
func cleanPath(p string) string { return path.Clean("/" + p) }
