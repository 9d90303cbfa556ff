// Package p384 checks certificate chains and signatures of the makers whose whole
// attestation hierarchy is ECDSA P-384 with SHA-384: AWS Nitro and NVIDIA.
//
// A chain is exact: no path is searched for, no certificate is skipped, none is
// fetched. Every certificate has a P-384 key and is signed with ECDSA-SHA384 by the
// one after it; those that sign are authorities, may sign certificates, and respect
// the path length of all above them; the first may sign data and nothing else; a
// critical extension other than basic constraints and key usage is refused.
//
// It trusts the root that the caller names, by its exact bytes. It reads no clock:
// the time is an argument. It does not look at revocation.
package p384

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// SignatureSize is the length of a raw signature: r and s, 48 bytes each, big-endian.
const SignatureSize = 96

// Verify checks a raw ECDSA P-384 signature over SHA-384 of the parts in order.
func Verify(key *ecdsa.PublicKey, sig []byte, parts ...[]byte) bool {
	if len(sig) != SignatureSize || key == nil {
		return false
	}
	h := sha512.New384()
	for _, p := range parts {
		h.Write(p)
	}
	var digest [sha512.Size384]byte
	// SEQUENCE { INTEGER r, INTEGER s }, at most 2 + 2·(2 + 49) bytes: one length byte will do.
	var der [104]byte
	n := 2
	n += putInteger(der[n:], sig[:48])
	n += putInteger(der[n:], sig[48:])
	der[0], der[1] = 0x30, byte(n-2)
	return ecdsa.VerifyASN1(key, h.Sum(digest[:0]), der[:n])
}

// putInteger writes the big-endian number b as a DER INTEGER.
func putInteger(out, b []byte) int {
	for len(b) > 1 && b[0] == 0 {
		b = b[1:]
	}
	pad := int(b[0] >> 7)
	out[0], out[1], out[2] = 0x02, byte(len(b)+pad), 0
	copy(out[2+pad:], b)
	return 2 + pad + len(b)
}

// Key returns a certificate's P-384 key.
func Key(c *x509.Certificate) (*ecdsa.PublicKey, error) {
	key, ok := c.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P384() {
		return nil, fmt.Errorf("%s has no P-384 key", Name(c))
	}
	return key, nil
}

// Name gives a certificate's common name, quoted, for messages.
func Name(c *x509.Certificate) string { return fmt.Sprintf("%q", c.Subject.CommonName) }

// CheckRoot says why a certificate cannot be trusted as a root.
func CheckRoot(c *x509.Certificate) error {
	if c == nil {
		return errors.New("no trusted root was given")
	}
	if err := checkShape(c, true); err != nil {
		return fmt.Errorf("the trusted root: %w", err)
	}
	return nil
}

// Trusted returns the root that has exactly the bytes der, or an error that names those that are trusted.
func Trusted(roots []*x509.Certificate, der []byte) (*x509.Certificate, error) {
	names := ""
	for _, r := range roots {
		if err := CheckRoot(r); err != nil {
			return nil, err
		}
		if bytes.Equal(r.Raw, der) {
			return r, nil
		}
		if names != "" {
			names += ", "
		}
		names += Name(r)
	}
	if names == "" {
		return nil, errors.New("no root is trusted")
	}
	seen := "a certificate that cannot be read"
	if c, err := x509.ParseCertificate(der); err == nil {
		seen = Name(c)
	}
	return nil, fmt.Errorf("the chain ends in %s, which is not the same certificate as the trusted %s", seen, names)
}

// Memory keeps the links of chains that held, so that certificates which many pieces
// of evidence share are checked once. What did not hold is never kept. The zero value
// is ready; it is safe for use by several goroutines.
type Memory struct {
	mu    sync.Mutex
	links map[[sha256.Size]byte]*x509.Certificate
}

// maxLinks bounds what a Memory keeps; a link is some 5 KiB.
const maxLinks = 1024

func (m *Memory) find(id [sha256.Size]byte) *x509.Certificate {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.links[id]
}

func (m *Memory) add(id [sha256.Size]byte, c *x509.Certificate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.links == nil || len(m.links) >= maxLinks {
		m.links = make(map[[sha256.Size]byte]*x509.Certificate)
	}
	m.links[id] = c
}

