package guest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"path"
	"strconv"

	"golang.org/x/sys/unix"

	"hitoku.dev/measure/workload"
)

// hasher is one worker's buffer and SHA-256 state. The buffer fits the second
// cache level, so that bytes are hashed where the kernel has just copied them.
type hasher struct {
	sum    hash.Hash
	buffer []byte
}

func newHasher() *hasher { return &hasher{sha256.New(), make([]byte, 256<<10)} }

// hash reads size bytes of fd, or up to its end.
func (h *hasher) hash(ctx context.Context, fd int, size uint64) ([]byte, int64, error) {
	h.sum.Reset()
	var total uint64
	for total < size {
		if err := ctx.Err(); err != nil {
			return nil, int64(total), err
		}
		n, err := unix.Read(fd, h.buffer[:min(uint64(len(h.buffer)), size-total)])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, int64(total), err
		case n == 0:
			size = total // shorter than it was: the caller will see that it has changed
		}
		h.sum.Write(h.buffer[:n])
		total += uint64(n)
	}
	return h.sum.Sum(nil), int64(total), nil
}

// content hashes a regular file and compares it with the manifest.
func (v *verifier) content(ctx context.Context, h *hasher, t task) {
	name, want := t.parent.join(t.name), t.node.file
	digest, ok := v.digest(ctx, h, t.parent, t.name, t.seen, want)
	if !ok {
		return
	}
	if got := hex.EncodeToString(digest); got != want.SHA256 {
		v.refuse("file_content", name, "SHA-256 "+want.SHA256, got, "the file was changed after conversion: convert the image again, or pull it again")
		return
	}
	v.files.Add(1)
	if t.seen.settled(v.now) {
		t.node.print = t.seen
	}
}

// digest returns the SHA-256 of a regular file that did not change meanwhile.
func (v *verifier) digest(ctx context.Context, h *hasher, f *folder, base string, seen fingerprint, want *workload.File) ([]byte, bool) {
	name := f.join(base)
	fd, err := unix.Openat(f.fd, base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		v.unreadable(name, err)
		return nil, false
	}
	defer unix.Close(fd)
	if want != nil && !v.xattrs(name, want, openXattr(fd), true) {
		return nil, false
	}
	digest, n, err := h.hash(ctx, fd, seen.size)
	v.bytes.Add(n)
	if err != nil {
		v.unreadable(name, err)
		return nil, false
	}
	return digest, v.still(fd, seen, name)
}

// still reports whether the open file is the one that was judged by name before
// it was opened, and has not changed since.
func (v *verifier) still(fd int, seen fingerprint, name string) bool {
	var st unix.Statx_t
	if err := statxFD(fd, &st); err != nil {
		v.unreadable(name, err)
		return false
	}
	if fingerprintOf(&st) != seen {
		v.changed(name)
		return false
	}
	return true
}

// metadata compares everything but content. It refuses only when report is set:
// the entry may still be one that an engine makes in the image's place.
func (v *verifier) metadata(f *folder, name string, n *node, st *unix.Statx_t, report bool) bool {
	want, full, ok := n.file, f.join(name), true
	differ := func(rule, wanted, seen string) {
		ok = false
		if report {
			v.refuse(rule, full, wanted, seen, "the image was changed after conversion: convert it again, or pull it again")
		}
	}
	wantKind := want.Type
	if wantKind == workload.TypeHardlink {
		wantKind = workload.TypeFile
	}
	if k := kind(st); k != wantKind {
		differ("file_type", wantKind, k)
		return false
	}
	if st.Uid != want.UID || st.Gid != want.GID {
		differ("file_owner", fmt.Sprintf("%d:%d", want.UID, want.GID), fmt.Sprintf("%d:%d", st.Uid, st.Gid))
	}
	if mode := uint32(st.Mode) & 0o7777; mode != want.Mode && wantKind != workload.TypeSymlink { // a link's mode is always 0777
		differ("file_mode", fmt.Sprintf("%04o", want.Mode), fmt.Sprintf("%04o", mode))
	}
	switch wantKind {
	case workload.TypeFile:
		if st.Size != uint64(want.Size) {
			differ("file_size", strconv.FormatInt(want.Size, 10), strconv.FormatUint(st.Size, 10))
		}
	case workload.TypeSymlink:
		target := want.Target()
		seen, err := readlink(f.fd, name)
		if err != nil {
			differ("link_target", target, err.Error())
		} else if seen != target {
			differ("link_target", target, seen)
		}
	case workload.TypeChar, workload.TypeBlock:
		if seen := uint64(st.Rdev_major)<<32 | uint64(st.Rdev_minor); seen != want.Rdev {
			differ("device_number", fmt.Sprintf("%d:%d", want.Rdev>>32, uint32(want.Rdev)), fmt.Sprintf("%d:%d", st.Rdev_major, st.Rdev_minor))
		}
	}
	if wantKind != workload.TypeFile && wantKind != workload.TypeDir && len(want.Xattrs) > 0 {
		ok = v.xattrs(full, want, pathXattr(path.Join(fdPath(f.fd), name)), report) && ok
	}
	return ok
}

