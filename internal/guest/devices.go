package guest

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"hitoku.dev/measure/workload"
)

// basicDevices are what programs rely on for randomness and for nothing. A file
// of the host in their place would choose the keys that they make.
var basicDevices = []struct {
	path         string
	major, minor uint32
}{
	{"/dev/full", 1, 7},
	{"/dev/null", 1, 3},
	{"/dev/random", 1, 8},
	{"/dev/tty", 5, 0},
	{"/dev/urandom", 1, 9},
	{"/dev/zero", 1, 5},
}

// checkDevices refuses basic devices that are something else. Missing ones are
// the engine's choice and harm nobody unseen.
func checkDevices(root string, refused *refusals) {
	for _, d := range basicDevices {
		var st unix.Statx_t
		err := statxAt(unix.AT_FDCWD, filepath.Join(root, d.path), &st)
		if err == unix.ENOENT {
			continue
		}
		wanted, seen := fmt.Sprintf("character device %d:%d", d.major, d.minor), ""
		switch {
		case err != nil:
			seen = err.Error()
		case kind(&st) != workload.TypeChar:
			seen = kind(&st)
		case st.Rdev_major != d.major || st.Rdev_minor != d.minor:
			seen = fmt.Sprintf("character device %d:%d", st.Rdev_major, st.Rdev_minor)
		default:
			continue
		}
		refused.add(Refusal{Rule: "device", Path: d.path, Wanted: wanted, Seen: seen, Advice: "remove the mount over it"})
	}
}

// checkEncrypted refuses encrypted folders that do not lie in memory: the
// simulation has no other protected storage (ruling 6).
func checkEncrypted(root string, folders []workload.Folder, refused *refusals) {
	for _, f := range folders {
		if f.Mode != workload.FolderEncrypted {
			continue
		}
		if err := inMemory(filepath.Join(root, f.Path)); err != nil {
			refused.add(Refusal{
				Rule: "encrypted_folder", Path: f.Path, Wanted: "a memory file system (tmpfs)", Seen: err.Error(),
				Advice: "start the container with --tmpfs " + f.Path,
			})
		}
	}
}
