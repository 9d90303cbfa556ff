package simtee

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// checkUserNamespace refuses a caller in another user namespace than want.
func (p *process) checkUserNamespace(procFS string, want UserNamespace) error {
	own, err := os.Stat(filepath.Join(procFS, "self/ns/user"))
	if err != nil {
		return fmt.Errorf("own user namespace: %w", err)
	}
	f, err := p.open("ns/user", 0)
	if err != nil {
		if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
			return &RefusedError{
				Rule: "caller_user_namespace", Wanted: want.String(), Seen: err.Error(),
				Advice: "the node agent may not look at this caller; run the agent as root, or the guest in a user namespace below the agent's",
			}
		}
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	seen := "another user namespace"
	switch {
	case os.SameFile(info, own):
		if want == UserNamespaceOwn {
			return nil
		}
		seen = UserNamespaceOwn.String()
	case isChild(f, own):
		if want == UserNamespaceChild {
			return nil
		}
		seen = UserNamespaceChild.String()
	}
	return &RefusedError{
		Rule: "caller_user_namespace", Wanted: want.String(), Seen: seen,
		Advice: "set how containers are run on this node, or run this one as the others are",
	}
}

// isChild reports whether the parent of the user namespace f is own.
func isChild(f *os.File, own os.FileInfo) bool {
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	parent := -1
	var ioctlErr error
	err = raw.Control(func(fd uintptr) { parent, ioctlErr = unix.IoctlRetInt(int(fd), unix.NS_GET_PARENT) })
	if err != nil || ioctlErr != nil {
		return false
	}
	p := os.NewFile(uintptr(parent), "parent user namespace")
	defer p.Close()
	info, err := p.Stat()
	return err == nil && os.SameFile(info, own)
}

func inodeOf(info os.FileInfo) [2]uint64 {
	st := info.Sys().(*syscall.Stat_t)
	return [2]uint64{st.Dev, st.Ino}
}
