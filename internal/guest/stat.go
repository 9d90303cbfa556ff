package guest

import (
	"fmt"
	"io/fs"
	"strconv"

	"golang.org/x/sys/unix"

	"hitoku.dev/measure/workload"
)

type device struct{ major, minor uint32 }

type inode struct {
	device device
	number uint64
}

// fingerprint moves when a file's content does: the kernel sets the change time
// on every write and nobody inside a container can set it back.
type fingerprint struct {
	inode inode
	size  uint64
	mtime unix.StatxTimestamp
	ctime unix.StatxTimestamp
}

func statxFD(fd int, st *unix.Statx_t) error {
	return unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, st)
}

func statxAt(dir int, name string, st *unix.Statx_t) error {
	return unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS, st)
}

func deviceOf(st *unix.Statx_t) device { return device{st.Dev_major, st.Dev_minor} }

func inodeOf(st *unix.Statx_t) inode { return inode{deviceOf(st), st.Ino} }

func fingerprintOf(st *unix.Statx_t) fingerprint {
	return fingerprint{inodeOf(st), st.Size, st.Mtime, st.Ctime}
}

// settled says that another write would show: within one tick of the kernel's
// clock two writes leave the same change time.
func (p fingerprint) settled(now unix.Timespec) bool { return p.ctime.Sec+2 < now.Sec }

// mountRoot reports whether st is the root of a mount. Kernels before 5.8 do not
// say so; there a change of device shows all but bind mounts of the same file
// system, which mountinfo shows.
func mountRoot(st *unix.Statx_t, parent device) bool {
	if st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
	}
	return st.Mode&unix.S_IFMT == unix.S_IFDIR && deviceOf(st) != parent
}

// kindSocket is the type that no image can hold.
const kindSocket = "socket"

// kind returns the type of st in the manifest's words.
func kind(st *unix.Statx_t) string {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return workload.TypeDir
	case unix.S_IFREG:
		return workload.TypeFile
	case unix.S_IFLNK:
		return workload.TypeSymlink
	case unix.S_IFIFO:
		return workload.TypeFIFO
	case unix.S_IFCHR:
		return workload.TypeChar
	case unix.S_IFBLK:
		return workload.TypeBlock
	case unix.S_IFSOCK:
		return kindSocket
	}
	return fmt.Sprintf("type %o", st.Mode&unix.S_IFMT)
}

// entries returns the names in an open folder.
func entries(fd int) ([]string, error) {
	var names []string
	buffer := make([]byte, 64<<10)
	for {
		n, err := unix.ReadDirent(fd, buffer)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return names, err
		}
		_, _, names = unix.ParseDirent(buffer[:n], -1, names)
	}
}

func readlink(dir int, name string) (string, error) {
	buffer := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buffer)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return string(buffer[:n]), nil
}

// fdPath names an open file for the calls that take only paths.
func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
