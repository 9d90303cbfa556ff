package member

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// CleanStart must be the first call of a node's main, with os.Args. It closes three doors
// of the host:
//
//   - The environment acts on a Go program before its first line (GODEBUG) and later
//     through its library (proxies, SSL_CERT_FILE). Where there is one, the process is
//     replaced by a fresh run of the same program and the same arguments without it, and
//     CleanStart does not return, but for an error.
//   - Tracing and core dumps are forbidden, and inherited files above the standard three
//     are kept from later programs.
//   - When a Go program fails, gets SIGQUIT or runs out of memory, which the host can
//     bring about, the runtime prints the stacks of all threads, with what was passed to
//     functions, to the standard error. That leads nowhere from now on. What the program
//     wants to say goes to the file that is returned, the standard error of before.
func CleanStart(args []string) (log *os.File, err error) {
	if err := closeOnExec(); err != nil {
		return nil, fmt.Errorf("clean start: %w", err)
	}
	if len(os.Environ()) > 0 {
		err := unix.Exec("/proc/self/exe", args, []string{})
		return nil, fmt.Errorf("clean start: run again without the host's environment: %w (is /proc mounted?)", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("clean start: forbid tracing: %w", err)
	}
	unix.Umask(0o077)
	if log, err = moveStderr(); err != nil {
		return nil, fmt.Errorf("clean start: standard error: %w", err)
	}
	return log, nil
}

// moveStderr puts an empty file in memory that cannot grow in the place of the standard
// error, and returns what was there.
func moveStderr() (*os.File, error) {
	const name, flags = "hitoku-nothing", unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL); err != nil {
		return nil, err
	}
	old, err := unix.FcntlInt(2, unix.F_DUPFD_CLOEXEC, 3)
	if errors.Is(err, unix.EBADF) { // there is none
		old, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Dup3(fd, 2, 0); err != nil {
		unix.Close(old)
		return nil, err
	}
	return os.NewFile(uintptr(old), "standard error"), nil
}

func closeOnExec() error {
	if unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return nil
	}
	// An older kernel, or an engine's filter that does not know the call.
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("inherited files: %w", err)
	}
	for _, e := range open {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= 3 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}
