package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// create makes the entry itself; attributes come afterwards.
func (a *applier) create(name string, h *tar.Header, content io.Reader) error {
	switch h.Typeflag {
	case tar.TypeDir:
		err := a.root.Mkdir(name, 0o700)
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	case tar.TypeSymlink:
		return a.root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		return a.hardlink(name, h.Linkname)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return a.node(name, h)
	}
	return a.file(name, h, content)
}

func (a *applier) file(name string, h *tar.Header, content io.Reader) error {
	if h.Size > a.left.Bytes {
		return errors.New("more content than the limit allows")
	}
	a.left.Bytes -= h.Size
	f, err := a.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, content)
	if err == nil && n != h.Size {
		err = io.ErrUnexpectedEOF
	}
	return errors.Join(err, f.Close())
}

// hardlink links to a file that this layer or one below made.
func (a *applier) hardlink(name, target string) error {
	parts, err := split(target)
	if err != nil {
		return err
	}
	if len(parts) == 0 {
		return errors.New("hard link to a folder")
	}
	dir, err := resolveDir(a.root, parts[:len(parts)-1], false)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	old := path.Join(dir, parts[len(parts)-1])
	if fi, err := a.root.Lstat(old); err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	} else if fi.IsDir() {
		return fmt.Errorf("hard link to %q: it is a folder", target)
	}
	return a.root.Link(old, name)
}

// node makes a device or FIFO. Without the privilege it is left out: containers
// get their /dev from the runner.
func (a *applier) node(name string, h *tar.Header) error {
	dir, err := a.root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	mode, dev := uint32(unix.S_IFIFO), 0
	switch h.Typeflag {
	case tar.TypeChar:
		mode = unix.S_IFCHR
	case tar.TypeBlock:
		mode = unix.S_IFBLK
	}
	if h.Typeflag != tar.TypeFifo {
		dev = int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)))
	}
	err = unix.Mknodat(int(dir.Fd()), path.Base(name), mode|0o600, dev)
	if errors.Is(err, unix.EPERM) && h.Typeflag != tar.TypeFifo {
		a.report.Skipped++
		return errSkipped
	}
	return err
}

// errSkipped says that an entry was left out and has no attributes to set.
var errSkipped = errors.New("skipped")

// attributes sets owner, mode, extended attributes and time, in the order in
// which one does not undo the other.
func (a *applier) attributes(name string, h *tar.Header) error {
	if err := a.root.Lchown(name, h.Uid, h.Gid); err != nil {
		if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL) {
			return err
		}
		if a.report.Owner == "" {
			a.report.Owner, a.report.OwnerUID, a.report.OwnerGID = name, h.Uid, h.Gid
		}
	}
	if h.Typeflag == tar.TypeSymlink {
		return nil
	}
	mode := h.FileInfo().Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
	if err := a.root.Chmod(name, mode); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock || h.Typeflag == tar.TypeFifo {
		return nil
	}
	if err := a.xattrs(name, h.PAXRecords); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeDir {
		a.times[name] = h.ModTime
		return nil
	}
	return a.root.Chtimes(name, h.ModTime, h.ModTime)
}

const paxXattr = "SCHILY.xattr."

// xattrs sets the attributes that matter to a program: file capabilities and
// those of users.
func (a *applier) xattrs(name string, records map[string]string) error {
	var f *os.File
	for key, value := range records {
		attr, ok := strings.CutPrefix(key, paxXattr)
		if !ok || attr != "security.capability" && !strings.HasPrefix(attr, "user.") {
			continue
		}
		if f == nil {
			var err error
			if f, err = a.root.Open(name); err != nil {
				return err
			}
			defer f.Close()
		}
		err := unix.Fsetxattr(int(f.Fd()), attr, []byte(value), 0)
		switch {
		case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOTSUP):
			a.report.Skipped++
		case err != nil:
			return fmt.Errorf("attribute %s: %w", attr, err)
		}
	}
	return nil
}
