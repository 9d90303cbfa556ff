package image

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Retries: attempts in all, and the bounds of the pause between two.
const (
	attempts    = 4
	pauseLeast  = 200 * time.Millisecond
	pauseSpread = 600 * time.Millisecond
	pauseMost   = 15 * time.Second
)

// remoteOptions is everything that go-containerregistry must know. Retries are
// its own, but the pause happens in the predicate, since its own pause does not
// end with the context.
func remoteOptions(ctx context.Context, o Options) ([]remote.Option, *guard, error) {
	g, err := newGuard(o)
	if err != nil {
		return nil, nil, err
	}
	opts := []remote.Option{
		remote.WithContext(ctx),
		remote.WithTransport(g),
		remote.WithJobs(o.Jobs),
		remote.WithUserAgent("hitoku"),
		remote.WithRetryBackoff(remote.Backoff{Duration: time.Millisecond, Factor: 1, Steps: attempts}),
		remote.WithRetryPredicate(func(err error) bool { return temporary(err) && g.pause(ctx) }),
		remote.WithRetryStatusCodes(http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
			http.StatusServiceUnavailable, http.StatusGatewayTimeout),
	}
	auth, keys, err := credentials(o)
	if err != nil {
		return nil, nil, err
	}
	if keys != nil {
		return append(opts, remote.WithAuthFromKeychain(keys)), g, nil
	}
	return append(opts, remote.WithAuth(auth)), g, nil
}

func credentials(o Options) (authn.Authenticator, authn.Keychain, error) {
	switch {
	case o.Token != "" && (o.Username != "" || o.Password != ""):
		return nil, nil, failf(ErrCredentials, "give a user name and password or a token, not both")
	case o.Token != "":
		return &authn.Bearer{Token: o.Token}, nil, nil
	case o.Username != "" || o.Password != "":
		return &authn.Basic{Username: o.Username, Password: o.Password}, nil, nil
	case o.Anonymous:
		return authn.Anonymous, nil, nil
	case o.AuthFile != "":
		return nil, authFile(o.AuthFile), nil
	}
	return nil, namedKeychain{authn.DefaultKeychain}, nil
}

// temporary is what a second try may cure.
func temporary(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var te *transport.Error
	if errors.As(err, &te) {
		return te.StatusCode == http.StatusTooManyRequests || te.StatusCode >= 500
	}
	var done *Error
	var fail *failure
	if errors.As(err, &done) || errors.As(err, &fail) {
		return false
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		strings.HasSuffix(err.Error(), closedIdle)
}

// closedIdle is how net/http says that the server ended a kept connection just
// when it was to be used again; the error itself is not exported. An upload may
// always be started again.
const closedIdle = "http: server closed idle connection"

// guard stands under every request to a registry: it refuses plain HTTP that
// nobody permitted (also after a redirect, and to a token server), bounds what
// is read as a manifest, keeps Retry-After and counts what became of blobs.
type guard struct {
	inner      http.RoundTripper
	owned      *http.Transport
	insecure   bool
	retryAfter atomic.Int64 // nanoseconds
	observe    func(*http.Request, *http.Response)
}

func newGuard(o Options) (*guard, error) {
	if o.Transport != nil {
		return &guard{inner: o.Transport, insecure: o.Insecure}, nil
	}
	t := remote.DefaultTransport.(*http.Transport).Clone()
	if len(o.CA) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(o.CA) {
			return nil, failf(ErrTLS, "the CA file holds no PEM certificate")
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &guard{inner: t, owned: t, insecure: o.Insecure}, nil
}

func (g *guard) close() {
	if g != nil && g.owned != nil {
		g.owned.CloseIdleConnections()
	}
}

func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !g.insecure && !loopback(r.URL) {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, failf(ErrPlainHTTP, "%s is not reached by https", r.URL.Host)
	}
	resp, err := g.inner.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if s := resp.Header.Get("Retry-After"); s != "" {
		if n, err := strconv.Atoi(s); err == nil && n >= 0 {
			g.retryAfter.Store(int64(min(time.Duration(min(n, 3600))*time.Second, pauseMost)))
		}
	}
	if g.observe != nil {
		g.observe(r, resp)
	}
	if strings.Contains(r.URL.Path, "/manifests/") && r.Method == http.MethodGet {
		if resp.ContentLength > MaxManifestSize {
			resp.Body.Close()
			return nil, failf(ErrTooLarge, "manifest of %d bytes, at most %d are read", resp.ContentLength, MaxManifestSize)
		}
		resp.Body = &boundedBody{ReadCloser: resp.Body, left: MaxManifestSize}
	}
	return resp, nil
}

// pause waits before the next try and reports whether there shall be one.
func (g *guard) pause(ctx context.Context) bool {
	d := pauseLeast + rand.N(pauseSpread)
	if after := time.Duration(g.retryAfter.Swap(0)); after > d {
		d = after
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func loopback(u *url.URL) bool {
	host := u.Hostname()
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n, failf(ErrTooLarge, "manifest of more than %d bytes", MaxManifestSize)
	}
	return n, err
}

// namedKeychain says that it was the credential store that failed.
type namedKeychain struct{ authn.Keychain }

func (k namedKeychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	a, err := k.Keychain.Resolve(r)
	if err != nil {
		return nil, failf(ErrCredentials, "credentials for %s: %w", r.RegistryStr(), err)
	}
	return a, nil
}
