package box

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"hitoku.dev/internal/runner/rootfs"
)

// helperName is the name under which this executable starts itself as a helper.
const helperName = "hitoku-box"

// The stages of a helper.
const (
	stageUnpack = "unpack" // unpack a layer from standard input
	stageRemove = "remove" // remove a folder with files of mapped users
	stageCheck  = "check"  // try whether namespaces work
	stageNet    = "net"    // hold the network namespace
	stageInit   = "init"   // become the container's program
)

// Where a helper finds its files.
const (
	fdConfig  = 3
	fdControl = 4
)

// init takes over when the process was started as a helper. It must come before
// anything the program does with its arguments, in every program that imports
// this package, tests included.
func init() {
	if len(os.Args) < 2 || os.Args[0] != helperName {
		return
	}
	// The thread that makes namespaces and changes capabilities is the one that goes on.
	runtime.LockOSThread()
	err := helper(os.Args[1], os.Args[2:])
	if err == nil {
		os.Exit(0)
	}
	var exit *exitError
	if errors.As(err, &exit) {
		os.Exit(exit.code)
	}
	fmt.Fprintln(os.Stderr, "hitoku: "+err.Error())
	os.Exit(1)
}

// exitError carries an exit code through a helper.
type exitError struct{ code int }

func (e *exitError) Error() string { return "exit code " + strconv.Itoa(e.code) }

func helper(stage string, args []string) error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	if len(args) > 0 && args[0] == argAwait {
		return awaitMapping(stage, args[1:])
	}
	unix.Umask(0o022)
	switch stage {
	case stageUnpack:
		return helperUnpack(args)
	case stageRemove:
		if len(args) != 1 {
			return errors.New("remove: wanted a folder")
		}
		return os.RemoveAll(args[0])
	case stageCheck:
		return unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, "")
	case stageNet:
		return helperNet()
	case stageInit:
		return helperInit()
	}
	return fmt.Errorf("no such stage %q", stage)
}

func helperUnpack(args []string) error {
	if len(args) != 1 {
		return errors.New("unpack: wanted a folder")
	}
	unix.Umask(0)
	report, err := rootfs.Apply(args[0], os.Stdin, rootfs.DefaultLimits())
	if err != nil {
		return err
	}
	// The caller compares the digest of the whole stream, padding included.
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}

// argAwait says that user ids are mapped by the parent after the start.
const argAwait = "--await-mapping"

// awaitMapping waits until the parent has mapped ids, and executes itself again:
// a program that starts as user 0 of its namespace has all capabilities in it.
func awaitMapping(stage string, args []string) error {
	var b [1]byte
	if n, err := unix.Read(fdControl, b[:]); err != nil || n != 1 {
		return errors.New("the parent did not map user ids")
	}
	return unix.Exec("/proc/self/exe", append([]string{helperName, stage}, args...), os.Environ())
}

// command prepares a helper in a user namespace when users says so, and flags.
// control is the caller's end of a socket to it.
func command(users *Users, stage string, flags uintptr, args ...string) (cmd *exec.Cmd, control *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	control, theirs := os.NewFile(uintptr(pair[0]), "control"), os.NewFile(uintptr(pair[1]), "control")
	cmd = exec.Command("/proc/self/exe")
	if users != nil && users.tools {
		args = append([]string{argAwait}, args...)
	}
	cmd.Args = append([]string{helperName, stage}, args...)
	cmd.Env = []string{} // nothing of the caller's environment reaches a container
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	users.apply(cmd.SysProcAttr)
	// A closed file keeps place 3 where there is no configuration.
	cmd.ExtraFiles = []*os.File{nil, theirs}
	return cmd, control, nil
}

// start starts a helper made by command, and lets it go once its ids are mapped.
// The thread that calls must live as long as the helper (prctl(2), PR_SET_PDEATHSIG).
func start(cmd *exec.Cmd, control *os.File, users *Users) error {
	err := cmd.Start()
	cmd.ExtraFiles[1].Close()
	if err != nil {
		control.Close()
		return explainStart(err, users)
	}
	if users == nil || !users.tools {
		return nil
	}
	err = users.mapInto(cmd.Process.Pid)
	if err == nil {
		_, err = control.Write([]byte{1})
	}
	if err != nil {
		control.Close()
		cmd.Process.Kill()
		cmd.Wait()
	}
	return err
}

func explainStart(err error, users *Users) error {
	if users != nil && (errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EACCES)) {
		if hint := Check(); hint != nil {
			return hint
		}
	}
	if users == nil && errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("namespaces cannot be made here (%w): root in this container lacks CAP_SYS_ADMIN; run on the host, or use Docker or Podman", err)
	}
	return fmt.Errorf("helper process: %w", err)
}

// Unpack applies one uncompressed layer to dir, as the users of the container
// where these are mapped.
func Unpack(users *Users, dir string, layer io.Reader) (*rootfs.Report, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd, control, err := command(users, stageUnpack, 0, dir)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	// A pipe of our own: Wait would otherwise wait for the reader of a helper that is gone.
	in, out := &output{limit: 1 << 16}, &output{limit: 1 << 16}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = r, in, out
	err = start(cmd, control, users)
	r.Close()
	if err != nil {
		w.Close()
		return nil, err
	}
	_, copyErr := io.Copy(w, layer)
	w.Close()
	err = cmd.Wait()
	switch {
	case copyErr != nil && !errors.Is(copyErr, syscall.EPIPE):
		return nil, copyErr
	case err != nil:
		return nil, fmt.Errorf("unpacking: %s", out.text(err))
	}
	report := new(rootfs.Report)
	if err := json.Unmarshal(in.b, report); err != nil {
		return nil, fmt.Errorf("unpacking: %w", err)
	}
	return report, nil
}

// Remove removes a folder that Unpack filled.
func Remove(users *Users, dir string) error {
	if users == nil {
		return os.RemoveAll(dir)
	}
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd, control, err := command(users, stageRemove, 0, dir)
	if err != nil {
		return err
	}
	defer control.Close()
	out := &output{limit: 1 << 16}
	cmd.Stderr = out
	if err := start(cmd, control, users); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("removing %s: %s", dir, out.text(err))
	}
	return nil
}

// output keeps the first bytes that a helper prints.
type output struct {
	b     []byte
	limit int
}

func (o *output) Write(p []byte) (int, error) {
	o.b = append(o.b, p[:min(len(p), o.limit-len(o.b))]...)
	return len(p), nil
}

func (o *output) text(err error) string {
	const prefix = "hitoku: "
	s := string(o.b)
	if len(s) > len(prefix) && s[:len(prefix)] == prefix {
		s = s[len(prefix):]
	}
	for len(s) > 0 && s[len(s)-1] == '\n' {
		s = s[:len(s)-1]
	}
	if s == "" {
		return err.Error()
	}
	return s
}

// unixConn wraps a control socket.
func unixConn(f *os.File) (*net.UnixConn, error) {
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("control socket: not a Unix socket")
	}
	return u, nil
}
