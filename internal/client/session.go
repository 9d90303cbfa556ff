package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"hitoku.dev/internal/wire"
)

// Session is what log-in keeps on disk, mode 0600.
type Session struct {
	Manager     string `json:"manager"`
	Trust       Trust  `json:"trust"`
	Email       string `json:"email"`
	Token       string `json:"token"`
	AccountID   string `json:"account_id,omitempty"`
	AccountName string `json:"account_name,omitempty"`
}

// ErrNoSession says that there is no session file.
var ErrNoSession = errors.New("not logged in; run `hitoku login https://HOST:PORT --email EMAIL`")

// DefaultSessionPath is hitoku/session.json in the user's configuration folder.
func DefaultSessionPath() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("session file: %w; set HITOKU_SESSION to a file name", err)
	}
	return filepath.Join(dir, "hitoku", "session.json"), nil
}

// LoadSession reads a session file.
func LoadSession(path string) (*Session, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNoSession
	}
	if err != nil {
		return nil, err
	}
	var s Session
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("session file %s: %w; log in again", path, err)
	}
	if _, err := Address(s.Manager); err != nil || s.Token == "" {
		return nil, fmt.Errorf("session file %s holds no log-in; log in again", path)
	}
	return &s, nil
}

// Save writes the session file with mode 0600, whole or not at all.
func (s *Session) Save(path string) error {
	raw, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".session-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err := tmp.Write(append(raw, '\n')); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// Client returns a client with the session's trust and token.
func (s *Session) Client() (*Client, error) { return New(s.Manager, s.Trust, s.Token) }

// Login opens a session with e-mail and password.
func (c *Client) Login(ctx context.Context, email, password string) (*wire.AuthReply, error) {
	var reply wire.AuthReply
	err := c.call(ctx, http.MethodPost, "/v1/sys/auth", nil, &reply, func(r *http.Request) { r.SetBasicAuth(email, password) })
	if err != nil {
		return nil, err
	}
	return &reply, nil
}

// SelectAccount makes id the account of the session.
func (c *Client) SelectAccount(ctx context.Context, id string) error {
	return c.Call(ctx, http.MethodPost, "/v1/sys/session/select_account/"+id, nil, nil)
}
