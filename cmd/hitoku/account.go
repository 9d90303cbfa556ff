package main

import (
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/client"
	"hitoku.dev/internal/wire"
)

func newAccountCommand() *cobra.Command {
	return group("account", "Accounts: create, list, select, show, roots",
		newAccountCreateCommand(), newAccountListCommand(), newAccountSelectCommand(), newAccountShowCommand(),
		newAccountRootCommand("root", "Print the account root: what clients verify certificates with", "root"),
		newAccountRootCommand("simulated-root", "Print the simulated TEE's root of a test-only account", "simulated-root"),
		newAccountDeleteCommand())
}

func accountKind(a wire.Account) string {
	if a.NodeEnrollment.AttestationEnforcementDisabledInsecure {
		return "TEST-ONLY (simulated evidence is accepted)"
	}
	return "production"
}

func newAccountCreateCommand() *cobra.Command {
	var testOnly, fourEyes bool
	var o output
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create an account and select it",
		Long: `Create an account and select it.

--test-only accepts evidence of the simulated TEE, which protects nothing from
the machine's owner. It cannot be changed later, and everything made in such an
account says so.`,
		Example: "  hitoku account create acme --test-only",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			s, c, err := connect()
			if err != nil {
				return err
			}
			body := wire.AccountRequest{Name: a[0], NodeEnrollment: &wire.NodeEnrollment{AttestationEnforcementDisabledInsecure: testOnly}, FourEyes: fourEyes}
			acct, err := client.Post[wire.Account](cmd.Context(), c, "/v1/accounts", body)
			if err != nil {
				return fmt.Errorf("create account %q: %w", a[0], err)
			}
			if err := selectAccount(cmd, s, c, acct); err != nil {
				return err
			}
			return o.print(cmd, acct, func(w io.Writer) {
				fmt.Fprintf(w, "Account %s created and selected.\nid\t%s\nkind\t%s\n", acct.Name, acct.AcctID, accountKind(acct))
				fmt.Fprintln(w, "Next: `hitoku app create NAME --input IMAGE --output IMAGE --domain DNS`.")
			})
		},
	}
	cmd.Flags().BoolVar(&testOnly, "test-only", false, "accept the simulated TEE in this account; cannot be changed later")
	cmd.Flags().BoolVar(&fourEyes, "four-eyes", false, "who asks for an approval cannot give it")
	o.flag(cmd)
	return cmd
}

func selectAccount(cmd *cobra.Command, s *session, c *client.Client, a wire.Account) error {
	if err := c.SelectAccount(cmd.Context(), a.AcctID); err != nil {
		return fmt.Errorf("select account %s: %w", a.Name, err)
	}
	s.AccountID, s.AccountName = a.AcctID, a.Name
	return s.Save(s.path)
}

func newAccountListCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the accounts you are a member of",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, c, err := connect()
			if err != nil {
				return err
			}
			l, err := client.Get[wire.List[wire.Account]](cmd.Context(), c, "/v1/accounts")
			if err != nil {
				return err
			}
			return o.print(cmd, l.Items, func(w io.Writer) {
				fmt.Fprintln(w, "\tNAME\tID\tKIND\tROLES")
				for _, a := range l.Items {
					mark := " "
					if a.AcctID == s.AccountID {
						mark = "*"
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", mark, a.Name, a.AcctID, accountKind(a), list(a.Roles))
				}
			})
		},
	}
	o.flag(cmd)
	return cmd
}

func newAccountSelectCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "select NAME|ID",
		Short: "Choose the account that the other commands work in",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			s, c, err := connect()
			if err != nil {
				return err
			}
			acct, err := c.Account(cmd.Context(), a[0])
			if err != nil {
				return err
			}
			return selectAccount(cmd, s, c, acct)
		},
	}
}

func newAccountShowCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "show [NAME|ID]",
		Short: "Show an account, by default the selected one",
		Args:  args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			_, c, acct, err := chosenAccount(cmd, a)
			if err != nil {
				return err
			}
			full, err := client.Get[wire.Account](cmd.Context(), c, "/v1/accounts/"+acct+"?with_totals=true")
			if err != nil {
				return err
			}
			return o.print(cmd, full, func(w io.Writer) {
				fmt.Fprintf(w, "name\t%s\nid\t%s\nkind\t%s\nstate\t%s\ncreated\t%s\nroles\t%s\nfour eyes\t%t\n",
					full.Name, full.AcctID, accountKind(full), full.AccountStatus, day(full.CreatedAt), list(full.Roles), full.FourEyes)
				if full.Totals != nil {
					fmt.Fprintf(w, "nodes\t%d\n", full.Totals.Nodes)
				}
			})
		},
	}
	o.flag(cmd)
	return cmd
}

// chosenAccount returns the id of the account that a names, or of the selected one.
func chosenAccount(cmd *cobra.Command, a []string) (*session, *client.Client, string, error) {
	s, c, err := connect()
	if err != nil {
		return nil, nil, "", err
	}
	if len(a) == 1 {
		acct, err := c.Account(cmd.Context(), a[0])
		return s, c, acct.AcctID, err
	}
	if s.AccountID == "" {
		return nil, nil, "", fmt.Errorf("no account is selected; `hitoku account select NAME` chooses one, `hitoku account list` shows them")
	}
	return s, c, s.AccountID, nil
}

func newAccountRootCommand(use, short, route string) *cobra.Command {
	var file string
	var o output
	cmd := &cobra.Command{
		Use:   use + " [NAME|ID]",
		Short: short,
		Args:  args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			_, c, id, err := chosenAccount(cmd, a)
			if err != nil {
				return err
			}
			root, err := client.Get[wire.RootReply](cmd.Context(), c, "/v1/accounts/"+id+"/"+route)
			if err != nil {
				return err
			}
			if file != "" {
				if err := os.WriteFile(file, []byte(root.Certificate), 0o644); err != nil {
					return err
				}
			}
			return o.print(cmd, root, func(w io.Writer) {
				if file == "" {
					fmt.Fprint(w, root.Certificate)
					return
				}
				fmt.Fprintf(w, "%s written; its key is sha256:%s\n", file, root.SPKISHA256)
			})
		},
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "write the PEM to this `file`")
	o.flag(cmd)
	return cmd
}

func newAccountDeleteCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete NAME|ID",
		Short: "Delete an account with everything in it",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			s, c, err := connect()
			if err != nil {
				return err
			}
			acct, err := c.Account(cmd.Context(), a[0])
			if err != nil {
				return err
			}
			if !yes {
				return usageError{fmt.Errorf("account delete %s: removes its applications, images, nodes and certificates for good; add --yes", acct.Name)}
			}
			if err := c.SelectAccount(cmd.Context(), acct.AcctID); err != nil {
				return err
			}
			if err := c.Call(cmd.Context(), http.MethodDelete, "/v1/accounts/"+acct.AcctID, nil, nil); err != nil {
				return err
			}
			if s.AccountID == acct.AcctID {
				s.AccountID, s.AccountName = "", ""
				return s.Save(s.path)
			}
			return c.SelectAccount(cmd.Context(), s.AccountID)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}
