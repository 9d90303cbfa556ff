// Package agent is the node agent: it enrols the machine that it runs on with a
// manager, keeps that enrolment alive, forwards certificate requests of the
// workloads on the machine to the manager, and serves the simulated TEE to them.
//
// What a node certificate proves is that this platform is enrolled, nothing more
// (security decision S3). The agent is never trusted with a secret: it sees
// certificate requests, evidence and certificates, all of which are public, and a
// workload checks for itself whatever the agent hands it. An evil agent can refuse
// service; it cannot obtain a certificate for something that was not approved.
//
// What the agent trusts: the join token, which pins the manager's key for the
// first contact and the account root for everything afterwards. After the first
// contact it speaks only to a server whose certificate leads to that root.
//
// What it does not promise: the HTTP interface is plain, as its clients expect,
// and belongs on loopback and the container bridge only. In the simulation, root
// on this machine is outside every promise.
package agent

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"hitoku.dev/attest"
	"hitoku.dev/internal/sgxhost"
)

// DefaultPort is the TCP port of the node agent's HTTP interface.
const DefaultPort = 9092

// DefaultTEEDir is where the socket of the simulated TEE is served.
const DefaultTEEDir = "/run/hitoku/tee"

// Platform is the machine's TEE as the agent uses it; simtee.Platform is one.
type Platform interface {
	// ID is the platform id in lower-case hexadecimal.
	ID() string
	// PCKPublic is the key that the manager certifies at enrolment.
	PCKPublic() *ecdsa.PublicKey
	InstallPCK(chainPEM []byte) error
	// NodeEvidence returns a quote over b, whose purpose must be attest.PurposeNode.
	NodeEvidence(ctx context.Context, b *attest.Binding) ([]byte, error)
	// TargetInfo is the 512-byte TARGETINFO of the platform's quoting enclave.
	TargetInfo() []byte
	// QuoteReport lets the quoting enclave turn a REPORT (432 bytes) that was made for it on
	// this machine into a quote; a report that it refuses is a *client.RefusedError.
	QuoteReport(report []byte) ([]byte, error)
	// AnswerReport returns the quoting enclave's REPORT over subject for the program that made report.
	AnswerReport(report []byte, subject [32]byte) ([]byte, error)
}

// TEEServer answers workloads over a socket in a folder; simtee.Server is one.
type TEEServer interface {
	Serve(ctx context.Context, dir string) error
}

// Options configures an agent. DataDir, Platform and Log are required; Manager
// and JoinToken only until the node is enrolled.
type Options struct {
	Manager   string // https://host:port
	JoinToken string // text of a join token
	DataDir   string // holds the node's key, certificate and platform state
	Listen    []string
	// Bridges are the network interfaces whose first IPv4 address is served beside Listen
	// as soon as they exist; container engines make them late.
	Bridges     []string
	TEEDir      string
	Name        string
	Description string
	CDIDir      string // write a CDI specification there; empty for none
	Version     string

	Platform Platform
	TEE      TEEServer
	// Host is what was seen of SGX on this machine, for the status and the CDI specification; may be nil.
	Host *sgxhost.Platform
	Log  *slog.Logger
	Now  func() time.Time
	Rand io.Reader
	// Backoff bounds the wait between attempts to reach the manager; zero values mean 1 s and 1 min.
	BackoffMin, BackoffMax time.Duration
}

// Agent is a node agent; make one with New and start it with Run.
type Agent struct {
	o       Options
	manager *url.URL
	token   *token
	status  *tracker
	ready   chan struct{} // closed at the first usable node certificate

	mu   sync.Mutex
	node *node // nil until the node has a certificate
	mgr  *managerClient
}

