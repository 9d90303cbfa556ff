package member

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"

	"hitoku.dev/internal/ledger/wire"
)

// Accept says whether the holder of a key is welcome; its error says why not. It may be
// asked before the other side has proved to hold the key, so it must change nothing.
type Accept func(pk [32]byte) error

// ErrPeer is wrapped by the errors of connections whose other side is not welcome.
var ErrPeer = errors.New("the other side of the TLS connection is refused")

// certificateLife is long: what a certificate is worth follows from evidence about its
// key, never from its dates.
const certificateLife = 10 * 365 * 24 * time.Hour

// Certificate makes the self-signed certificate of an incarnation key.
func Certificate(sk ed25519.PrivateKey, now time.Time) (tls.Certificate, error) {
	pk, ok := sk.Public().(ed25519.PublicKey)
	if !ok || len(pk) != ed25519.PublicKeySize {
		return tls.Certificate{}, errors.New("certificate: no Ed25519 key")
	}
	id := wire.IncarnationID([32]byte(pk))
	template := &x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes(id[:16]),
		Subject:               pkix.Name{CommonName: fmt.Sprintf("hitoku ledger node %x", id[:8])},
		NotBefore:             now.Add(-24 * time.Hour).UTC(),
		NotAfter:              now.Add(certificateLife).UTC(),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, pk, sk) // Ed25519 reads no randomness
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: sk, Leaf: leaf}, nil
}

// ServerConfig is for a listener that clients and other nodes share: a client may show
// a certificate, and one that it shows must be welcome. [PeerKey] tells which it was.
// With a nil accept nobody is asked for one.
func ServerConfig(cert tls.Certificate, accept Accept) *tls.Config {
	c := config(accept, false)
	c.Certificates = []tls.Certificate{cert}
	if accept != nil {
		c.ClientAuth = tls.RequestClientCert
	}
	return c
}

// PeerServerConfig is for a listener of other nodes alone: every client must show a
// certificate that is welcome.
func PeerServerConfig(cert tls.Certificate, accept Accept) *tls.Config {
	c := config(accept, true)
	c.Certificates, c.ClientAuth = []tls.Certificate{cert}, tls.RequireAnyClientCert
	return c
}

// ClientConfig is for calls to a node. Cert is the own one where the caller is a node,
// nil elsewhere. Names and dates in certificates are not looked at: the key is all.
func ClientConfig(cert *tls.Certificate, accept Accept) *tls.Config {
	c := config(accept, true)
	c.InsecureSkipVerify = true // VerifyConnection below is the check
	if cert != nil {
		c.Certificates = []tls.Certificate{*cert}
	}
	return c
}

// Only welcomes one key.
func Only(pk [32]byte) Accept {
	return func(seen [32]byte) error {
		if seen != pk {
			return fmt.Errorf("key %x…, wanted %x…", seen[:8], pk[:8])
		}
		return nil
	}
}

func config(accept Accept, required bool) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 && !required {
				return nil
			}
			pk, err := PeerKey(&state)
			if err != nil {
				return err
			}
			if accept == nil {
				return fmt.Errorf("%w: nobody is welcome here", ErrPeer)
			}
			if err := accept(pk); err != nil {
				return fmt.Errorf("%w: %w", ErrPeer, err)
			}
			return nil
		},
	}
}

// PeerKey returns the Ed25519 key that the other side has proved to hold. An error
// means that it showed none, which a shared listener allows.
func PeerKey(state *tls.ConnectionState) (pk [32]byte, err error) {
	switch {
	case state == nil || len(state.PeerCertificates) == 0:
		return pk, fmt.Errorf("%w: no certificate", ErrPeer)
	case state.DidResume:
		return pk, fmt.Errorf("%w: a resumed session", ErrPeer)
	case len(state.PeerCertificates) != 1:
		return pk, fmt.Errorf("%w: %d certificates, wanted the self-signed one of an incarnation", ErrPeer, len(state.PeerCertificates))
	}
	key, ok := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok || len(key) != len(pk) {
		return pk, fmt.Errorf("%w: a certificate with a %v key, wanted Ed25519", ErrPeer, state.PeerCertificates[0].PublicKeyAlgorithm)
	}
	return [32]byte(key), nil
}
