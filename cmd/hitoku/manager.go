package main

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"hitoku.dev/attest/dcap"
	"hitoku.dev/internal/manager/api"
	"hitoku.dev/internal/manager/serve"
)

func newManagerCommand() *cobra.Command {
	var o serve.Options
	var out output
	var c collateralFlags
	var offline bool
	cmd := &cobra.Command{
		Use:   "manager",
		Short: "Serve the manager: accounts, approvals, nodes, certificates",
		Long: `Serve the manager over TLS. At the first start it makes its master key, its CA and
a database, and prints a one-time code: whoever logs in with it becomes the
administrator.

The data folder holds the database. The master key and the checkpoint of the
audit log lie in another folder (--key-dir), so that one copy does not take both.

Evidence of real platforms needs what their makers signed about them. The manager
asks Intel's service for it, or the one named by --pccs, and keeps it in
--collateral-cache; what is not to be had, or stale, is refused. On a machine
without network, --collateral-offline: put a bundle there while it runs, with
` + "`hitoku collateral import BUNDLE --root intel --cache FOLDER`" + `.`,
		Example: "  hitoku manager --data-dir /var/lib/hitoku --listen 0.0.0.0:8443 --host ccm.example.com",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Dir == "" {
				return usageError{fmt.Errorf("manager: --data-dir is missing")}
			}
			collectLess()
			o.Version = version()
			o.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			if c.cache == "" {
				c.cache = filepath.Join(o.Dir, "collateral")
			}
			c.log = o.Log
			source, done, err := c.source([]*x509.Certificate{dcap.IntelRoot()}, !offline, time.Now)
			if err != nil {
				return fmt.Errorf("manager: %w", err)
			}
			defer done()
			o.Collateral = source
			return serve.Run(cmd.Context(), o, func(r serve.Ready) {
				if out.json {
					_ = out.print(cmd, r, nil)
					return
				}
				w := cmd.OutOrStdout()
				fmt.Fprintf(w, "manager  %s\npin      %s\nCA       %s\n", r.URL, r.Pin, r.CA)
				if r.Code != "" {
					fmt.Fprintf(w, "\nThere is no administrator yet. Become the first one:\n  hitoku login %s --pin %s --email YOU@EXAMPLE.COM --code %s\n", r.URL, r.Pin, r.Code)
				}
			})
		},
	}
	f := cmd.Flags()
	managerFolders(f, &o)
	f.StringVar(&o.Postgres, "postgres", "", "connection string of a PostgreSQL database (default: SQLite in the data folder)")
	f.StringVar(&o.Listen, "listen", "127.0.0.1:8443", "`address` to listen on")
	f.StringVar(&o.Host, "host", "", "`name` by which clients and agents reach the manager (default: of --listen)")
	f.StringVar(&o.ReadyFile, "ready-file", "", "`file` that gets address, pin and one-time code once the manager serves (JSON, mode 0600)")
	f.BoolVar(&o.OpenSignUp, "open-sign-up", false, "admit everybody who signs up, without an administrator's word")
	f.StringVar(&o.Gramine, "gramine", "", "Gramine's files for conversions for SGX: image, layout, tar or folder `REF` (default: such conversions are refused)")
	f.StringVar(&c.cache, "collateral-cache", "", "`folder` of collateral (default: collateral in the data folder)")
	f.BoolVar(&offline, "collateral-offline", false, "ask no service for collateral: only what is in the folder counts")
	c.services(f)
	out.flag(cmd)
	cmd.AddCommand(newManagerOpenAPICommand(), newManagerBackupCommand(), newManagerRestoreCommand())
	return cmd
}

func newManagerOpenAPICommand() *cobra.Command {
	return &cobra.Command{
		Use:   "openapi",
		Short: "Print the OpenAPI 3.1 document of the manager's interface",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			doc, err := api.New(api.Options{Version: version()}).OpenAPI()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), string(doc))
			return err
		},
	}
}