const capability = "security.capability"

// xattrs compares the extended attributes that the manifest lists, and refuses
// a file capability that it does not list.
func (v *verifier) xattrs(full string, want *workload.File, get xattrReader, report bool) bool {
	ok := true
	differ := func(name, wanted, seen string) {
		ok = false
		if report {
			v.refuse("file_xattr", full, name+" "+wanted, seen, "the image was changed after conversion, or the engine's storage keeps no extended attributes")
		}
	}
	for name, encoded := range want.Xattrs {
		switch seen, err := get(name); {
		case err == unix.ENODATA || err == unix.ENOTSUP:
			differ(name, encoded, "none")
		case err != nil:
			differ(name, encoded, err.Error())
		case base64.StdEncoding.EncodeToString(seen) != encoded:
			differ(name, encoded, base64.StdEncoding.EncodeToString(seen))
		}
	}
	if _, listed := want.Xattrs[capability]; !listed && (want.Type == workload.TypeFile || want.Type == workload.TypeHardlink) {
		switch seen, err := get(capability); {
		case err == unix.ENODATA || err == unix.ENOTSUP:
		case err != nil:
			differ(capability, "none", err.Error())
		default:
			differ(capability, "none", base64.StdEncoding.EncodeToString(seen))
		}
	}
	return ok
}

// xattrReader returns the value of one extended attribute.
type xattrReader func(name string) ([]byte, error)

func openXattr(fd int) xattrReader {
	return func(name string) ([]byte, error) {
		return readXattr(func(buffer []byte) (int, error) { return unix.Fgetxattr(fd, name, buffer) })
	}
}

// pathXattr reads those of links and devices, which cannot be opened. The path
// leads through an open folder, so that only its last component is looked up.
func pathXattr(at string) xattrReader {
	return func(name string) ([]byte, error) {
		return readXattr(func(buffer []byte) (int, error) { return unix.Lgetxattr(at, name, buffer) })
	}
}

func readXattr(get func([]byte) (int, error)) ([]byte, error) {
	buffer := make([]byte, 1<<10)
	n, err := get(buffer)
	if err != nil {
		return nil, err
	}
	return buffer[:n], nil
}

// own checks one of the guest's own files: the program by the hash in the
// manifest; manifest and signature, which were read before, only as files that
// nobody else can write.
func (v *verifier) own(ctx context.Context, f *folder, name string, n *node, st *unix.Statx_t) {
	full := f.join(name)
	if kind(st) != workload.TypeFile || st.Uid != 0 || st.Mode&0o022 != 0 {
		v.refuse("own_file", full, "a file of owner 0 that others cannot write",
			fmt.Sprintf("%s of owner %d, mode %04o", kind(st), st.Uid, st.Mode&0o7777), "convert the image again")
		return
	}
	if full == workload.GuestPath {
		digest, ok := v.digest(ctx, newHasher(), f, name, fingerprintOf(st), nil)
		if got := hex.EncodeToString(digest); ok && got != v.world.guest {
			v.refuse("guest_program", full, "SHA-256 "+v.world.guest, got, "the guest program was changed after conversion: convert the image again")
		}
	}
	if n.file != nil && v.metadata(f, name, n, st, true) {
		v.descend(f, name, n, st)
	}
}
