// Package serve puts the manager together: master key, audit checkpoint, store,
// domain, web identity, REST interface, TLS. `hitoku manager` is a thin command
// around it.
//
// The manager serves TLS only. Under its own name it shows a certificate of its
// own authority, whose key stays the same so that pins stay; under
// "<account-uuid>.<host>" one under that account's root (security decision S4).
// Node agents show their certificate in the handshake; whether it counts is
// decided by the domain for each call.
package serve

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"hitoku.dev/internal/manager"
	"hitoku.dev/internal/manager/api"
	"hitoku.dev/internal/manager/ca"
	"hitoku.dev/internal/manager/keys"
	"hitoku.dev/internal/manager/store"
)

// Options says where the manager keeps what, and where it listens.
type Options struct {
	Dir    string // data folder: database, CA certificate
	KeyDir string // master key and audit checkpoint; Dir+"-keys" when empty
	// KeyCommand prints the master key, instead of the file in KeyDir.
	KeyCommand []string
	// Postgres is a connection string; SQLite in Dir when empty.
	Postgres  string
	Host      string // the name in certificates; the host part of Listen when empty
	Listen    string // host:port
	ReadyFile string // gets {"url", "pin", "code"} once the manager serves
	// OpenSignUp admits everybody who signs up without an administrator.
	OpenSignUp bool
	// Collateral finds what evidence of real platforms needs; nil: such evidence is refused.
	Collateral manager.CollateralSource
	// Gramine is where Gramine's files come from when images are converted for SGX, as
	// gramine.Options has it; empty: they are refused.
	Gramine string
	Version string
	Log     *slog.Logger
}

// Ready is what a person needs for the first log-in.
type Ready struct {
	URL  string `json:"url"`
	Pin  string `json:"pin"`            // sha256: and hexadecimal
	Code string `json:"code,omitempty"` // one-time code, while there is no administrator
	CA   string `json:"ca"`             // file with the CA certificate
}

const (
	databaseFile   = "manager.db"
	masterKeyFile  = "master.key"
	checkpointFile = "audit.checkpoint"
	caFile         = "ca.pem"

	// Labels of the keys that authenticate rows and nonces.
	rowsKey   = "store rows"
	noncesKey = "nonces"
)

// opened is a manager with what must be closed after it.
type opened struct {
	*manager.Manager
	ring       *keys.Keyring
	store      *store.Store
	checkpoint *keys.CheckpointFile
	web        *webIdentity
}

func (o *opened) Close() error {
	if o.Manager != nil {
		o.Manager.Close()
	}
	var err error
	if o.store != nil {
		err = o.store.Close()
	}
	if o.checkpoint != nil {
		err = errors.Join(err, o.checkpoint.Close())
	}
	return err
}

