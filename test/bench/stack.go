package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// stack is a running demonstration: manager, agent, registry and an account to work in.
type stack struct {
	b   *bench
	dir string
	end func()
	demoState
}

// demoState is what the demonstration writes into demo.json.
type demoState struct {
	Manager    string `json:"manager"`
	Agent      string `json:"agent"`
	Registry   string `json:"registry"`
	TEEDir     string `json:"tee_dir"`
	ManagerPID int    `json:"manager_pid"`
	AgentPID   int    `json:"agent_pid"`
}

// startStack starts the demonstration and waits until it stays up.
func (b *bench) startStack(ctx context.Context) (*stack, error) {
	s := &stack{b: b, dir: filepath.Join(b.dir, "demo")}
	var out bytes.Buffer
	cmd := exec.Command(filepath.Join(b.bin, "hitoku"), "demo", "--dir", s.dir)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	s.end = func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			_ = cmd.Process.Kill()
			<-done
		}
	}
	for {
		raw, err := os.ReadFile(filepath.Join(s.dir, "demo.json"))
		if err == nil && json.Unmarshal(raw, &s.demoState) == nil {
			return s, nil
		}
		select {
		case <-ctx.Done():
			s.end()
			return nil, ctx.Err()
		case <-done:
			return nil, fmt.Errorf("the demonstration ended: %s", out.String())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// hitoku runs a command in the demonstration's account and returns its output.
func (s *stack) hitoku(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.b.bin, "hitoku"), args...)
	cmd.Env = append(os.Environ(), "HITOKU_SESSION="+filepath.Join(s.dir, "session.json"))
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("hitoku %s: %w: %s", strings.Join(args, " "), err, exit.Stderr)
	}
	return out, err
}

// cpu is the processor time that a process has used so far.
func cpu(pid int) (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, raw)
	}
	var ticks int64
	for _, f := range fields[11:13] { // utime and stime, in 1/100 s
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}
