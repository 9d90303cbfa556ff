package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"hitoku.dev/internal/sgxhost"
)

// answers reports whether an engine's command is there and its engine answers.
func answers(ctx context.Context, engine string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	path, err := exec.LookPath(engine)
	if err != nil {
		return fmt.Errorf("%s: not installed", engine)
	}
	out, err := exec.CommandContext(ctx, path, "info").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: it does not answer: %s", engine, lastLine(out, err))
	}
	// Docker's client ends with 0 in some versions although the engine is away.
	if text := string(out); strings.Contains(text, "Cannot connect to the Docker daemon") || strings.Contains(text, "permission denied while trying to connect") {
		return fmt.Errorf("%s: it does not answer: %s", engine, lastLine(out, errors.New("no engine")))
	}
	return nil
}

func lastLine(out []byte, err error) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		return last
	}
	return err.Error()
}

// CommandLine returns the command by which Docker or Podman runs the image: the
// one that the documentation shows. It asks the node agent for its address when
// none is given.
func CommandLine(ctx context.Context, engine string, o Options) ([]string, error) {
	if err := o.check(engine); err != nil {
		return nil, err
	}
	agent, err := o.bridgeAgent(ctx, engine)
	if err != nil {
		return nil, err
	}
	argv := []string{engine, "run"}
	if o.Remove {
		argv = append(argv, "--rm")
	}
	if o.Detach {
		argv = append(argv, "-d")
	}
	if o.Stdin != nil {
		argv = append(argv, "-i")
	}
	if o.Name != "" {
		argv = append(argv, "--name", o.Name)
	}
	argv = append(argv, o.teeFlags()...)
	argv = append(argv, "-e", agentVariable+"="+agent)
	for _, e := range o.Env {
		argv = append(argv, "-e", e)
	}
	for _, p := range o.Ports {
		argv = append(argv, "-p", p)
	}
	for _, v := range o.Volumes {
		argv = append(argv, "-v", v)
	}
	argv = append(argv, o.Image)
	return append(argv, o.Args...), nil
}

// teeFlags give a container its TEE and nothing else of the host.
func (o *Options) teeFlags() []string {
	if o.TEE != TEESGX {
		// Read-only: a program may connect to the socket, and not put another in its place for others.
		return []string{"-v", o.teeDir() + ":" + ContainerTEEDir + ":ro"}
	}
	device, socket := sgxhost.EnclaveDevice, sgxhost.AESMSocket
	if o.SGX != nil {
		device, socket = o.SGX.EnclaveDevice, o.SGX.AESM
	}
	if device != sgxhost.EnclaveDevice { // Gramine opens the one name only
		device += ":" + sgxhost.EnclaveDevice
	}
	return []string{"--device", device, "-v", socket + ":" + sgxhost.AESMSocket}
}

// bridgeAgent is the node agent's address as a container on an engine's bridge sees it.
func (o *Options) bridgeAgent(ctx context.Context, engine string) (string, error) {
	if o.Agent != "" {
		u, err := parseAgent(o.Agent)
		if err != nil {
			return "", err
		}
		if !isLoopback(u.Hostname()) {
			return u.String(), nil
		}
		return o.askAgent(ctx, engine, u)
	}
	return o.askAgent(ctx, engine, &url.URL{Scheme: "http", Host: "127.0.0.1:9092"})
}

// askAgent asks the agent on loopback where else it listens: inside a container,
// loopback is the container's own.
func (o *Options) askAgent(ctx context.Context, engine string, u *url.URL) (string, error) {
	listen, err := agentAddresses(ctx, u)
	if err != nil {
		return "", err
	}
	for _, addr := range listen {
		host, port, err := net.SplitHostPort(addr)
		ip := net.ParseIP(host)
		if err != nil || ip == nil || ip.IsLoopback() {
			continue
		}
		if ip.IsUnspecified() {
			return "http://" + net.JoinHostPort(hostName(engine), port), nil
		}
		return "http://" + addr, nil
	}
	return "", fmt.Errorf("run: the node agent at %s listens on %s only, which no container of %s reaches; start it with --listen at the bridge's address too, or pass --agent http://ADDRESS:9092", u, strings.Join(listen, ", "), engine)
}

func hostName(engine string) string {
	if engine == EnginePodman {
		return "host.containers.internal"
	}
	return "172.17.0.1" // the bridge's address unless the engine is told another
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// agentAddresses asks an agent on loopback for the addresses it listens on.
func agentAddresses(ctx context.Context, u *url.URL) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.JoinPath("/v1/status").String(), nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("run: no node agent answers at %s (%w); start one with `hitoku agent`, or pass --agent", u, errors.Unwrap(err))
	}
	defer res.Body.Close()
	var s struct {
		Listen []string `json:"listen"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 4<<20)).Decode(&s); err != nil || res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("run: what answers at %s is no node agent; pass --agent", u)
	}
	return s.Listen, nil
}

// ShellQuote writes a command line so that a shell reads it back.
func ShellQuote(argv []string) string {
	quoted := make([]string, len(argv))
	for i, a := range argv {
		quoted[i] = a
		if a == "" || strings.ContainsFunc(a, func(r rune) bool {
			return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=@,+%", r)
		}) {
			quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// withoutValues hides the values of variables, which may be secrets, in a command
// that CommandLine made. The node agent's address is none.
func withoutValues(argv []string) []string {
	shown := slices.Clone(argv)
	for i := 1; i < len(shown); i++ {
		name, _, hasValue := strings.Cut(shown[i], "=")
		if shown[i-1] == "-e" && hasValue && name != agentVariable {
			shown[i] = name + "=…"
		}
	}
	return shown
}

// command is a container that an engine's command line runs.
type command struct {
	cmd  *exec.Cmd
	stop time.Duration
	done chan struct{}
	err  error
}

func startCommand(argv []string, o Options) (Container, error) {
	o.logf("%s", ShellQuote(withoutValues(argv)))
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = o.Stdin, o.Stdout, o.Stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("run: %w", err)
	}
	c := &command{cmd: cmd, stop: o.stopTimeout(), done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.err = cmd.Wait()
	}()
	return c, nil
}

func (o *Options) stopTimeout() time.Duration {
	if o.StopTimeout > 0 {
		return o.StopTimeout
	}
	return defaultGrace
}

// defaultGrace is how long a program may take to end, as with docker stop.
const defaultGrace = 10 * time.Second

func (c *command) Wait() (int, error) {
	<-c.done
	var exit *exec.ExitError
	switch {
	case c.err == nil:
		return 0, nil
	case errors.As(c.err, &exit) && exit.ExitCode() >= 0:
		return exit.ExitCode(), nil
	}
	return 0, fmt.Errorf("run: %w", c.err)
}

// Stop ends the client, which passes the signal on to the container.
func (c *command) Stop() error {
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	t := time.NewTimer(c.stop + 5*time.Second)
	defer t.Stop()
	select {
	case <-c.done:
		return nil
	case <-t.C:
		return c.cmd.Process.Kill()
	}
}

func (c *command) Ports() map[int]string { return nil }
