package convert

import (
	"fmt"
	"strings"
)

// merger lays the trees of layers over one another, lowest first, as an overlay
// file system does.
type merger struct {
	*tree
	limit int
	// vague has the folders whose owner and mode depend on the engine, because
	// some layer implies them without listing them.
	vague map[nodeID]bool
}

func newMerger(limit int) *merger {
	return &merger{tree: newTree(), limit: limit, vague: map[nodeID]bool{}}
}

// add lays one layer over the others. Its entries are sorted, so that a folder
// comes before what it holds.
func (m *merger) add(x *layerIndex) error {
	dir, parent := "/", rootNode
	for i := range x.entries {
		e := &x.entries[i]
		if e.path == "/" {
			m.overlayFolder(rootNode, e)
			continue
		}
		d, base := splitPath(e.path)
		if d == "" {
			d = "/"
		}
		if d != dir {
			id, err := m.plain(d)
			if err != nil {
				return fmt.Errorf("%q: %w", e.path, err)
			}
			dir, parent = d, id
		}
		if err := m.place(parent, base, e); err != nil {
			return err
		}
		if len(m.names) > m.limit {
			return fail(KindLimit, "the image has more than %d files", m.limit).advise("the guest could not check so many; make the image smaller, or see --max-entries")
		}
	}
	return nil
}

// plain finds a folder by its names alone.
func (m *merger) plain(path string) (nodeID, error) {
	at := rootNode
	if path == "/" {
		return at, nil
	}
	for e := range strings.SplitSeq(path[1:], "/") {
		if at = m.child(at, e); at == noNode || m.nodes[at].ino.kind != kindDir {
			return noNode, errNotFolder
		}
	}
	return at, nil
}

func (m *merger) place(parent nodeID, base string, e *entry) error {
	switch e.ino.kind {
	case kindWhiteout:
		m.remove(parent, base)
	case kindDir:
		id := m.child(parent, base)
		if id == noNode || m.nodes[id].ino.kind != kindDir {
			id = m.put(parent, base, e.ino)
			m.nodes[id].implied = true // until overlayFolder has judged
		}
		m.overlayFolder(id, e)
	default:
		m.put(parent, base, e.ino)
	}
	return nil
}

// overlayFolder lays a layer's folder over one that is there. An implied folder
// keeps what the layers below say, as containerd does; Docker gives it mode 0755,
// which is why it counts as vague.
func (m *merger) overlayFolder(id nodeID, e *entry) {
	if e.opaque {
		if id == rootNode {
			root := m.nodes[rootNode]
			m.tree = newTree()
			m.nodes[rootNode] = root
			m.vague = map[nodeID]bool{}
		} else {
			old := m.nodes[id]
			fresh := m.put(old.parent, old.name, old.ino)
			m.nodes[fresh].implied = old.implied
			if m.vague[id] {
				m.vague[fresh] = true
			}
			id = fresh
		}
	}
	n := &m.nodes[id]
	switch {
	case !e.implied:
		n.ino, n.implied = e.ino, false
		delete(m.vague, id)
	case id != rootNode: // the root is the engine's own
		m.vague[id] = true
	}
}

// vagueFolders lists the reachable folders that engines disagree on.
func (m *merger) vagueFolders(entries []entry) []string {
	alive := map[*inode]bool{}
	for id := range m.vague {
		alive[m.nodes[id].ino] = true
	}
	var out []string
	for i := range entries {
		if e := &entries[i]; e.ino.kind == kindDir && alive[e.ino] {
			out = append(out, e.path)
		}
	}
	return out
}
