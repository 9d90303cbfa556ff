// Command hitoku is the one command of Hitoku: it converts, inspects and
// verifies confidential images, serves as manager and node agent, runs images,
// and speaks to the manager as its client.
//
// Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// usageError marks an error in how a command was called: exit code 2.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// exitError carries the exit code of a program that was run.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string) int {
	return execute(ctx, newRootCommand(), args)
}

// execute runs a command and returns the exit code.
func execute(ctx context.Context, root *cobra.Command, args []string) int {
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var exit exitError
	if errors.As(err, &exit) {
		return exit.code
	}
	fmt.Fprintln(root.ErrOrStderr(), "hitoku: "+err.Error())
	var usage usageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

func newRootCommand() *cobra.Command {
	root := group("hitoku", "Run programs that not even the machine's owner can look into, and prove it",
		newManagerCommand(), newLoginCommand(), newLogoutCommand(), newAccountCommand(), newUserCommand(), newTokenCommand(),
		newAppCommand(), newImageCommand(), newTaskCommand(), newNodeCommand(), newZoneCommand(), newRegistryCommand(), newAuditCommand(),
		newConvertCommand(), newInspectCommand(), newResignCommand(), newMeasureCommand(), newVerifyCommand(measureImage), newCollateralCommand(), newAgentCommand(), newRunCommand(),
		newLedgerCommand(), newDemoCommand(), newVersionCommand(),
	)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetFlagErrorFunc(flagError)
	root.Version = version()
	return root
}
