package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/ledger/keyfile"
	"hitoku.dev/ledger/client"
)

func base64Text(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// ledgerSendFlags are those of verbs that send a command.
type ledgerSendFlags struct {
	ledgerClientFlags
	app     string
	wait    time.Duration
	receipt string
}

func (o *ledgerSendFlags) register(cmd *cobra.Command, app string) {
	o.ledgerClientFlags.register(cmd, true)
	f := cmd.Flags()
	usage := "`name` of the application"
	if app == "" {
		usage += " (required)"
	}
	f.StringVar(&o.app, "app", app, usage)
	f.DurationVar(&o.wait, "wait", 2*time.Minute, "how `long` to wait until the command is committed; 0 only hands it over")
	f.StringVar(&o.receipt, "save-receipt", "", "write the receipt into this new `file`, for \"hitoku ledger receipt verify\"")
}

// check refuses what would be noticed too late.
func (o *ledgerSendFlags) check(cmd *cobra.Command) error {
	switch {
	case o.app == "":
		return usageError{fmt.Errorf("%s: name the application with --app", verb(cmd))}
	case o.wait < 0:
		return usageError{fmt.Errorf("%s: --wait %s: wanted a time from 0", verb(cmd), o.wait)}
	case o.receipt != "" && o.wait == 0:
		return usageError{fmt.Errorf("%s: a receipt is there only once the command is committed; leave --wait 0 out", verb(cmd))}
	case o.receipt != "":
		if _, err := os.Lstat(o.receipt); err == nil {
			return fmt.Errorf("%s: --save-receipt: %s is there already and is not overwritten", verb(cmd), o.receipt)
		}
	}
	return nil
}

// send signs one command, hands it over, waits for it and prints what became of it. A command that was executed
// and refused is printed too, and is an error.
func (o *ledgerSendFlags) send(cmd *cobra.Command, call func(*ledgerSession) (client.Call, error)) error {
	if err := o.check(cmd); err != nil {
		return err
	}
	s, err := o.session(cmd)
	if err != nil {
		return err
	}
	defer s.Close()
	c, err := call(s)
	if err != nil {
		return prefixed(cmd, err)
	}
	ctx, cancel := cmd.Context(), context.CancelFunc(func() {})
	if o.wait > 0 {
		ctx, cancel = context.WithTimeout(ctx, o.wait)
	}
	defer cancel()
	commands, err := s.Sign(ctx, s.account, c)
	if err != nil {
		return prefixed(cmd, err)
	}
	ticket, err := s.Submit(ctx, commands...)
	if err != nil {
		return prefixed(cmd, err)
	}
	v := describe(s.account, commands[0])
	var failed error
	if o.wait > 0 {
		var out []client.Outcome
		if out, err = ticket.Wait(ctx); err == nil {
			v.outcome(out[0])
			failed = out[0].Err()
		}
		if err == nil && o.receipt != "" && out[0].Committed {
			if _, err = s.getReceipt(ctx, commands[0], o.receipt); err == nil {
				v.Receipt = o.receipt
			}
		}
	}
	err = errors.Join(err, failed)
	if err != nil {
		err = prefixed(cmd, err)
	}
	if failed != nil && !o.json { // the error says it
		return err
	}
	return errors.Join(o.print(cmd, v, v.write), err)
}

func (s *sentCommand) write(w io.Writer) {
	switch s.Status {
	case "pending":
		fmt.Fprintf(w, "Handed over; what becomes of it is not known yet. The same command can be handed over again with\n\"hitoku ledger receipt get\", from what --json prints.\nhash\t%s\n", s.Hash)
	default:
		fmt.Fprintf(w, "Committed at position %d, as command %d of it.\n", s.Position, s.Index)
	}
	if s.Result != nil {
		fmt.Fprintf(w, "result\t%s\n", s.Result)
	}
	if s.Receipt != "" {
		fmt.Fprintf(w, "receipt\t%s\n", s.Receipt)
	}
}

func newLedgerSendCommand() *cobra.Command {
	var o ledgerSendFlags
	var arguments string
	cmd := &cobra.Command{
		Use:   "send NAME --app APP",
		Short: "Send a command to an application",
		Long: `Sign a command with the account's next number, seal it for a node whose evidence has
been verified, and wait until more than half of the executors have signed what became
of it. Exit code 0 when it happened; 1 when it was refused, or when the outcome is not
known after --wait.`,
		Example: `  hitoku ledger send bid --app auction --args '{"lot":1,"amount":70}' --node https://127.0.0.1:7411`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			raw, err := jsonArguments(arguments)
			if err != nil {
				return prefixed(cmd, err)
			}
			return o.send(cmd, func(*ledgerSession) (client.Call, error) {
				return client.Call{Application: o.app, Name: a[0], Arguments: raw}, nil
			})
		},
	}
	cmd.Flags().StringVar(&arguments, "args", "{}", "arguments, a `JSON` object")
	o.register(cmd, "")
	return cmd
}

