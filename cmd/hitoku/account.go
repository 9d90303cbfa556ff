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
	return group("account", "Accounts: create, list, select, show, rules, roots, invitations",
		newAccountCreateCommand(), newAccountListCommand(), newAccountSelectCommand(), newAccountShowCommand(), newAccountRulesCommand(),
		newAccountRootCommand("root", "Print the account root: what clients verify certificates with", "root"),
		newAccountRootCommand("simulated-root", "Print the simulated TEE's root of a test-only account", "simulated-root"),
		newAccountCollateralCommand(), newAccountRenewRootCommand(),
		newAccountInviteCommand("accept", "Accept an invitation into an account, and select it"),
		newAccountInviteCommand("reject", "Reject an invitation into an account"),
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
			if err := s.mayChoose(); err != nil {
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

// standing is what an account is to the user: a membership, or an invitation.
func standing(a wire.Account) string {
	if a.Status == "PENDING" {
		return "invited as " + list(a.Roles)
	}
	return list(a.Roles)
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
			accounts, err := client.All[wire.Account](cmd.Context(), c, "/v1/accounts")
			if err != nil {
				return err
			}
			return o.print(cmd, accounts, func(w io.Writer) {
				if len(accounts) == 0 {
					fmt.Fprintln(w, "You are in no account; `hitoku account create NAME` makes one.")
					return
				}
				fmt.Fprintln(w, "\tNAME\tID\tKIND\tROLES")
				for _, a := range accounts {
					mark := " "
					if a.AcctID == s.AccountID {
						mark = "*"
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", mark, a.Name, a.AcctID, accountKind(a), standing(a))
				}
			})
		},
	}
	o.flag(cmd)
	return cmd
}

func newAccountSelectCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "select NAME|ID",
		Short: "Choose the account that the other commands work in",
		Args:  args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			s, c, err := connect()
			if err != nil {
				return err
			}
			if err := s.mayChoose(); err != nil {
				return err
			}
			acct, err := c.Account(cmd.Context(), a[0])
			if err != nil {
				return err
			}
			if acct.Status == "PENDING" {
				return fmt.Errorf("you are invited into account %s and have not answered; `hitoku account accept %s` does", acct.Name, acct.Name)
			}
			if err := selectAccount(cmd, s, c, acct); err != nil {
				return err
			}
			return o.done(cmd, acct, "Account %s selected.", acct.Name)
		},
	}
	o.flag(cmd)
	return cmd
}

// newAccountInviteCommand makes the verbs that answer an invitation.
func newAccountInviteCommand(use, short string) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   use + " NAME|ID",
		Short: short,
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
			answer := wire.ProcessInvite{Accepts: []string{acct.AcctID}}
			if use == "reject" {
				answer = wire.ProcessInvite{Rejects: []string{acct.AcctID}}
			}
			if err := c.Call(cmd.Context(), http.MethodPost, "/v1/users/process_invite", answer, nil); err != nil {
				return fmt.Errorf("%s the invitation into account %s: %w", use, acct.Name, err)
			}
			if use == "reject" {
				return o.done(cmd, acct, "Invitation into account %s rejected.", acct.Name)
			}
			acct.Status = "ACTIVE"
			if err := selectAccount(cmd, s, c, acct); err != nil {
				return err
			}
			return o.done(cmd, acct, "You are in account %s as %s; it is selected.", acct.Name, list(acct.Roles))
		},
	}
	o.flag(cmd)
	return cmd
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
				printRules(w, full.Attestation)
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
	id, err := s.account(cmd.Context(), c)
	return s, c, id, err
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
	var o output
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
			if err := s.mayChoose(); err != nil {
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
				err = s.Save(s.path)
			} else if s.AccountID != "" {
				err = c.SelectAccount(cmd.Context(), s.AccountID)
			}
			if err != nil {
				return fmt.Errorf("account %s is deleted, but: %w", acct.Name, err)
			}
			return o.done(cmd, acct, "Account %s deleted.", acct.Name)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	o.flag(cmd)
	return cmd
}
