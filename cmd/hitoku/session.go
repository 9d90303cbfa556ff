package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"hitoku.dev/internal/client"
	"hitoku.dev/internal/wire"
)

// session is the log-in that a client verb works with.
type session struct {
	path string
	*client.Session
	token bool // an API token from the environment; nothing is written to the file
}

// sessionPath is where the log-in is kept: HITOKU_SESSION, else the user's configuration folder.
func sessionPath() (string, error) {
	if path := os.Getenv("HITOKU_SESSION"); path != "" {
		return path, nil
	}
	return client.DefaultSessionPath()
}

// environmentTrust is what HITOKU_PIN and HITOKU_CA say.
func environmentTrust() (client.Trust, error) {
	t := client.Trust{Pin: os.Getenv("HITOKU_PIN")}
	if f := os.Getenv("HITOKU_CA"); f != "" {
		ca, err := os.ReadFile(f)
		if err != nil {
			return t, fmt.Errorf("HITOKU_CA: %w", err)
		}
		t.CA = string(ca)
	}
	return t, nil
}

// openSession finds the log-in: HITOKU_MANAGER with HITOKU_TOKEN (and HITOKU_PIN or HITOKU_CA)
// for machines, else the session file.
func openSession() (*session, error) {
	path, err := sessionPath()
	if err != nil {
		return nil, err
	}
	token, manager := os.Getenv("HITOKU_TOKEN"), os.Getenv("HITOKU_MANAGER")
	if token != "" && manager != "" {
		trust, err := environmentTrust()
		if err != nil {
			return nil, err
		}
		return &session{path, &client.Session{Manager: manager, Token: token, Trust: trust}, true}, nil
	}
	s, err := client.LoadSession(path)
	switch {
	case errors.Is(err, client.ErrNoSession) && token != "":
		return nil, errors.New("HITOKU_TOKEN is set, but nothing says for which manager; set HITOKU_MANAGER, and HITOKU_PIN or HITOKU_CA")
	case err != nil:
		return nil, err
	case token != "":
		return &session{path, &client.Session{Manager: s.Manager, Trust: s.Trust, Token: token}, true}, nil
	case manager != "":
		if base, err := client.Address(manager); err != nil || base != s.Manager {
			return nil, fmt.Errorf("HITOKU_MANAGER is %s, but the log-in is at %s; set HITOKU_TOKEN too, log in there with `hitoku login %s`, or unset it", manager, s.Manager, manager)
		}
	}
	return &session{path, s, false}, nil
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

// mayChoose refuses what changes the session where an API token is used instead of one.
func (s *session) mayChoose() error {
	if s.token {
		return errors.New("HITOKU_TOKEN is set, and a token works only in the account that it was made in; unset it and log in with `hitoku login`")
	}
	return nil
}

// account is the account that the session works in. A token has exactly one.
func (s *session) account(ctx context.Context, c *client.Client) (string, error) {
	if s.AccountID != "" {
		return s.AccountID, nil
	}
	if s.token {
		accounts, err := client.All[wire.Account](ctx, c, "/v1/accounts")
		if err != nil {
			return "", err
		}
		if len(accounts) == 1 {
			return accounts[0].AcctID, nil
		}
	}
	return "", errors.New("no account is selected; `hitoku account list` shows your accounts, `hitoku account select NAME` chooses one")
}
