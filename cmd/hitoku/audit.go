package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/client"
	"hitoku.dev/internal/wire"
)

func newAuditCommand() *cobra.Command {
	var limit int
	var o output
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show the audit log of the account, newest first",
		Long: `Show the audit log of the account, newest first. A system administrator who has no
account selected sees what concerns the whole manager.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usageError{errors.New("audit: --limit must not be negative")}
			}
			_, c, err := connect()
			if err != nil {
				return err
			}
			events, total, err := client.Newest[wire.AuditEvent](cmd.Context(), c, "/v1/audit_logs", limit)
			if err != nil {
				return err
			}
			if total > len(events) {
				fmt.Fprintf(cmd.ErrOrStderr(), "note: the newest %d of %d events; --limit 0 shows all\n", len(events), total)
			}
			return o.print(cmd, events, func(w io.Writer) {
				fmt.Fprintln(w, "TIME\tSEVERITY\tACTION\tWHO\tWHAT")
				for _, e := range events {
					who := cmp.Or(e.UserName, e.NodeName, e.AppName, e.ActorType)
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", day(e.Timestamp), e.Severity, e.ActionType, who, e.Description)
				}
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 100, "how many events; 0 for all")
	o.flag(cmd)
	return cmd
}
