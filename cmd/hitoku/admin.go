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

func newUserCommand() *cobra.Command {
	return group("user", "Users of the account: list, invite, set roles",
		newUserListCommand(), newUserInviteCommand(), newUserRolesCommand())
}

func newUserListCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the users of the account",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			users, err := client.All[wire.User](cmd.Context(), c, "/v1/users")
			if err != nil {
				return err
			}
			return o.print(cmd, users, func(w io.Writer) {
				fmt.Fprintln(w, "E-MAIL\tID\tROLES\tSTATE\tLAST LOG-IN")
				for _, u := range users {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", u.UserEmail, u.UserID, list(u.Roles), or(u.UserAccountStatus), day(u.LastLoggedInAt))
				}
			})
		},
	}
	o.flag(cmd)
	return cmd
}

func newUserInviteCommand() *cobra.Command {
	var roles []string
	var o output
	cmd := &cobra.Command{
		Use:     "invite EMAIL",
		Short:   "Invite a user into the account",
		Example: "  hitoku user invite bob@example.com --role WRITER",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			u, err := client.Post[wire.User](cmd.Context(), c, "/v1/users/invite", wire.Invite{UserEmail: a[0], Roles: roles})
			if err != nil {
				return err
			}
			return o.print(cmd, u, func(w io.Writer) { fmt.Fprintf(w, "%s is invited as %s.\n", a[0], list(roles)) })
		},
	}
	cmd.Flags().StringSliceVar(&roles, "role", []string{"READER"}, "MANAGER, WRITER or READER (repeatable)")
	o.flag(cmd)
	return cmd
}

func newUserRolesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "roles USER-ID ROLE…",
		Short: "Set the roles of a user in the account",
		Args:  args(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, a []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			return c.Call(cmd.Context(), http.MethodPatch, "/v1/users/"+a[0], wire.UpdateUser{Roles: a[1:]}, nil)
		},
	}
}

func newTokenCommand() *cobra.Command {
	var ttl time.Duration
	var o output
	create := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a token for a machine; it is shown once",
		Long:  "Make a long-lived token that acts as you in the selected account. Put it into HITOKU_TOKEN, and the manager's address into HITOKU_MANAGER.",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			t, err := client.Post[wire.APIToken](cmd.Context(), c, "/v1/user/tokens", wire.APITokenRequest{Name: a[0], ExpiresIn: int64(ttl / time.Second)})
			if err != nil {
				return err
			}
			return o.print(cmd, t, func(w io.Writer) {
				fmt.Fprintf(w, "name\t%s\nid\t%s\nuntil\t%s\ntoken\t%s\n", t.Name, t.TokenID, day(t.ExpiresAt), t.Token)
			})
		},
	}
	create.Flags().DurationVar(&ttl, "ttl", 90*24*time.Hour, "how long it works")
	o.flag(create)

	var lo output
	listCmd := &cobra.Command{
		Use:   "list",
		Short: "List your tokens",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			l, err := client.Get[wire.List[wire.APIToken]](cmd.Context(), c, "/v1/user/tokens")
			if err != nil {
				return err
			}
			return lo.print(cmd, l.Items, func(w io.Writer) {
				fmt.Fprintln(w, "NAME\tID\tUNTIL")
				for _, t := range l.Items {
					fmt.Fprintf(w, "%s\t%s\t%s\n", t.Name, t.TokenID, day(t.ExpiresAt))
				}
			})
		},
	}
	lo.flag(listCmd)
	revoke := &cobra.Command{
		Use:   "revoke ID",
		Short: "Stop a token",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			return c.Call(cmd.Context(), http.MethodDelete, "/v1/user/tokens/"+a[0], nil, nil)
		},
	}
	return group("token", "Your tokens for machines: create, list, revoke", create, listCmd, revoke)
}

func newZoneCommand() *cobra.Command {
	var o output
	listCmd := &cobra.Command{
		Use:   "list",
		Short: "List the zones of the account",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			zones, err := client.Get[[]wire.Zone](cmd.Context(), c, "/v1/zones")
			if err != nil {
				return err
			}
			return o.print(cmd, zones, func(w io.Writer) {
				fmt.Fprintln(w, "NAME\tID\tREPORT EVERY\tRENEW AFTER")
				for _, z := range zones {
					fmt.Fprintf(w, "%s\t%s\t%ds\t%d%%\n", z.Name, z.ZoneID, z.NodeRefreshInterval, z.NodeRenewalThreshold)
				}
			})
		},
	}
	o.flag(listCmd)
	return group("zone", "Zones: the certificate authorities of an account", listCmd, newZoneCertificateCommand())
}

func newRegistryCommand() *cobra.Command {
	var username, description string
	var o, lo output
	var secret passwordFlag
	create := &cobra.Command{
		Use:   "create URL",
		Short: "Save the credentials of an image registry in the manager",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			if username == "" {
				return usageError{errors.New("registry create: --username is missing")}
			}
			password, err := secret.read(cmd, username+" at "+a[0], false)
			if err != nil {
				return err
			}
			body := wire.RegistryRequest{URL: a[0], Description: description}
			body.Credential.Default = &wire.AuthConfig{Username: username, Password: password}
			r, err := client.Post[wire.Registry](cmd.Context(), c, "/v1/registry", body)
			if err != nil {
				return err
			}
			return o.print(cmd, r, func(w io.Writer) { fmt.Fprintf(w, "Registry %s saved.\nid\t%s\n", r.URL, r.RegistryID) })
		},
	}
	create.Flags().StringVar(&username, "username", "", "user name at the registry")
	secret.flag(create)
	create.Flags().StringVar(&description, "description", "", "what it is for")
	o.flag(create)
	listCmd := &cobra.Command{
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
			return lo.print(cmd, regs, func(w io.Writer) {
				fmt.Fprintln(w, "URL\tID\tUSER\tDESCRIPTION")
				for _, r := range regs {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.URL, r.RegistryID, or(r.Username), or(r.Description))
				}
			})
		},
	}
	lo.flag(listCmd)
	remove := &cobra.Command{
		Use:   "delete URL|ID",
		Short: "Forget a registry",
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
			return c.Call(cmd.Context(), http.MethodDelete, "/v1/registry/"+r.RegistryID, nil, nil)
		},
	}
	return group("registry", "Saved image registries: create, list, delete", create, listCmd, remove)
}

func newAuditCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show the audit log of the account",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			events, err := client.All[wire.AuditEvent](cmd.Context(), c, "/v1/audit_logs")
			if err != nil {
				return err
			}
			return o.print(cmd, events, func(w io.Writer) {
				fmt.Fprintln(w, "TIME\tSEVERITY\tACTION\tWHO\tWHAT")
				for _, e := range events {
					who := e.ActorType
					for _, name := range []string{e.UserName, e.NodeName, e.AppName} {
						if name != "" {
							who = name
							break
						}
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", day(e.Timestamp), e.Severity, e.ActionType, who, e.Description)
				}
			})
		},
	}
	o.flag(cmd)
	return cmd
}
