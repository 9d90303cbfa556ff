package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/internal/jointoken"
	"hitoku.dev/internal/wire"
)

const maxReply = 1 << 20

// token is a join token with the text that authenticates its bearer.
type token struct {
	*jointoken.Token
	text string
}

func parseToken(text string) (*token, error) {
	text = strings.TrimSpace(text)
	t, err := jointoken.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	return &token{t, text}, nil
}

// ManagerError is a reply of the manager that is not a success.
type ManagerError struct {
	Call   string // for example "POST /v1/nodes"
	Status int
	Body   wire.Error
}

func (e *ManagerError) Error() string {
	s := fmt.Sprintf("manager answers %s with %d %s: %s", e.Call, e.Status, e.Body.Code, e.Body.Message)
	for _, r := range e.Body.Rules {
		if !r.OK {
			s += fmt.Sprintf("; %s: wanted %s, seen %s", r.Name, r.Wanted, r.Seen)
			if r.Advice != "" {
				s += " (" + r.Advice + ")"
			}
		}
	}
	return s
}

// refused reports whether asking again without a change is pointless.
func refused(err error) bool {
	var e *ManagerError
	if !errors.As(err, &e) {
		return false
	}
	return e.Status >= 400 && e.Status < 500 && e.Status != http.StatusRequestTimeout && e.Status != http.StatusTooManyRequests
}

// errTransport is wrapped when no reply of the manager arrived: waiting may help.
var errTransport = errors.New("no answer")

// errIdentity is wrapped when another server than the enrolled manager answers.
var errIdentity = errors.New("the server is not the manager that this node trusts")

// managerClient calls one manager with one identity.
type managerClient struct {
	base   *url.URL
	bearer string
	http   *http.Client
	nonces nonces
	// replies are buffers that replies were read into: a certificate with its evidence is long.
	replies sync.Pool
}

// newJoinClient makes the client of the first contact: the manager proves itself
// with the key that the join token names, the agent with the token.
func newJoinClient(base *url.URL, t *token) *managerClient {
	want := t.ManagerKey
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: base.Hostname(),
		// The pin below takes the place of a chain: nothing is known to chain to yet.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 {
				return fmt.Errorf("%w: it showed no certificate", errIdentity)
			}
			if got := sha256.Sum256(cs.PeerCertificates[0].RawSubjectPublicKeyInfo); got != want {
				return fmt.Errorf("%w: its key is sha256:%x, the join token wants sha256:%x; check --manager, and make a new token if the manager's key was replaced", errIdentity, got, want)
			}
			return nil
		},
	}
	return newManagerClient(base, t.text, cfg)
}

// newNodeClient makes the client of an enrolled node: mutual TLS, the manager
// verified under the account root alone (security decision S4).
func newNodeClient(base *url.URL, n *node) (*managerClient, error) {
	return newRootedClient(base, n, n.tlsCertificate())
}

// newRootedClient is newNodeClient for calls that need no node certificate.
func newRootedClient(base *url.URL, n *node, own ...tls.Certificate) (*managerClient, error) {
	if n.ManagerSNI == "" || net.ParseIP(n.ManagerSNI) != nil {
		return nil, fmt.Errorf("agent: the manager's name for this account is %q, wanted a host name", n.ManagerSNI)
	}
	roots := x509.NewCertPool()
	roots.AddCert(n.root)
	root := n.accountRootHash
	cfg := &tls.Config{
		MinVersion:   tls.VersionTLS13,
		ServerName:   n.ManagerSNI,
		RootCAs:      roots,
		Certificates: own,
		VerifyConnection: func(cs tls.ConnectionState) error {
			for _, chain := range cs.VerifiedChains {
				if attest.SPKIHash(chain[len(chain)-1].RawSubjectPublicKeyInfo) == root {
					return nil
				}
			}
			return fmt.Errorf("%w: its certificate does not lead to the account root sha256:%x", errIdentity, root)
		},
	}
	return newManagerClient(base, "", cfg), nil
}

func newManagerClient(base *url.URL, bearer string, cfg *tls.Config) *managerClient {
	return &managerClient{base: base, bearer: bearer, http: newHTTPClient(cfg), replies: sync.Pool{New: func() any { return new(bytes.Buffer) }}}
}

func newHTTPClient(cfg *tls.Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSClientConfig:       cfg,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: 60 * time.Second,
			// HTTP/1.1 costs both sides half of what HTTP/2 does for calls as small as these.
			MaxIdleConnsPerHost: maxCalls,
			IdleConnTimeout:     90 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (c *managerClient) close() { c.http.CloseIdleConnections() }

// call sends in as JSON and decodes the reply into out; both may be nil.
func (c *managerClient) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base.JoinPath(path).String(), body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+c.bearer)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return explainTLS(c.base, err)
	}
	defer res.Body.Close()
	reply := c.replies.Get().(*bytes.Buffer)
	defer c.replies.Put(reply)
	reply.Reset()
	_, err = reply.ReadFrom(io.LimitReader(res.Body, maxReply+1))
	raw := reply.Bytes() // decoding copies what it keeps
	switch {
	case err != nil:
		return fmt.Errorf("manager %s: reading the reply to %s %s: %w: %w", c.base.Host, method, path, errTransport, err)
	case len(raw) > maxReply:
		return fmt.Errorf("manager %s: the reply to %s %s is longer than %d bytes", c.base.Host, method, path, maxReply)
	case res.StatusCode < 200 || res.StatusCode > 299:
		e := &ManagerError{Call: method + " " + path, Status: res.StatusCode}
		if json.Unmarshal(raw, &e.Body) != nil || e.Body.Message == "" {
			e.Body.Message = strings.ToValidUTF8(strings.TrimSpace(string(raw[:min(len(raw), 300)])), "?")
		}
		return e
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("manager %s: the reply to %s %s is not as expected: %w", c.base.Host, method, path, err)
	}
	return nil
}

// neverSent reports whether err arose before any byte of the request left, so
// that sending it again cannot use up a nonce twice.
func neverSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func explainTLS(base *url.URL, err error) error {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("manager %s: %w: its certificate is not under the account root", base.Host, errIdentity)
	case errors.As(err, &name):
		return fmt.Errorf("manager %s: %w: %w", base.Host, errIdentity, name)
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, errIdentity) {
		return fmt.Errorf("manager %s: %w", base.Host, err)
	}
	return fmt.Errorf("manager %s: %w: %w", base.Host, errTransport, err)
}
