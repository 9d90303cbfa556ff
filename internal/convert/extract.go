package convert

import (
	"archive/tar"
	"errors"
	"fmt"
	"strings"
)

const (
	maxPath = 4096 // bytes, as PATH_MAX
	maxName = 255  // bytes, as NAME_MAX
	// maxNames bounds the memory that the paths and link targets of one layer take.
	maxNames = 160 << 20
	maxID    = 1<<32 - 2

	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh."
	opaqueName     = ".wh..wh..opq"

	capabilityRecord = "SCHILY.xattr.security.capability"
)

// extractor builds the tree that unpacking one archive into an empty folder
// gives, as Docker and containerd do it: later entries replace earlier ones,
// symbolic links of the same layer are followed, folders that are not listed
// are made.
type extractor struct {
	*tree
	limit int   // entries
	count int   // names made so far
	names int64 // bytes of paths and link targets made so far
}

func newExtractor(maxEntries int) *extractor { return &extractor{tree: newTree(), limit: maxEntries} }

// add applies one header. For a regular file it returns the inode whose hash
// and content path the caller is to fill from the archive.
func (x *extractor) add(h *tar.Header) (*inode, string, error) {
	ino, path, err := x.apply(h)
	if err != nil {
		return nil, "", fmt.Errorf("entry %q: %w", short(h.Name), err)
	}
	return ino, path, nil
}

func (x *extractor) apply(h *tar.Header) (*inode, string, error) {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil, "", nil
	}
	elements, err := nameElements(h.Name)
	if err != nil {
		return nil, "", err
	}
	ino, err := x.inode(h)
	if err != nil {
		return nil, "", err
	}
	if len(elements) == 0 {
		if h.Typeflag != tar.TypeDir {
			return nil, "", errors.New("the root is no folder in it")
		}
		x.nodes[rootNode].ino, x.nodes[rootNode].implied = ino, false
		return nil, "", nil
	}
	base := elements[len(elements)-1]
	parent, err := x.walk(rootNode, elements[:len(elements)-1], x.makeImplied)
	if err != nil {
		return nil, "", err
	}
	if strings.HasPrefix(base, whiteoutPrefix) {
		return nil, "", x.whiteout(parent, base)
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return nil, "", x.folder(parent, base, ino)
	case tar.TypeLink:
		return nil, "", x.hardlink(parent, base, h, ino)
	}
	if err := x.claim(parent, base, len(ino.link)); err != nil {
		return nil, "", err
	}
	id := x.put(parent, strings.Clone(base), ino)
	if ino.kind != kindFile {
		return nil, "", nil
	}
	return ino, x.path(id), nil
}

// nameElements cuts an archive's name into its parts. Absolute names and "./"
// mean the same as relative ones to every engine; ".." is refused by them.
func nameElements(name string) ([]string, error) {
	if len(name) > maxPath {
		return nil, fmt.Errorf("name of %d bytes, at most %d", len(name), maxPath)
	}
	if strings.IndexByte(name, 0) >= 0 {
		return nil, errors.New("zero byte in the name")
	}
	elements := make([]string, 0, strings.Count(name, "/")+1)
	for e := range strings.SplitSeq(name, "/") {
		switch {
		case e == "" || e == ".":
		case e == "..":
			return nil, errors.New(`".." in the name`)
		case len(e) > maxName:
			return nil, fmt.Errorf("name element of %d bytes, at most %d", len(e), maxName)
		default:
			elements = append(elements, e)
		}
	}
	return elements, nil
}

// inode reads owner, mode and what belongs to the type.
func (x *extractor) inode(h *tar.Header) (*inode, error) {
	if h.Uid < 0 || int64(h.Uid) > maxID || h.Gid < 0 || int64(h.Gid) > maxID {
		return nil, fmt.Errorf("owner %d:%d out of range", h.Uid, h.Gid)
	}
	ino := &inode{uid: uint32(h.Uid), gid: uint32(h.Gid), mode: uint16(h.Mode & 0o7777)}
	switch h.Typeflag {
	case tar.TypeReg, '\x00', tar.TypeGNUSparse:
		ino.kind = kindFile
		if h.Size < 0 {
			return nil, fmt.Errorf("size %d", h.Size)
		}
		ino.size = h.Size
		ino.caps = strings.Clone(h.PAXRecords[capabilityRecord])
		if len(ino.caps) > maxName {
			return nil, fmt.Errorf("security.capability of %d bytes", len(ino.caps))
		}
	case tar.TypeDir:
		ino.kind = kindDir
	case tar.TypeSymlink:
		ino.kind, ino.mode, ino.link = kindSymlink, 0o777, strings.Clone(h.Linkname)
		if ino.link == "" || len(ino.link) >= maxPath || strings.IndexByte(ino.link, 0) >= 0 {
			return nil, errors.New("symbolic link with an empty or impossible target")
		}
	case tar.TypeFifo:
		ino.kind = kindFIFO
	case tar.TypeChar, tar.TypeBlock:
		ino.kind = kindChar
		if h.Typeflag == tar.TypeBlock {
			ino.kind = kindBlock
		}
		if h.Devmajor < 0 || h.Devmajor >= 1<<12 || h.Devminor < 0 || h.Devminor >= 1<<20 {
			return nil, fmt.Errorf("device number %d:%d out of range", h.Devmajor, h.Devminor)
		}
		ino.rdev = uint64(h.Devmajor)<<32 | uint64(h.Devminor)
		if ino.kind == kindChar && ino.rdev == 0 { // what overlay file systems take for a whiteout
			ino = &inode{kind: kindWhiteout}
		}
	case tar.TypeLink:
	default:
		return nil, fmt.Errorf("type %q, which no container engine unpacks", h.Typeflag)
	}
	return ino, nil
}

