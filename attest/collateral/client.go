package collateral

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limits on what is asked of a service.
const (
	attempts      = 4                      // of one request
	firstPause    = 500 * time.Millisecond // doubled after each attempt; the pause is a random part of it
	maxPause      = 30 * time.Second       // a service that asks for a longer one is not asked again before it is over
	answerTimeout = 20 * time.Second       // of one attempt
	maxHeader     = 32 << 10               // bytes of one header's value
	maxRedirects  = 3
)

// ClientOptions say whom to ask and how.
type ClientOptions struct {
	// HTTP makes the requests; see [NewHTTPClient]. Proxies and trusted TLS roots are its affair.
	HTTP *http.Client
	// PCS is the base address of Intel's service, without the path /sgx/…; empty: [PCSURL].
	PCS string
	// RootCRL is the address of the Intel root's revocation list; empty: [RootCRLURL].
	RootCRL string
	// PCCS is the base address of a caching service that is asked instead of Intel's, also for
	// the root's revocation list.
	PCCS string
	// SubscriptionKey is sent to Intel's service when it is asked for PCK certificates.
	SubscriptionKey string
	// KDS is the base address of AMD's service; empty: [KDSURL].
	KDS string
	// KDSSpacing is the least time between two requests to it; 0: two seconds.
	KDSSpacing time.Duration

	Now func() time.Time // nil: the machine's clock
	// Wait sleeps unless the context ends first; nil: a timer.
	Wait func(context.Context, time.Duration) error
	// Jitter returns a random part of a pause; nil: evenly distributed.
	Jitter func(time.Duration) time.Duration
}

// Addresses of the makers' services.
const (
	PCSURL     = "https://api.trustedservices.intel.com"
	RootCRLURL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
	KDSURL     = "https://kdsintf.amd.com"
)

// NewHTTPClient returns a client like [http.DefaultClient], with the proxies of
// the environment (HTTPS_PROXY), and with limits on headers and time.
func NewHTTPClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxResponseHeaderBytes = 128 << 10
	t.ResponseHeaderTimeout = answerTimeout
	return &http.Client{Transport: t}
}

// Client asks the makers' services. It verifies nothing; a [Source] does. It may
// be used by many goroutines.
type Client struct {
	o    ClientOptions
	http *http.Client

	mu    sync.Mutex
	hosts map[string]*host
}

// host is what is known about a service.
type host struct {
	notBefore time.Time // when it may be asked next
	asked     bool      // by the service itself, in Retry-After
}

// NewClient makes a Client. Addresses must be http or https, without user,
// query and fragment.
func NewClient(o ClientOptions) (*Client, error) {
	if o.HTTP == nil {
		return nil, errors.New("collateral client: no HTTP client was given")
	}
	fill(&o.PCS, PCSURL)
	fill(&o.RootCRL, RootCRLURL)
	fill(&o.KDS, KDSURL)
	fill(&o.KDSSpacing, 2*time.Second)
	for _, base := range []string{o.PCS, o.RootCRL, o.KDS, o.PCCS} {
		if u, err := url.Parse(base); base != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "") {
			return nil, fmt.Errorf("collateral client: %q: wanted an address like https://pccs.example.com:8081", base)
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Wait == nil {
		o.Wait = wait
	}
	if o.Jitter == nil {
		o.Jitter = func(d time.Duration) time.Duration { return time.Duration(rand.Int64N(int64(d) + 1)) }
	}
	h := *o.HTTP
	h.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects || r.URL.Host != via[0].URL.Host || r.URL.Scheme != via[0].URL.Scheme {
			return fmt.Errorf("redirected to %s://%s, which is not followed", r.URL.Scheme, r.URL.Host)
		}
		return nil
	}
	return &Client{o: o, http: &h, hosts: make(map[string]*host)}, nil
}

