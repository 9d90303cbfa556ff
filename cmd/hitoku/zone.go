package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/client"
	"hitoku.dev/internal/wire"
)

func newZoneCommand() *cobra.Command {
	var o output
	listCmd := &cobra.Command{
		Use:   "list",
		Short: "List the zones of the account",
		Long: `List the zones of the account.

The manager renews the certificate of a zone's authority by itself before it ends,
over the same key. The account root above them is what clients hold, so a person
renews it: a line here says when it is time.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			zones, err := client.Get[[]wire.Zone](cmd.Context(), c, "/v1/zones")
			if err != nil {
				return err
			}
			var root wire.RootReply
			if len(zones) > 0 {
				if root, err = client.Get[wire.RootReply](cmd.Context(), c, "/v1/accounts/"+zones[0].AcctID+"/root"); err != nil {
					return err
				}
			}
			return o.print(cmd, zones, func(w io.Writer) {
				fmt.Fprintln(w, "NAME\tID\tREPORT EVERY\tRENEW AFTER\tCERTIFICATE ENDS")
				for _, z := range zones {
					fmt.Fprintf(w, "%s\t%s\t%ds\t%d%%\t%s\n", z.Name, z.ZoneID, z.NodeRefreshInterval, z.NodeRenewalThreshold, day(z.CertificateEndsAt))
				}
				if root.Warning != "" {
					fmt.Fprintf(w, "WARNING: %s.\n", root.Warning)
				}
			})
		},
	}
	o.flag(listCmd)
	return group("zone", "Zones: the certificate authorities of an account", listCmd, newZoneCertificateCommand())
}

func newZoneCertificateCommand() *cobra.Command {
	var file string
	var o output
	cmd := &cobra.Command{
		Use:   "certificate [NAME|ID]",
		Short: "Print a zone's authority, for hitoku verify --zone",
		Args:  args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			name := ""
			if len(a) == 1 {
				name = a[0]
			}
			z, err := c.Zone(cmd.Context(), name)
			if err != nil {
				return err
			}
			if file != "" {
				if err := os.WriteFile(file, []byte(z.Certificate), 0o644); err != nil {
					return err
				}
			}
			return o.print(cmd, map[string]string{"zone_id": z.ZoneID, "name": z.Name, "certificate": z.Certificate}, func(w io.Writer) {
				if file == "" {
					fmt.Fprint(w, z.Certificate)
					return
				}
				fmt.Fprintf(w, "%s written: zone %s\n", file, z.Name)
			})
		},
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "write the PEM to this `file`")
	o.flag(cmd)
	return cmd
}
