package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// signals receives what the engine, a terminal or a child sends.
type signals struct {
	ch     chan os.Signal
	renews chan syscall.Signal // sent to the program after a renewal
}

// catchSignals begins to receive every signal that can be caught. The queue is
// long enough that a burst of different signals is not lost.
func catchSignals() *signals {
	s := &signals{ch: make(chan os.Signal, 128), renews: make(chan syscall.Signal, 1)}
	signal.Notify(s.ch)
	return s
}

func (s *signals) stop() { signal.Stop(s.ch) }

// renewed asks supervise to send sig to the program; two requests at once are one.
func (s *signals) renewed(sig syscall.Signal) {
	select {
	case s.renews <- sig:
	default:
	}
}

// notForwarded are the guest's own business: its children's ends, the Go
// runtime's preemption, a broken pipe of its own, and a terminal's job control.
func notForwarded(sig syscall.Signal) bool {
	switch sig {
	case unix.SIGCHLD, unix.SIGURG, unix.SIGPIPE, unix.SIGTTIN, unix.SIGTTOU:
		return true
	}
	return false
}

// stopsBeforeStart are the signals that end a guest whose program has not started yet.
func stopsBeforeStart(sig os.Signal) bool {
	switch sig {
	case unix.SIGTERM, unix.SIGINT, unix.SIGQUIT, unix.SIGHUP:
		return true
	}
	return false
}

// stoppedError says that a signal came before the program started.
type stoppedError struct{ signal syscall.Signal }

func (e *stoppedError) Error() string {
	return "stopped by " + e.signal.String() + " before the program started"
}

// untilStart returns a context that ends when a stop signal arrives; call ready
// when the program is about to start.
func (s *signals) untilStart(parent context.Context) (ctx context.Context, ready func()) {
	ctx, cancel := context.WithCancelCause(parent)
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case sig := <-s.ch:
				if stopsBeforeStart(sig) {
					cancel(&stoppedError{sig.(syscall.Signal)})
				}
			case <-over:
				return
			}
		}
	}()
	return ctx, func() { close(over); <-done; cancel(context.Canceled) }
}

// supervise forwards signals to the program and reaps every child until the
// program ends. It returns the exit code: the program's own, or 128 and the
// signal that ended it. A stop signal that the program does not follow within
// grace is followed by SIGKILL; grace 0 waits for ever.
func (s *signals) supervise(p *program, grace time.Duration) (int, error) {
	// A child may have ended before the first SIGCHLD was looked for.
	if code, ended, err := reap(p.pid); ended || err != nil {
		return code, err
	}
	var kill <-chan time.Time
	for {
		select {
		case sig := <-s.ch:
			number, ok := sig.(syscall.Signal)
			if !ok {
				continue
			}
			if number == unix.SIGCHLD {
				if code, ended, err := reap(p.pid); ended || err != nil {
					return code, err
				}
			}
			if notForwarded(number) {
				continue
			}
			if err := p.signal(number); err != nil {
				return 0, err
			}
			if grace > 0 && kill == nil && (number == unix.SIGTERM || number == unix.SIGINT || number == unix.SIGQUIT) {
				kill = time.After(grace)
			}
		case sig := <-s.renews:
			if err := p.signal(sig); err != nil {
				return 0, err
			}
		case <-kill:
			if err := p.signal(unix.SIGKILL); err != nil {
				return 0, err
			}
		}
	}
}

// signal sends to the program. It cannot have been reaped yet: the caller reaps.
func (p *program) signal(sig syscall.Signal) error {
	if err := unix.Kill(p.pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("send %v to the program: %w", sig, err)
	}
	return nil
}

// reap collects every child that has ended.
func reap(main int) (code int, ended bool, err error) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ECHILD && ended:
			return code, true, nil
		case err != nil:
			return 0, false, fmt.Errorf("wait for the program: %w", err)
		case pid == 0:
			return code, ended, nil
		case pid == main && status.Exited():
			code, ended = status.ExitStatus(), true
		case pid == main && status.Signaled():
			code, ended = 128+int(status.Signal()), true
		}
	}
}
