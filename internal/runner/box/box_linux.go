package box

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Config describes a container.
type Config struct {
	// Rootfs is the folder that holds the root file system. With Overlay it stays as it is and
	// changes go to Dir; without, the container writes into it.
	Rootfs  string
	Overlay bool
	// Dir is a private folder of this container, empty at first.
	Dir      string
	Hostname string
	Mounts   []Mount
	Args     []string // the program and its arguments
	Env      []string
	WorkDir  string
	User     string   // as in an image configuration: empty, a name or id, with or without group
	Folders  []string // made when they are missing
	// AgentPort, when set, is a port on the container's loopback whose connections Accept returns.
	AgentPort int

	Users          *Users
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Mount binds Source of the host to Target in the container.
type Mount struct {
	Source   string `json:"source"`
	Target   string `json:"target"`
	ReadOnly bool   `json:"read_only,omitempty"`
}

// message goes over the control socket, one a packet.
type message struct {
	Op     string `json:"op"`
	ID     uint64 `json:"id,omitempty"`
	Port   int    `json:"port,omitempty"`
	Signal int    `json:"signal,omitempty"`
	Code   int    `json:"code,omitempty"`
	Error  string `json:"error,omitempty"`
}

const (
	opDial    = "dial"    // caller: connect to a port; helper: here it is, or why not
	opSignal  = "signal"  // caller: signal the program
	opAgent   = "agent"   // helper: the listening socket for the node agent
	opStarted = "started" // helper: the program was executed
	opFailed  = "failed"  // helper: it could not be
	opExit    = "exit"    // helper: it ended

	maxMessage = 4096
)

// ErrOverlay means that this kernel or file system has no overlays for us.
var ErrOverlay = errors.New("overlay file system is not available")

// Box is a running container.
type Box struct {
	control *net.UnixConn
	agent   net.Listener

	mu      sync.Mutex
	next    uint64
	dials   map[uint64]chan dialed
	closed  bool
	started chan error // one value
	exited  chan struct{}
	code    int
	err     error
}

type dialed struct {
	conn net.Conn
	err  error
}

// startGrace is how long a start that was called off may take to tell that it has happened.
const startGrace = time.Second

// Start starts a container. It returns once the program has been executed.
func Start(ctx context.Context, c Config) (*Box, error) {
	if len(c.Args) == 0 {
		return nil, errors.New("container: no program to start")
	}
	raw, err := json.Marshal(newSpec(&c))
	if err != nil {
		return nil, err
	}
	b := &Box{dials: map[uint64]chan dialed{}, started: make(chan error, 1), exited: make(chan struct{})}
	ready := make(chan error, 1)
	go b.supervise(&c, raw, ready)
	if err := <-ready; err != nil {
		return nil, err
	}
	select {
	case err = <-b.started:
	case <-ctx.Done():
		// The program may run already, and the word of it be on its way: then it gets its stop
		// signal, as one that has long been running does.
		select {
		case err = <-b.started:
		case <-time.After(startGrace):
			err = ctx.Err()
		}
	}
	if err != nil {
		b.Kill()
		<-b.exited
		return nil, err
	}
	return b, nil
}

// supervise starts the helper and stays until it ends, on one thread: the kernel
// kills the helper when that thread ends.
func (b *Box) supervise(c *Config, spec []byte, ready chan<- error) {
	runtime.LockOSThread()
	defer close(b.exited)
	cmd, err := b.launch(c, spec)
	ready <- err
	if err != nil {
		b.fail(err)
		return
	}
	received := make(chan struct{})
	go func() { defer close(received); b.receive() }()
	err = cmd.Wait()
	b.control.CloseRead()
	<-received
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.control.Close()
	if b.agent != nil {
		b.agent.Close()
	}
	for _, ch := range b.dials {
		ch <- dialed{err: errEnded}
	}
	b.dials = nil
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && b.err == nil {
		b.err = err
	}
	if b.code < 0 && b.err == nil {
		b.err = errors.New("container: it was killed from outside")
	}
	select {
	case b.started <- errors.Join(errEnded, b.err):
	default:
	}
}

var errEnded = errors.New("container has ended")

func (b *Box) fail(err error) {
	b.err = err
	select {
	case b.started <- err:
	default:
	}
}

func (b *Box) launch(c *Config, spec []byte) (*exec.Cmd, error) {
	b.code = -1
	cmd, control, err := command(c.Users, stageNet, syscall.CLONE_NEWNET)
	if err != nil {
		return nil, err
	}
	config, err := memfile(spec)
	if err != nil {
		control.Close()
		return nil, err
	}
	defer config.Close()
	cmd.ExtraFiles[0] = config
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	if err := start(cmd, control, c.Users); err != nil {
		return nil, err
	}
	if b.control, err = unixConn(control); err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return nil, err
	}
	return cmd, nil
}

