package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/ledger/nodeconfig"
	"hitoku.dev/internal/ledger/order/embedded"
)

func newLedgerLogCommand() *cobra.Command {
	var dir, listen string
	var out output
	cmd := &cobra.Command{
		Use:   "log --dir DIR --listen ADDRESS",
		Short: "Put a ledger's records in order: the embedded log, one process for all nodes",
		Long: `Keep the log of a ledger with the embedded order in one durable file, and serve it
to the nodes on a socket. It sees sealed records only, and nobody needs to trust it
for more than going on: nodes detect what is dropped, changed, repeated or put in
another order. But whoever runs it can show different nodes different logs; so every
receipt of such a ledger says order_assurance "operator".

Whoever reaches the address may append records, junk too, which nodes skip. Keep it
to the nodes: a unix socket, loopback, or a network of their own.`,
		Example: `  hitoku ledger log --dir shop/log --listen 127.0.0.1:7400
  hitoku ledger log --dir shop/log --listen unix:/run/shop/log.sock`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" || listen == "" {
				return usageError{fmt.Errorf("ledger log: --dir and --listen are both needed")}
			}
			network, address, err := nodeconfig.SplitAddress(listen)
			if err != nil {
				return usageError{fmt.Errorf("ledger log: --listen: %w", err)}
			}
			l, err := embedded.Open(dir, embedded.Options{Now: time.Now, Rand: rand.Reader})
			if err != nil {
				return fmt.Errorf("ledger log: %w", err)
			}
			defer l.Close()
			ln, err := embedded.Listen(network, address)
			if err != nil {
				return fmt.Errorf("ledger log: %w", err)
			}
			position, _, err := l.Head(cmd.Context())
			if err != nil {
				return fmt.Errorf("ledger log: %w", err)
			}
			shown := ln.Addr().String()
			if network == "unix" {
				shown = "unix:" + shown
			}
			v := struct {
				Listen   string `json:"listen"`
				Log      string `json:"log"`
				Position uint64 `json:"position"`
			}{shown, fmt.Sprintf("%x", l.ID()), position}
			if err := out.print(cmd, v, func(w io.Writer) {
				fmt.Fprintf(w, "log\t%s\nlistening on\t%s\nposition\t%d\n", v.Log, v.Listen, v.Position)
			}); err != nil {
				return err
			}
			return embedded.Serve(cmd.Context(), ln, l)
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "dir", "", "`folder` of the log; it is made where it is missing (required)")
	f.StringVar(&listen, "listen", "", "`address` to listen on: host:port, or unix:PATH (required)")
	out.flag(cmd)
	return cmd
}