// New checks options and reads the state in the data folder. It contacts nobody.
func New(o Options) (*Agent, error) {
	if o.DataDir == "" || o.Platform == nil || o.Log == nil {
		return nil, errors.New("agent: data folder, platform and log are required")
	}
	if o.Now == nil || o.Rand == nil {
		return nil, errors.New("agent: clock and random source are required")
	}
	if o.BackoffMin <= 0 {
		o.BackoffMin = time.Second
	}
	if o.BackoffMax < o.BackoffMin {
		o.BackoffMax = max(time.Minute, o.BackoffMin)
	}
	if o.Name == "" {
		o.Name, _ = os.Hostname()
	}
	if o.TEEDir == "" {
		o.TEEDir = DefaultTEEDir
	}
	a := &Agent{o: o, ready: make(chan struct{}), status: newTracker(o)}
	n, err := loadNode(filepath.Join(o.DataDir, nodeFile))
	if err != nil {
		return nil, err
	}
	if o.JoinToken != "" {
		if a.token, err = parseToken(o.JoinToken); err != nil {
			return nil, err
		}
	}
	if err := a.chooseManager(n); err != nil {
		return nil, err
	}
	if n != nil {
		if err := a.adopt(n); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// chooseManager settles which manager to speak to, from the options and stored state.
func (a *Agent) chooseManager(n *node) error {
	text := a.o.Manager
	if text == "" && n != nil {
		text = n.Manager
	}
	if text == "" {
		return errors.New("agent: no manager given and this node is not enrolled; pass --manager https://HOST:PORT and --join-token")
	}
	u, err := parseManagerURL(text)
	if err != nil {
		return err
	}
	a.manager = u
	switch {
	case n == nil && a.token == nil:
		return fmt.Errorf("agent: this node is not enrolled (no %s in %s); pass --join-token, which `hitoku node token` makes", nodeFile, a.o.DataDir)
	case n != nil && a.token != nil && a.token.AccountRoot != n.accountRootHash:
		return fmt.Errorf("agent: %s belongs to account %s, the join token to another one; use another --data-dir, or move this one away to leave that account", a.o.DataDir, n.AccountID)
	}
	return nil
}

// parseManagerURL accepts https://host[:port] and nothing beside.
func parseManagerURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "":
		return nil, fmt.Errorf("agent: manager address %q: wanted https://HOST:PORT", text)
	case u.Scheme != "https":
		return nil, fmt.Errorf("agent: manager address %q: only https is spoken to a manager", text)
	case u.Path != "" && u.Path != "/", u.RawQuery != "", u.User != nil, u.Fragment != "":
		return nil, fmt.Errorf("agent: manager address %q: wanted https://HOST:PORT and nothing after it", text)
	}
	return &url.URL{Scheme: "https", Host: u.Host}, nil
}

// adopt makes n the agent's identity, in memory.
func (a *Agent) adopt(n *node) error {
	var mgr *managerClient
	if n.hasCertificate() {
		m, err := newNodeClient(a.manager, n)
		if err != nil {
			return err
		}
		mgr = m
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.node = n
	if a.mgr != nil {
		a.mgr.close()
	}
	a.mgr = mgr
	a.status.node(n)
	if mgr != nil {
		select {
		case <-a.ready:
		default:
			close(a.ready)
		}
	}
	return nil
}

// current returns the node and its client, both nil without a certificate.
func (a *Agent) current() (*node, *managerClient) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mgr == nil {
		return nil, nil
	}
	return a.node, a.mgr
}

// Ready is closed once the node has a certificate.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// Run serves until ctx ends. It returns an error when the node cannot be enrolled
// for a reason that waiting does not mend, or when it cannot listen.
func (a *Agent) Run(ctx context.Context) error {
	unlock, err := lockDir(a.o.DataDir)
	if err != nil {
		return err
	}
	defer unlock()
	listeners, err := a.listen(ctx)
	if err != nil {
		return err
	}
	if a.o.CDIDir != "" {
		path, err := WriteCDI(a.o.CDIDir, a.o.TEEDir, a.o.Host)
		if err != nil {
			closeAll(listeners)
			return err
		}
		a.o.Log.Info("CDI specification written", "file", path)
	}
	for _, text := range append(Privileges(), hardware(a.o.Host)...) {
		a.warn(text)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.serveHTTP(ctx, listeners) })
	if a.o.TEE != nil {
		g.Go(func() error { return a.serveTEE(ctx) })
	}
	g.Go(func() error { return a.maintain(ctx) })
	err = g.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (a *Agent) serveTEE(ctx context.Context) error {
	a.status.teeUp(filepath.Join(a.o.TEEDir, "simtee.sock"))
	err := a.o.TEE.Serve(ctx, a.o.TEEDir)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("agent: simulated TEE in %s: %w", a.o.TEEDir, err)
}

func closeAll(ls []net.Listener) {
	for _, l := range ls {
		l.Close()
	}
}
