package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/client"
	"hitoku.dev/internal/image"
	"hitoku.dev/internal/wire"
)

func newAppCommand() *cobra.Command {
	return group("app", "Applications: create, list, show, domains, delete",
		newAppCreateCommand(), newAppListCommand(), newAppShowCommand(), newAppDomainsCommand(), newAppDeleteCommand())
}

type appCreateOptions struct {
	description, input, outputImage string
	domains                         []string
	prodID, svn                     uint16
	memory                          int64
	threads                         int32
	output
}

func newAppCreateCommand() *cobra.Command {
	var o appCreateOptions
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create an application",
		Long: `Create an application: a name, the image it is made from, where its converted
image goes, and the DNS names that it may have certificates for. The names need
an approval (hitoku task list).`,
		Example: "  hitoku app create web --input registry.example.com/web --output registry.example.com/web-hitoku --domain web.example.com",
		Args:    args(cobra.ExactArgs(1)),
		RunE:    func(cmd *cobra.Command, a []string) error { return o.run(cmd, a[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&o.description, "description", "", "what the application does")
	f.StringVar(&o.input, "input", "", "image `name` to convert, without a tag (required)")
	f.StringVar(&o.outputImage, "output", "", "image `name` of the converted image, without a tag (required)")
	f.StringSliceVar(&o.domains, "domain", nil, "DNS name the application may have a certificate for (repeatable)")
	f.Uint16Var(&o.prodID, "isv-prod-id", 1, "product id of its builds")
	f.Uint16Var(&o.svn, "isv-svn", 1, "security version number of its builds")
	f.Int64Var(&o.memory, "memory", 1024, "memory of the enclave in MiB (SGX)")
	f.Int32Var(&o.threads, "threads", 128, "threads of the enclave (SGX)")
	o.flag(cmd)
	return cmd
}

func (o *appCreateOptions) run(cmd *cobra.Command, name string) error {
	if o.input == "" || o.outputImage == "" {
		return usageError{fmt.Errorf("app create %s: --input and --output are both needed", name)}
	}
	for _, text := range []string{o.input, o.outputImage} {
		if _, err := image.Parse(text); err != nil {
			return usageError{fmt.Errorf("app create %s: %w", name, err)}
		}
	}
	if o.input == o.outputImage {
		return usageError{fmt.Errorf("app create %s: --input and --output are the same; the converted image needs a name of its own", name)}
	}
	_, c, err := connect()
	if err != nil {
		return err
	}
	prod, svn := int32(o.prodID), int32(o.svn)
	app, err := client.Post[wire.App](cmd.Context(), c, "/v1/apps", wire.AppRequest{
		Name: name, Description: o.description, InputImageName: o.input, OutputImageName: o.outputImage,
		ISVProdID: &prod, ISVSVN: &svn, MemSize: &o.memory, Threads: &o.threads, AllowedDomains: o.domains,
		DefaultBuildSettings: &wire.DefaultBuildSettings{SGX: &wire.SGXBuildSettings{ISVProdID: prod, MemSize: o.memory, Threads: o.threads}},
	})
	if err != nil {
		return fmt.Errorf("create application %q: %w", name, err)
	}
	return o.print(cmd, app, func(w io.Writer) {
		fmt.Fprintf(w, "Application %s created.\nid\t%s\n", app.Name, app.AppID)
		if app.PendingTaskID != "" {
			fmt.Fprintf(w, "waits\ttask %s: approve the names %s with `hitoku task approve %s`\n", app.PendingTaskID, list(app.DomainsAdded), app.PendingTaskID)
		}
		fmt.Fprintf(w, "Next: `hitoku image create --app %s --tag TAG`.\n", app.Name)
	})
}

func newAppListCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the applications of the account",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			apps, err := client.All[wire.App](cmd.Context(), c, "/v1/apps")
			if err != nil {
				return err
			}
			return o.print(cmd, apps, func(w io.Writer) {
				fmt.Fprintln(w, "NAME\tID\tNAMES APPROVED\tNAMES ASKED\tOUTPUT IMAGE")
				for _, a := range apps {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", a.Name, a.AppID, list(a.WhitelistedDomains), list(a.DomainsAdded), a.OutputImageName)
				}
			})
		},
	}
	o.flag(cmd)
	return cmd
}

func newAppShowCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "show NAME|ID",
		Short: "Show an application and where it runs",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			app, err := c.App(cmd.Context(), a[0])
			if err != nil {
				return err
			}
			return o.print(cmd, app, func(w io.Writer) {
				fmt.Fprintf(w, "name\t%s\nid\t%s\ndescription\t%s\ninput image\t%s\noutput image\t%s\nproduct id, SVN\t%d, %d\nnames approved\t%s\n",
					app.Name, app.AppID, or(app.Description), app.InputImageName, app.OutputImageName, app.ISVProdID, app.ISVSVN, list(app.WhitelistedDomains))
				if app.PendingTaskID != "" {
					fmt.Fprintf(w, "waits\ttask %s (add %s, remove %s)\n", app.PendingTaskID, list(app.DomainsAdded), list(app.DomainsRemoved))
				}
				for _, n := range app.Nodes {
					state := "-"
					if n.Status != nil {
						state = n.Status.Status
					}
					fmt.Fprintf(w, "runs on\t%s\t%s\n", or(n.NodeName), state)
				}
			})
		},
	}
	o.flag(cmd)
	return cmd
}

func newAppDomainsCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "domains NAME|ID DNS[,DNS…]",
		Short: "Ask for another set of DNS names; needs an approval",
		Args:  args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, a []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			app, err := c.App(cmd.Context(), a[0])
			if err != nil {
				return err
			}
			domains := []string{}
			for _, d := range strings.Split(a[1], ",") {
				if d = strings.TrimSpace(d); d != "" {
					domains = append(domains, d)
				}
			}
			app, err = client.Patch[wire.App](cmd.Context(), c, "/v1/apps/"+app.AppID, wire.AppUpdate{AllowedDomains: &domains})
			if err != nil {
				return fmt.Errorf("names of application %s: %w", a[0], err)
			}
			return o.print(cmd, app, func(w io.Writer) {
				if app.PendingTaskID == "" {
					fmt.Fprintln(w, "Nothing to approve.")
					return
				}
				fmt.Fprintf(w, "Waits for task %s: `hitoku task approve %s`.\n", app.PendingTaskID, app.PendingTaskID)
			})
		},
	}
	o.flag(cmd)
	return cmd
}

func newAppDeleteCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "delete NAME|ID",
		Short: "Delete an application with its images; its certificates are revoked",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			app, err := c.App(cmd.Context(), a[0])
			if err != nil {
				return err
			}
			if err := c.Call(cmd.Context(), http.MethodDelete, "/v1/apps/"+app.AppID, nil, nil); err != nil {
				return fmt.Errorf("delete application %s: %w", app.Name, err)
			}
			return o.done(cmd, app, "Application %s deleted.", app.Name)
		},
	}
	o.flag(cmd)
	return cmd
}
