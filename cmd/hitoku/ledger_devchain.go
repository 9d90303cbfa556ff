package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func newLedgerDevchainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "devchain [flags]",
		Short: "Run a development chain: an Ethereum-type node with JSON-RPC on this machine",
		Long: `Run hitoku-devchain, the program beside hitoku, with the same flags:

  --data FOLDER           folder of the chain (default: below the home folder)
  --listen HOST:PORT      JSON-RPC, loopback only (default 127.0.0.1:8545)
  --period TIME           time between blocks; 0: a block at once for each transaction
  --chain-id ID           of a new chain (default 1337)
  --gas-limit GAS         in a block of a new chain
  --fork NAME             that a new chain begins with: london, shanghai, cancun, prague or osaka
  --fund ADDRESS=ETHER    that a new chain begins with; may be repeated
  --admin                 offer dev_reorganise and dev_mine, for tests

It is for demonstrations, tests and benchmarks. There is nobody to agree with, so
nothing that it orders is proved: order assurance "operator".`,
		Example:            "  hitoku ledger devchain --data shop/chain --fund 0x2b5ad5c4795c026514f8317c7a215e218dccd6cf=1000",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, a []string) error {
			if len(a) == 1 && (a[0] == "--help" || a[0] == "-h") {
				return cmd.Help()
			}
			program, err := besides("", "hitoku-devchain", "PATH")
			if err != nil {
				return fmt.Errorf("ledger devchain: hitoku-devchain is not beside hitoku; build it with `make build`")
			}
			return runBeside(cmd, program, a)
		},
	}
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
