package guest

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"hitoku.dev/measure/workload"
)

// program is the started application.
type program struct {
	pid int
}

// launch is everything that decides how the program starts.
type launch struct {
	exec  *workload.Exec
	args  []string // whole argument list, never empty
	env   []string
	stdio [3]*os.File
}

// start runs the program as the measured user, with its three standard files
// and nothing else open.
func (l *launch) start() (*program, error) {
	if err := os.MkdirAll(l.exec.WorkDir, 0o755); err != nil {
		return nil, fmt.Errorf("working folder: %w", err)
	}
	searchPath := envMap(l.env)["PATH"]
	path, err := lookProgram(l.args[0], l.exec.WorkDir, searchPath)
	if err != nil {
		return nil, err
	}
	var descriptors []uintptr
	for _, f := range l.stdio {
		if err := giveTo(f, l.exec.UID); err != nil {
			return nil, err
		}
		descriptors = append(descriptors, f.Fd())
	}
	pid, err := syscall.ForkExec(path, l.args, &syscall.ProcAttr{
		Dir: l.exec.WorkDir, Env: l.env, Files: descriptors, Sys: l.attributes(),
	})
	if err != nil {
		err = fmt.Errorf("start %s as %d:%d: %w%s", path, l.exec.UID, l.exec.GID, err, startHint(path, err))
		return nil, &startError{exitCode(err), err}
	}
	return &program{pid: pid}, nil
}

// attributes put the program into a session of its own, as PID 1 of a container
// has; on a terminal, where that session belongs to this process, into the
// foreground process group.
func (l *launch) attributes() *syscall.SysProcAttr {
	attributes := &syscall.SysProcAttr{Credential: &syscall.Credential{
		Uid: l.exec.UID, Gid: l.exec.GID, Groups: l.exec.Groups, NoSetGroups: groupsStay(l.exec.Groups, l.exec.GID),
	}}
	if _, err := unix.IoctlGetTermios(int(l.stdio[0].Fd()), unix.TCGETS); err == nil {
		if _, err := unix.IoctlGetInt(int(l.stdio[0].Fd()), unix.TIOCGPGRP); err == nil {
			attributes.Setpgid, attributes.Foreground, attributes.Ctty = true, true, 0
			return attributes
		}
	}
	attributes.Setsid = true
	return attributes
}

// groupsStay reports whether this process has exactly the wanted groups already,
// or cannot have others: a user namespace with a single group forbids setting
// even those, and then no group of the namespace but that one can be wanted.
func groupsStay(want []uint32, gid uint32) bool {
	have, err := os.Getgroups()
	if err != nil {
		return false
	}
	seen := map[uint32]bool{gid: true}
	for _, w := range want {
		seen[w] = true
	}
	if denied, err := os.ReadFile("/proc/self/setgroups"); err == nil && strings.TrimSpace(string(denied)) == "deny" {
		return len(seen) == 1
	}
	had := map[uint32]bool{gid: true}
	for _, h := range have {
		had[uint32(h)] = true
	}
	return maps.Equal(had, seen)
}

func exitCode(err error) int {
	if errors.Is(err, fs.ErrNotExist) {
		return exitNotFound
	}
	return exitCannotExecute
}

// startHint explains the two errors of execve(2) that name the wrong thing.
func startHint(path string, err error) string {
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		return " (a script needs a first line such as #!/bin/sh; a program must be for this processor)"
	case errors.Is(err, fs.ErrNotExist):
		return " (the file is there: the interpreter of its first line, or its loader, is missing in the image)"
	}
	return ""
}

// giveTo makes a standard file the program's own, as engines do for --user:
// otherwise it could not open /dev/stdout. The null device stays root's.
func giveTo(f *os.File, uid uint32) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("standard file %s: %w", f.Name(), err)
	}
	if st.Uid == uid || st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3) || st.Mode&unix.S_IFMT == unix.S_IFREG {
		return nil
	}
	switch err := unix.Fchown(int(f.Fd()), int(uid), int(st.Gid)); err {
	case nil, unix.EINVAL, unix.EPERM, unix.EROFS: // sockets and foreign files keep their owner, as with engines
		return nil
	default:
		return fmt.Errorf("standard file %s: %w", f.Name(), err)
	}
}

// openLog opens the file that gets a copy of the program's output.
func openLog(root string, x *workload.Exec, name string) (*os.File, error) {
	full := filepath.Join(root, name)
	fd, err := unix.Open(full, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o640)
	if err != nil {
		return nil, fmt.Errorf("log file %s: %w (its folder must exist and be writable: --rw %s)", name, err, strings.TrimSuffix(filepath.Dir(name), "/"))
	}
	f := os.NewFile(uintptr(fd), name)
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, errors.Join(fmt.Errorf("log file %s is no regular file", name), err)
	}
	if err := f.Chown(int(x.UID), int(x.GID)); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
