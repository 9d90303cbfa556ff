package convert

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"hitoku.dev/measure/workload"
)

// addition is what the added layer says about one path outside of /.hitoku.
type addition struct {
	path    string
	ino     *inode
	content []byte
}

// adder changes the merged root file system as the added layer will. Every
// folder above an addition is listed too, since engines would otherwise give it
// an owner and mode of their own.
type adder struct {
	fs   *rootfs
	out  map[string]addition
	note *notices
}

func newAdder(fs *rootfs, n *notices) *adder {
	return &adder{fs: fs, out: map[string]addition{}, note: n}
}

// list is what was added, sorted by path.
func (a *adder) list() []addition {
	return slices.SortedFunc(maps.Values(a.out), func(x, y addition) int { return strings.Compare(x.path, y.path) })
}

// folder makes sure that the folder at path exists and returns where it really is.
func (a *adder) folder(path string) (nodeID, error) {
	id, err := a.fs.walk(rootNode, strings.Split(path, "/"), func(parent nodeID, name string) (nodeID, error) {
		return a.fs.put(parent, name, impliedFolder()), nil
	})
	if err != nil {
		return noNode, fmt.Errorf("%s: %w", path, err)
	}
	for at := id; at != rootNode; at = a.fs.nodes[at].parent {
		p := a.fs.path(at)
		if workload.Within(p, workload.Dir) {
			return noNode, fmt.Errorf("%s lies in %s, which belongs to the conversion", path, workload.Dir)
		}
		a.out[p] = addition{path: p, ino: a.fs.nodes[at].ino}
	}
	return id, nil
}

// place puts ino at path, symbolic links in the folders above it followed, and
// returns its real path.
func (a *adder) place(path string, ino *inode, content []byte) (string, error) {
	dir, base := splitPath(path)
	parent, err := a.folder(dir + "/")
	if err != nil {
		return "", err
	}
	if id := a.fs.child(parent, base); id != noNode && a.fs.nodes[id].ino.kind == kindDir {
		return "", fmt.Errorf("%s is a folder in the image", path)
	}
	real := a.fs.path(a.fs.put(parent, base, ino))
	if _, twice := a.out[real]; twice {
		return "", fmt.Errorf("%s is used twice", path)
	}
	a.out[real] = addition{real, ino, content}
	return real, nil
}

func (a *adder) exists(path string) bool {
	_, err := a.fs.lookup(path)
	return err == nil
}

func regular(content []byte, mode uint16) *inode {
	return &inode{kind: kindFile, mode: mode, size: int64(len(content)), hash: sha256.Sum256(content)}
}

// certificateLinks puts symbolic links to the guest's key store where the
// program looks for its key and certificates.
func (a *adder) certificateLinks(certs []workload.Certificate) error {
	for i, c := range certs {
		for _, l := range []struct{ path, file string }{
			{c.KeyPath, workload.KeyFile}, {c.CertPath, workload.CertFile}, {c.ChainPath, workload.ChainFile},
		} {
			if l.path == "" {
				continue
			}
			if a.exists(l.path) {
				a.note.add("%s of the image is replaced by a link to what the guest gets", l.path)
			}
			ino := &inode{kind: kindSymlink, mode: 0o777, link: workload.KeyTarget(i, l.file)}
			if _, err := a.place(l.path, ino, nil); err != nil {
				return requestError("certificate %s: %w", c.Subject, err)
			}
		}
	}
	return nil
}

// workDir makes the working folder, which engines otherwise make at the start.
func (a *adder) workDir(path string) error {
	id, err := a.fs.lookup(path)
	switch {
	case err == nil && a.fs.nodes[id].ino.kind == kindDir:
		return nil
	case err == nil, errors.Is(err, errNotFolder):
		return fail(KindImage, "WORKDIR %s is no folder in the image", path).advise("no engine starts this image; build it again")
	}
	if _, err := a.folder(path); err != nil {
		return fail(KindImage, "WORKDIR: %w", err)
	}
	return nil
}

// vague lists the folders whose attributes engines disagree on.
func (a *adder) vague(entries []entry) {
	for _, p := range a.fs.vagueFolders(entries) {
		if _, known := a.out[p]; known || p == "/" {
			continue
		}
		if id, err := a.fs.plain(p); err == nil {
			a.out[p] = addition{path: p, ino: a.fs.nodes[id].ino}
		}
	}
}
