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
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"hitoku.dev/internal/demo/play"
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

type demo struct {
	*play.Play
	options Options
	start   time.Time

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
	d := &demo{options: o, start: time.Now(), Play: &play.Play{
		Exe: o.Exe, Dir: o.Dir, Out: o.Out, Colour: o.Colour, Env: []string{"HITOKU_SESSION=" + filepath.Join(o.Dir, "session.json")},
	}}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return err
	}
	defer func() {
		d.Stop()
		if d.options.Keep {
			fmt.Fprintf(d.Out, "Kept: %s\n", d.Dir)
		} else {
			err = errors.Join(err, play.RemoveAll(d.Dir))
		}
	}()
	fmt.Fprintln(d.Out, d.Bold("Hitoku: the whole path on this machine, on the simulated TEE."))
	fmt.Fprintln(d.Out, "The simulation makes real evidence under a root of its own. It protects nothing from the machine's owner.")
	if err := d.Perform(ctx, d.stages()); err != nil {
		return err
	}
	fmt.Fprintf(d.Out, "\n%s in %.1f s.\n", d.Bold("All of it worked"), time.Since(d.start).Seconds())
	if d.options.Once {
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
