package client

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"hitoku.dev/internal/ledger/history"
)

// Options say which ledger is spoken to, and who is believed. URLs and Ledger are required.
type Options struct {
	// URLs are nodes, https://HOST:PORT. The first that can be used is used.
	URLs []string
	// Ledger is the ledger id. Everything else follows from it.
	Ledger [32]byte
	// Roots are those of TEE makers that are believed; Intel's when no root of either kind is named.
	Roots []*x509.Certificate
	// SimulatedRoots protect nothing from the owners of the machines; name them in tests only.
	SimulatedRoots []*x509.Certificate
	// Floor keeps what was seen; nil keeps it in memory.
	Floor FloorStore
	// Dial opens connections; nil is a [net.Dialer].
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Now is the clock, time.Now for nil. Random is crypto/rand.Reader for nil.
	Now    func() time.Time
	Random io.Reader
	// Patience is how long one call to a node may take, 30 s for zero.
	Patience time.Duration
	// Retry is the time between two rounds over all nodes, 250 ms for zero.
	Retry time.Duration
	// Lifetime is after how many positions a command expires that nobody has ordered, 10,000 for zero.
	Lifetime uint64
}

// Client speaks to the nodes of one ledger. Several goroutines may use it at once.
type Client struct {
	o     Options
	trust history.Trust

	mu       sync.Mutex
	floor    Floor
	sessions map[string]*session
	first    int // index of the node that is asked first
}

// New makes a client; it speaks to nobody yet.
func New(o Options) (*Client, error) {
	if len(o.URLs) == 0 {
		return nil, errors.New("client: no node is named; name at least one URL")
	}
	if o.Ledger == ([32]byte{}) {
		return nil, errors.New("client: no ledger id is given; it is what all trust comes from")
	}
	urls := make([]string, 0, len(o.URLs))
	for _, text := range o.URLs {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
			return nil, fmt.Errorf("client: node %q: wanted https://HOST:PORT", text)
		}
		urls = append(urls, "https://"+u.Host)
	}
	o.URLs = urls
	if o.Floor == nil {
		o.Floor = new(MemoryFloor)
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	if o.Retry == 0 {
		o.Retry = 250 * time.Millisecond
	}
	if o.Lifetime == 0 {
		o.Lifetime = 10_000
	}
	floor, err := o.Floor.Load()
	if err != nil {
		return nil, fmt.Errorf("client: floor: %w", err)
	}
	return &Client{o: o, trust: history.TrustCertificates(o.Roots, o.SimulatedRoots), floor: floor, sessions: map[string]*session{}}, nil
}

// Close closes idle connections.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sessions {
		s.http.CloseIdleConnections()
	}
	clear(c.sessions)
}

// Floor is what the client has seen so far.
func (c *Client) Floor() Floor {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.floor
}

// raise raises the floor, in the store first.
func (c *Client) raise(f Floor) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.floor.raised(f)
	if next == c.floor {
		return nil
	}
	if err := c.o.Floor.Save(next); err != nil {
		return fmt.Errorf("client: floor: %w", err)
	}
	c.floor = next
	return nil
}

// nodes lists the URLs, the one that worked last before the others.
func (c *Client) nodes() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append(append([]string(nil), c.o.URLs[c.first:]...), c.o.URLs[:c.first]...)
}

// prefer asks a node first from now on.
func (c *Client) prefer(url string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, u := range c.o.URLs {
		if u == url {
			c.first = i
		}
	}
}

// each tries nodes, in their order, until one does it. A node whose request key or incarnation is not there
// any more is verified again once. A [RefusedError] is an answer, and the last word.
func (c *Client) each(ctx context.Context, do func(ctx context.Context, s *session) error) error {
	var failed []error
	for _, url := range c.nodes() {
		var err error
		for again := range 2 {
			var s *session
			var cached bool
			if s, cached, err = c.session(ctx, url); err == nil {
				err = do(ctx, s)
			}
			if err == nil {
				c.prefer(url)
				return nil
			}
			var refused *RefusedError
			if errors.As(err, &refused) || ctx.Err() != nil {
				return err
			}
			if !outdated(err) || !cached || again == 1 {
				break
			}
			c.forget(url)
		}
		failed = append(failed, fmt.Errorf("%s: %w", url, err))
	}
	return errors.Join(failed...)
}

// forget drops a session.
func (c *Client) forget(url string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.sessions[url]; s != nil {
		s.http.CloseIdleConnections()
		delete(c.sessions, url)
	}
}
