package box

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	secure = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	shmMax = "64m" // Docker's size of /dev/shm
)

// devices are those of the OCI runtime specification.
func devices() []string {
	return []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"}
}

// Paths that Docker hides or protects.
func maskedPaths() []string {
	return []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
		"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	}
}

func readOnlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// source is a mount of the host, taken before the root changes.
type source struct {
	fd     int
	target string
	dir    bool
}

// enterRoot makes the container's mounts and changes into them. Targets are
// looked up only once the host's root is gone, so that nothing in the image leads
// there: links would before, and even ".." does while both roots are stacked.
func enterRoot(s *spec) error {
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mounts of the host: %w", err)
	}
	sources, err := takeSources(s)
	if err != nil {
		return err
	}
	if err := mountRoot(s); err != nil {
		return err
	}
	// The old root is stacked on the new one and stays reachable by this descriptor (pivot_root(2)).
	old, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change of the root: %w", err)
	}
	if err := unix.Fchdir(old); err != nil {
		return err
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leaving the host's root: %w", err)
	}
	unix.Close(old)
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := mountKernel(sources); err != nil {
		return err
	}
	return hide()
}

// takeSources collects what is mounted from outside. The kernel grants a new proc
// and sysfs only while old ones are in view, so these two are made here as well.
func takeSources(s *spec) ([]source, error) {
	proc, err := newMount("proc", secureAttr)
	if err != nil {
		return nil, fmt.Errorf("mount of /proc: %w", err)
	}
	out := []source{{proc, "/proc", true}}
	sys, err := newMount("sysfs", secureAttr|unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		// Refused where the host's own is covered in part: an empty folder is what is left.
		sys, err = newMount("tmpfs", secureAttr|unix.MOUNT_ATTR_RDONLY)
	}
	if err != nil {
		return nil, fmt.Errorf("mount of /sys: %w", err)
	}
	out = append(out, source{sys, "/sys", true})
	take := func(path, target string, set uint64) error {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			return fmt.Errorf("mount of %s: %w", path, err)
		}
		fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return fmt.Errorf("mount of %s: %w", path, err)
		}
		if set != 0 {
			attr := unix.MountAttr{Attr_set: set}
			if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
				return fmt.Errorf("mount of %s: %w", path, err)
			}
		}
		out = append(out, source{fd, target, st.Mode&unix.S_IFMT == unix.S_IFDIR})
		return nil
	}
	for _, dev := range devices() {
		if err := take(dev, dev, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC); err != nil {
			return nil, err
		}
	}
	for _, m := range s.Mounts {
		set := uint64(unix.MOUNT_ATTR_NODEV)
		if m.ReadOnly {
			set |= unix.MOUNT_ATTR_RDONLY
		}
		if err := take(m.Source, m.Target, set); err != nil {
			return nil, err
		}
	}
	return out, nil
}

const secureAttr = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC

// newMount makes a mount that has no place yet.
func newMount(kind string, attr int) (int, error) {
	fs, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attr)
}

// mountRoot mounts the root file system and makes it the working folder. Devices
// on it are dead.
func mountRoot(s *spec) error {
	if err := os.Chdir(s.Dir); err != nil {
		return err
	}
	if s.Lower == "" {
		if err := unix.Mount(s.Rootfs, s.Rootfs, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("root file system: %w", err)
		}
		if err := os.Chdir(s.Rootfs); err != nil {
			return err
		}
		return remount(".", unix.MS_NODEV)
	}
	options := "lowerdir=" + s.Lower + ",upperdir=upper,workdir=work"
	if s.UserNS {
		options += ",userxattr"
	}
	if err := unix.Mount("overlay", "merged", "overlay", unix.MS_NODEV, options); err != nil {
		return &codedError{codeOverlay, err}
	}
	return os.Chdir("merged")
}

