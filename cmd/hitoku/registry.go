package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/client"
	"hitoku.dev/internal/wire"
)

func newRegistryCommand() *cobra.Command {
	return group("registry", "Saved image registries: create, list, delete",
		newRegistryCreateCommand(), newRegistryListCommand(), newRegistryDeleteCommand())
}

type registryCreateOptions struct {
	username, description string
	password              passwordFlag
	output
}

func newRegistryCreateCommand() *cobra.Command {
	var o registryCreateOptions
	cmd := &cobra.Command{
		Use:   "create URL",
		Short: "Save the credentials of an image registry in the manager",
		Long: `Save the credentials of an image registry in the manager, for conversions there
(hitoku image create --remote). The manager keeps the password encrypted and
never shows it.`,
		Example: `  echo "$PASSWORD" | hitoku registry create registry.example.com --username bob --password-stdin`,
		Args:    args(cobra.ExactArgs(1)),
		RunE:    func(cmd *cobra.Command, a []string) error { return o.run(cmd, a[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&o.username, "username", "", "user name at the registry (required)")
	f.StringVar(&o.description, "description", "", "what it is for")
	o.password.flag(cmd)
	o.flag(cmd)
	return cmd
}

func (o *registryCreateOptions) run(cmd *cobra.Command, address string) error {
	if o.username == "" {
		return usageError{errors.New("registry create: --username is missing")}
	}
	_, c, err := connect()
	if err != nil {
		return err
	}
	password, err := o.password.read(cmd, o.username+" at "+address, false)
	if err != nil {
		return err
	}
	if password == "" {
		return usageError{errors.New("registry create: the password is empty")}
	}
	body := wire.RegistryRequest{URL: address, Description: o.description}
	body.Credential.Default = &wire.AuthConfig{Username: o.username, Password: password}
	r, err := client.Post[wire.Registry](cmd.Context(), c, "/v1/registry", body)
	if err != nil {
		return fmt.Errorf("save registry %s: %w", address, err)
	}
	return o.done(cmd, r, "Registry %s saved.\nid\t%s", r.URL, r.RegistryID)
}

func newRegistryListCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the saved registries; passwords are never shown",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			regs, err := client.Get[[]wire.Registry](cmd.Context(), c, "/v1/registry")
			if err != nil {
				return err
			}
			return o.print(cmd, regs, func(w io.Writer) {
				fmt.Fprintln(w, "URL\tID\tUSER\tDESCRIPTION")
				for _, r := range regs {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.URL, r.RegistryID, or(r.Username), or(r.Description))
				}
			})
		},
	}
	o.flag(cmd)
	return cmd
}

func newRegistryDeleteCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "delete URL|ID",
		Short: "Forget a registry and its password",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			r, err := c.Registry(cmd.Context(), a[0])
			if err != nil {
				return err
			}
			if err := c.Call(cmd.Context(), http.MethodDelete, "/v1/registry/"+r.RegistryID, nil, nil); err != nil {
				return fmt.Errorf("delete registry %s: %w", r.URL, err)
			}
			return o.done(cmd, r, "Registry %s deleted.", r.URL)
		},
	}
	o.flag(cmd)
	return cmd
}
