package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

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
