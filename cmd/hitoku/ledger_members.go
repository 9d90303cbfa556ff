package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"hitoku.dev/ledger/client"
)

func newLedgerNodeKeyCommand() *cobra.Command {
	var o ledgerClientFlags
	var rules bool
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Verify nodes: their evidence, membership, and the keys that clients seal to",
		Long: `Verify each node that is named, as every verb does before it seals anything: the
ledger's records from its id on, that the node is a member of the newest epoch, its
evidence by this machine's clock, the signature over the key that clients seal to, and
that the TLS connection ends in the attested key. Exit code 1 when one fails.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			var list []client.Node
			var failed []error
			for _, url := range c.URLs() {
				n, err := c.Verify(cmd.Context(), url)
				if err != nil {
					failed = append(failed, prefixed(cmd, err))
					continue
				}
				list = append(list, n)
			}
			err = o.print(cmd, list, func(w io.Writer) {
				for i, n := range list {
					if i > 0 {
						fmt.Fprintln(w)
					}
					writeNode(w, n, rules)
				}
			})
			return errors.Join(append([]error{err}, failed...)...)
		},
	}
	cmd.Flags().BoolVar(&rules, "rules", false, "show every rule by which the evidence was judged")
	o.register(cmd, false)
	return cmd
}

func writeNode(w io.Writer, n client.Node, rules bool) {
	fmt.Fprintf(w, "node\t%s\nslot\t%d\nincarnation\t%s\nkey\t%s\n", n.URL, n.Slot, n.Incarnation, n.Key)
	fmt.Fprintf(w, "seal to\t%s, until %s\n", n.RequestKey, n.NotAfter.Format(time.RFC3339))
	fmt.Fprintf(w, "committed\tposition %d, epoch %d\norder\t%s\n", n.Position, n.Epoch, n.OrderAssurance)
	text := fmt.Sprintf("accepted, %d rules held, TCB %s", len(n.Evidence.Rules), n.Evidence.TCB.Overall)
	if n.Evidence.Simulated {
		text += "; SIMULATED: no hardware protects this node"
	}
	fmt.Fprintf(w, "evidence\t%s\n", text)
	for _, r := range n.Evidence.Rules {
		if rules || r.Name == "measurement" {
			fmt.Fprintf(w, "  %s\t%s\n", r.Name, r.Seen)
		}
	}
}

func newLedgerMembersCommand() *cobra.Command {
	var o ledgerClientFlags
	cmd := &cobra.Command{
		Use:   "members",
		Short: "Show a ledger's members, and who waits to be let in",
		Long: `Show the members of the newest epoch and who waits to be let in, from the ledger's
records, which are verified from its id on. Everybody's evidence is judged by this
machine's clock.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.connect(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			m, err := c.Members(cmd.Context())
			if err != nil {
				return prefixed(cmd, err)
			}
			return o.print(cmd, m, func(w io.Writer) {
				if m.Epoch == 0 {
					fmt.Fprintln(w, "No epoch yet: the administrators have to let the first members in.")
				} else {
					fmt.Fprintf(w, "Epoch %d since position %d, %s; policy %d.\n", m.Epoch, m.Position, m.Since.Format(time.RFC3339), m.Policy)
				}
				fmt.Fprintln(w, "SLOT\tKIND\tSTATE\tINCARNATION\tJOINED\tMEASUREMENT\tEVIDENCE")
				writeMembers(w, "member", m.Members)
				writeMembers(w, "waits", m.Pending)
			})
		},
	}
	o.register(cmd, false)
	return cmd
}

func writeMembers(w io.Writer, state string, list []client.Member) {
	for _, m := range list {
		evidence := "accepted"
		if m.Refused != "" {
			evidence = m.Refused
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%.16s…\t%s\t%.16s…\t%.300s\n", m.Slot, m.Kind, state, m.Incarnation, m.JoinTime.Format(time.RFC3339), m.Measurement, evidence)
	}
}
