package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// Limits bound what one layer may hold.
type Limits struct {
	Entries int   // files, folders, links
	Bytes   int64 // of file content
}

// DefaultLimits are far above any image that is in use.
func DefaultLimits() Limits { return Limits{Entries: 2_000_000, Bytes: 64 << 30} }

// Report says what could not be unpacked as the layer has it.
type Report struct {
	// Owner is the first path whose owner could not be set, for lack of privilege.
	Owner    string `json:"owner,omitempty"`
	OwnerUID int    `json:"owner_uid,omitempty"`
	OwnerGID int    `json:"owner_gid,omitempty"`
	// Skipped are device nodes and attributes that were left out for the same reason.
	Skipped int `json:"skipped,omitempty"`
}

// Apply unpacks one layer, an uncompressed tar stream, over what dir holds.
func Apply(dir string, layer io.Reader, lim Limits) (*Report, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	a := &applier{root: root, left: lim, seen: map[string]bool{}, times: map[string]time.Time{}, report: new(Report)}
	tr := tar.NewReader(layer)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("layer: %w", err)
		}
		if a.left.Entries--; a.left.Entries < 0 {
			return nil, fmt.Errorf("layer: more than %d entries", lim.Entries)
		}
		if err := a.entry(h, tr); err != nil {
			return nil, fmt.Errorf("layer: entry %q: %w", h.Name, err)
		}
	}
	// Folders get their times last, since each entry made in them changes them.
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(a.times))) {
		if err := root.Chtimes(name, a.times[name], a.times[name]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("layer: folder %q: %w", name, err)
		}
	}
	return a.report, nil
}

// applier unpacks one layer.
type applier struct {
	root   *os.Root
	left   Limits
	seen   map[string]bool      // real paths made by this layer, which its opaque marks spare
	times  map[string]time.Time // of folders
	report *Report

	lastParent, lastReal string // a cache of one: archives list a folder's files together
}

const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh."
	opaqueMark     = ".wh..wh..opq"
)

func (a *applier) entry(h *tar.Header, content io.Reader) error {
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
	default:
		return fmt.Errorf("unknown type %q", h.Typeflag)
	}
	parts, err := split(h.Name)
	if err != nil {
		return err
	}
	if len(parts) == 0 {
		if h.Typeflag != tar.TypeDir {
			return errors.New("the top of the file system is not a folder")
		}
		return a.attributes(".", h)
	}
	base := parts[len(parts)-1]
	parent, err := a.parent(parts[:len(parts)-1])
	if err != nil {
		return err
	}
	switch {
	case base == opaqueMark:
		return a.opaque(parent)
	case strings.HasPrefix(base, whiteoutMeta):
		return nil
	case strings.HasPrefix(base, whiteoutPrefix):
		return a.whiteout(parent, strings.TrimPrefix(base, whiteoutPrefix))
	}
	name := path.Join(parent, base)
	if err := a.clear(name, h.Typeflag == tar.TypeDir); err != nil {
		return err
	}
	a.markSeen(name)
	if err := a.create(name, h, content); errors.Is(err, errSkipped) {
		return nil
	} else if err != nil {
		return err
	}
	if h.Typeflag == tar.TypeLink {
		return nil // its attributes are those of the other name
	}
	return a.attributes(name, h)
}

func (a *applier) parent(parts []string) (string, error) {
	key := strings.Join(parts, "/")
	if key == a.lastParent && a.lastReal != "" {
		return a.lastReal, nil
	}
	real, err := resolveDir(a.root, parts, true)
	if err != nil {
		return "", err
	}
	a.lastParent, a.lastReal = key, real
	return real, nil
}

func (a *applier) forget() { a.lastReal = "" }

// clear makes room for an entry. A folder is kept when a folder comes.
func (a *applier) clear(name string, forDir bool) error {
	fi, err := a.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.IsDir() && forDir:
		return nil
	case fi.IsDir():
		a.forget()
		a.dropTimes(name)
		return a.root.RemoveAll(name)
	}
	if forDir {
		a.forget()
	}
	return a.root.Remove(name)
}

func (a *applier) dropTimes(name string) {
	for p := range a.times {
		if p == name || strings.HasPrefix(p, name+"/") {
			delete(a.times, p)
		}
	}
}

// markSeen remembers name and the folders above it.
func (a *applier) markSeen(name string) {
	for ; name != "." && !a.seen[name]; name = path.Dir(name) {
		a.seen[name] = true
	}
}

func (a *applier) whiteout(parent, base string) error {
	if base == "" || base == "." || base == ".." {
		return errors.New("whiteout without a name")
	}
	name := path.Join(parent, base)
	if a.seen[name] {
		return nil // a whiteout speaks of the layers below only
	}
	a.forget()
	a.dropTimes(name)
	return a.root.RemoveAll(name)
}

// opaque removes from a folder what lower layers put there.
func (a *applier) opaque(dir string) error {
	a.forget()
	d, err := a.root.Open(dir)
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	d.Close()
	if err != nil {
		return err
	}
	for _, base := range names {
		name := path.Join(dir, base)
		if !a.seen[name] {
			a.dropTimes(name)
			if err := a.root.RemoveAll(name); err != nil {
				return err
			}
			continue
		}
		fi, err := a.root.Lstat(name)
		if err != nil {
			return err
		}
		if fi.IsDir() {
			if err := a.opaque(name); err != nil {
				return err
			}
		}
	}
	return nil
}
