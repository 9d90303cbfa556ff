package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/client"
	"hitoku.dev/internal/wire"
)

type loginOptions struct {
	manager, email, pin, ca, code, codeFile, firstName, lastName string
	signUp                                                       bool
	password                                                     passwordFlag
	output
}

// loggedIn is what login prints as JSON.
type loggedIn struct {
	Manager     string   `json:"manager"`
	Email       string   `json:"email"`
	AccountID   string   `json:"account_id"`
	Account     string   `json:"account"`
	Session     string   `json:"session"`           // file; empty while the user waits to be let in
	Pending     bool     `json:"pending,omitempty"` // signed up, but not let in yet
	Invitations []string `json:"invitations"`       // names of accounts
}

func newLoginCommand() *cobra.Command {
	var o loginOptions
	cmd := &cobra.Command{
		Use:   "login [https://HOST:PORT]",
		Short: "Log in to a manager; with --code become its first administrator, with --sign-up a user",
		Long: `Log in to a manager and keep the session in a file of mode 0600 (HITOKU_SESSION
names another than the default one).

The manager is authenticated before the password is sent: --pin takes the value
that "hitoku manager" prints at its start, --ca the file of its CA. Without
either, the system's roots decide. The choice, the address and the e-mail address
are remembered: later, "hitoku login" is enough.

With --code, the one-time code that the manager prints at its first start, the
user is created first and becomes the system administrator. With --sign-up the
user is created and waits until a system administrator lets the user in
(hitoku user admit); invited users sign up in the same way.

Machines use HITOKU_MANAGER, HITOKU_TOKEN (from "hitoku token create") and
HITOKU_PIN or HITOKU_CA instead of a session file.`,
		Example: `  hitoku login https://127.0.0.1:8443 --pin sha256:… --email me@example.com --code CODE
  echo "$PASSWORD" | hitoku login https://ccm.example.com --email me@example.com --password-stdin`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			if len(a) == 1 {
				o.manager = a[0]
			}
			return o.run(cmd)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.email, "email", "", "e-mail address of the user (default: the one of the last log-in)")
	f.StringVar(&o.pin, "pin", "", "sha256:… of the manager's public key (or HITOKU_PIN)")
	f.StringVar(&o.ca, "ca", "", "`file` with the CA certificate of the manager, PEM (or HITOKU_CA)")
	o.password.flag(cmd)
	f.StringVar(&o.code, "code", "", "one-time code of the manager's first start: create the first administrator; others on this machine can see it in the process list until it is used, --code-file hides it")
	f.StringVar(&o.codeFile, "code-file", "", "`file` with the one-time code")
	f.BoolVar(&o.signUp, "sign-up", false, "create the user")
	f.StringVar(&o.firstName, "first-name", "", "first name, with --code or --sign-up")
	f.StringVar(&o.lastName, "last-name", "", "last name, with --code or --sign-up")
	o.flag(cmd)
	return cmd
}

// prepare completes the options with what is remembered, and finds the trust in the manager.
func (o *loginOptions) prepare(path string) (trust client.Trust, account string, err error) {
	old, err := client.LoadSession(path)
	if err != nil {
		old = &client.Session{} // a broken file is replaced
	}
	if o.manager == "" {
		if o.manager = os.Getenv("HITOKU_MANAGER"); o.manager == "" {
			o.manager = old.Manager
		}
	}
	if o.manager == "" {
		return trust, "", usageError{errors.New("login: which manager? give https://HOST:PORT, as `hitoku manager` prints it")}
	}
	if o.manager, err = client.Address(o.manager); err != nil {
		return trust, "", usageError{fmt.Errorf("login: %w", err)}
	}
	same := old.Manager == o.manager
	if same && o.email == "" {
		o.email = old.Email
	}
	if o.email == "" {
		return trust, "", usageError{errors.New("login: --email is missing")}
	}
	if same && o.email == old.Email {
		account = old.AccountID
	}
	if trust, err = o.trust(); err == nil && same && trust == (client.Trust{}) {
		trust = old.Trust
	}
	return trust, account, err
}

// trust is what the flags say, else the environment.
func (o *loginOptions) trust() (client.Trust, error) {
	t := client.Trust{Pin: o.pin}
	var err error
	switch {
	case o.ca != "":
		var ca []byte
		if ca, err = os.ReadFile(o.ca); err != nil {
			return t, fmt.Errorf("--ca: %w", err)
		}
		t.CA = string(ca)
	case o.pin == "":
		if t, err = environmentTrust(); err != nil {
			return t, err
		}
	}
	if _, err := t.TLS(); err != nil {
		return t, usageError{fmt.Errorf("login: %w", err)}
	}
	return t, nil
}

