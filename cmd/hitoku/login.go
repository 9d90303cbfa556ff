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
	"golang.org/x/term"

	"hitoku.dev/internal/client"
	"hitoku.dev/internal/wire"
)

// openSession finds the log-in: HITOKU_MANAGER with HITOKU_TOKEN (and HITOKU_PIN or HITOKU_CA)
// for machines, else the session file (HITOKU_SESSION names another).
func openSession() (*session, error) {
	path := os.Getenv("HITOKU_SESSION")
	if path == "" {
		var err error
		if path, err = client.DefaultSessionPath(); err != nil {
			return nil, err
		}
	}
	token := os.Getenv("HITOKU_TOKEN")
	manager := os.Getenv("HITOKU_MANAGER")
	if token != "" && manager != "" {
		s := &client.Session{Manager: manager, Token: token, Trust: client.Trust{Pin: os.Getenv("HITOKU_PIN")}}
		if f := os.Getenv("HITOKU_CA"); f != "" {
			ca, err := os.ReadFile(f)
			if err != nil {
				return nil, fmt.Errorf("HITOKU_CA: %w", err)
			}
			s.Trust.CA = string(ca)
		}
		return &session{path, s}, nil
	}
	s, err := client.LoadSession(path)
	if err != nil {
		return nil, err
	}
	if token != "" {
		s.Token = token
	}
	return &session{path, s}, nil
}

// connect returns the session and a client of its manager.
func connect() (*session, *client.Client, error) {
	s, err := openSession()
	if err != nil {
		return nil, nil, err
	}
	c, err := s.Client()
	return s, c, err
}

type loginOptions struct {
	email, pin, ca, code, firstName, lastName string
	passwordStdin                             bool
	output
}

func newLoginCommand() *cobra.Command {
	var o loginOptions
	cmd := &cobra.Command{
		Use:   "login https://HOST:PORT",
		Short: "Log in to a manager, or become its first administrator with --code",
		Long: `Log in to a manager and keep the session in a file of mode 0600.

The manager is authenticated before the password is sent: --pin takes the value
that "hitoku manager" prints at its start, --ca the file of its CA. Without
either, the system's roots decide. The choice is remembered.

With --code, the one-time code that the manager prints at its first start, the
user is created first and becomes the system administrator.

Machines use HITOKU_MANAGER, HITOKU_TOKEN (from "hitoku token create") and
HITOKU_PIN or HITOKU_CA instead of a session file.`,
		Example: `  hitoku login https://127.0.0.1:8443 --pin sha256:… --email me@example.com --code CODE
  echo "$PASSWORD" | hitoku login https://ccm.example.com --email me@example.com --password-stdin`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error { return o.run(cmd, a[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&o.email, "email", "", "e-mail address of the user (required)")
	f.StringVar(&o.pin, "pin", "", "sha256:… of the manager's public key")
	f.StringVar(&o.ca, "ca", "", "`file` with the CA certificate of the manager (PEM)")
	f.BoolVar(&o.passwordStdin, "password-stdin", false, "read the password from standard input")
	f.StringVar(&o.code, "code", "", "one-time code of the manager's first start: create the first administrator")
	f.StringVar(&o.firstName, "first-name", "", "first name, with --code")
	f.StringVar(&o.lastName, "last-name", "", "last name, with --code")
	o.flag(cmd)
	return cmd
}

func (o *loginOptions) run(cmd *cobra.Command, manager string) error {
	if o.email == "" {
		return usageError{errors.New("login: --email is missing")}
	}
	if o.pin != "" {
		if _, err := client.ParsePin(o.pin); err != nil {
			return usageError{err}
		}
	}
	trust := client.Trust{Pin: o.pin}
	if o.ca != "" {
		pem, err := os.ReadFile(o.ca)
		if err != nil {
			return fmt.Errorf("--ca: %w", err)
		}
		trust.CA = string(pem)
	}
	path := os.Getenv("HITOKU_SESSION")
	if path == "" {
		var err error
		if path, err = client.DefaultSessionPath(); err != nil {
			return err
		}
	}
	if old, err := client.LoadSession(path); err == nil && old.Manager == manager && trust == (client.Trust{}) {
		trust = old.Trust
	}
	c, err := client.New(manager, trust, "")
	if err != nil {
		return usageError{err}
	}
	password, err := o.password(cmd)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	if o.code != "" {
		body := wire.SignUp{UserEmail: o.email, UserPassword: password, FirstName: o.firstName, LastName: o.lastName, OneTimeCode: o.code}
		if err := c.Call(ctx, http.MethodPost, "/v1/users", body, nil); err != nil {
			return fmt.Errorf("create the first administrator %s: %w", o.email, err)
		}
	}
	reply, err := c.Login(ctx, o.email, password)
	if err != nil {
		return fmt.Errorf("log in to %s as %s: %w", manager, o.email, err)
	}
	s := &client.Session{Manager: manager, Trust: trust, Email: o.email, Token: reply.AccessToken, AccountID: reply.SessionInfo.SelectedAccountID}
	if err := selectOnlyAccount(ctx, s); err != nil {
		return err
	}
	if err := s.Save(path); err != nil {
		return err
	}
	return o.print(cmd, map[string]string{"manager": manager, "email": o.email, "account_id": s.AccountID, "account": s.AccountName, "session": path}, func(w io.Writer) {
		fmt.Fprintf(w, "Logged in to %s as %s.\n", manager, o.email)
		if s.AccountID == "" {
			fmt.Fprintln(w, "No account is selected: `hitoku account create NAME` makes one, `hitoku account select NAME` chooses one.")
		} else {
			fmt.Fprintf(w, "Account: %s (%s)\n", or(s.AccountName), s.AccountID)
		}
	})
}

// selectOnlyAccount chooses the user's account when there is exactly one.
func selectOnlyAccount(ctx context.Context, s *client.Session) error {
	c, err := s.Client()
	if err != nil {
		return err
	}
	list, err := client.Get[wire.List[wire.Account]](ctx, c, "/v1/accounts")
	if err != nil {
		return err
	}
	for _, a := range list.Items {
		if a.AcctID == s.AccountID || s.AccountID == "" && len(list.Items) == 1 {
			if err := c.SelectAccount(ctx, a.AcctID); err != nil {
				return err
			}
			s.AccountID, s.AccountName = a.AcctID, a.Name
		}
	}
	return nil
}

func (o *loginOptions) password(cmd *cobra.Command) (string, error) {
	in, ok := cmd.InOrStdin().(*os.File)
	if !o.passwordStdin && ok && term.IsTerminal(int(in.Fd())) {
		fmt.Fprintf(cmd.ErrOrStderr(), "Password of %s: ", o.email)
		p, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(cmd.ErrOrStderr())
		return string(p), err
	}
	if !o.passwordStdin {
		return "", usageError{errors.New("login: standard input is no terminal; give the password there with --password-stdin")}
	}
	raw, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), 4096))
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(raw), "\r\n"), nil
}

func newLogoutCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "logout",
		Short: "End the session and remove its file",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, c, err := connect()
			if err != nil {
				return err
			}
			callErr := c.Call(cmd.Context(), http.MethodPost, "/v1/sys/session/terminate", nil, nil)
			if err := os.Remove(s.path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			if callErr != nil {
				return fmt.Errorf("the session file is gone, but the manager did not end the session: %w", callErr)
			}
			return nil
		},
	}
}
