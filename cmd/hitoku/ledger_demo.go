package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"hitoku.dev/internal/demo/play"
	"hitoku.dev/internal/ledgerdemo"
)

func newLedgerDemoCommand() *cobra.Command {
	var o ledgerdemo.Options
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show a whole ledger on this machine, on the simulated TEE",
		Long: `Start three nodes, a vault and what puts records in order on this machine, transfer
sealed amounts, verify a receipt offline, rotate the keys under load, kill a node and
have it recover, and show what is refused and what the host sees. Every command is
printed, so that you can type it yourself.

The order is the development chain where hitoku-devchain is beside hitoku, else the
embedded log. It needs Linux, and either root or user namespaces; no account and no
network. Ctrl-C ends it and removes everything. With --once it ends by itself: exit
code 0 when everything worked, 1 otherwise.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Order != "" && o.Order != "embedded" && o.Order != "chain" {
				return usageError{fmt.Errorf("ledger demo: --order %q: wanted embedded or chain", o.Order)}
			}
			if err := needsLinux("the demonstration", true); err != nil {
				return err
			}
			exe, err := os.Executable()
			if err != nil {
				return err
			}
			if _, err := ledgerProgram(""); err != nil {
				return fmt.Errorf("ledger demo: %w", err)
			}
			_, missing := besides("", "hitoku-devchain", "")
			if o.Order == "" {
				o.Order = "chain"
				if missing != nil {
					o.Order = "embedded"
				}
			} else if o.Order == "chain" && missing != nil {
				return errors.New("ledger demo: hitoku-devchain is not beside hitoku; build it with `make build`, or choose --order embedded")
			}
			o.Exe = exe
			if o.Dir == "" {
				if o.Dir, err = os.MkdirTemp("", "hitoku-ledger-demo-"); err != nil {
					return err
				}
			} else if entries, err := os.ReadDir(o.Dir); err == nil && len(entries) > 0 {
				return usageError{fmt.Errorf("ledger demo: the folder %s is not empty; name a new one", o.Dir)}
			}
			o.Out = cmd.OutOrStdout()
			if f, ok := o.Out.(*os.File); ok {
				o.Colour = term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == ""
			}
			err = ledgerdemo.Run(cmd.Context(), o)
			if errors.Is(err, play.ErrInterrupted) {
				return exitError{1}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&o.Order, "order", "", "what puts records in order: embedded, or chain (default: chain where hitoku-devchain is beside hitoku)")
	cmd.Flags().BoolVar(&o.Once, "once", false, "end after the last step")
	cmd.Flags().StringVar(&o.Dir, "dir", "", "working `folder` (default: a new one in the temporary folder)")
	cmd.Flags().BoolVar(&o.Keep, "keep", false, "keep the working folder at the end")
	return cmd
}
