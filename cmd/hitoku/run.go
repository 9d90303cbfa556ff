package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/runner"
	"hitoku.dev/internal/sgxhost"
)

type runOptions struct {
	runner.Options
	printOnly     bool
	json          bool
	quiet         bool
	interactive   bool
	passwordStdin bool
	caFile        string
	stopTimeout   time.Duration
}

func newRunCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run [flags] IMAGE [ARGS…]",
		Short: "Run a converted image with Docker, Podman, or a built-in runner",
		Long: `Run a converted image on this machine, as an operator would with

  docker run -v /run/hitoku/tee:/run/hitoku/tee:ro -e NODE_AGENT_BASE_URL=http://ADDRESS:9092 IMAGE

where ADDRESS is that of the container bridge, asked from the node agent. An image
for SGX (--tee sgx) gets the machine's devices in place of the first mount:

  docker run --device /dev/sgx_enclave -v /var/run/aesmd/aesm.socket:/var/run/aesmd/aesm.socket …

and a machine that lacks something for that is refused, with what to do. --print
shows the exact command, values of variables too, and runs nothing. -e NAME hands
over a variable of this shell without showing its value in the list of processes.

Where neither Docker nor Podman is there, a built-in runner starts the image in
Linux namespaces, with root or without. It is for development: it has no seccomp
filter and no resource limits, and its containers have no network but their
published ports and the node agent.

Arguments after IMAGE replace the image's own; a converted image ignores them
unless its conversion allowed them.

Exit code: that of the program; 126 and 127 mean that it could not be started, 1
also that the runner failed, 2 wrong usage.`,
		Example: `  hitoku run -p 8443:8443 registry.example/shop:1-hitoku
  hitoku run --engine builtin -p 8443:8443 oci:./shop:1
  hitoku run --print -p 8443:8443 registry.example/shop:1-hitoku`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			o.Image, o.Args = a[0], a[1:]
			return runImage(cmd, &o)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.StringVar(&o.Engine, "engine", runner.EngineAuto, "what runs the image: "+strings.Join(runner.Engines(), ", "))
	f.StringArrayVarP(&o.Ports, "publish", "p", nil, "publish a `port`: [IP:]HOST:CONTAINER")
	f.StringArrayVarP(&o.Env, "env", "e", nil, "environment `variable` NAME=VALUE, or NAME to pass this shell's; a converted image takes those its conversion allowed")
	f.StringArrayVarP(&o.Volumes, "volume", "v", nil, "mount a `folder`: HOST:CONTAINER[:ro]; a converted image accepts its declared folders")
	f.StringVar(&o.Name, "name", "", "`name` of the container")
	f.BoolVar(&o.Remove, "rm", false, "remove the container when it ends (the built-in runner always does)")
	f.BoolVarP(&o.Detach, "detach", "d", false, "leave it in the background (Docker and Podman)")
	f.BoolVarP(&o.interactive, "interactive", "i", false, "connect standard input")
	f.StringVar(&o.Agent, "agent", envOr("HITOKU_AGENT", ""), "`URL` of the node agent (default: what the agent on this machine says; environment HITOKU_AGENT)")
	f.StringVar(&o.TEEDir, "tee-dir", os.Getenv("HITOKU_TEE_DIR"), "`folder` with the simulated TEE's socket (default /run/hitoku/tee; for the built-in runner without root, that of the same user's agent; environment HITOKU_TEE_DIR)")
	f.StringVar(&o.TEE, "tee", runner.TEESimulated, "what the image was converted for: sim or sgx")
	f.BoolVar(&o.printOnly, "print", false, "print the docker (or podman) command and run nothing")
	f.BoolVar(&o.json, "json", false, "with --print: print the command as a JSON array")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "built-in runner: say nothing but what fails")
	f.DurationVar(&o.stopTimeout, "stop-timeout", 10*time.Second, "built-in runner: `time` from the stop signal to the kill")
	f.StringVar(&o.Dir, "runner-dir", os.Getenv("HITOKU_RUNNER_DIR"), "built-in runner: `folder` for unpacked images (default /var/lib/hitoku/runner for root, else below the user's cache; environment HITOKU_RUNNER_DIR)")
	f.StringVar(&o.Pull.Username, "username", "", "built-in runner: registry `user` (default: the docker credential store)")
	f.BoolVar(&o.passwordStdin, "password-stdin", false, "built-in runner: read the registry password from standard input")
	f.BoolVar(&o.Pull.Insecure, "insecure", false, "built-in runner: permit plain HTTP to a registry")
	f.StringVar(&o.caFile, "registry-ca", "", "built-in runner: PEM `file` with further CAs of registries")
	return cmd
}

