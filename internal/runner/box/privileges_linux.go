package box

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// keptCapabilities are Docker's default set without CAP_MKNOD, since no device
// filter stands behind it here.
func keptCapabilities() []uintptr {
	return []uintptr{
		unix.CAP_AUDIT_WRITE, unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID, unix.CAP_KILL,
		unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_RAW, unix.CAP_SETFCAP, unix.CAP_SETGID, unix.CAP_SETPCAP, unix.CAP_SETUID, unix.CAP_SYS_CHROOT,
	}
}

// dropPrivileges leaves the user and the capabilities of the program to this
// thread, which executes it.
func dropPrivileges(who *account, userNS bool) error {
	keep := keptCapabilities()
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if slices.Contains(keep, c) {
			continue
		}
		// EINVAL: a capability that this kernel has not.
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && err != unix.EINVAL {
			return fmt.Errorf("capability %d: %w", c, err)
		}
	}
	// Where only one group exists, the kernel forbids setgroups (user_namespaces(7)).
	if err := syscall.Setgroups(who.groups); err != nil && (!userNS || err != syscall.EPERM || len(who.groups) > 0) {
		return fmt.Errorf("groups of user %d: %w", who.uid, err)
	}
	if err := syscall.Setgid(who.gid); err != nil {
		return fmt.Errorf("group %d: %w", who.gid, err)
	}
	if err := syscall.Setuid(who.uid); err != nil {
		return fmt.Errorf("user %d: %w", who.uid, err)
	}
	// Another user clears the parent's death signal (prctl(2)), without which the program
	// would go on when the runner is killed.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("parent's death signal: %w", err)
	}
	return nil
}

// account is who a program runs as.
type account struct {
	uid, gid int
	groups   []int
	home     string
}

// readPasswd reads a file of the image's account database, at most 4 MiB of it.
func readPasswd(path string) []string {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() || fi.Size() > 4<<20 {
		return nil
	}
	raw := make([]byte, 4<<20)
	n, _ := f.Read(raw) // a short read is a short database
	return strings.Split(string(raw[:n]), "\n")
}

// maxID is the largest id that names somebody; the one above means "no change" to
// the kernel (setuid(2)).
const maxID = 1<<32 - 2

func parseID(text string) (int, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil || id > maxID {
		return 0, fmt.Errorf("id %q: wanted a number from 0 to %d", text, uint64(maxID))
	}
	return int(id), nil
}

// lookUpUser finds the user of an image configuration: "", "name", "id",
// "user:group". As Docker does, it gives an unknown number group 0, and
// supplementary groups only where no group is named.
func lookUpUser(text string, read func(string) []string) (*account, error) {
	name, group, hasGroup := strings.Cut(text, ":")
	if name == "" {
		name = "0"
	}
	who := &account{home: "/"}
	id, err := parseID(name)
	numeric := err == nil
	found := false
	userName := name
	for _, line := range read("/etc/passwd") {
		f := strings.Split(line, ":")
		if len(f) < 6 || f[0] != name && (!numeric || f[2] != strconv.Itoa(id)) {
			continue
		}
		uid, err1 := parseID(f[2])
		gid, err2 := parseID(f[3])
		if err1 != nil || err2 != nil {
			continue
		}
		userName, who.uid, who.gid, found = f[0], uid, gid, true
		if f[5] != "" {
			who.home = f[5]
		}
		break
	}
	switch {
	case !found && !numeric:
		return nil, fmt.Errorf("user %q: not in the image's /etc/passwd", name)
	case !found:
		who.uid = id
		if id == 0 {
			who.home = "/root"
		}
	}
	groups := read("/etc/group")
	if !hasGroup {
		for _, line := range groups {
			f := strings.Split(line, ":")
			if len(f) < 4 || !slices.Contains(strings.Split(f[3], ","), userName) {
				continue
			}
			if gid, err := parseID(f[2]); err == nil && gid != who.gid {
				who.groups = append(who.groups, gid)
			}
		}
		return who, nil
	}
	if gid, err := parseID(group); err == nil {
		who.gid = gid
		return who, nil
	}
	for _, line := range groups {
		f := strings.Split(line, ":")
		if len(f) >= 3 && f[0] == group {
			if gid, err := parseID(f[2]); err == nil {
				who.gid = gid
				return who, nil
			}
		}
	}
	return nil, fmt.Errorf("group %q: not in the image's /etc/group", group)
}