// memfile returns a file in memory that holds b.
func memfile(b []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("hitoku-box", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memory file: %w", err)
	}
	f := os.NewFile(uintptr(fd), "configuration")
	if _, err := f.WriteAt(b, 0); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// receive reads what the helper says until it ends.
func (b *Box) receive() {
	for {
		m, files, err := receive(b.control)
		if err != nil {
			return
		}
		switch m.Op {
		case opAgent:
			if l, err := listenerOf(files); err == nil {
				b.mu.Lock()
				b.agent = l
				b.mu.Unlock()
			}
		case opStarted:
			b.started <- nil
		case opFailed:
			b.mu.Lock()
			b.err = errors.New(m.Error)
			if m.Code == codeOverlay {
				b.err = fmt.Errorf("%w: %s", ErrOverlay, m.Error)
			} else if m.Code > 0 {
				b.err = &StartError{m.Code, m.Error}
			}
			err := b.err
			b.mu.Unlock()
			b.started <- err
		case opExit:
			b.mu.Lock()
			b.code = m.Code
			b.mu.Unlock()
		case opDial:
			b.answer(m, files)
		}
	}
}

func (b *Box) answer(m *message, files []*os.File) {
	var d dialed
	switch {
	case m.Error != "":
		d.err = errors.New(m.Error)
	case len(files) != 1:
		d.err = errors.New("helper: no socket in its answer")
	default:
		d.conn, d.err = net.FileConn(files[0])
	}
	closeFiles(files)
	b.mu.Lock()
	ch := b.dials[m.ID]
	delete(b.dials, m.ID)
	b.mu.Unlock()
	if ch != nil {
		ch <- d
	} else if d.conn != nil {
		d.conn.Close()
	}
}

// StartError says that the program could not be executed; Code is the exit code
// that shells and container engines give then: 126 or 127.
type StartError struct {
	Code int
	Text string
}

func (e *StartError) Error() string { return e.Text }

// Agent returns the listening socket on the container's loopback at AgentPort, nil
// without one.
func (b *Box) Agent() net.Listener {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.agent
}

// Dial connects to a TCP port on the container's loopback.
func (b *Box) Dial(ctx context.Context, port int) (net.Conn, error) {
	ch := make(chan dialed, 1)
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil, errEnded
	}
	b.next++
	id := b.next
	b.dials[id] = ch
	b.mu.Unlock()
	if err := send(b.control, &message{Op: opDial, ID: id, Port: port}); err != nil {
		b.mu.Lock()
		delete(b.dials, id)
		b.mu.Unlock()
		return nil, err
	}
	select {
	case d := <-ch:
		return d.conn, d.err
	case <-ctx.Done():
		go func() { // the answer still comes, and with it perhaps a socket
			if d := <-ch; d.conn != nil {
				d.conn.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// Signal sends a signal to the program.
func (b *Box) Signal(s syscall.Signal) error {
	return send(b.control, &message{Op: opSignal, Signal: int(s)})
}

// Kill ends the container at once.
func (b *Box) Kill() { b.Signal(syscall.SIGKILL) } // an error means that it has ended

// Done is closed when the container has ended.
func (b *Box) Done() <-chan struct{} { return b.exited }

// Wait returns the program's exit code, 128 and the signal's number when one ended it.
func (b *Box) Wait() (int, error) {
	<-b.exited
	return b.code, b.err
}