// remount adds flags to a bind mount and keeps those it has, as a user namespace must.
func remount(path string, flags uintptr) error {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return err
	}
	for have, flag := range map[int64]uintptr{unix.ST_NOSUID: unix.MS_NOSUID, unix.ST_NODEV: unix.MS_NODEV, unix.ST_NOEXEC: unix.MS_NOEXEC, unix.ST_RDONLY: unix.MS_RDONLY, unix.ST_NOATIME: unix.MS_NOATIME, unix.ST_RELATIME: unix.MS_RELATIME} {
		if st.Flags&have != 0 {
			flags |= flag
		}
	}
	return unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|flags, "")
}

// mountKernel places the sources among the file systems that the kernel fills.
func mountKernel(sources []source) error {
	for _, path := range []string{"/proc", "/sys", "/dev"} {
		if err := makeFolder(path); err != nil {
			return err
		}
	}
	for _, m := range []struct {
		target, kind, data string
		flags              uintptr
		instead            string // data when the first is refused
	}{
		{"/dev", "tmpfs", "mode=755,size=64k", unix.MS_NOSUID | unix.MS_STRICTATIME, ""},
		// Group 5 is tty; it does not exist where only one group does.
		{"/dev/pts", "devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5", unix.MS_NOSUID | unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"},
		{"/dev/shm", "tmpfs", "mode=1777,size=" + shmMax, secure, ""},
		{"/dev/mqueue", "mqueue", "", secure, ""},
	} {
		if err := makeFolder(m.target); err != nil {
			return err
		}
		err := unix.Mount(m.kind, m.target, m.kind, m.flags, m.data)
		if err != nil && m.instead != "" {
			err = unix.Mount(m.kind, m.target, m.kind, m.flags, m.instead)
		}
		if err != nil {
			return fmt.Errorf("mount of %s: %w", m.target, err)
		}
	}
	for name, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"} {
		if err := os.Symlink(to, "/dev/"+name); err != nil {
			return err
		}
	}
	for _, s := range sources {
		if err := s.place(); err != nil {
			return fmt.Errorf("mount at %s: %w", s.target, err)
		}
		unix.Close(s.fd)
	}
	return nil
}

// makeFolder makes the place of a kernel file system. A link there would mount it
// elsewhere.
func makeFolder(path string) error {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return os.Mkdir(path, 0o755)
	case err != nil:
		return err
	case !fi.IsDir():
		return fmt.Errorf("the image has no folder at %s but %s", path, fi.Mode().Type())
	}
	return nil
}

func (s *source) place() error {
	if s.dir {
		if err := os.MkdirAll(s.target, 0o755); err != nil {
			return err
		}
	} else {
		if err := os.MkdirAll(filepath.Dir(s.target), 0o755); err != nil {
			return err
		}
		f, err := os.OpenFile(s.target, os.O_CREATE|os.O_RDONLY|syscall.O_NONBLOCK, 0o644)
		if err != nil {
			return err
		}
		f.Close()
	}
	return unix.MoveMount(s.fd, "", unix.AT_FDCWD, s.target, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS)
}

// hide takes from view, or makes read-only, what says too much about the host or
// changes it.
func hide() error {
	for _, path := range maskedPaths() {
		fi, err := os.Lstat(path)
		if err != nil {
			continue // this kernel has it not
		}
		if fi.IsDir() {
			err = unix.Mount("tmpfs", path, "tmpfs", secure|unix.MS_RDONLY, "size=0k")
		} else {
			err = unix.Mount("/dev/null", path, "", unix.MS_BIND, "")
		}
		if err != nil {
			return fmt.Errorf("hiding %s: %w", path, err)
		}
	}
	for _, path := range readOnlyPaths() {
		if _, err := os.Lstat(path); err != nil {
			continue
		}
		if err := unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("protecting %s: %w", path, err)
		}
		if err := remount(path, unix.MS_RDONLY); err != nil {
			return fmt.Errorf("protecting %s: %w", path, err)
		}
	}
	return nil
}
