package box

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// netHelper holds the network namespace of a container and watches over its program.
type netHelper struct {
	control *net.UnixConn
	program *os.Process
}

// helperNet is stage "net".
func helperNet() error {
	unix.CloseOnExec(fdConfig)
	unix.CloseOnExec(fdControl)
	config := os.NewFile(fdConfig, "configuration")
	control, err := unixConn(os.NewFile(fdControl, "control"))
	if err != nil {
		return err
	}
	h := &netHelper{control: control}
	if err := h.prepare(config); err != nil {
		h.send(&message{Op: opFailed, Error: err.Error()})
		return &exitError{1}
	}
	code, err := h.run(config)
	if err != nil {
		return &exitError{1} // it has been told
	}
	h.send(&message{Op: opExit, Code: code})
	return &exitError{code}
}

// send tells the caller; when it is gone, nobody is left to tell.
func (h *netHelper) send(m *message, files ...*os.File) { _ = send(h.control, m, files...) }

func (h *netHelper) prepare(config *os.File) error {
	raw, err := io.ReadAll(io.NewSectionReader(config, 0, maxSpec))
	if err != nil {
		return err
	}
	var s spec
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("container configuration: %w", err)
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("loopback of the container: %w", err)
	}
	if s.AgentPort == 0 {
		return nil
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.AgentPort)))
	if err != nil {
		return err
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	defer f.Close()
	h.send(&message{Op: opAgent}, f)
	return nil
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// run starts the program and returns its exit code.
func (h *netHelper) run(config *os.File) (int, error) {
	failed, theirs, err := os.Pipe()
	if err != nil {
		h.send(&message{Op: opFailed, Error: err.Error()})
		return 0, err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{helperName, stageInit}
	cmd.Env = []string{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{config, theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS | syscall.CLONE_NEWCGROUP,
		Setsid:     true, Pdeathsig: syscall.SIGKILL,
	}
	err = cmd.Start()
	theirs.Close()
	config.Close()
	if err != nil {
		h.send(&message{Op: opFailed, Error: explainStart(err, nil).Error()})
		return 0, err
	}
	h.program = cmd.Process
	go h.obey()
	// The pipe closes without a word when the program is executed.
	raw, err := io.ReadAll(io.LimitReader(failed, maxMessage/2))
	failed.Close()
	var f initFailure
	switch {
	case err == nil && len(raw) == 0:
		h.send(&message{Op: opStarted})
	case json.Unmarshal(raw, &f) == nil:
		h.send(&message{Op: opFailed, Error: f.Error, Code: f.Code})
	default:
		h.send(&message{Op: opFailed, Error: "container: its set-up ended unexpectedly"})
	}
	err = cmd.Wait()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case !ok:
		return 0, err
	case status.Signaled():
		return 128 + int(status.Signal()), nil
	}
	return status.ExitStatus(), nil
}

// obey does what the caller asks. When the caller is gone, the program goes too.
func (h *netHelper) obey() {
	for {
		m, files, err := receive(h.control)
		closeFiles(files)
		if err != nil {
			h.signal(syscall.SIGKILL)
			return
		}
		switch m.Op {
		case opSignal:
			h.signal(syscall.Signal(m.Signal))
		case opDial:
			go h.dial(m)
		}
	}
}

// signal does nothing once the program has ended.
func (h *netHelper) signal(s syscall.Signal) { _ = h.program.Signal(s) }

func (h *netHelper) dial(m *message) {
	reply := &message{Op: opDial, ID: m.ID}
	f, err := dialLoopback(m.Port)
	if err != nil {
		reply.Error = err.Error()
		h.send(reply)
		return
	}
	defer f.Close()
	h.send(reply, f)
}

// dialLoopback tries both families: a program may listen on one only.
func dialLoopback(port int) (*os.File, error) {
	var errs []error
	for _, host := range []string{"127.0.0.1", "::1"} {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(host, strconv.Itoa(port)), 5*time.Second)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		defer c.Close()
		return c.(*net.TCPConn).File()
	}
	return nil, errors.Join(errs...)
}
