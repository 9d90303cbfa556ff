package guest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"hitoku.dev/measure/workload"
)

// keyStore keeps keys and certificates in a memory file system; the configured
// paths are symbolic links to them (ruling 3):
//
//	/run/key.pem → /dev/shm/hitoku/0/current/key.pem
//	/dev/shm/hitoku/0/current → 1, 2, 3 …
//
// A renewal writes a new numbered folder and moves `current` in one rename, so
// that key and certificate change together.
type keyStore struct {
	root string // where the world's root is in the caller's view
	uid  uint32 // owner of the files
	gid  uint32
}

// files are the PEM texts of one certificate.
type files struct {
	key, cert, chain []byte
}

type certificateLink struct{ path, target string }

// certificateLinks returns the links of the manifest's certificate number i.
func certificateLinks(i int, c *workload.Certificate) []certificateLink {
	links := []certificateLink{
		{c.KeyPath, workload.KeyTarget(i, workload.KeyFile)},
		{c.CertPath, workload.KeyTarget(i, workload.CertFile)},
	}
	if c.ChainPath != "" {
		links = append(links, certificateLink{c.ChainPath, workload.KeyTarget(i, workload.ChainFile)})
	}
	return links
}

// prepareStore makes an empty store folder. It refuses anything but memory.
// The returned file holds a lock for the guest's life: with a /dev/shm that
// containers share (--ipc) two guests would overwrite each other.
func prepareStore(root string) (*os.File, error) {
	shm, folder := filepath.Join(root, shmFolder), filepath.Join(root, storeFolder)
	if err := inMemory(shm); err != nil {
		return nil, &RefusedError{Refusals: []Refusal{{
			Rule: "key_storage", Path: shmFolder, Wanted: "a memory file system (tmpfs) for private keys", Seen: err.Error(),
			Advice: "start the container with --tmpfs /dev/shm, or without a volume there",
		}}}
	}
	if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	fd, err := unix.Open(folder, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: storeFolder, Err: err}
	}
	lock := os.NewFile(uintptr(fd), storeFolder)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		lock.Close()
		return nil, &fs.PathError{Op: "stat", Path: storeFolder, Err: err}
	}
	if st.Uid != uint32(os.Geteuid()) || st.Mode&0o022 != 0 {
		lock.Close()
		return nil, fmt.Errorf("%s belongs to user %d with mode %04o: somebody else made it; give the container a /dev/shm of its own", storeFolder, st.Uid, st.Mode&0o7777)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("%s is in use by another container (%w): give each a /dev/shm of its own (no --ipc host or container)", storeFolder, err)
	}
	old, err := lock.Readdirnames(-1)
	for _, name := range old {
		err = errors.Join(err, os.RemoveAll(filepath.Join(folder, name)))
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

// inMemory returns an error unless the file system at name keeps everything in memory.
func inMemory(name string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(name, &st); err != nil {
		return &fs.PathError{Op: "statfs", Path: name, Err: err}
	}
	switch st.Type {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		return nil
	}
	return fmt.Errorf("a file system of type %#x", st.Type)
}

// put makes f the files of the manifest's certificate number i; serial counts
// from 1 and grows with each renewal.
func (s *keyStore) put(i, serial int, f files) error {
	current := filepath.Join(s.root, filepath.Dir(workload.KeyTarget(i, workload.KeyFile)))
	base := filepath.Dir(current)
	if err := os.MkdirAll(base, 0o755); err != nil {
		return err
	}
	folder := filepath.Join(base, strconv.Itoa(serial))
	if err := errors.Join(os.RemoveAll(folder), os.Mkdir(folder, 0o755)); err != nil {
		return err
	}
	for _, x := range []struct {
		name string
		data []byte
		mode os.FileMode
	}{{workload.KeyFile, f.key, 0o600}, {workload.CertFile, f.cert, 0o644}, {workload.ChainFile, f.chain, 0o644}} {
		if err := writeNew(filepath.Join(folder, x.name), bytes.NewReader(x.data), x.mode, s.own); err != nil {
			return err
		}
	}
	if err := replaceLink(strconv.Itoa(serial), current); err != nil {
		return err
	}
	// The folder before this one stays for programs that are just reading it.
	return os.RemoveAll(filepath.Join(base, strconv.Itoa(serial-2)))
}

// replaceLink puts a symbolic link at name in one step, whatever was there.
func replaceLink(target, name string) error {
	fresh := name + ".hitoku-new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, fresh); err != nil {
		return err
	}
	return os.Rename(fresh, name)
}

// own gives a file to the program's user.
func (s *keyStore) own(f *os.File) error { return f.Chown(int(s.uid), int(s.gid)) }

// writeNew makes a file, whatever the file mode mask is. Where there is an own, it is called
// before the mode is set, which a change of owner may take bits from.
func writeNew(name string, content io.Reader, mode fs.FileMode, own func(*os.File) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if own != nil {
		err = errors.Join(err, own(f))
	}
	return errors.Join(err, f.Chmod(mode), f.Close())
}

// link places the symbolic link l. What the image had at that path is replaced;
// a link on a mount of the host would let the host choose the program's key.
func (s *keyStore) link(l certificateLink) error {
	name := filepath.Join(s.root, l.path)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("place %s: %w (the root file system must be writable there, or a tmpfs)", l.path, err)
	}
	if err := s.linkable(filepath.Dir(name)); err != nil {
		return &RefusedError{Refusals: []Refusal{{
			Rule: "key_path", Path: l.path, Wanted: "a folder of the container itself, or a memory file system", Seen: err.Error(),
			Advice: "remove the volume or bind mount, or mount a tmpfs there",
		}}}
	}
	if target, err := os.Readlink(name); err == nil && target == l.target {
		return nil
	}
	if st, err := os.Lstat(name); err == nil && st.IsDir() {
		return fmt.Errorf("place %s: a folder is there", l.path)
	}
	if err := replaceLink(l.target, name); err != nil {
		return fmt.Errorf("place %s: %w (the root file system must be writable there, or a tmpfs)", l.path, err)
	}
	return nil
}

func (s *keyStore) linkable(folder string) error {
	if inMemory(folder) == nil {
		return nil
	}
	var here, root unix.Statx_t
	const mask = unix.STATX_BASIC_STATS | unix.STATX_MNT_ID
	for name, st := range map[string]*unix.Statx_t{folder: &here, s.root: &root} {
		if err := unix.Statx(unix.AT_FDCWD, name, 0, mask, st); err != nil {
			return &fs.PathError{Op: "statx", Path: name, Err: err}
		}
	}
	if here.Mask&unix.STATX_MNT_ID != 0 && here.Mnt_id != root.Mnt_id || here.Mask&unix.STATX_MNT_ID == 0 && deviceOf(&here) != deviceOf(&root) {
		return errors.New("a mount that the host can write to")
	}
	return nil
}
