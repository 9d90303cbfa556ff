package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/client"
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
