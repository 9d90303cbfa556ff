package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newLedgerDevchainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "devchain [flags]",
		Short: "Run a development chain: an Ethereum-type node with JSON-RPC on this machine",
		Long: `Run hitoku-devchain, the program beside hitoku: a development chain for demonstrations,
tests and benchmarks. There is nobody to agree with, so nothing that it orders is proved:
order assurance "operator". What is set when a chain is made stays.`,
		Example: "  hitoku ledger devchain --data shop/chain --fund 0x2b5ad5c4795c026514f8317c7a215e218dccd6cf=1000",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			program, err := besides("", "hitoku-devchain", "PATH")
			if err != nil {
				return fmt.Errorf("ledger devchain: hitoku-devchain is not beside hitoku; build it with `make build`")
			}
			var given []string
			cmd.Flags().Visit(func(f *pflag.Flag) {
				if list, ok := f.Value.(pflag.SliceValue); ok {
					for _, v := range list.GetSlice() {
						given = append(given, "--"+f.Name+"="+v)
					}
					return
				}
				given = append(given, "--"+f.Name+"="+f.Value.String())
			})
			return runBeside(cmd, program, given)
		},
	}
	f := cmd.Flags()
	f.String("data", "", "`folder` of the chain (default: below the home folder)")
	f.String("listen", "127.0.0.1:8545", "`host:port` of JSON-RPC; loopback only, port 0 takes a free one")
	f.Duration("period", 0, "`time` between blocks; 0: a block at once for each transaction")
	f.Bool("admin", false, "offer dev_reorganise and dev_mine on JSON-RPC, for tests")
	f.Uint64("chain-id", 1337, "chain `id` of a new chain")
	f.Uint64("gas-limit", 30_000_000, "`gas` in a block of a new chain")
	f.String("fork", "cancun", "`fork` that a new chain begins with: london, shanghai, cancun, prague or osaka")
	f.StringArray("fund", nil, "`address=ether` that a new chain begins with; may be repeated")
	return cmd
}

// runBeside runs a program with this one's standard files until it ends, and asks it to end when this one is asked.
func runBeside(cmd *cobra.Command, program string, args []string) error {
	c := exec.CommandContext(cmd.Context(), program, args...)
	c.Stdin, c.Stdout, c.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 20 * time.Second
	return ended(c.Run())
}

// ended gives this program the exit code of the one that it ran; one that a signal ended counts as a shell does.
func ended(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return exitError{128 + int(s.Signal())}
	}
	if exit.ExitCode() < 0 {
		return fmt.Errorf("%w", err)
	}
	return exitError{exit.ExitCode()}
}

// exists says whether a file is there.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
