// Package manager is the control plane's domain: accounts, users and their
// roles, applications and the names approved for them, builds, tasks, nodes,
// registries and the audit log. It knows no HTTP (package api does) and no SQL
// (package store does); requests and replies are the JSON forms of package wire.
//
// Invariants: every call that acts for somebody takes an [Actor] and checks by
// itself what that actor may do; an object of another account does not exist;
// every decision is one transaction that ends with its audit event; an approval
// carries the digest of what was seen and fails when that changed (security
// decision S19). Errors are [Error] values with the published codes.
//
// What is trusted: the store's verified rows, the clock, the master key behind
// [Box]. What is not promised: the manager decides which names and builds are
// approved, and is trusted for that; it cannot vouch for what a measurement
// stands for.
package manager

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"hitoku.dev/internal/manager/store"
)

// Box encrypts secrets at rest. names say what a secret is; Open wants the same
// ones. *keys.Keyring is one.
type Box interface {
	Seal(plain []byte, names ...string) ([]byte, error)
	Open(sealed []byte, names ...string) ([]byte, error)
}

// Quotas bound what one account, or one user, may have. Zero means the default.
type Quotas struct {
	AccountsPerUser int // 20
	AppsPerAccount  int // 500
	BuildsPerApp    int // 500
	UsersPerAccount int // 500
	TokensPerUser   int // 50
}

// Options is what a Manager is made of.
type Options struct {
	Store *store.Store
	Box   Box
	// Host is the manager's name in trust domains, "<account-uuid>.<host>".
	Host string
	// URL is the manager's base address, "https://host:port", which leaves name for their
	// revocation list; empty for none.
	URL string
	// ServerKey returns the SHA-256 of the SubjectPublicKeyInfo in the manager's present web
	// certificate: the pin that join tokens carry.
	ServerKey func() ([32]byte, error)
	// NonceKey authenticates nonces; 32 bytes derived from the master key, the same for all
	// managers of a database. Without it nonces do not outlive the process.
	NonceKey  []byte
	Converter Converter // nil: the manager does not convert images
	// Collateral finds what evidence of real platforms needs; nil: all such evidence is refused.
	Collateral CollateralSource
	Now        func() time.Time
	Rand       io.Reader
	Log        *slog.Logger
	Quotas     Quotas
	Passwords  PasswordParams // zero: DefaultPasswords
	// OpenSignUp lets everybody who signs up in at once. Without it a system administrator
	// admits each new user.
	OpenSignUp bool
	// SessionLife ends a session whatever is done (24 h), TokenLife ends one that is not
	// refreshed (8 h).
	SessionLife, TokenLife time.Duration
}

// Manager is the domain. Its methods may be called by many goroutines.
type Manager struct {
	opts     Options
	store    *store.Store
	attempts *limiter
	hashing  chan struct{} // bounds the memory that password hashing takes at one time
	seen     *seenTasks
	issuer   issuer
	jobs     sync.WaitGroup
	stopJobs context.CancelFunc
	jobsCtx  context.Context
	dummy    string // a password hash that nothing matches, for users who do not exist
}

// New makes a Manager.
func New(o Options) (*Manager, error) {
	if o.Store == nil || o.Box == nil || o.Host == "" || o.ServerKey == nil {
		return nil, errors.New("manager: store, box, host and server key are needed")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.NonceKey == nil {
		o.NonceKey = make([]byte, 32)
		if _, err := io.ReadFull(o.Rand, o.NonceKey); err != nil {
			return nil, fmt.Errorf("manager: nonce key: %w", err)
		}
	}
	if o.Passwords == (PasswordParams{}) {
		o.Passwords = DefaultPasswords
	}
	fill(&o.SessionLife, 24*time.Hour)
	fill(&o.TokenLife, 8*time.Hour)
	fill(&o.Quotas.AccountsPerUser, 20)
	fill(&o.Quotas.AppsPerAccount, 500)
	fill(&o.Quotas.BuildsPerApp, 500)
	fill(&o.Quotas.UsersPerAccount, 500)
	fill(&o.Quotas.TokensPerUser, 50)
	m := &Manager{opts: o, store: o.Store, attempts: newLimiter(o.Now), hashing: make(chan struct{}, 2), seen: newSeenTasks()}
	m.jobsCtx, m.stopJobs = context.WithCancel(context.Background())
	var err error
	if m.dummy, err = hashPassword(o.Rand, o.Passwords, "not a password of anybody"); err != nil {
		return nil, err
	}
	return m, nil
}

// Close stops conversions and waits for them. The store stays open.
func (m *Manager) Close() {
	m.stopJobs()
	m.jobs.Wait()
}

func fill[T comparable](p *T, def T) {
	var zero T
	if *p == zero {
		*p = def
	}
}

func (m *Manager) now() time.Time { return m.opts.Now().UTC().Truncate(time.Microsecond) }

func (m *Manager) newID() (string, error) {
	id, err := uuid.NewRandomFromReader(m.opts.Rand)
	if err != nil {
		return "", fmt.Errorf("making an id: %w", err)
	}
	return id.String(), nil
}

// view and update run a transaction and give its error the form that callers expect.
func (m *Manager) view(ctx context.Context, fn func(*store.Tx) error) error {
	return m.fail(m.store.View(ctx, fn))
}

func (m *Manager) update(ctx context.Context, fn func(*store.Tx) error) error {
	return m.fail(m.store.Update(ctx, fn))
}
