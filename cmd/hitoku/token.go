package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/client"
	"hitoku.dev/internal/wire"
)

func newTokenCommand() *cobra.Command {
	return group("token", "Your tokens for machines: create, list, revoke",
		newTokenCreateCommand(), newTokenListCommand(), newTokenRevokeCommand())
}

func newTokenCreateCommand() *cobra.Command {
	var ttl time.Duration
	var quiet bool
	var o output
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a token for a machine; it is shown once",
		Long: `Make a long-lived token that acts as you in the selected account. Put it into
HITOKU_TOKEN, the manager's address into HITOKU_MANAGER, and into HITOKU_PIN or
HITOKU_CA how the manager is known (as for hitoku login).`,
		Example: `  HITOKU_TOKEN="$(hitoku token create ci -q)"`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			if ttl < time.Second {
				return usageError{errors.New("token create: --ttl must be at least 1s")}
			}
			s, c, err := connect()
			if err != nil {
				return err
			}
			t, err := client.Post[wire.APIToken](cmd.Context(), c, "/v1/user/tokens", wire.APITokenRequest{Name: a[0], ExpiresIn: int64(ttl / time.Second)})
			if err != nil {
				return fmt.Errorf("create token %q: %w", a[0], err)
			}
			if quiet {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), t.Token)
				return err
			}
			return o.print(cmd, t, func(w io.Writer) {
				fmt.Fprintf(w, "name\t%s\nid\t%s\naccount\t%s\nuntil\t%s\ntoken\t%s\n", t.Name, t.TokenID, or(s.AccountName), day(t.ExpiresAt), t.Token)
			})
		},
	}
	cmd.Flags().DurationVar(&ttl, "ttl", 90*24*time.Hour, "how long it works")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print the token alone")
	o.flag(cmd)
	return cmd
}

func newTokenListCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List your tokens of the selected account",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			tokens, err := client.All[wire.APIToken](cmd.Context(), c, "/v1/user/tokens")
			if err != nil {
				return err
			}
			return o.print(cmd, tokens, func(w io.Writer) {
				fmt.Fprintln(w, "NAME\tID\tUNTIL")
				for _, t := range tokens {
					fmt.Fprintf(w, "%s\t%s\t%s\n", t.Name, t.TokenID, day(t.ExpiresAt))
				}
			})
		},
	}
	o.flag(cmd)
	return cmd
}

func newTokenRevokeCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "revoke NAME|ID",
		Short: "Stop a token",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			t, err := c.Token(cmd.Context(), a[0])
			if err != nil {
				return err
			}
			if err := c.Call(cmd.Context(), http.MethodDelete, "/v1/user/tokens/"+t.TokenID, nil, nil); err != nil {
				return fmt.Errorf("revoke token %s: %w", t.Name, err)
			}
			return o.done(cmd, t, "Token %s (%s) revoked.", t.Name, t.TokenID)
		},
	}
	o.flag(cmd)
	return cmd
}