// jsonArguments checks what is easily mistyped.
func jsonArguments(text string) (json.RawMessage, error) {
	if !json.Valid([]byte(text)) {
		return nil, usageError{fmt.Errorf("--args %.80q: not JSON", text)}
	}
	return json.RawMessage(text), nil
}

func newLedgerQueryCommand() *cobra.Command {
	var o ledgerClientFlags
	var app, arguments string
	var fresh bool
	cmd := &cobra.Command{
		Use:   "query NAME --app APP",
		Short: "Ask an application",
		Long: `Ask an application a question that is signed by the account; the answer is sealed for
it alone, and is about committed state.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			raw, err := jsonArguments(arguments)
			if err != nil {
				return prefixed(cmd, err)
			}
			return o.query(cmd, app, fresh, func(*ledgerSession) (client.Call, error) {
				return client.Call{Application: app, Name: a[0], Arguments: raw}, nil
			})
		},
	}
	cmd.Flags().StringVar(&app, "app", "", "`name` of the application (required)")
	cmd.Flags().StringVar(&arguments, "args", "{}", "arguments, a `JSON` object")
	freshFlag(cmd, &fresh)
	o.register(cmd, true)
	return cmd
}

func freshFlag(cmd *cobra.Command, fresh *bool) {
	cmd.Flags().BoolVar(fresh, "fresh", false, "have more than half of the executors vouch that the state is the newest")
}

// query asks, and prints the answer as it is, or with its position in JSON.
func (o *ledgerClientFlags) query(cmd *cobra.Command, app string, fresh bool, call func(*ledgerSession) (client.Call, error)) error {
	if app == "" {
		return usageError{fmt.Errorf("%s: name the application with --app", verb(cmd))}
	}
	s, err := o.session(cmd)
	if err != nil {
		return err
	}
	defer s.Close()
	c, err := call(s)
	if err != nil {
		return prefixed(cmd, err)
	}
	a, err := s.Query(cmd.Context(), s.account, c, fresh)
	if err != nil {
		return prefixed(cmd, err)
	}
	v := struct {
		Result   json.RawMessage `json:"result"`
		Position uint64          `json:"position"`
		Time     time.Time       `json:"time"`
	}{a.Result, a.Position, a.Time.UTC()}
	return o.print(cmd, v, func(w io.Writer) { fmt.Fprintf(w, "%s\n", a.Result) })
}

func newLedgerCounterCommand() *cobra.Command {
	var o ledgerClientFlags
	var app string
	cmd := &cobra.Command{
		Use: "counter --app APP", Short: "Show the highest number that the account has used in an application", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if app == "" {
				return usageError{errors.New("ledger counter: name the application with --app")}
			}
			s, err := o.session(cmd)
			if err != nil {
				return err
			}
			defer s.Close()
			n, err := s.Counter(cmd.Context(), s.account, app)
			if err != nil {
				return prefixed(cmd, err)
			}
			return o.done(cmd, map[string]uint64{"counter": n}, "%d", n)
		},
	}
	cmd.Flags().StringVar(&app, "app", "", "`name` of the application (required)")
	o.register(cmd, true)
	return cmd
}

// writeReceipt writes a new file that only its owner may read.
func writeReceipt(file string, data []byte) error { return keyfile.WriteSecret(file, data) }
