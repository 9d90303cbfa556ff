package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"hitoku.dev/internal/demo"
	"hitoku.dev/internal/demo/play"
)

func newDemoCommand() *cobra.Command {
	var o demo.Options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole path on this machine, on the simulated TEE",
		Long: `Start a manager, a node agent, a registry and the simulated TEE on this machine,
bring a sample application through convert, approve, enrol, run and verify, and
show three refusals. Every command is printed, so that you can type it yourself.

It needs Linux, and either root or user namespaces; no Docker Engine and no
account anywhere. Ctrl-C ends it and removes everything. With --once it ends by
itself: exit code 0 when everything worked, 1 otherwise.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needsLinux("the demonstration", true); err != nil {
				return err
			}
			exe, err := os.Executable()
			if err != nil {
				return err
			}
			o.Exe = exe
			if o.Hello == "" {
				o.Hello = filepath.Join(filepath.Dir(exe), "hitoku-hello")
			}
			if o.Dir == "" {
				if o.Dir, err = os.MkdirTemp("", "hitoku-demo-"); err != nil {
					return err
				}
			} else if entries, err := os.ReadDir(o.Dir); err == nil && len(entries) > 0 {
				return usageError{fmt.Errorf("demo: the folder %s is not empty; name a new one", o.Dir)}
			}
			o.Out = cmd.OutOrStdout()
			if f, ok := o.Out.(*os.File); ok {
				o.Colour = term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == ""
			}
			err = demo.Run(cmd.Context(), o)
			if errors.Is(err, play.ErrInterrupted) {
				return exitError{1}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&o.Once, "once", false, "end after the last step")
	cmd.Flags().StringVar(&o.Dir, "dir", "", "working `folder` (default: a new one in the temporary folder)")
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "keep the working folder at the end")
	cmd.Flags().StringVar(&o.Hello, "sample", "", "the sample application, a static Linux `program` (default: hitoku-hello beside hitoku)")
	return cmd
}
