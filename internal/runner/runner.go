// Package runner runs a converted image on this machine: with Docker, with
// Podman, or, where neither is there, with a built-in runner of Linux namespaces
// for development.
//
// Whatever the engine, the image gets the same two things and no more: its TEE,
// which is the folder of the simulated one's socket, or for SGX the enclave device
// and AESM's socket; and the node agent's address in its environment. For Docker and Podman the package only writes the command line that
// the documentation shows and executes it.
//
// Nothing here is trusted: an image that was changed is refused by its own guest
// and by the simulated TEE, whoever starts it.
package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"hitoku.dev/internal/image"
	"hitoku.dev/internal/sgxhost"
	"hitoku.dev/measure/workload"
)

// The engines.
const (
	EngineAuto    = "auto"
	EngineDocker  = "docker"
	EnginePodman  = "podman"
	EngineBuiltin = "builtin"
)

// ContainerTEEDir is where a workload looks for the TEE's socket.
const ContainerTEEDir = "/run/hitoku/tee"

// The TEEs that images are converted for.
const (
	TEESimulated = workload.TEESimulated
	TEESGX       = workload.TEESGX
)

// agentVariable tells a workload where the node agent is.
const agentVariable = "NODE_AGENT_BASE_URL"

// Options says what to run and how. Image is required.
type Options struct {
	Engine  string // one of the constants above; empty means auto
	Image   string // for the built-in runner any reference of package image
	Args    []string
	Env     []string // NAME=VALUE, or NAME to take it from this process
	Ports   []string // [IP:]HOST:CONTAINER, as for docker run -p
	Volumes []string // HOST:CONTAINER[:ro]
	Name    string
	Remove  bool // remove the container afterwards; the built-in runner always does
	Detach  bool // Docker and Podman only
	// Agent is the node agent's base URL. Empty: what the agent on this machine says.
	Agent  string
	TEEDir string // of the host; empty means ContainerTEEDir
	TEE    string // TEESimulated or TEESGX, as the image was converted; empty means simulated
	// SGX is the machine that runs an image for SGX; nil where it is another one than
	// this, whose devices are then given their usual names.
	SGX *sgxhost.Platform

	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Logf reports progress and hints of the runner itself; nil for none.
	Logf func(format string, args ...any)

	// For the built-in runner.
	Dir         string        // folder for unpacked images and running containers
	Pull        image.Options // credentials and the like
	StopTimeout time.Duration // from the stop signal to SIGKILL; 0 means 10 s
}

func (o *Options) logf(format string, args ...any) {
	if o.Logf != nil {
		o.Logf(format, args...)
	}
}

// Container is a running container.
type Container interface {
	// Wait returns the program's exit code; an error means that there is none.
	Wait() (int, error)
	// Stop asks the program to end and makes it end when it does not.
	Stop() error
	// Ports returns where published ports are reached: "127.0.0.1:8443" by container port.
	Ports() map[int]string
}

// Run runs an image until it ends, or until ctx does, which stops it.
func Run(ctx context.Context, o Options) (int, error) {
	c, err := Start(ctx, o)
	if err != nil {
		return 0, err
	}
	stopped := context.AfterFunc(ctx, func() { c.Stop() })
	defer stopped()
	return c.Wait()
}

// Start starts an image. The caller must call Wait.
func Start(ctx context.Context, o Options) (Container, error) {
	engine, err := Choose(ctx, o.Engine)
	if err != nil {
		return nil, err
	}
	if err := o.check(engine); err != nil {
		return nil, err
	}
	if engine == EngineBuiltin {
		return startBuiltin(ctx, o)
	}
	argv, err := CommandLine(ctx, engine, o)
	if err != nil {
		return nil, err
	}
	return startCommand(argv, o)
}

// UsageError is an error in how the options were given.
type UsageError struct{ err error }

func (e *UsageError) Error() string { return e.err.Error() }
func (e *UsageError) Unwrap() error { return e.err }

func usage(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }

var containerName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$`)

func (o *Options) check(engine string) error {
	if o.Image == "" {
		return usage("run: no image given")
	}
	if strings.HasPrefix(o.Image, "-") {
		return usage("run: image %q: flags go before the image", o.Image)
	}
	if o.Name != "" && !containerName.MatchString(o.Name) {
		return usage("run: name %q: wanted letters, digits, '_', '.', '-', at most 63", o.Name)
	}
	for _, p := range o.Ports {
		if _, err := parsePort(p); err != nil {
			return err
		}
	}
	for _, e := range o.Env {
		if name, _, _ := strings.Cut(e, "="); name == "" || strings.ContainsRune(e, 0) {
			return usage("run: environment %q: wanted NAME=VALUE or NAME", e)
		}
	}
	for _, v := range o.Volumes {
		if _, err := parseVolume(v); err != nil {
			return err
		}
	}
	if o.TEEDir != "" && !strings.HasPrefix(o.TEEDir, "/") {
		return usage("run: --tee-dir %q: wanted an absolute path", o.TEEDir)
	}
	switch {
	case o.TEE != "" && o.TEE != TEESimulated && o.TEE != TEESGX:
		return usage("run: --tee %q: wanted %s or %s", o.TEE, TEESimulated, TEESGX)
	case o.TEE == TEESGX && engine == EngineBuiltin:
		return usage("run: the built-in runner has no devices for SGX; use Docker or Podman (--engine docker)")
	case o.TEE == TEESGX && o.TEEDir != "":
		return usage("run: --tee-dir is the simulated TEE's, and the image is for SGX")
	case o.TEE == TEESGX && o.SGX != nil && !o.SGX.Ready:
		return fmt.Errorf("run: %w", o.SGX.Err())
	}
	if o.Detach && engine == EngineBuiltin {
		return usage("run: the built-in runner stays in the foreground; put it into the background with your shell or a service manager")
	}
	return nil
}

func (o *Options) teeDir() string {
	if o.TEEDir == "" {
		return ContainerTEEDir
	}
	return o.TEEDir
}

// parseAgent normalises the base URL of a node agent to scheme://host:port.
func parseAgent(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" || u.User != nil {
		return nil, usage("run: node agent %q: wanted http://HOST:PORT", text)
	}
	port := u.Port()
	if port == "" {
		port = "9092"
	}
	host := u.Hostname()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return &url.URL{Scheme: "http", Host: host + ":" + port}, nil
}

// Engines are the values that Options.Engine may have.
func Engines() []string { return []string{EngineAuto, EngineDocker, EnginePodman, EngineBuiltin} }

// Choose settles which engine runs an image.
func Choose(ctx context.Context, engine string) (string, error) {
	return choose(ctx, engine, answers, checkBuiltin)
}

func choose(ctx context.Context, engine string, answers func(context.Context, string) error, builtin func() error) (string, error) {
	switch {
	case engine == "" || engine == EngineAuto:
	case !slices.Contains(Engines(), engine):
		return "", usage("run: engine %q: wanted %s", engine, strings.Join(Engines(), ", "))
	case engine == EngineBuiltin:
		return engine, builtin()
	default:
		return engine, answers(ctx, engine)
	}
	var errs []error
	for _, e := range []string{EngineDocker, EnginePodman} {
		err := answers(ctx, e)
		if err == nil {
			return e, nil
		}
		errs = append(errs, err)
	}
	if err := builtin(); err != nil {
		return "", fmt.Errorf("run: no engine to run images with: %w", errors.Join(append(errs, err)...))
	}
	return EngineBuiltin, nil
}