func runImage(cmd *cobra.Command, o *runOptions) error {
	if o.printOnly {
		return asUsage(printRun(cmd, o))
	}
	if err := needsLinuxToRun(); err != nil {
		return err
	}
	if err := o.readPull(cmd.InOrStdin()); err != nil {
		return err
	}
	if o.TEE == runner.TEESGX && os.Getenv("DOCKER_HOST") == "" && os.Getenv("CONTAINER_HOST") == "" {
		o.SGX = sgxhost.Detect("/")
		if err := o.SGX.Err(); err != nil {
			return fmt.Errorf("run: %w", err)
		}
	}
	ctx := cmd.Context()
	engine, err := runner.Choose(ctx, o.Engine)
	if err != nil {
		return asUsage(err)
	}
	o.Engine, o.StopTimeout = engine, o.stopTimeout
	if o.TEEDir == "" && engine == runner.EngineBuiltin {
		o.TEEDir = defaultTEEDir()
	}
	o.Stdout, o.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
	if o.interactive {
		o.Stdin = cmd.InOrStdin()
	}
	if !o.quiet {
		o.Logf = func(format string, a ...any) { fmt.Fprintf(cmd.ErrOrStderr(), "hitoku run: "+format+"\n", a...) }
	}
	if engine != runner.EngineBuiltin {
		return runEngine(cmd, o)
	}
	c, err := runner.Start(ctx, o.Options)
	if err != nil {
		return asUsage(asExit(cmd, err))
	}
	stop := runner.Forward(c, o.StopTimeout)
	defer stop()
	code, err := c.Wait()
	return result(code, err)
}

// runEngine becomes the engine's client, so that signals, terminal and exit code
// are its own. Where a process cannot be replaced it is run beside.
func runEngine(cmd *cobra.Command, o *runOptions) error {
	argv, err := runner.CommandLine(cmd.Context(), o.Engine, o.Options)
	if err != nil {
		return asUsage(err)
	}
	if path, err := exec.LookPath(argv[0]); err == nil && o.Stdout == os.Stdout && o.Stderr == os.Stderr {
		syscall.Exec(path, argv, os.Environ()) // returns only where it is not possible
	}
	code, err := runner.Run(cmd.Context(), o.Options)
	return result(code, err)
}

func result(code int, err error) error {
	if err != nil {
		return err
	}
	if code != 0 {
		return exitError{code}
	}
	return nil
}

// asUsage marks the runner's usage errors as this program's.
func asUsage(err error) error {
	var usage *runner.UsageError
	if errors.As(err, &usage) {
		return usageError{err}
	}
	return err
}

// asExit gives a program that could not be started the exit code of a shell.
func asExit(cmd *cobra.Command, err error) error {
	if code, ok := runner.StartCode(err); ok {
		fmt.Fprintln(cmd.ErrOrStderr(), "hitoku: "+err.Error())
		return exitError{code}
	}
	return err
}

// printRun prints the command for Docker, or for Podman when that is asked for.
func printRun(cmd *cobra.Command, o *runOptions) error {
	engine := runner.EngineDocker
	if o.Engine == runner.EnginePodman {
		engine = o.Engine
	}
	argv, err := runner.CommandLine(cmd.Context(), engine, o.Options)
	if err != nil {
		return err
	}
	if o.json {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(argv)
	}
	fmt.Fprintln(cmd.OutOrStdout(), runner.ShellQuote(argv))
	return nil
}

// readPull completes what the built-in runner needs for a registry.
func (o *runOptions) readPull(in io.Reader) error {
	if o.passwordStdin {
		if o.Pull.Username == "" || o.interactive {
			return usageError{errors.New("run: --password-stdin needs --username and excludes --interactive")}
		}
		raw, err := io.ReadAll(io.LimitReader(in, 64<<10))
		if err != nil {
			return fmt.Errorf("run: password: %w", err)
		}
		o.Pull.Password = strings.TrimRight(string(raw), "\r\n")
	}
	if o.caFile != "" {
		raw, err := os.ReadFile(o.caFile)
		if err != nil {
			return fmt.Errorf("run: --registry-ca: %w", err)
		}
		o.Pull.CA = raw
	}
	o.Pull = o.Pull.FromEnvironment(os.Getenv)
	return nil
}
