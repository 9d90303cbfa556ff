// Package play performs a demonstration: stages that call the command which a person
// would type, print it, and say what came of it. So a demonstration is a test of
// the commands, and the shortest user guide.
//
// It writes only below its own folder, and ends only processes that it started.
package play

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"hitoku.dev/internal/freeport"
)

// Play is one demonstration. The exported members are set before its first use.
type Play struct {
	Exe    string // the hitoku program
	Dir    string // working folder
	Env    []string
	Out    io.Writer
	Colour bool

	n       int
	mu      sync.Mutex
	procs   []*Process
	closers []func()
}

// Stage is one printed step. Run returns what is printed below it.
type Stage struct {
	Title string
	Run   func(context.Context) (string, error)
}

// ErrInterrupted is returned when the context ends before the last step.
var ErrInterrupted = errors.New("interrupted")

// Perform runs stages one after the other. The error names the step that failed.
func (p *Play) Perform(ctx context.Context, stages []Stage) error {
	for _, s := range stages {
		if err := p.step(ctx, s); err != nil {
			if ctx.Err() != nil {
				return ErrInterrupted
			}
			return err
		}
	}
	return nil
}

func (p *Play) step(ctx context.Context, s Stage) error {
	p.n++
	begin := time.Now()
	fmt.Fprintf(p.Out, "\n%s\n", p.Bold(fmt.Sprintf("%2d. %s", p.n, s.Title)))
	said, err := s.Run(ctx)
	if err != nil {
		fmt.Fprintf(p.Out, "    failed after %.2f s\n", time.Since(begin).Seconds())
		return fmt.Errorf("step %d, %s: %w%s", p.n, s.Title, err, p.lastLogs())
	}
	for _, line := range strings.Split(strings.TrimRight(said, "\n"), "\n") {
		if line != "" {
			fmt.Fprintf(p.Out, "    %s\n", line)
		}
	}
	p.Note("%.2f s", time.Since(begin).Seconds())
	return nil
}

// Bold is text in bold, where there are colours.
func (p *Play) Bold(s string) string { return p.style("1", s) }

// Note prints a line that is less important.
func (p *Play) Note(format string, a ...any) {
	fmt.Fprintf(p.Out, "    %s\n", p.style("2", fmt.Sprintf(format, a...)))
}

func (p *Play) style(code, s string) string {
	if !p.Colour {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// Path is a path below the working folder.
func (p *Play) Path(elem ...string) string {
	return filepath.Join(append([]string{p.Dir}, elem...)...)
}

// Command shows and runs `hitoku ARGS…` and returns its standard output. The
// error holds what the command printed to standard error.
func (p *Play) Command(ctx context.Context, stdin string, args ...string) (string, error) {
	p.Note("$ hitoku %s", p.shown(args))
	return p.Quiet(ctx, stdin, args...)
}

// Quiet is Command without showing it.
func (p *Play) Quiet(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, p.Exe, args...)
	cmd.Env = p.env()
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(errs.String())
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return out.String(), &CommandError{Verb: args[0], Code: exit.ExitCode(), Text: text, Out: out.String()}
		}
		return out.String(), fmt.Errorf("hitoku %s: %w: %s", args[0], err, text)
	}
	return out.String(), nil
}

// CommandJSON runs a command with --json and decodes what it printed.
func (p *Play) CommandJSON(ctx context.Context, v any, args ...string) error {
	p.Note("$ hitoku %s", p.shown(args))
	return p.QuietJSON(ctx, v, args...)
}

// QuietJSON is CommandJSON without showing it.
func (p *Play) QuietJSON(ctx context.Context, v any, args ...string) error {
	out, err := p.Quiet(ctx, "", append(args, "--json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), v); err != nil {
		return fmt.Errorf("hitoku %s --json: %w in %q", args[0], err, out)
	}
	return nil
}

// Refused runs a command that must fail and whose message must contain want.
func (p *Play) Refused(ctx context.Context, want string, args ...string) (string, error) {
	_, err := p.Command(ctx, "", args...)
	var failed *CommandError
	if !errors.As(err, &failed) {
		if err == nil {
			err = errors.New("it was not refused")
		}
		return "", err
	}
	text := failed.Text + "\n" + failed.Out
	if !strings.Contains(text, want) {
		return "", fmt.Errorf("it was refused for another reason than %q: %s", want, text)
	}
	return "refused, exit code " + fmt.Sprint(failed.Code) + ":\n" + strings.TrimSpace(text), nil
}

// CommandError is a command that ended with another code than 0.
type CommandError struct {
	Verb, Text, Out string
	Code            int
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("hitoku %s ended with code %d: %s", e.Verb, e.Code, e.Text)
}

func (p *Play) env() []string {
	env := append([]string{"XDG_CACHE_HOME=" + p.Path("cache"), "XDG_CONFIG_HOME=" + p.Path("config"), "HOME=" + p.Dir}, p.Env...)
	for _, name := range []string{"PATH", "TMPDIR", "LANG", "XDG_RUNTIME_DIR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// shown is a command line as it is printed: the working folder shortened, long secrets cut.
func (p *Play) shown(args []string) string {
	out := make([]string, len(args))
	for i, a := range args {
		a = strings.ReplaceAll(a, p.Dir, "DEMO")
		if len(a) > 70 {
			a = a[:60] + "…"
		}
		out[i] = a
	}
	return strings.Join(out, " ")
}

// RemoveAll removes a tree, folders without write permission too.
func RemoveAll(dir string) error {
	_ = filepath.WalkDir(dir, func(p string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			_ = os.Chmod(p, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// FreeOr is host:port with the wanted port when it is free, else any free one.
func FreeOr(host string, port int) string {
	wanted := net.JoinHostPort(host, strconv.Itoa(port))
	if port != 0 {
		if ln, err := net.Listen("tcp", wanted); err == nil {
			_ = ln.Close()
			return wanted
		}
	}
	if free, err := freeport.Find(host); err == nil {
		return free
	}
	return wanted
}

// FirstLine is the text up to the first end of a line.
func FirstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
