// Package client speaks to a manager for the command line: log-in, session file
// and one typed call for each request.
//
// The manager is authenticated before anything is sent: by a CA file, or by the
// SHA-256 of the public key of its certificate (the pin that `hitoku manager`
// prints at its start), or by the system's roots. There is no way to skip it.
package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"hitoku.dev/internal/wire"
)

// maxReply bounds what is read of one reply.
const maxReply = 32 << 20

// Trust says how the manager proves itself.
type Trust struct {
	Pin string `json:"pin,omitempty"` // "sha256:" and 64 hexadecimal digits over the DER SubjectPublicKeyInfo
	CA  string `json:"ca,omitempty"`  // PEM
}

// Client calls one manager.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// APIError is a reply of the manager that is not a success.
type APIError struct {
	Method, Path string
	Status       int
	Body         wire.Error
}

func (e *APIError) Error() string {
	message := e.Body.Message
	if message == "" {
		message = "the manager gave no reason"
	}
	s := message + " (HTTP " + strconv.Itoa(e.Status) + ")"
	if e.Body.Code != "" {
		s = fmt.Sprintf("%s (%s, HTTP %d)", message, e.Body.Code, e.Status)
	}
	switch e.Body.Code {
	case "NO_ACCOUNT_SELECTED":
		s += "; `hitoku account list` shows your accounts, `hitoku account select NAME` chooses one"
	case "INVALID_SESSION", "SESSION_EXPIRED":
		s += "; `hitoku login` begins a session, `hitoku token create` makes a token for machines"
	}
	for _, r := range e.Body.Rules {
		if !r.OK {
			s += fmt.Sprintf("\n  %s: wanted %s, seen %s", r.Name, r.Wanted, r.Seen)
			if r.Advice != "" {
				s += "; " + r.Advice
			}
		}
	}
	return s
}

// New returns a client of the manager at base ("https://host:port"). An empty
// token makes unauthenticated calls.
func New(base string, trust Trust, token string) (*Client, error) {
	base, err := Address(base)
	if err != nil {
		return nil, err
	}
	cfg, err := trust.TLS()
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = cfg
	return &Client{
		base:  base,
		token: token,
		http:  &http.Client{Transport: transport, Timeout: 2 * time.Minute},
	}, nil
}

// Address checks the address of a manager and returns it as https://host[:port].
func Address(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("manager address %q: wanted https://HOST:PORT", text)
	}
	if u.Scheme != "https" {
		return "", fmt.Errorf("manager address %q: only https is used, the manager always serves TLS", text)
	}
	return "https://" + strings.ToLower(u.Host), nil
}

// TLS returns the configuration that authenticates the manager.
func (t Trust) TLS() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(t.CA)) {
			return nil, errors.New("CA file: no PEM certificate in it")
		}
		cfg.RootCAs = pool
	}
	if t.Pin == "" {
		return cfg, nil
	}
	want, err := ParsePin(t.Pin)
	if err != nil {
		return nil, err
	}
	// The pin replaces chain building; it is checked on every connection, resumed ones too.
	cfg.InsecureSkipVerify = t.CA == ""
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		if len(cs.PeerCertificates) == 0 {
			return errors.New("the manager showed no certificate")
		}
		got := sha256.Sum256(cs.PeerCertificates[0].RawSubjectPublicKeyInfo)
		if got != want {
			return fmt.Errorf("the manager's key is sha256:%x, the pin wants sha256:%x: another server answers at this address, or the manager's key was replaced; compare with the pin that `hitoku manager` prints", got, want)
		}
		return nil
	}
	return cfg, nil
}

// ParsePin reads "sha256:" followed by 64 hexadecimal digits.
func ParsePin(s string) ([32]byte, error) {
	var out [32]byte
	digits, ok := strings.CutPrefix(s, "sha256:")
	raw, err := hex.DecodeString(digits)
	if !ok || err != nil || len(raw) != 32 {
		return out, fmt.Errorf("pin %q: wanted sha256: followed by 64 hexadecimal digits", s)
	}
	copy(out[:], raw)
	return out, nil
}

// Call sends in as JSON (nothing when nil) and decodes the reply into out
// (ignored when nil). A reply that is not a success is an *APIError.
func (c *Client) Call(ctx context.Context, method, path string, in, out any) error {
	return c.call(ctx, method, path, in, out, func(r *http.Request) {
		if c.token != "" {
			r.Header.Set("Authorization", "Bearer "+c.token)
		}
	})
}

func (c *Client) call(ctx context.Context, method, path string, in, out any, auth func(*http.Request)) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	auth(req)
	res, err := c.http.Do(req)
	if err != nil {
		return c.explain(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxReply))
	if err != nil {
		return fmt.Errorf("manager %s: reading the reply to %s %s: %w", c.base, method, path, err)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		e := &APIError{Method: method, Path: path, Status: res.StatusCode}
		if json.Unmarshal(raw, &e.Body) != nil || e.Body.Message == "" {
			e.Body.Message = strings.TrimSpace(string(raw[:min(len(raw), 300)]))
		}
		return e
	}
	if out == nil || len(raw) == 0 {
		return nil
	}
	if p, ok := out.(*json.RawMessage); ok {
		*p = raw
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("manager %s: the reply to %s %s is not what this command knows: %w", c.base, method, path, err)
	}
	return nil
}

// explain says what to do about a connection that failed.
func (c *Client) explain(err error) error {
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("manager %s: its certificate is not from a CA that this machine knows; log in with --pin sha256:… or --ca FILE (the manager prints its pin at the start and keeps its CA in its data folder)", c.base)
	case errors.As(err, &name):
		return fmt.Errorf("manager %s: %w; use a name that is in the certificate, or log in with --pin sha256:…, or start the manager with --host %s", c.base, name, name.Host)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("manager %s: stopped before it answered: %w", c.base, err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("manager %s: nothing answers at this address: %w; is `hitoku manager` running?", c.base, err)
	}
	return fmt.Errorf("manager %s: %w", c.base, err)
}
