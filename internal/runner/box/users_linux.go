package box

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// Users says which users a container has when it is not started by root. The
// user who starts it becomes user 0 inside; a nil *Users means root starts it, and
// users inside are those outside.
type Users struct {
	uid, gid       int
	subUID, subGID idRange // further ids, mapped by newuidmap and newgidmap
	tools          bool
}

type idRange struct{ start, count int }

// CurrentUsers returns the mapping for the user of this process. Without ids in
// /etc/subuid and the tools that map them, only user and group 0 exist inside.
func CurrentUsers() (*Users, error) {
	if os.Geteuid() == 0 {
		return nil, nil
	}
	u := &Users{uid: os.Geteuid(), gid: os.Getegid()}
	name := ""
	if me, err := user.Current(); err == nil {
		name = me.Username
	}
	_, errU := exec.LookPath("newuidmap")
	_, errG := exec.LookPath("newgidmap")
	if errU != nil || errG != nil {
		return u, nil
	}
	var okU, okG bool
	u.subUID, okU = findRange("/etc/subuid", name, u.uid)
	u.subGID, okG = findRange("/etc/subgid", name, u.uid)
	u.tools = okU && okG
	return u, nil
}

// Single reports whether only user 0 exists inside, and what would give more.
func (u *Users) Single() (string, bool) {
	if u == nil || u.tools {
		return "", false
	}
	return fmt.Sprintf("install newuidmap and newgidmap (package uidmap) and give user %d a range in /etc/subuid and /etc/subgid, or run as root", u.uid), true
}

// findRange reads the first range of a user from /etc/subuid or /etc/subgid (subuid(5)).
func findRange(file, name string, uid int) (idRange, bool) {
	f, err := os.Open(file)
	if err != nil {
		return idRange{}, false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		parts := strings.Split(strings.TrimSpace(s.Text()), ":")
		if len(parts) != 3 || parts[0] != name && parts[0] != strconv.Itoa(uid) {
			continue
		}
		start, err1 := strconv.Atoi(parts[1])
		count, err2 := strconv.Atoi(parts[2])
		if err1 == nil && err2 == nil && start > 0 && count > 0 {
			return idRange{start, count}, true
		}
	}
	return idRange{}, false
}

// apply asks for a user namespace, with its ids when they need no tool.
func (u *Users) apply(attr *syscall.SysProcAttr) {
	if u == nil {
		return
	}
	attr.Cloneflags |= syscall.CLONE_NEWUSER
	if u.tools {
		return
	}
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: u.uid, Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: u.gid, Size: 1}}
}

// mapInto maps the ids of a process in a new user namespace.
func (u *Users) mapInto(pid int) error {
	for _, m := range []struct {
		tool string
		own  int
		sub  idRange
	}{{"newuidmap", u.uid, u.subUID}, {"newgidmap", u.gid, u.subGID}} {
		cmd := exec.Command(m.tool, strconv.Itoa(pid), "0", strconv.Itoa(m.own), "1", "1", strconv.Itoa(m.sub.start), strconv.Itoa(m.sub.count))
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", m.tool, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// Check says what keeps this user from making containers without root, and what
// helps; nil where nothing does. For root it is always nil.
func Check() error {
	if os.Geteuid() == 0 {
		return nil
	}
	return check(func(name string) string {
		raw, err := os.ReadFile("/proc/sys/" + name)
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(raw))
	}, tryNamespace)
}

func check(sysctl func(string) string, try func() error) error {
	err := try()
	if err == nil {
		return nil
	}
	helps := "run as root, or use Docker or Podman"
	switch {
	case sysctl("kernel/unprivileged_userns_clone") == "0":
		return errors.New("user namespaces are closed to ordinary users (kernel.unprivileged_userns_clone is 0); open them with `sudo sysctl -w kernel.unprivileged_userns_clone=1`, " + helps)
	case sysctl("user/max_user_namespaces") == "0":
		return errors.New("user namespaces are switched off (user.max_user_namespaces is 0); allow some with `sudo sysctl -w user.max_user_namespaces=15000`, " + helps)
	case sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
		return errors.New("AppArmor restricts user namespaces on this system (kernel.apparmor_restrict_unprivileged_userns is 1, as Ubuntu sets it); lift it with `sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, " + helps)
	}
	return fmt.Errorf("user namespaces cannot be made here (%w), as in most containers; %s", err, helps)
}

// tryNamespace makes a user namespace and uses its rights: Ubuntu's restriction
// lets it be made and takes the rights away.
func tryNamespace() error {
	u := &Users{uid: os.Geteuid(), gid: os.Getegid()}
	cmd, control, err := command(u, stageCheck, syscall.CLONE_NEWNS)
	if err != nil {
		return err
	}
	defer control.Close()
	err = cmd.Run()
	cmd.ExtraFiles[1].Close()
	return err
}
