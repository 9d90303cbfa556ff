package simtee

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// process is a process pinned at the time when it connected: the pidfd says
// whether it still lives, the folder reads its /proc/PID whatever becomes of
// the number.
type process struct {
	pid      int32
	uid, gid uint32
	start    uint64 // clock ticks between boot and its start; with pid it names a process
	pidfd    *os.File
	dir      *os.File
	hashed   *hashed // nil until the program was hashed
	buffer   []byte  // of read
}

func (p *process) close() {
	p.forget()
	p.pidfd.Close()
	p.dir.Close()
}

// pin identifies the process that connected c.
func pin(c *net.UnixConn, procFS string) (*process, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var credErr error
	pidfd := -1
	err = raw.Control(func(fd uintptr) {
		// Messages must carry their sender's credentials from now on.
		if credErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1); credErr != nil {
			return
		}
		if cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); credErr != nil {
			return
		}
		if n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD); err == nil {
			pidfd = n
		}
	})
	if err := errors.Join(err, credErr); err != nil {
		return nil, fmt.Errorf("peer credentials: %w", err)
	}
	if cred.Pid <= 0 {
		return nil, &RefusedError{
			Rule: "caller_namespace", Wanted: "a caller in the node agent's PID namespace or below it", Seen: "a process of another namespace",
			Advice: "run the node agent in the host's PID namespace",
		}
	}
	if pidfd < 0 { // before Linux 6.5, or the caller is gone
		// The number may have passed to another process meanwhile; that one cannot send with the
		// credentials of this number over this socket unless it is the one pinned.
		if pidfd, err = unix.PidfdOpen(int(cred.Pid), 0); err != nil {
			return nil, gone(cred.Pid)
		}
	}
	unix.CloseOnExec(pidfd)
	p := &process{pid: cred.Pid, uid: cred.Uid, gid: cred.Gid, pidfd: os.NewFile(uintptr(pidfd), "pidfd")}
	if p.dir, err = os.Open(filepath.Join(procFS, strconv.Itoa(int(p.pid)))); err != nil {
		p.pidfd.Close()
		return nil, gone(cred.Pid)
	}
	if err := p.readStart(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *process) readStart() (err error) {
	if p.start, err = p.startTime(); err != nil {
		return err
	}
	return p.alive() // the folder was the pinned process's when it was opened
}

func gone(pid int32) error {
	return &RefusedError{Rule: "caller_alive", Wanted: "a living caller", Seen: fmt.Sprintf("process %d has ended", pid)}
}

// alive refuses a process that has ended. Whoever has its number now is another.
func (p *process) alive() error {
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var n int
	var pollErr error
	err = raw.Control(func(fd uintptr) {
		for {
			n, pollErr = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			if pollErr != unix.EINTR {
				return
			}
		}
	})
	if err := errors.Join(err, pollErr); err != nil {
		return fmt.Errorf("process %d: %w", p.pid, err)
	}
	if n != 0 {
		return gone(p.pid)
	}
	return nil
}

// open opens a file of /proc/PID.
func (p *process) open(name string, flags int) (*os.File, error) {
	raw, err := p.dir.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var openErr error
	err = raw.Control(func(dir uintptr) {
		fd, openErr = unix.Openat(int(dir), name, flags|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	})
	if err == nil {
		err = openErr
	}
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
		return nil, gone(p.pid)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Join(p.dir.Name(), name), Err: err}
	}
	return os.NewFile(uintptr(fd), filepath.Join(p.dir.Name(), name)), nil
}

const maxProcFile = 1 << 20

// read reads a small file of /proc/PID. The result is good until the next call.
// It is called often for each request, so it does without what os.File does.
func (p *process) read(name string) (b []byte, err error) {
	raw, err := p.dir.SyscallConn()
	if err != nil {
		return nil, err
	}
	cerr := raw.Control(func(dir uintptr) { b, err = p.readAt(int(dir), name) })
	switch {
	case cerr != nil:
		return nil, cerr
	case errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT):
		return nil, gone(p.pid)
	case err != nil:
		return nil, &os.PathError{Op: "read", Path: filepath.Join(p.dir.Name(), name), Err: err}
	case len(b) > maxProcFile: // what is cut off could be what matters
		return nil, &RefusedError{Rule: "caller_memory", Wanted: fmt.Sprintf("%s of at most %d bytes", name, maxProcFile), Seen: "more"}
	}
	return b, nil
}

func (p *process) readAt(dir int, name string) ([]byte, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	n := 0
	for n <= maxProcFile {
		if len(p.buffer)-n < 4<<10 {
			p.buffer = append(p.buffer, make([]byte, max(16<<10, len(p.buffer)))...)
		}
		more, err := unix.Read(fd, p.buffer[n:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if more == 0 {
			break
		}
		n += more
	}
	return p.buffer[:n], nil
}

// startTime is field 22 of /proc/PID/stat; field 2, the name, may hold anything.
func (p *process) startTime() (uint64, error) {
	b, err := p.read("stat")
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 20 {
		return 0, fmt.Errorf("process %d: %q is no /proc/PID/stat", p.pid, b)
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

// same refuses when /proc/PID is another process than the one pinned.
func (p *process) same() error {
	if err := p.alive(); err != nil {
		return err
	}
	start, err := p.startTime()
	if err != nil {
		return err
	}
	if start != p.start {
		return &RefusedError{Rule: "caller_start", Wanted: fmt.Sprintf("a process started at tick %d", p.start), Seen: fmt.Sprintf("tick %d", start)}
	}
	return nil
}

// checkTracers refuses a process that anybody debugs. The kernel counts tracers
// for each thread.
func (p *process) checkTracers() error {
	tasks, err := p.open("task", unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer tasks.Close()
	ids, err := tasks.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("process %d: %w", p.pid, err)
	}
	for _, id := range ids {
		status, err := p.read("task/" + id + "/status")
		if errors.As(err, new(*RefusedError)) {
			continue // the thread ended; whether the process did is for alive to say
		}
		if err != nil {
			return err
		}
		tracer, err := statusField(status, "TracerPid")
		if err != nil {
			return fmt.Errorf("process %d: %w", p.pid, err)
		}
		if tracer != "0" {
			return &RefusedError{
				Rule: "caller_tracer", Wanted: "no debugger on any thread", Seen: fmt.Sprintf("process %s traces thread %s", tracer, id),
				Advice: "a program under a debugger has no secrets; start it without",
			}
		}
	}
	return nil
}

func statusField(status []byte, name string) (string, error) {
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte(name+":")); ok {
			return string(bytes.TrimSpace(value)), nil
		}
	}
	return "", fmt.Errorf("status has no %s", name)
}

// checkDumpable refuses a process that others of its user may read. Kernels
// before Linux 6.16 do not tell; then the guest's word has to do.
func (p *process) checkDumpable() error {
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_COREDUMP}
	var errno unix.Errno
	err = raw.Control(func(fd uintptr) { errno = pidfdInfo(fd, &info) })
	if err != nil {
		return err
	}
	const coredumpSkip = 1 << 1 // PIDFD_COREDUMP_SKIP of linux/pidfd.h
	if errno != 0 || info.Mask&unix.PIDFD_INFO_COREDUMP == 0 || info.Coredump_mask&coredumpSkip != 0 {
		return nil
	}
	return &RefusedError{
		Rule: "caller_dumpable", Wanted: "a process that debuggers may not attach to (PR_SET_DUMPABLE 0)", Seen: "dumpable",
		Advice: "the guest must call prctl(PR_SET_DUMPABLE, 0) before it connects",
	}
}
