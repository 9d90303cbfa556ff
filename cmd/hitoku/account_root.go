package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"hitoku.dev/attest/dcap"
	"hitoku.dev/internal/client"
	"hitoku.dev/internal/ledger/keyfile"
	"hitoku.dev/internal/wire"
)

func newAccountRenewRootCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "renew-root [NAME|ID]",
		Short: "Give the account root a new certificate over the same key",
		Long: `Give the account root a new certificate over the same key.

Images, join tokens and nodes know the root by its key, so nothing is to be
converted or enrolled again. Nodes take the new certificate over when they renew
their own. Clients keep a copy of the certificate: hand them the new one
(` + "`hitoku account root -o FILE`" + `) before the old one ends; until then both are good.`,
		Example: "  hitoku account renew-root acme",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			_, c, id, err := chosenAccount(cmd, a)
			if err != nil {
				return err
			}
			root, err := client.Post[wire.RootReply](cmd.Context(), c, "/v1/accounts/"+id+"/root/renew", nil)
			if err != nil {
				return fmt.Errorf("renew the account root: %w", err)
			}
			return o.print(cmd, root, func(w io.Writer) {
				fmt.Fprintf(w, "The account root is renewed until %s; its key is still sha256:%s\n", day(root.EndsAt), root.SPKISHA256)
			})
		},
	}
	o.flag(cmd)
	return cmd
}

func newAccountCollateralCommand() *cobra.Command {
	var o output
	var file string
	cmd := &cobra.Command{
		Use:   "simulated-collateral [NAME|ID]",
		Short: "Print what a test-only account's simulated TEE signed about its platforms",
		Long: `Print what the authority of a test-only account's simulated TEE signed about its
platforms, as JSON: for judges who meet their evidence elsewhere, such as the nodes of a
ledger that run in converted images. It is good for 30 days.`,
		Example: "  hitoku account simulated-collateral acme -o collateral.json",
		Args:    args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			_, c, id, err := chosenAccount(cmd, a)
			if err != nil {
				return err
			}
			collateral, err := client.Get[dcap.Collateral](cmd.Context(), c, "/v1/accounts/"+id+"/simulated-collateral")
			if err != nil {
				return err
			}
			raw, err := json.Marshal(collateral)
			if err != nil {
				return err
			}
			if file == "" {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), string(raw))
				return err
			}
			// Whoever reads the old file meanwhile finds it whole.
			if err := keyfile.Replace(file, append(raw, '\n'), 0o644); err != nil {
				return err
			}
			return o.done(cmd, map[string]string{"file": file}, "%s written; fetch it again within 30 days", file)
		},
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "write it to this `file`")
	o.flag(cmd)
	return cmd
}