// Run serves until ctx ends. ready is called once, when calls are answered.
func Run(ctx context.Context, o Options, ready func(Ready)) (err error) {
	ln, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w; --listen names another address", o.Listen, err)
	}
	defer ln.Close()
	if o.Host == "" {
		o.Host = hostOf(ln.Addr())
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return err
	}
	unlock, err := lockDir(o.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	m, err := open(ctx, o, ln.Addr())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := m.store.CheckTrusted(ctx); err != nil {
		o.Log.Error("the manager issues nothing until this is resolved", "error", err)
	}
	if err := m.Start(ctx); err != nil {
		return err
	}
	r, err := m.ready(ctx, o, ln.Addr())
	if err != nil {
		return err
	}
	defer m.keepUp(ctx, o.Log)()
	server := &http.Server{
		Handler:           api.New(api.Options{Manager: m.Manager, Version: o.Version, Log: o.Log}),
		TLSConfig:         m.tlsConfig(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       60 * time.Second,
		WriteTimeout:      120 * time.Second,
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(ln, "", "") }()
	if err := writeReady(o.ReadyFile, r); err != nil {
		return errors.Join(err, server.Close())
	}
	ready(r)
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(stopping); err != nil {
		return errors.Join(err, server.Close())
	}
	return nil
}

// open opens everything below the server.
func open(ctx context.Context, o Options, listen net.Addr) (_ *opened, err error) {
	out := &opened{}
	defer func() {
		if err != nil {
			err = errors.Join(err, out.Close())
		}
	}()
	keyDir := o.keyDir()
	if err := os.MkdirAll(keyDir, 0o700); err != nil {
		return nil, err
	}
	database := filepath.Join(o.Dir, databaseFile)
	first, err := o.firstStart(database)
	if err != nil {
		return nil, err
	}
	var source keys.Source = keys.File{Path: filepath.Join(keyDir, masterKeyFile), Create: first, Apart: o.Dir}
	if len(o.KeyCommand) > 0 {
		source = keys.Command{Argv: o.KeyCommand}
	}
	if out.ring, err = keys.Open(ctx, source, rand.Reader); err != nil {
		return nil, fmt.Errorf("master key: %w", err)
	}
	if out.checkpoint, err = keys.OpenCheckpoint(filepath.Join(keyDir, checkpointFile), out.ring, first); err != nil {
		return nil, fmt.Errorf("audit checkpoint: %w", err)
	}
	rows := out.ring.Derive(rowsKey)
	so := store.Options{Driver: "sqlite", DSN: database, Key: rows[:], Checkpoints: out.checkpoint}
	if o.Postgres != "" {
		so.Driver, so.DSN = "pgx", o.Postgres
	}
	if out.store, err = store.Open(ctx, so); err != nil {
		return nil, err
	}
	conv, err := newConverter(o)
	if err != nil {
		return nil, err
	}
	nonces := out.ring.Derive(noncesKey)
	out.Manager, err = manager.New(manager.Options{
		Store: out.store, NonceKey: nonces[:], Box: out.ring, Host: o.Host, URL: address(o.Host, listen), ServerKey: out.serverKey, Converter: conv, Collateral: o.Collateral, Log: o.Log, OpenSignUp: o.OpenSignUp,
	})
	if err != nil {
		return nil, err
	}
	out.web, err = loadWebIdentity(ctx, out.Manager, out.ring, rand.Reader, time.Now, o.Host, webNames(o.Host, listen))
	return out, err
}

func (o Options) keyDir() string {
	if o.KeyDir != "" {
		return o.KeyDir
	}
	return filepath.Clean(o.Dir) + "-keys"
}

// firstStart reports whether there is neither a database nor a checkpoint yet: only then
// may keys be made. With one of them alone something was lost, and the error says so later.
func (o Options) firstStart(database string) (bool, error) {
	for _, f := range []string{database, filepath.Join(o.keyDir(), checkpointFile)} {
		_, err := os.Stat(f)
		if err == nil {
			return false, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return false, err
		}
	}
	return true, nil
}

func (m *opened) serverKey() ([32]byte, error) {
	cert, err := m.web.certificate()
	if err != nil {
		return [32]byte{}, err
	}
	return sha256.Sum256(cert.Leaf.RawSubjectPublicKeyInfo), nil
}

func (m *opened) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		// Any certificate may be shown; the domain decides for each call whether it counts.
		ClientAuth: tls.RequestClientCert,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert, err := m.ServerCertificate(hello.Context(), hello.ServerName)
			if err != nil || cert != nil {
				return cert, err
			}
			return m.web.certificate()
		},
	}
}

func (m *opened) ready(ctx context.Context, o Options, listen net.Addr) (Ready, error) {
	pin, err := m.serverKey()
	if err != nil {
		return Ready{}, err
	}
	code, err := m.FirstRunCode(ctx)
	if err != nil {
		return Ready{}, err
	}
	file := filepath.Join(o.Dir, caFile)
	if err := os.WriteFile(file, []byte(ca.EncodePEM(m.web.authority.Certificate)), 0o644); err != nil {
		return Ready{}, err
	}
	return Ready{URL: address(o.Host, listen), Pin: "sha256:" + hex.EncodeToString(pin[:]), Code: code, CA: file}, nil
}

// address is the manager's base URL.
func address(host string, listen net.Addr) string {
	_, port, err := net.SplitHostPort(listen.String())
	if err != nil {
		return "https://" + host
	}
	return "https://" + net.JoinHostPort(host, port)
}

// hostOf is the address as a host name; the machine's name when all addresses are listened on.
func hostOf(a net.Addr) string {
	if tcp, ok := a.(*net.TCPAddr); ok && !tcp.IP.IsUnspecified() {
		return tcp.IP.String()
	}
	if name, err := os.Hostname(); err == nil {
		return name
	}
	return "localhost"
}

// writeReady writes the file with mode 0600, whole or not at all: it holds the one-time code.
func writeReady(path string, r Ready) error {
	if path == "" {
		return nil
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	tmp := path + ".part"
	if err := os.WriteFile(tmp, raw, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