func fill[T comparable](p *T, def T) {
	var zero T
	if *p == zero {
		*p = def
	}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ErrNotFound is the cause of a [*FetchError] when the service has no such
// document, now or any more (status 404 or 410).
var ErrNotFound = errors.New("the service has no such document")

// FetchError says what a service did not give.
type FetchError struct {
	Service string // scheme and host
	Path    string // without the query, which may identify a machine
	Status  int    // of HTTP; 0 when there was no answer
	Err     error
}

func (e *FetchError) Error() string {
	s := e.Service + e.Path + ": "
	if e.Status != 0 {
		s += "status " + strconv.Itoa(e.Status) + ": "
	}
	return s + e.Err.Error()
}

func (e *FetchError) Unwrap() error { return e.Err }

// answer is what a service said.
type answer struct {
	body   []byte
	header http.Header
}

// request is one question to a service.
type request struct {
	url     *url.URL
	header  http.Header
	spacing time.Duration // from the request before it to the same host
	limit   int64         // of the answer, in bytes
}

func newRequest(base, path string, query url.Values) (*request, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	if path != "" {
		u.Path = strings.TrimSuffix(u.Path, "/") + "/" + path
	}
	u.RawQuery = query.Encode()
	return &request{url: u, header: http.Header{}, limit: maxDocument}, nil
}

// do asks until there is an answer, a refusal that stays, or no attempt left.
func (c *Client) do(ctx context.Context, r *request) (*answer, error) {
	pause := firstPause
	for n := 1; ; n++ {
		if err := c.turn(ctx, r); err != nil {
			return nil, r.failed(0, err)
		}
		a, status, after, err := c.once(ctx, r)
		if err == nil {
			return a, nil
		}
		c.postpone(r.url.Host, after)
		if after > maxPause {
			err = fmt.Errorf("%w; it asks to be left alone until %s", err, stamp(c.o.Now().Add(after)))
			return nil, r.failed(status, err)
		}
		if !again(status, err) || n == attempts || ctx.Err() != nil {
			return nil, r.failed(status, err)
		}
		if err := c.o.Wait(ctx, c.o.Jitter(pause)); err != nil {
			return nil, r.failed(status, err)
		}
		pause *= 2
	}
}

func (r *request) failed(status int, err error) error {
	return &FetchError{r.url.Scheme + "://" + r.url.Host, r.url.Path, status, err}
}

// again reports whether asking once more may help.
func again(status int, err error) bool {
	var untrusted *tls.CertificateVerificationError
	switch status {
	case 0:
		return !errors.Is(err, errTooLong) && !errors.As(err, &untrusted)
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// turn waits until the host may be asked, and takes the turn.
func (c *Client) turn(ctx context.Context, r *request) error {
	now := c.o.Now()
	c.mu.Lock()
	h := c.hosts[r.url.Host]
	if h == nil {
		h = new(host)
		c.hosts[r.url.Host] = h
	}
	delay := h.notBefore.Sub(now)
	if delay > maxPause && h.asked {
		c.mu.Unlock()
		return fmt.Errorf("not asked: it asks to be left alone until %s", stamp(h.notBefore))
	}
	if delay < 0 {
		delay = 0
	}
	h.notBefore, h.asked = now.Add(delay+r.spacing), false
	c.mu.Unlock()
	if delay == 0 {
		return nil
	}
	return c.o.Wait(ctx, delay)
}

func (c *Client) postpone(name string, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h, until := c.hosts[name], c.o.Now().Add(d); h.notBefore.Before(until) {
		h.notBefore, h.asked = until, true
	}
}

// once asks once. after is what the service wants to be waited.
func (c *Client) once(ctx context.Context, r *request) (a *answer, status int, after time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url.String(), nil)
	if err != nil {
		return nil, 0, 0, err
	}
	req.Header = r.header.Clone()
	req.Header.Set("User-Agent", "hitoku")
	resp, err := c.http.Do(req)
	if err != nil {
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err // without the query
		}
		return nil, 0, 0, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusGone:
		return nil, resp.StatusCode, 0, ErrNotFound
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return nil, resp.StatusCode, c.retryAfter(resp.Header.Get("Retry-After")), errors.New("the service asks for fewer requests")
	default:
		return nil, resp.StatusCode, 0, errors.New("the service refuses or fails")
	}
	body, err := readLimited(resp.Body, r.limit)
	if err != nil {
		return nil, 0, 0, fmt.Errorf("its answer: %w", err)
	}
	return &answer{body, resp.Header}, 0, 0, nil
}

// retryAfter reads seconds or a date (RFC 9110, section 10.2.3); a day is the most that is believed.
func (c *Client) retryAfter(s string) time.Duration {
	const most = 24 * time.Hour
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		return min(time.Duration(n)*time.Second, most)
	}
	if t, err := http.ParseTime(s); err == nil {
		return min(max(t.Sub(c.o.Now()), 0), most)
	}
	return 0
}
