package ca

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"time"
)

// NewWeb makes the authority behind the manager's own address, at its first start. It has
// nothing to do with any account: browsers and `hitoku login` trust it (or pin the server's
// key), and join tokens pin the key of the leaf that it signs.
func NewWeb(random io.Reader, now time.Time, host string) (*Authority, error) {
	key, err := newKey(random, P256)
	if err != nil {
		return nil, fmt.Errorf("web authority: %w", err)
	}
	return sign(random, &x509.Certificate{
		Subject:        pkix.Name{CommonName: "Hitoku manager " + host, Organization: []string{"Hitoku"}},
		NotBefore:      now.Add(-backdate),
		NotAfter:       now.Add(RootLifetime),
		MaxPathLenZero: true,
	}, nil, key)
}