// linkID names a certificate under an issuer. Each of the two is one DER value, whose
// length is in it, so that two links never have the same name.
func linkID(issuer *x509.Certificate, der []byte) (id [sha256.Size]byte) {
	h := sha256.New()
	h.Write(issuer.Raw)
	h.Write(der)
	h.Sum(id[:0])
	return id
}

// Chain reads and checks a chain of DER certificates, the leaf first and everything
// but the root in it, under a root that is trusted already. It goes from the root
// down, so that a certificate is read only when the one above it is authentic. The
// certificates that held are returned in the order of der, even with an error: those
// that were not reached are nil.
func (m *Memory) Chain(root *x509.Certificate, der [][]byte) ([]*x509.Certificate, error) {
	if len(der) == 0 {
		return nil, errors.New("the chain is empty")
	}
	chain := make([]*x509.Certificate, len(der))
	if err := checkPathLen(root, len(der)); err != nil {
		return chain, err
	}
	issuer := root
	for i, raw := range slices.Backward(der) {
		c, err := m.issued(raw, issuer)
		if err != nil {
			return chain, fmt.Errorf("certificate %d of the chain: %w", i+1, err)
		}
		if err := errors.Join(checkShape(c, i > 0), checkPathLen(c, i)); err != nil {
			return chain, err
		}
		chain[i], issuer = c, c
	}
	return chain, nil
}

// issued reads a certificate that the issuer must have signed.
func (m *Memory) issued(der []byte, issuer *x509.Certificate) (*x509.Certificate, error) {
	id := linkID(issuer, der)
	if c := m.find(id); c != nil {
		return c, nil
	}
	c, err := x509.ParseCertificate(der)
	switch {
	case err != nil:
		return nil, err
	case !bytes.Equal(c.RawIssuer, issuer.RawSubject):
		return nil, fmt.Errorf("%s was issued by %q, not by %s", Name(c), c.Issuer.CommonName, Name(issuer))
	case c.SignatureAlgorithm != x509.ECDSAWithSHA384:
		return nil, fmt.Errorf("%s is signed with %v, wanted ECDSA-SHA384", Name(c), c.SignatureAlgorithm)
	}
	if err := c.CheckSignatureFrom(issuer); err != nil {
		return nil, fmt.Errorf("%s is not signed by %s: %w", Name(c), Name(issuer), err)
	}
	m.add(id, c)
	return c, nil
}

// checkPathLen refuses an authority with more authorities below it than it allows.
// It stands at place i of its chain, where the leaf has place 0.
func checkPathLen(c *x509.Certificate, i int) error {
	if limited := c.MaxPathLen > 0 || c.MaxPathLenZero; limited && i-1 > c.MaxPathLen {
		return fmt.Errorf("%s allows %d authorities below it, and the chain has %d", Name(c), c.MaxPathLen, i-1)
	}
	return nil
}

// checkShape refuses a certificate that cannot be what its place in a chain says.
func checkShape(c *x509.Certificate, ca bool) error {
	if _, err := Key(c); err != nil {
		return err
	}
	const signs = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	switch {
	case c.Version != 3:
		return fmt.Errorf("%s is of X.509 version %d, wanted 3", Name(c), c.Version)
	case ca && (!c.BasicConstraintsValid || !c.IsCA || c.KeyUsage&x509.KeyUsageCertSign == 0):
		return fmt.Errorf("%s is no certificate authority", Name(c))
	case !ca && (c.IsCA || c.KeyUsage&x509.KeyUsageDigitalSignature == 0 || c.KeyUsage&signs != 0):
		return fmt.Errorf("%s may not sign data, or is a certificate authority", Name(c))
	}
	for _, e := range c.Extensions {
		if e.Critical && !e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 19}) && !e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 15}) {
			return fmt.Errorf("%s has critical extension %v, which is not known", Name(c), e.Id)
		}
	}
	return nil
}

// CheckWindows refuses a time at which one of the certificates is not valid. Nil ones are passed over.
func CheckWindows(at time.Time, certs ...*x509.Certificate) error {
	if at.IsZero() {
		return errors.New("no time was given at which everything must be valid")
	}
	var all error
	for _, c := range certs {
		if c != nil && (at.Before(c.NotBefore) || at.After(c.NotAfter)) {
			all = errors.Join(all, fmt.Errorf("%s is valid from %s to %s, and the time is %s", Name(c), Stamp(c.NotBefore), Stamp(c.NotAfter), Stamp(at)))
		}
	}
	return all
}

// Stamp writes a time as RFC 3339 in UTC.
func Stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