// claim counts a new name against the limits.
func (x *extractor) claim(parent nodeID, name string, more int) error {
	x.count++
	length := int(x.nodes[parent].length) + 1 + len(name)
	if length > maxPath {
		return fmt.Errorf("path of %d bytes, at most %d", length, maxPath)
	}
	x.names += int64(length + more)
	if x.count > x.limit {
		return &failure{KindLimit, fmt.Errorf("more than %d entries", x.limit), "the guest could not check so many; make the image smaller, or see --max-entries"}
	}
	if x.names > maxNames {
		return &failure{KindLimit, fmt.Errorf("more than %d bytes of paths", maxNames), "make the image smaller"}
	}
	return nil
}

func (x *extractor) makeImplied(parent nodeID, name string) (nodeID, error) {
	if strings.HasPrefix(name, whiteoutPrefix) {
		return noNode, errors.New("a folder cannot be a whiteout")
	}
	if err := x.claim(parent, name, 0); err != nil {
		return noNode, err
	}
	id := x.put(parent, strings.Clone(name), impliedFolder())
	x.nodes[id].implied = true
	return id, nil
}

// folder keeps what is in a folder that is listed again, as engines do.
func (x *extractor) folder(parent nodeID, base string, ino *inode) error {
	if id := x.child(parent, base); id != noNode && x.nodes[id].ino.kind == kindDir {
		x.nodes[id].ino, x.nodes[id].implied = ino, false
		return nil
	}
	if err := x.claim(parent, base, 0); err != nil {
		return err
	}
	x.put(parent, strings.Clone(base), ino)
	return nil
}

func (x *extractor) whiteout(parent nodeID, base string) error {
	if base == opaqueName {
		x.nodes[parent].opaque = true
		return nil
	}
	if strings.HasPrefix(base, whiteoutMeta) {
		return nil // notes of AUFS, of no effect
	}
	name := strings.TrimPrefix(base, whiteoutPrefix)
	if name == "" || name == "." || name == ".." {
		return errors.New("whiteout of nothing")
	}
	if id := x.child(parent, name); id != noNode {
		if x.nodes[id].ino.kind == kindDir {
			x.nodes[id].opaque = true // the layers' folder goes, this one's stays
		}
		return nil
	}
	if err := x.claim(parent, name, 0); err != nil {
		return err
	}
	x.put(parent, strings.Clone(name), &inode{kind: kindWhiteout})
	return nil
}

// hardlink gives a second name to a file of the same layer, with the owner, mode
// and capability of this header: engines set them after link(2), on the one inode.
func (x *extractor) hardlink(parent nodeID, base string, h *tar.Header, attr *inode) error {
	elements, err := nameElements(h.Linkname)
	if err != nil || len(elements) == 0 {
		return fmt.Errorf("hard link to %q, which cannot be", short(h.Linkname))
	}
	x.remove(parent, base)
	dir, err := x.walk(rootNode, elements[:len(elements)-1], nil)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w in this layer", short(h.Linkname), err)
	}
	id := x.child(dir, elements[len(elements)-1])
	if id == noNode {
		return fmt.Errorf("hard link to %q, which is not in this layer: overlay file systems cannot unpack it", short(h.Linkname))
	}
	target := x.nodes[id].ino
	switch target.kind {
	case kindDir, kindWhiteout:
		return fmt.Errorf("hard link to %q, which is no file", short(h.Linkname))
	case kindSymlink: // a link has no mode of its own
	default:
		target.mode = attr.mode
	}
	target.uid, target.gid = attr.uid, attr.gid
	if target.kind == kindFile { // chown(2) clears it, the header sets it again
		target.caps = strings.Clone(h.PAXRecords[capabilityRecord])
	}
	if err := x.claim(parent, base, 0); err != nil {
		return err
	}
	x.put(parent, strings.Clone(base), target)
	return nil
}

// short makes a name fit into a message.
func short(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}
