package play

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Process is a program that the demonstration started and will end.
type Process struct {
	Name string
	Log  string // file with its output
	Args []string
	cmd  *exec.Cmd
	done chan struct{}
}

// Spawn starts `hitoku ARGS…` in the background, its output in a log file. A process of
// the same name that has ended before has its log continued.
func (p *Play) Spawn(name string, args ...string) (*Process, error) {
	p.Note("$ hitoku %s &", p.shown(args))
	q := &Process{Name: name, Log: p.Path(name + ".log"), Args: args, done: make(chan struct{})}
	log, err := os.OpenFile(q.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	q.cmd = exec.Command(p.Exe, args...)
	q.cmd.Env = p.env()
	q.cmd.Stdout, q.cmd.Stderr = log, log
	q.cmd.SysProcAttr = ownGroup()
	if err := q.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = q.cmd.Wait(); close(q.done) }()
	p.mu.Lock()
	p.procs = append(p.procs, q)
	p.mu.Unlock()
	return q, nil
}

// PID is the process id of the newest process with this name, 0 when there is none.
func (p *Play) PID(name string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.procs) - 1; i >= 0; i-- {
		if p.procs[i].Name == name {
			return p.procs[i].cmd.Process.Pid
		}
	}
	return 0
}

// PID is the process id.
func (q *Process) PID() int { return q.cmd.Process.Pid }

// Kill ends the process with SIGKILL, which gives it no time for anything.
func (q *Process) Kill() {
	_ = q.cmd.Process.Kill()
	<-q.done
}

// end asks the process to stop and kills it after ten seconds.
func (q *Process) end() {
	_ = q.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-q.done:
	case <-time.After(10 * time.Second):
		q.Kill()
	}
}

// AtEnd has something done when the demonstration ends, after its processes have.
func (p *Play) AtEnd(f func()) { p.closers = append(p.closers, f) }

// Stop ends what was started, last first.
func (p *Play) Stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.procs) - 1; i >= 0; i-- {
		p.procs[i].end()
	}
	p.procs = nil
	for _, c := range p.closers {
		c()
	}
	p.closers = nil
}

// Until calls check every 50 ms until it returns nil, the process ends or the time is over.
func (p *Play) Until(ctx context.Context, q *Process, limit time.Duration, check func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready after %s: %w", q.Name, limit, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-q.done:
			return fmt.Errorf("%s ended", q.Name)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// lastLogs is the end of each log, for the message of a step that failed.
func (p *Play) lastLogs() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	told := map[string]bool{}
	for _, q := range p.procs {
		raw, err := os.ReadFile(q.Log)
		if err != nil || len(raw) == 0 || told[q.Log] {
			continue
		}
		told[q.Log] = true
		lines := strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
		fmt.Fprintf(&b, "\nend of the log of the %s:\n  %s", q.Name, strings.Join(lines[max(0, len(lines)-8):], "\n  "))
	}
	return b.String()
}

// Ended is closed when the process has ended.
func (q *Process) Ended() <-chan struct{} { return q.done }
