package simhost

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// attributes gives the program a user namespace where the caller is not root. Inside it
// is user 0, outside the caller, with no more rights than him. It must be 0: what /proc
// shows of a process that nobody may trace belongs to user 0 of its namespace, and the
// caller's simulated TEE must read it.
func attributes() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		a.Cloneflags = syscall.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	return a
}

// Explain adds what helps to an error of a command's Start.
func Explain(err error) error {
	if os.Geteuid() == 0 || !errors.Is(err, syscall.EPERM) && !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return fmt.Errorf("%w: the simulated TEE needs a user namespace for the node when it does not run as root; "+
		"allow them (sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces=15000, on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0), or run as root", err)
}
