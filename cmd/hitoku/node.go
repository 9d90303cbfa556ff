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

func newNodeCommand() *cobra.Command {
	return group("node", "Compute nodes: join tokens, list, show, deactivate",
		newNodeTokenCommand(), newNodeListCommand(), newNodeShowCommand(), newNodeDeactivateCommand())
}

func newNodeTokenCommand() *cobra.Command {
	var zone string
	var uses int
	var ttl time.Duration
	var rotate, quiet bool
	var o output
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make a join token that enrols a node",
		Long: `Make a join token: who has it can enrol a machine into the zone. It holds the pin
of the manager's key, so that the machine needs nothing else to find the right one.
By default it works once and for one hour.

--rotate stops every token of the zone that was made before.`,
		Example: `  hitoku agent --manager https://HOST:8443 --join-token "$(hitoku node token -q)"`,
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if uses < 1 || ttl < time.Second {
				return usageError{errors.New("node token: --uses must be at least 1 and --ttl at least 1s")}
			}
			_, c, err := connect()
			if err != nil {
				return err
			}
			z, err := c.Zone(cmd.Context(), zone)
			if err != nil {
				return err
			}
			if rotate {
				if err := c.Call(cmd.Context(), http.MethodPost, "/v1/zones/"+z.ZoneID+"/token/rotate", nil, nil); err != nil {
					return err
				}
			}
			t, err := client.Post[wire.JoinToken](cmd.Context(), c, "/v1/zones/"+z.ZoneID+"/join-tokens", wire.JoinTokenRequest{Uses: uses, ExpiresIn: int64(ttl / time.Second)})
			if err != nil {
				return err
			}
			if quiet {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), t.Token)
				return err
			}
			return o.print(cmd, t, func(w io.Writer) {
				fmt.Fprintf(w, "zone\t%s\nworks\t%d time(s), until %s\ntoken\t%s\n", z.Name, t.Uses, day(t.ExpiresAt), t.Token)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&zone, "zone", "", "zone `name` (default: the account's first)")
	f.IntVar(&uses, "uses", 1, "how many nodes it may enrol")
	f.DurationVar(&ttl, "ttl", time.Hour, "how long it works")
	f.BoolVar(&rotate, "rotate", false, "first stop all earlier tokens of the zone")
	f.BoolVarP(&quiet, "quiet", "q", false, "print the token alone")
	o.flag(cmd)
	return cmd
}

func newNodeListCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the compute nodes of the account",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			nodes, err := client.All[wire.Node](cmd.Context(), c, "/v1/nodes")
			if err != nil {
				return err
			}
			return o.print(cmd, nodes, func(w io.Writer) {
				fmt.Fprintln(w, "NAME\tID\tSTATUS\tATTESTATION\tATTESTED\tLAST SEEN\tAPPS")
				for _, n := range nodes {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\n", n.Name, n.NodeID, n.Status.Status, or(n.AttestationType), day(n.AttestedAt), day(n.Status.LastSeenAt), len(n.Apps))
				}
			})
		},
	}
	o.flag(cmd)
	return cmd
}

func newNodeShowCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "show NAME|ID",
		Short: "Show a node, its platform and what runs there",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			n, err := c.Node(cmd.Context(), a[0])
			if err != nil {
				return err
			}
			return o.print(cmd, n, func(w io.Writer) {
				fmt.Fprintf(w, "name\t%s\nid\t%s\nstatus\t%s\naddress\t%s\nplatform id\t%s\nattestation\t%s\nattested\t%s\nlast seen\t%s (agent %s)\n",
					n.Name, n.NodeID, n.Status.Status, or(n.IPAddress), or(n.Platform), or(n.AttestationType), day(n.AttestedAt), day(n.Status.LastSeenAt), or(n.Status.LastSeenVersion))
				if n.ErrorReport != nil {
					fmt.Fprintf(w, "error\t%s: %s\n", n.ErrorReport.Name, n.ErrorReport.Message)
				}
				for _, a := range n.Apps {
					name, state := a.Certificate.AppID, "-"
					if a.BuildInfo != nil {
						name = a.BuildInfo.AppName + " " + client.BuildName(*a.BuildInfo)
					}
					if a.Status != nil {
						state = a.Status.Status
					}
					fmt.Fprintf(w, "application\t%s\t%s\tcertificate %s\n", name, state, a.Certificate.Status)
				}
			})
		},
	}
	o.flag(cmd)
	return cmd
}

func newNodeDeactivateCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "deactivate NAME|ID",
		Short: "Deactivate a node: its certificate and those of its applications are revoked",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			n, err := c.Node(cmd.Context(), a[0])
			if err != nil {
				return err
			}
			if err := c.Call(cmd.Context(), http.MethodPost, "/v1/nodes/"+n.NodeID+"/deactivate", nil, nil); err != nil {
				return fmt.Errorf("deactivate node %s: %w", n.Name, err)
			}
			n.Status.Status = "DEACTIVATED"
			return o.done(cmd, n, "Node %s deactivated.", n.Name)
		},
	}
	o.flag(cmd)
	return cmd
}
