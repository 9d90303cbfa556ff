// Package demo shows the whole path on one machine: manager, node agent,
// registry and simulated TEE are started, a sample application is converted,
// approved, run and verified, and three refusals are provoked.
//
// Each step calls the command that a person would type, and prints it. So the
// demonstration is a test of the commands, and the shortest user guide. It
// writes only below its own folder and ends only processes that it started.
//
// It promises nothing about secrecy: the simulated TEE protects nothing from
// the owner of the machine.
package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Options says where the demonstration finds its programs and what it prints to.
type Options struct {
	Exe    string // the hitoku program
	Hello  string // the sample application, a static Linux program
	Dir    string // working folder; made, and removed at the end unless Keep is set
	Keep   bool
	Once   bool // end after the last step instead of waiting for Ctrl-C
	Colour bool
	Out    io.Writer
}

// stage is one printed step.
type stage struct {
	title string
	run   func(context.Context) (string, error)
}

// ErrInterrupted is returned when the context ends before the last step.
var ErrInterrupted = errors.New("interrupted")

type demo struct {
	Options
	start time.Time
	n     int

	mu    sync.Mutex
	procs []*process

	closers         []func()
	registry        string // host:port
	manager         string // https://host:port
	pin             string
	agentURL        string
	teeDir          string
	appURL          string
	measurement     string
	code, tokenFile string
}

const (
	appName    = "hello"
	domainName = "hello.demo.internal"
	email      = "admin@demo.internal"
	password   = "demo-only-password"
)

// Run shows everything. The error names the step that failed.
func Run(ctx context.Context, o Options) (err error) {
	d := &demo{Options: o, start: time.Now()}
	if err := os.MkdirAll(d.Dir, 0o700); err != nil {
		return err
	}
	defer func() {
		d.stop()
		if d.Keep {
			fmt.Fprintf(d.Out, "Kept: %s\n", d.Dir)
		} else {
			err = errors.Join(err, removeAll(d.Dir))
		}
	}()
	fmt.Fprintln(d.Out, d.bold("Hitoku: the whole path on this machine, on the simulated TEE."))
	fmt.Fprintln(d.Out, "The simulation makes real evidence under a root of its own. It protects nothing from the machine's owner.")
	for _, s := range d.stages() {
		if err := d.step(ctx, s); err != nil {
			if ctx.Err() != nil {
				return ErrInterrupted
			}
			return err
		}
	}
	fmt.Fprintf(d.Out, "\n%s in %.1f s.\n", d.bold("All of it worked"), time.Since(d.start).Seconds())
	if d.Once {
		return nil
	}
	if err := d.writeState(); err != nil {
		return err
	}
	d.summary()
	<-ctx.Done()
	fmt.Fprintln(d.Out, "\nStopping.")
	return nil
}

func (d *demo) step(ctx context.Context, s stage) error {
	d.n++
	begin := time.Now()
	fmt.Fprintf(d.Out, "\n%s\n", d.bold(fmt.Sprintf("%2d. %s", d.n, s.title)))
	said, err := s.run(ctx)
	if err != nil {
		fmt.Fprintf(d.Out, "    failed after %.2f s\n", time.Since(begin).Seconds())
		return fmt.Errorf("step %d, %s: %w%s", d.n, s.title, err, d.lastLogs())
	}
	for _, line := range strings.Split(strings.TrimRight(said, "\n"), "\n") {
		if line != "" {
			fmt.Fprintf(d.Out, "    %s\n", line)
		}
	}
	fmt.Fprintf(d.Out, "    %s\n", d.faint(fmt.Sprintf("%.2f s", time.Since(begin).Seconds())))
	return nil
}

func (d *demo) bold(s string) string  { return d.style("1", s) }
func (d *demo) faint(s string) string { return d.style("2", s) }
func (d *demo) style(code, s string) string {
	if !d.Colour {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (d *demo) path(elem ...string) string { return filepath.Join(append([]string{d.Dir}, elem...)...) }

// command shows and runs `hitoku ARGS…` and returns its standard output. The
// error holds what the command printed to standard error.
func (d *demo) command(ctx context.Context, stdin string, args ...string) (string, error) {
	fmt.Fprintf(d.Out, "    %s\n", d.faint("$ hitoku "+d.shown(args)))
	return d.quiet(ctx, stdin, args...)
}

func (d *demo) quiet(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, d.Exe, args...)
	cmd.Env = d.env()
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(errs.String())
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return out.String(), &commandError{verb: args[0], code: exit.ExitCode(), text: text, out: out.String()}
		}
		return out.String(), fmt.Errorf("hitoku %s: %w: %s", args[0], err, text)
	}
	return out.String(), nil
}

// commandJSON runs a command with --json and decodes what it printed.
func (d *demo) commandJSON(ctx context.Context, v any, args ...string) error {
	fmt.Fprintf(d.Out, "    %s\n", d.faint("$ hitoku "+d.shown(args)))
	out, err := d.quiet(ctx, "", append(args, "--json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), v); err != nil {
		return fmt.Errorf("hitoku %s --json: %w in %q", args[0], err, out)
	}
	return nil
}

// commandError is a command that ended with another code than 0.
type commandError struct {
	verb, text, out string
	code            int
}

func (e *commandError) Error() string {
	return fmt.Sprintf("hitoku %s ended with code %d: %s", e.verb, e.code, e.text)
}

func (d *demo) env() []string {
	env := []string{"HITOKU_SESSION=" + d.path("session.json"), "XDG_CACHE_HOME=" + d.path("cache"), "HOME=" + d.Dir}
	for _, name := range []string{"PATH", "TMPDIR", "LANG", "XDG_RUNTIME_DIR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// shown is a command line as it is printed: the working folder shortened, long secrets cut.
func (d *demo) shown(args []string) string {
	out := make([]string, len(args))
	for i, a := range args {
		a = strings.ReplaceAll(a, d.Dir, "DEMO")
		if len(a) > 70 {
			a = a[:60] + "…"
		}
		out[i] = a
	}
	return strings.Join(out, " ")
}

// removeAll removes a tree, folders without write permission too.
func removeAll(dir string) error {
	_ = filepath.WalkDir(dir, func(p string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			_ = os.Chmod(p, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}
