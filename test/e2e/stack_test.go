//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hitoku.dev/internal/freeport"
	"hitoku.dev/internal/image/registry"
)

// stack is one manager with an account, an agent and a registry.
type stack struct {
	t        *testing.T
	dir      string
	registry string // 127.0.0.1:port
	manager  string // https://127.0.0.1:port
	pin      string
	agent    string // http://bridge:port, as containers reach it
	tee      string // folder of the simulated TEE's socket
	agentEnd func()
}

func env(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s is not set: run these tests with test/e2e/run.sh", name)
	}
	return v
}

// newStack starts everything and logs in; the account is test-only.
func newStack(t *testing.T) *stack {
	t.Helper()
	s := &stack{t: t, dir: t.TempDir(), tee: filepath.Join("/run", fmt.Sprintf("hitoku-e2e-%d", os.Getpid()), strings.ReplaceAll(t.Name(), "/", "-"))}
	ctx, stop := context.WithCancel(context.Background())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.registry = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- registry.Serve(ctx, ln, filepath.Join(s.dir, "registry")) }()
	t.Cleanup(func() { stop(); <-served })

	ready := filepath.Join(s.dir, "ready.json")
	s.spawn("manager", "manager", "--data-dir", filepath.Join(s.dir, "manager"), "--listen", "127.0.0.1:0", "--ready-file", ready)
	var first struct{ URL, Pin, Code string }
	s.eventually("manager is ready", func() error {
		raw, err := os.ReadFile(ready)
		if err != nil {
			return err
		}
		return json.Unmarshal(raw, &first)
	})
	s.manager, s.pin = first.URL, first.Pin
	s.cliIn("e2e-password\n", "login", s.manager, "--pin", s.pin, "--email", "admin@e2e.internal", "--code", first.Code, "--password-stdin")
	s.cli("account", "create", "acme", "--test-only")
	s.startAgent()
	return s
}

// startAgent enrols this machine and waits until it is enrolled.
func (s *stack) startAgent() {
	s.t.Helper()
	token := strings.TrimSpace(s.cli("node", "token", "-q"))
	host := env(s.t, "HITOKU_E2E_BRIDGE")
	listen, err := freeport.Find(host)
	if err != nil {
		s.t.Fatal(err)
	}
	s.agent = "http://" + listen
	s.agentEnd = s.spawn("agent", "agent", "--manager", s.manager, "--join-token", token, "--name", "node-1",
		"--data-dir", filepath.Join(s.dir, "agent"), "--listen", listen, "--tee-dir", s.tee)
	s.t.Cleanup(func() { os.RemoveAll(s.tee) })
	s.eventually("agent is enrolled", func() error {
		out, err := s.try("", "node", "list", "--json")
		if err != nil {
			return err
		}
		if !strings.Contains(out, `"RUNNING"`) {
			return errors.New("node list: " + out)
		}
		return nil
	})
}

// cli runs hitoku and returns its output; failing is fatal.
func (s *stack) cli(args ...string) string { s.t.Helper(); return s.cliIn("", args...) }

func (s *stack) cliIn(stdin string, args ...string) string {
	s.t.Helper()
	out, err := s.try(stdin, args...)
	if err != nil {
		s.t.Fatalf("hitoku %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// try runs hitoku and returns its output; the error holds what it printed to standard error.
func (s *stack) try(stdin string, args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(env(s.t, "HITOKU_RACE_BIN"), "hitoku"), args...)
	cmd.Env = s.env()
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%w: %s", err, errs.String())
	}
	return out.String(), nil
}

func (s *stack) env() []string {
	return append(os.Environ(), "HITOKU_SESSION="+filepath.Join(s.dir, "session.json"), "XDG_CACHE_HOME="+filepath.Join(s.dir, "cache"), "HOME="+s.dir)
}

// spawn starts hitoku in the background until the test ends or the returned function is called.
func (s *stack) spawn(name string, args ...string) (end func()) {
	s.t.Helper()
	log, err := os.Create(filepath.Join(s.dir, name+".log"))
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(env(s.t, "HITOKU_RACE_BIN"), "hitoku"), args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = s.env(), log, log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	ended := false
	end = func() {
		if ended {
			return
		}
		ended = true
		select {
		case <-done:
			s.t.Errorf("%s ended by itself: %s", name, cmd.ProcessState)
		default:
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-done:
		case <-time.After(15 * time.Second):
			s.t.Errorf("%s did not stop within 15 s of SIGTERM", name)
			_ = cmd.Process.Kill()
			<-done
		}
		log.Close()
	}
	s.t.Cleanup(func() {
		end()
		if s.t.Failed() {
			raw, _ := os.ReadFile(log.Name())
			s.t.Logf("log of %s:\n%s", name, raw)
		}
	})
	return end
}

func (s *stack) eventually(what string, check func() error) {
	s.t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: not within 60 s: %v", what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// docker runs the Docker client against the tests' engine.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	out, err := tryDocker(args...)
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func tryDocker(args ...string) (string, error) {
	out, err := exec.Command("docker", args...).CombinedOutput()
	return string(out), err
}
