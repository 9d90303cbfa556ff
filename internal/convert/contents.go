package convert

import (
	"context"
	"errors"
	"fmt"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxKept bounds a file whose content the conversion needs.
const maxKept = 8 << 20

// maxFacts bounds what one file says about others.
const maxFacts = 64 << 10

// trustStores are the files in which distributions keep all trusted CA
// certificates in one: Debian and Alpine, Fedora and its kin, SUSE.
var trustStores = []string{
	"/etc/ssl/certs/ca-certificates.crt",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
	"/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/ssl/ca-bundle.pem",
	"/var/lib/ca-certificates/ca-bundle.pem",
	"/etc/ssl/cert.pem",
}

// keepUsual chooses the files whose content most conversions need, so that an
// index in the cache is enough.
func keepUsual(path string, size int64) bool {
	if size > maxKept {
		return false
	}
	if path == passwdPath || path == groupPath {
		return true
	}
	for _, p := range trustStores {
		if path == p {
			return true
		}
	}
	return false
}

// keepForSGX chooses the same, and the C library, which decides what Gramine's loader needs.
func keepForSGX(name string, size int64) bool {
	return keepUsual(name, size) || path.Base(name) == libcName && size <= maxKept
}

const libcName = "libc.so.6"

// rootfs is the merged root file system of an image.
type rootfs struct {
	*merger
	layers   []v1.Layer
	indexes  []*layerIndex // nil once dropped
	reread   *layerReader
	contents map[*inode][]byte
	facts    map[*inode][]byte
}

// content is the content of the regular file at path, symbolic links followed.
// A file that no index kept is read from its layer again.
func (r *rootfs) content(ctx context.Context, path string) ([]byte, error) {
	id, err := r.lookup(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	ino := r.nodes[id].ino
	switch {
	case ino.kind != kindFile:
		return nil, fmt.Errorf("%s is no regular file", path)
	case ino.size > maxKept:
		return nil, fmt.Errorf("%s has %d bytes, at most %d are read", path, ino.size, maxKept)
	}
	if c, ok := r.contents[ino]; ok {
		return c, nil
	}
	for i, x := range r.indexes {
		for j := range x.entries {
			if x.entries[j].ino != ino {
				continue
			}
			return r.fetch(ctx, r.layers[i], x.entries[j].path)
		}
	}
	return nil, fmt.Errorf("%s: in no layer", path)
}

// fetch reads a layer once more for one file.
func (r *rootfs) fetch(ctx context.Context, l v1.Layer, path string) ([]byte, error) {
	again := &layerReader{limits: r.reread.limits, keep: func(p string, size int64) bool { return p == path && size <= maxKept }}
	x, err := again.read(ctx, l)
	if err != nil {
		return nil, err
	}
	for i := range x.entries {
		if c, ok := x.contents[x.entries[i].ino]; ok && x.entries[i].path == path {
			return c, nil
		}
	}
	return nil, fmt.Errorf("%s: not found when its layer was read again", path)
}

// optional is content where the file may be missing.
func (r *rootfs) optional(ctx context.Context, path string) ([]byte, error) {
	b, err := r.content(ctx, path)
	if errors.Is(err, errNotFound) || errors.Is(err, errNotFolder) || errors.Is(err, errLoop) {
		return nil, nil
	}
	return b, err
}
