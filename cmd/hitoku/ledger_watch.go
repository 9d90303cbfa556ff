package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"hitoku.dev/ledger/client"
)

func newLedgerWatchCommand() *cobra.Command {
	var o ledgerClientFlags
	var app string
	var count uint
	cmd := &cobra.Command{
		Use:   "watch --app APP",
		Short: "Print an account's notifications as they come",
		Long: `Register for what an application tells the account once a command is committed, and
print it, one JSON object a line, until Ctrl-C. When the node forgets the registration,
a new one is made at a node that works; what came in between is lost.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if app == "" {
				return usageError{errors.New("ledger watch: name the application with --app")}
			}
			s, err := o.session(cmd)
			if err != nil {
				return err
			}
			defer s.Close()
			return o.watch(cmd, s, app, count)
		},
	}
	cmd.Flags().StringVar(&app, "app", "erc20", "`name` of the application")
	cmd.Flags().UintVar(&count, "count", 0, "end after this `number` of notifications (default: never)")
	o.register(cmd, true)
	_ = cmd.Flags().MarkHidden("json") // the lines are JSON in any case
	return cmd
}

func (o *ledgerClientFlags) watch(cmd *cobra.Command, s *ledgerSession, app string, count uint) error {
	ctx := cmd.Context()
	out := json.NewEncoder(cmd.OutOrStdout())
	var seen uint
	for ctx.Err() == nil {
		stream, err := s.Watch(ctx, s.account, app)
		if err != nil {
			return prefixed(cmd, err)
		}
		fmt.Fprintln(cmd.ErrOrStderr(), "watching "+s.account.ID().String())
		for {
			n, err := stream.Next(ctx)
			if errors.Is(err, client.ErrStream) {
				fmt.Fprintf(cmd.ErrOrStderr(), "%v\n", err)
				break
			}
			if err == nil {
				err = out.Encode(map[string]any{"position": n.Position, "index": n.Index, "payload": n.Payload})
				seen++
			}
			if err != nil && ctx.Err() == nil {
				stream.Close()
				return prefixed(cmd, err)
			}
			if err != nil || seen == count && count > 0 {
				stream.Close()
				return nil
			}
		}
	}
	return nil
}
