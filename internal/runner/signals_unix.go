//go:build unix

package runner

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Forward passes the signals that this process receives on to a container of the
// built-in runner, as docker run does, until the returned function is called. A
// container that outlives an interrupt or a termination by grace is killed.
func Forward(c Container, grace time.Duration) (stop func()) {
	target, ok := c.(interface {
		Signal(syscall.Signal) error
	})
	if !ok {
		return func() {}
	}
	if grace <= 0 {
		grace = defaultGrace
	}
	signals, done := make(chan os.Signal, 8), make(chan struct{})
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	go func() {
		var late <-chan time.Time
		for {
			select {
			case <-done:
				return
			case <-late:
				target.Signal(syscall.SIGKILL) // an error means that it has ended
			case s := <-signals:
				target.Signal(s.(syscall.Signal))
				if late == nil && (s == syscall.SIGINT || s == syscall.SIGTERM) {
					late = time.After(grace)
				}
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
	}
}
