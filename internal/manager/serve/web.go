package serve

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"hitoku.dev/internal/manager"
	"hitoku.dev/internal/manager/ca"
)

// webSetting is where the manager's own authority and server key lie, sealed.
const webSetting = "web-identity"

// webIdentity is the manager's own authority and the key of its server
// certificate. The key stays when the certificate is renewed, so that pins stay.
type webIdentity struct {
	authority *ca.Authority
	key       *ecdsa.PrivateKey
	names     []string
	random    io.Reader
	now       func() time.Time

	mu   sync.Mutex
	cert *tls.Certificate
}

type sealedIdentity struct {
	Authority    []byte `json:"authority"`     // DER
	AuthorityKey []byte `json:"authority_key"` // PKCS#8
	ServerKey    []byte `json:"server_key"`    // PKCS#8
}

// loadWebIdentity reads the identity from the settings, and makes it at the first start.
func loadWebIdentity(ctx context.Context, m *manager.Manager, box manager.Box, random io.Reader, now func() time.Time, host string, names []string) (*webIdentity, error) {
	w := &webIdentity{names: names, random: random, now: now}
	sealed, err := m.Setting(ctx, webSetting)
	var missing *manager.Error
	switch {
	case errors.As(err, &missing) && missing.Kind == manager.NotFound:
		return w, w.create(ctx, m, box, host)
	case err != nil:
		return nil, err
	}
	raw, err := box.Open(sealed, webSetting)
	if err != nil {
		return nil, fmt.Errorf("the manager's web identity: %w", err)
	}
	var s sealedIdentity
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("the manager's web identity: %w", err)
	}
	if w.authority, err = ca.Load(s.Authority, s.AuthorityKey); err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(s.ServerKey)
	if err != nil {
		return nil, fmt.Errorf("the manager's server key: %w", err)
	}
	var ok bool
	if w.key, ok = key.(*ecdsa.PrivateKey); !ok {
		return nil, fmt.Errorf("the manager's server key is a %T, wanted ECDSA", key)
	}
	return w, nil
}

func (w *webIdentity) create(ctx context.Context, m *manager.Manager, box manager.Box, host string) error {
	var err error
	if w.authority, err = ca.NewWeb(w.random, w.now(), host); err != nil {
		return err
	}
	if w.key, err = ecdsa.GenerateKey(elliptic.P256(), w.random); err != nil {
		return err
	}
	s := sealedIdentity{Authority: w.authority.Certificate.Raw}
	if s.AuthorityKey, err = w.authority.MarshalKey(); err != nil {
		return err
	}
	if s.ServerKey, err = x509.MarshalPKCS8PrivateKey(w.key); err != nil {
		return err
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	sealed, err := box.Seal(raw, webSetting)
	if err != nil {
		return err
	}
	return m.SetSetting(ctx, webSetting, sealed)
}

// certificate returns the present server certificate, renewed after half its life.
func (w *webIdentity) certificate() (*tls.Certificate, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	if w.cert != nil {
		half := w.cert.Leaf.NotBefore.Add(w.cert.Leaf.NotAfter.Sub(w.cert.Leaf.NotBefore) / 2)
		if now.Before(half) {
			return w.cert, nil
		}
	}
	leaf, err := w.authority.ServerLeaf(w.random, now, w.key.Public(), w.names, ca.WebLifetime)
	if err != nil {
		return nil, err
	}
	w.cert = &tls.Certificate{Certificate: [][]byte{leaf.Raw, w.authority.Certificate.Raw}, PrivateKey: w.key, Leaf: leaf}
	return w.cert, nil
}

// webNames are the names in the server certificate: the host, and what else reaches a
// manager on this machine.
func webNames(host string, listen net.Addr) []string {
	names := []string{host}
	add := func(n string) {
		for _, have := range names {
			if have == n {
				return
			}
		}
		names = append(names, n)
	}
	add("localhost")
	add("127.0.0.1")
	add("::1")
	if tcp, ok := listen.(*net.TCPAddr); ok && !tcp.IP.IsUnspecified() {
		add(tcp.IP.String())
	}
	return names
}
