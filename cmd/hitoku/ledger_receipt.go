package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"hitoku.dev/ledger/client"
	"hitoku.dev/ledger/receipt"
)

func newLedgerReceiptCommand() *cobra.Command {
	return group("receipt", "Get and verify receipts: proofs of what became of a command", newLedgerReceiptGetCommand(), newLedgerReceiptVerifyCommand())
}

// maxSent bounds what `send --json` has printed.
const maxSent = 1 << 20

func newLedgerReceiptGetCommand() *cobra.Command {
	var o ledgerClientFlags
	var file string
	wait := 2 * time.Minute
	cmd := &cobra.Command{
		Use:   "get FILE",
		Short: "Get the receipt of a command that was sent",
		Long: `Get the receipt of a command, verify it, and write it to standard output or a new file.
FILE is what the command was sent with --json has printed ("-" reads standard input).
A command whose outcome is not known yet is handed over again, which does not execute
it twice. The receipt holds the command and its outcome: show it only to whom you want
to prove them.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			c, err := readSent(cmd, a[0])
			if err != nil {
				return prefixed(cmd, err)
			}
			s, err := o.session(cmd)
			if err != nil {
				return err
			}
			defer s.Close()
			if err := s.useAccountOf(c); err != nil {
				return prefixed(cmd, err)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), wait)
			defer cancel()
			out, err := s.Send(ctx, c)
			if err == nil && !out[0].Committed {
				err = fmt.Errorf("it was not ordered, and has no receipt: %w", out[0].Err())
			}
			var data []byte
			if err == nil {
				data, _, err = s.Receipt(ctx, s.account, c)
			}
			switch {
			case err != nil:
			case file != "":
				err = writeReceipt(file, data)
			default:
				_, err = cmd.OutOrStdout().Write(data)
			}
			if err != nil {
				return prefixed(cmd, err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "out", "", "new `file` for the receipt (default: standard output)")
	cmd.Flags().DurationVar(&wait, "wait", wait, "how `long` to wait until the command is committed")
	o.register(cmd, true)
	_ = cmd.Flags().MarkHidden("json") // a receipt is JSON in any case
	return cmd
}

// useAccountOf finds the account of a command in the wallet.
func (s *ledgerSession) useAccountOf(c client.Command) error {
	for _, name := range s.wallet.Names() {
		a, err := s.wallet.Account(name)
		if err != nil {
			return err
		}
		if a.ID() == c.Account {
			s.account = a
			return nil
		}
	}
	return fmt.Errorf("the command is of account %s, which is not in this wallet; only its owner gets its receipt", c.Account)
}

// readSent reads the signed command from what a verb has printed.
func readSent(cmd *cobra.Command, file string) (c client.Command, err error) {
	raw, err := readInput(file, cmd.InOrStdin(), maxSent)
	if err != nil {
		return c, err
	}
	var v struct {
		Command string `json:"command"`
	}
	if err := json.Unmarshal(raw, &v); err != nil || v.Command == "" {
		return c, fmt.Errorf("%s: no command in it; it must be what a verb that sends has printed with --json", file)
	}
	signed, err := base64.StdEncoding.DecodeString(v.Command)
	if err == nil {
		c, err = client.ParseCommand(signed)
	}
	if err != nil {
		return c, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}

func newLedgerReceiptVerifyCommand() *cobra.Command {
	var o output
	var trust ledgerTrustFlags
	cmd := &cobra.Command{
		Use:   "verify FILE --ledger HEX",
		Short: "Verify a receipt offline, rule by rule",
		Long: `Verify a receipt offline ("-" reads standard input). Nothing is believed but the ledger
id and the roots of TEE makers: Intel's, those of --root, or a simulated one that is
named with --trust-simulated-root, in tests.

The receipt holds the ledger's genesis, the records that lead to its members, their
evidence, and the signatures of more than half of its executors over what became of
the command. What was not checked is listed.

Exit codes: 0 accepted, 1 refused, 2 wrong usage.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			options, err := trust.options()
			if err != nil {
				return prefixed(cmd, err)
			}
			raw, err := readInput(a[0], cmd.InOrStdin(), receipt.MaxSize)
			if err != nil {
				return prefixed(cmd, err)
			}
			report, err := receipt.Verify(raw, options)
			if report == nil {
				return prefixed(cmd, fmt.Errorf("%s: %w", a[0], err))
			}
			var shown error
			if o.json {
				shown = o.print(cmd, report, nil)
			} else {
				shown = report.WriteText(cmd.OutOrStdout())
			}
			if err != nil {
				err = fmt.Errorf("%s: %w", verb(cmd), errRefused(report))
			}
			return errors.Join(shown, err)
		},
	}
	trust.register(cmd.Flags())
	o.flag(cmd)
	return cmd
}

// errRefused names the rules that failed; the report says the rest.
func errRefused(r *receipt.Report) error {
	names := ""
	for _, rule := range r.Rules {
		if !rule.OK {
			names += ", " + rule.Name
		}
	}
	return fmt.Errorf("the receipt is refused: %s", names[2:])
}
