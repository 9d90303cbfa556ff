package simtee

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const maxProgram = 256 << 20

// program is what a process executes, seen once.
type program struct {
	path   string // in the process's own mount namespace, for messages only
	digest string // SHA-256 of the open file, lower-case hexadecimal
	inode  [2]uint64
	static bool // brings all its code itself
}

// observe looks at everything that must hold of a caller before it is trusted
// with a challenge, and again before its request is acted upon.
//
// The code comes before the debuggers: what a debugger did to the code stays to be
// seen when it has gone, so the look at the code covers all that was before it,
// and the look at the debuggers all that are there still.
func (p *process) observe() (*program, error) {
	if err := p.alive(); err != nil {
		return nil, err
	}
	if err := p.checkDumpable(); err != nil {
		return nil, err
	}
	prog, err := p.readProgram()
	if tracers := p.checkTracers(); tracers != nil {
		return nil, tracers // then nothing else that was seen means anything
	}
	if err != nil {
		return nil, err
	}
	return prog, p.same()
}

// readProgram looks at the open file behind /proc/PID/exe, not at what its path
// leads to now.
func (p *process) readProgram() (*program, error) {
	st, err := p.statProgram()
	if err != nil {
		return nil, err
	}
	prog := p.unchanged(&st)
	if prog == nil {
		if prog, st, err = p.readAnew(); err != nil {
			return nil, err
		}
	}
	err = p.checkCode(prog)
	if same := p.executes(&st); same != nil {
		return nil, same // then the text was another program's
	}
	return prog, err
}

// statProgram describes the file that the process executes; /proc/PID/exe leads to the
// file itself.
func (p *process) statProgram() (st unix.Stat_t, err error) {
	raw, err := p.dir.SyscallConn()
	if err != nil {
		return st, err
	}
	cerr := raw.Control(func(dir uintptr) { err = unix.Fstatat(int(dir), "exe", &st, 0) })
	return st, p.explainProgram(errors.Join(cerr, err))
}

// readAnew hashes the file that the process executes, and remembers it where that is safe.
func (p *process) readAnew() (prog *program, st unix.Stat_t, err error) {
	f, err := p.open("exe", unix.O_NONBLOCK)
	if err != nil {
		return nil, st, p.explainProgram(err)
	}
	keep := false
	defer func() {
		if !keep {
			f.Close()
		}
	}()
	info, err := f.Stat()
	if err == nil {
		err = unix.Fstat(int(f.Fd()), &st)
	}
	if err != nil {
		return nil, st, err
	}
	if prog, err = p.hash(f, info); err != nil {
		return nil, st, err
	}
	keep = p.remember(f, &st, prog, time.Now())
	return prog, st, nil
}

func (p *process) explainProgram(err error) error {
	switch {
	case errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT):
		return gone(p.pid)
	case errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM):
		return &RefusedError{
			Rule: "caller_program", Wanted: "a program that the node agent may read", Seen: err.Error(),
			Advice: "run the node agent as root, or the guest in a user namespace below the agent's",
		}
	}
	return err
}

// executes refuses when the program is no longer the file of st.
func (p *process) executes(st *unix.Stat_t) error {
	now, err := p.statProgram()
	if err != nil {
		return err
	}
	if st.Dev != now.Dev || st.Ino != now.Ino {
		return &RefusedError{
			Rule: "caller_program", Wanted: "one program", Seen: "another one while it was looked at",
			Advice: "connect after the last execve(2)",
		}
	}
	return nil
}

func (p *process) hash(f *os.File, info os.FileInfo) (*program, error) {
	if size := info.Size(); !info.Mode().IsRegular() || size > maxProgram {
		return nil, &RefusedError{
			Rule: "caller_program", Wanted: fmt.Sprintf("a regular file of at most %d bytes", maxProgram), Seen: fmt.Sprintf("%v of %d bytes", info.Mode().Type(), size),
		}
	}
	h := sha256.New()
	if _, err := io.CopyBuffer(h, io.LimitReader(f, maxProgram), make([]byte, 256<<10)); err != nil {
		return nil, fmt.Errorf("process %d: program: %w", p.pid, err)
	}
	prog := &program{digest: hex.EncodeToString(h.Sum(nil)), inode: inodeOf(info), static: isStatic(f)}
	var err error
	if prog.path, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd())); err != nil {
		return nil, fmt.Errorf("process %d: program: %w", p.pid, err)
	}
	return prog, nil
}

// isStatic reports whether a program brings all its code itself.
func isStatic(r io.ReaderAt) bool {
	f, err := elf.NewFile(r)
	if err != nil {
		return false
	}
	for _, s := range f.Progs {
		if s.Type == elf.PT_INTERP {
			return false
		}
	}
	return true
}