func (o *loginOptions) run(cmd *cobra.Command) error {
	if o.codeFile != "" {
		if o.code != "" {
			return usageError{errors.New("login: give --code or --code-file, not both")}
		}
		raw, err := os.ReadFile(o.codeFile)
		if err != nil {
			return fmt.Errorf("login: one-time code: %w", err)
		}
		if o.code = strings.TrimSpace(string(raw)); o.code == "" {
			return fmt.Errorf("login: one-time code: %s is empty", o.codeFile)
		}
	}
	if o.code != "" && o.signUp {
		return usageError{errors.New("login: --code signs up already; leave --sign-up out")}
	}
	path, err := sessionPath()
	if err != nil {
		return err
	}
	trust, account, err := o.prepare(path)
	if err != nil {
		return err
	}
	c, err := client.New(o.manager, trust, "")
	if err != nil {
		return usageError{err}
	}
	isNew := o.code != "" || o.signUp
	password, err := o.password.read(cmd, o.email, isNew)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	if isNew {
		body := wire.SignUp{UserEmail: o.email, UserPassword: password, FirstName: o.firstName, LastName: o.lastName, OneTimeCode: o.code}
		if err := c.Call(ctx, http.MethodPost, "/v1/users", body, nil); err != nil {
			return fmt.Errorf("create the user %s: %w", o.email, err)
		}
	}
	reply, err := c.Login(ctx, o.email, password)
	if pending := (*client.APIError)(nil); o.signUp && errors.As(err, &pending) && pending.Body.Code == "USER_ACCOUNT_PENDING" {
		return o.done(cmd, loggedIn{Manager: o.manager, Email: o.email, Pending: true, Invitations: []string{}},
			"%s is signed up. A system administrator has to let the user in: `hitoku user admit %s`. Then run `hitoku login %s`.", o.email, o.email, o.manager)
	}
	if err != nil {
		return fmt.Errorf("log in to %s as %s: %w", o.manager, o.email, err)
	}
	if reply.SessionInfo.SelectedAccountID != "" {
		account = reply.SessionInfo.SelectedAccountID
	}
	s := &client.Session{Manager: o.manager, Trust: trust, Email: o.email, Token: reply.AccessToken}
	invitations, err := chooseAccount(ctx, s, account)
	if err != nil {
		return err
	}
	if err := s.Save(path); err != nil {
		return err
	}
	out := loggedIn{Manager: s.Manager, Email: s.Email, AccountID: s.AccountID, Account: s.AccountName, Session: path, Invitations: invitations}
	return o.print(cmd, out, func(w io.Writer) { printLogin(w, out) })
}

func printLogin(w io.Writer, l loggedIn) {
	fmt.Fprintf(w, "Logged in to %s as %s.\n", l.Manager, l.Email)
	if l.AccountID == "" {
		fmt.Fprintln(w, "No account is selected: `hitoku account create NAME` makes one, `hitoku account select NAME` chooses one.")
	} else {
		fmt.Fprintf(w, "Account: %s (%s)\n", or(l.Account), l.AccountID)
	}
	for _, name := range l.Invitations {
		fmt.Fprintf(w, "You are invited into account %s: `hitoku account accept %s`.\n", name, name)
	}
}

// chooseAccount selects the account that was selected before, else the only one,
// and returns the names of those that the user is invited into.
func chooseAccount(ctx context.Context, s *client.Session, before string) (invitations []string, err error) {
	c, err := s.Client()
	if err != nil {
		return nil, err
	}
	all, err := client.All[wire.Account](ctx, c, "/v1/accounts")
	if err != nil {
		return nil, err
	}
	invitations = []string{}
	var mine []wire.Account
	for _, a := range all {
		switch a.Status {
		case "ACTIVE":
			mine = append(mine, a)
		case "PENDING":
			invitations = append(invitations, a.Name)
		}
	}
	for _, a := range mine {
		if a.AcctID == before || len(mine) == 1 {
			s.AccountID, s.AccountName = a.AcctID, a.Name
			return invitations, c.SelectAccount(ctx, a.AcctID)
		}
	}
	return invitations, nil
}

func newLogoutCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "logout",
		Short: "End the session and remove its file",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, c, err := connect()
			if err != nil {
				return err
			}
			if s.token {
				return errors.New("HITOKU_TOKEN is set, which is no session; `hitoku token revoke` stops a token")
			}
			callErr := c.Call(cmd.Context(), http.MethodPost, "/v1/sys/session/terminate", nil, nil)
			if err := os.Remove(s.path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			if callErr != nil {
				return fmt.Errorf("the session file is gone, but the manager did not end the session: %w", callErr)
			}
			return o.done(cmd, map[string]string{"manager": s.Manager, "email": s.Email}, "Logged out of %s.", s.Manager)
		},
	}
	o.flag(cmd)
	return cmd
}
