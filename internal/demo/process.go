package demo

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// process is a program that the demonstration started and will end.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// spawn starts `hitoku ARGS…` in the background, its output in a log file.
func (d *demo) spawn(name string, args ...string) (*process, error) {
	fmt.Fprintf(d.Out, "    %s\n", d.faint("$ hitoku "+d.shown(args)+" &"))
	p := &process{name: name, log: d.path(name + ".log"), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command(d.Exe, args...)
	p.cmd.Env = d.env()
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = ownGroup()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = p.cmd.Wait(); close(p.done) }()
	d.mu.Lock()
	d.procs = append(d.procs, p)
	d.mu.Unlock()
	return p, nil
}

// pid is the process id of the newest process with this name, 0 when there is none.
func (d *demo) pid(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := len(d.procs) - 1; i >= 0; i-- {
		if d.procs[i].name == name {
			return d.procs[i].cmd.Process.Pid
		}
	}
	return 0
}

// end asks the process to stop and kills it after ten seconds.
func (p *process) end() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// stop ends what was started, last first.
func (d *demo) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := len(d.procs) - 1; i >= 0; i-- {
		d.procs[i].end()
	}
	d.procs = nil
	for _, c := range d.closers {
		c()
	}
	d.closers = nil
}

// until calls check every 50 ms until it returns nil, the process ends or the time is over.
func (d *demo) until(ctx context.Context, p *process, limit time.Duration, check func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready after %s: %w", p.name, limit, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.done:
			return fmt.Errorf("%s ended", p.name)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// lastLogs is the end of each log, for the message of a step that failed.
func (d *demo) lastLogs() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var b strings.Builder
	for _, p := range d.procs {
		raw, err := os.ReadFile(p.log)
		if err != nil || len(raw) == 0 {
			continue
		}
		lines := strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
		fmt.Fprintf(&b, "\nend of the log of the %s:\n  %s", p.name, strings.Join(lines[max(0, len(lines)-8):], "\n  "))
	}
	return b.String()
}
