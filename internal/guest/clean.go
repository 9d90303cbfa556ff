package guest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// The host's environment acts on a Go program before its first line runs
// (GODEBUG) and later through the standard library (SSL_CERT_FILE, proxies), so
// the guest executes itself once more with an empty one (security decision S16)
// and carries the host's variables in a sealed memory file at a known
// descriptor. Whoever starts the guest with an empty environment and such a
// file gains nothing: both hold what the host says, and are treated so.
const (
	hostEnvFD    = 3
	hostEnvMagic = "hitoku host environment 1\x00"
	maxHostEnv   = 4 << 20
	hostEnvSeals = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
)

// CleanStart returns the host's environment once this process runs with an
// empty one. When it does not yet, CleanStart replaces the process by a fresh
// run of the same program and does not return, but for an error.
//
// It also closes every inherited file but the standard three to programs that
// are started later, forbids tracing and core dumps, and sets the file mode mask
// to 022.
func CleanStart(args []string) (hostEnv []string, err error) {
	if len(os.Environ()) > 0 {
		return nil, again(args)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("forbid tracing: %w", err)
	}
	hostEnv, err = readHostEnv(hostEnvFD)
	if err != nil {
		return nil, err
	}
	if err := closeOnExec(); err != nil {
		return nil, err
	}
	unix.Umask(0o022)
	return hostEnv, nil
}

func again(args []string) error {
	const name = "hitoku-environment"
	fd, err := unix.MemfdCreate(name, unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL { // before Linux 6.3
		fd, err = unix.MemfdCreate(name, unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return fmt.Errorf("keep the host's environment: %w", err)
	}
	if err := writeHostEnv(fd, os.Environ()); err != nil {
		return err
	}
	if err := closeOnExec(); err != nil {
		return err
	}
	if fd == hostEnvFD {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	} else {
		err = unix.Dup3(fd, hostEnvFD, 0)
	}
	if err != nil {
		return fmt.Errorf("keep the host's environment: %w", err)
	}
	err = unix.Exec("/proc/self/exe", args, []string{})
	return fmt.Errorf("start again with an empty environment: %w (is /proc mounted?)", err)
}

func writeHostEnv(fd int, env []string) error {
	data := []byte(hostEnvMagic)
	for _, v := range env {
		data = append(append(data, v...), 0)
	}
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if err != nil {
			return fmt.Errorf("keep the host's environment: %w", err)
		}
		data = data[n:]
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, hostEnvSeals); err != nil {
		return fmt.Errorf("seal the host's environment: %w", err)
	}
	return nil
}

// readHostEnv reads and closes the memory file at fd. Where there is none, the
// host's environment was empty from the start.
func readHostEnv(fd int) ([]string, error) {
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || seals&hostEnvSeals != hostEnvSeals {
		return nil, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("the host's environment: %w", err)
	}
	if st.Size > maxHostEnv {
		return nil, fmt.Errorf("the host's environment has %d bytes, at most %d are read", st.Size, maxHostEnv)
	}
	data := make([]byte, st.Size)
	if n, err := unix.Pread(fd, data, 0); err != nil || n != len(data) {
		return nil, errors.Join(errors.New("the host's environment cannot be read"), err)
	}
	env, err := splitHostEnv(data)
	return env, errors.Join(err, unix.Close(fd))
}

func splitHostEnv(data []byte) ([]string, error) {
	rest, ok := bytes.CutPrefix(data, []byte(hostEnvMagic))
	if !ok {
		return nil, errors.New("the host's environment does not begin as it should")
	}
	var env []string
	for len(rest) > 0 {
		v, tail, ok := bytes.Cut(rest, []byte{0})
		if !ok {
			return nil, errors.New("the host's environment is cut off")
		}
		env, rest = append(env, string(v)), tail
	}
	return env, nil
}

// closeOnExec keeps every file above the standard three from later programs.
func closeOnExec() error {
	if unix.CloseRange(hostEnvFD, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return nil
	}
	// An older kernel, or an engine's filter that does not know the call.
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("close inherited files: %w", err)
	}
	for _, e := range open {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= hostEnvFD {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}
