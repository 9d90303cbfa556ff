package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/client"
	"hitoku.dev/internal/wire"
)

func newUserCommand() *cobra.Command {
	return group("user", "Users: list, invite, set roles, remove, admit, disable, change the password",
		newUserListCommand(), newUserInviteCommand(), newUserRolesCommand(), newUserRemoveCommand(),
		newUserStatusCommand("admit", "Let a user in who signed up (system administrators)", "ACTIVE", "%s is let in."),
		newUserStatusCommand("disable", "Disable a user: a member in the account, another everywhere (system administrators)", "DISABLED", "%s is disabled."),
		newUserPasswordCommand())
}

func newUserListCommand() *cobra.Command {
	var all bool
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
			scope := ""
			if all {
				scope = "all"
			}
			users, err := client.All[wire.User](cmd.Context(), c, client.Query("/v1/users", "scope", scope))
			if err != nil {
				return err
			}
			return o.print(cmd, users, func(w io.Writer) {
				fmt.Fprintln(w, "E-MAIL\tID\tROLES\tUSER\tMEMBER\tLAST LOG-IN")
				for _, u := range users {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", u.UserEmail, u.UserID, list(u.Roles), or(u.Status), or(u.UserAccountStatus), day(u.LastLoggedInAt))
				}
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "every user of the manager (system administrators)")
	o.flag(cmd)
	return cmd
}

func newUserInviteCommand() *cobra.Command {
	var roles []string
	var o output
	cmd := &cobra.Command{
		Use:   "invite EMAIL",
		Short: "Invite a user into the account",
		Long: `Invite a user into the account. The manager sends no mail: tell the user. Who has
no log-in yet signs up with "hitoku login https://HOST:PORT --sign-up" and is let
in by a system administrator (hitoku user admit). Then the user accepts with
"hitoku account accept NAME".`,
		Example: "  hitoku user invite bob@example.com --role WRITER",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			s, c, err := connect()
			if err != nil {
				return err
			}
			u, err := client.Post[wire.User](cmd.Context(), c, "/v1/users/invite", wire.Invite{UserEmail: a[0], Roles: upper(roles)})
			if err != nil {
				return fmt.Errorf("invite %s: %w", a[0], err)
			}
			return o.print(cmd, u, func(w io.Writer) {
				fmt.Fprintf(w, "%s is invited as %s. The manager sends no mail; tell the user to run:\n", u.UserEmail, list(u.Roles))
				if u.Status == "PENDING" {
					fmt.Fprintf(w, "  hitoku login %s --email %s --sign-up   (then a system administrator: hitoku user admit %s)\n", s.Manager, u.UserEmail, u.UserEmail)
				}
				fmt.Fprintf(w, "  hitoku account accept %s\n", s.AccountName)
			})
		},
	}
	cmd.Flags().StringSliceVar(&roles, "role", []string{"READER"}, "MANAGER, WRITER or READER (repeatable)")
	o.flag(cmd)
	return cmd
}

func upper(words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = strings.ToUpper(w)
	}
	return out
}

func newUserRolesCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:     "roles EMAIL|ID ROLE…",
		Short:   "Set the roles of a user in the account: MANAGER, WRITER, READER",
		Example: "  hitoku user roles bob@example.com WRITER",
		Args:    args(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return changeUser(cmd, &o, a[0], wire.UpdateUser{Roles: upper(a[1:])}, "The roles of %s are changed.")
		},
	}
	o.flag(cmd)
	return cmd
}

// newUserStatusCommand makes the verbs that let users in and out.
func newUserStatusCommand(use, short, status, said string) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   use + " EMAIL|ID",
		Short: short,
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			return changeUser(cmd, &o, a[0], wire.UpdateUser{UserAccountStatus: status}, said)
		},
	}
	o.flag(cmd)
	return cmd
}

func changeUser(cmd *cobra.Command, o *output, name string, change wire.UpdateUser, said string) error {
	_, c, err := connect()
	if err != nil {
		return err
	}
	u, err := c.User(cmd.Context(), name)
	if err != nil {
		return err
	}
	u, err = client.Patch[wire.User](cmd.Context(), c, "/v1/users/"+u.UserID, change)
	if err != nil {
		return fmt.Errorf("user %s: %w", name, err)
	}
	return o.done(cmd, u, said, u.UserEmail)
}

func newUserRemoveCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "remove EMAIL|ID",
		Short: "Remove a user from the account",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			_, c, err := connect()
			if err != nil {
				return err
			}
			u, err := c.User(cmd.Context(), a[0])
			if err != nil {
				return err
			}
			if err := c.Call(cmd.Context(), http.MethodDelete, "/v1/users/"+u.UserID+"/accounts", nil, nil); err != nil {
				return fmt.Errorf("remove %s: %w", u.UserEmail, err)
			}
			return o.done(cmd, u, "%s is removed from the account.", u.UserEmail)
		},
	}
	o.flag(cmd)
	return cmd
}

func newUserPasswordCommand() *cobra.Command {
	var secret passwordFlag
	var o output
	cmd := &cobra.Command{
		Use:   "password",
		Short: "Change your password; your other sessions end",
		Long:  "Change your password. With --password-stdin, standard input has two lines: the present password and the new one.",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, c, err := connect()
			if err != nil {
				return err
			}
			var change wire.PasswordChange
			if secret.stdin {
				text, err := secret.read(cmd, s.Email, false)
				if err != nil {
					return err
				}
				lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
				if len(lines) != 2 {
					return usageError{errors.New("user password: standard input has two lines: the present password and the new one")}
				}
				change.CurrentPassword, change.NewPassword = lines[0], lines[1]
			} else {
				if change.CurrentPassword, err = secret.read(cmd, s.Email, false); err != nil {
					return err
				}
				if change.NewPassword, err = secret.read(cmd, s.Email, true); err != nil {
					return err
				}
			}
			if err := c.Call(cmd.Context(), http.MethodPost, "/v1/users/change_password", change, nil); err != nil {
				return fmt.Errorf("change the password of %s: %w", s.Email, err)
			}
			return o.done(cmd, map[string]string{"manager": s.Manager, "email": s.Email}, "The password of %s is changed.", s.Email)
		},
	}
	secret.flag(cmd)
	o.flag(cmd)
	return cmd
}
