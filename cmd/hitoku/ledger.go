package main

import "github.com/spf13/cobra"

func newLedgerCommand() *cobra.Command {
	cmd := group("ledger", "A ledger that several parties keep and nobody can read: found it, run it, use it, administer it",
		newLedgerInitCommand(), newLedgerLogCommand(), newLedgerDevchainCommand(), newLedgerDeployCommand(),
		newLedgerNodeCommand(), newLedgerVaultCommand(), newLedgerAdminCommand(), newLedgerRotateCommand(), newLedgerDemoCommand(),
	)
	cmd.AddCommand(ledgerClientCommands()...)
	return cmd
}
