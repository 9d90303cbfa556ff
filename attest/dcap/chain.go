package dcap

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"hitoku.dev/attest"
)

// anchor is the root that the caller trusts.
type anchor struct {
	cert *x509.Certificate
	key  *ecdsa.PublicKey
	err  error // why nothing can be trusted
}

func newAnchor(root *x509.Certificate) anchor {
	if root == nil {
		return anchor{err: errors.New("no trusted root was given")}
	}
	key, ok := root.PublicKey.(*ecdsa.PublicKey)
	switch {
	case !ok || key.Curve != elliptic.P256():
		return anchor{err: fmt.Errorf("the trusted root %s has no P-256 key", name(root))}
	case !canSign(root, x509.KeyUsageCertSign):
		return anchor{err: fmt.Errorf("the trusted root %s is no certificate authority", name(root))}
	}
	return anchor{cert: root, key: key}
}

// name gives a certificate's common name, quoted, for messages.
func name(c *x509.Certificate) string { return fmt.Sprintf("%q", c.Subject.CommonName) }

func canSign(c *x509.Certificate, use x509.KeyUsage) bool {
	return c.BasicConstraintsValid && c.IsCA && c.KeyUsage&use != 0
}

func selfIssued(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, c.RawIssuer) }

// checkRoots looks at the roots that a chain brings along. There may be none; one
// that is there must have the trusted key and carry that key's signature.
func (a anchor) checkRoots(chain []*x509.Certificate) error {
	if a.err != nil {
		return a.err
	}
	for _, c := range chain {
		if !selfIssued(c) || bytes.Equal(c.Raw, a.cert.Raw) {
			continue
		}
		if !a.key.Equal(c.PublicKey) {
			return fmt.Errorf("the chain ends in %s with key %x", name(c), shortKey(c))
		}
		if err := a.signed(c); err != nil {
			return err
		}
	}
	return nil
}

func shortKey(c *x509.Certificate) []byte {
	h := attest.SPKIHash(c.RawSubjectPublicKeyInfo)
	return h[:8]
}

// signed reports whether the trusted root signed c directly.
func (a anchor) signed(c *x509.Certificate) error {
	if a.err != nil {
		return a.err
	}
	if !bytes.Equal(c.RawIssuer, a.cert.RawSubject) {
		return fmt.Errorf("%s was issued by %q, not by the trusted root %s", name(c), c.Issuer.CommonName, name(a.cert))
	}
	return checkSignature(c, a.cert)
}

func checkSignature(c, issuer *x509.Certificate) error {
	if c.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		return fmt.Errorf("%s is signed with %v, wanted ECDSA-SHA256", name(c), c.SignatureAlgorithm)
	}
	if err := c.CheckSignatureFrom(issuer); err != nil {
		return fmt.Errorf("%s is not signed by %s: %w", name(c), name(issuer), err)
	}
	return nil
}

// checkShape refuses certificates that cannot be what their place in a chain says.
func checkShape(c *x509.Certificate, ca bool) error {
	if _, err := p256Key(c); err != nil {
		return err
	}
	switch {
	case c.Version != 3:
		return fmt.Errorf("%s is of X.509 version %d, wanted 3", name(c), c.Version)
	case len(c.UnhandledCriticalExtensions) > 0:
		return fmt.Errorf("%s has critical extension %v, which is not known", name(c), c.UnhandledCriticalExtensions[0])
	case ca && !canSign(c, x509.KeyUsageCertSign):
		return fmt.Errorf("%s is no certificate authority", name(c))
	case !ca && (c.IsCA || c.KeyUsage&x509.KeyUsageDigitalSignature == 0 || c.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0):
		return fmt.Errorf("%s may not sign data, or is a certificate authority", name(c))
	}
	return nil
}

func p256Key(c *x509.Certificate) (*ecdsa.PublicKey, error) {
	key, ok := c.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%s has no P-256 key", name(c))
	}
	return key, nil
}

func checkWindows(at time.Time, certs ...*x509.Certificate) error {
	for _, c := range certs {
		if c == nil || !at.Before(c.NotBefore) && !at.After(c.NotAfter) {
			continue
		}
		if err := checkWindow(name(c), c.NotBefore, c.NotAfter, at); err != nil {
			return err
		}
	}
	return nil
}

// pckChain is a PCK certificate with its issuer, as far as it could be read. It
// does not depend on time.
type pckChain struct {
	leaf    *x509.Certificate
	key     *ecdsa.PublicKey
	ext     *PCKExtension
	ca      *x509.Certificate // nil when no issuer was found
	roots   []*x509.Certificate
	err     error // why the chain does not hold
	rootErr error // why it does not lead to the trusted root

	platformID, fmspc string // lower-case hexadecimal

	// Judged once by the verifier, with its revocation lists.
	issuedBy   string
	pckCRLErr  error // why the PCK CA's list does not clear the leaf
	rootCRLErr error // why the root's list does not clear the CA

	attested attestedKeys
}

// newPCKChain builds leaf → PCK CA → trusted root. The first certificate is the
// leaf; the CA is looked for in the others and in more.
func (a anchor) newPCKChain(chain, more []*x509.Certificate) *pckChain {
	p := &pckChain{leaf: chain[0]}
	p.err = p.readLeaf()
	for _, c := range chain[1:] {
		if selfIssued(c) {
			p.roots = append(p.roots, c)
		}
	}
	var sigErr error
	if p.ca, sigErr = issuerOf(p.leaf, chain[1:]); p.ca == nil {
		p.ca, sigErr = issuerOf(p.leaf, more)
	}
	p.rootErr = a.checkRoots(chain)
	if p.ca == nil {
		p.err = errors.Join(p.err, fmt.Errorf("the issuer %q of %s is not in the chain", p.leaf.Issuer.CommonName, name(p.leaf)))
		if p.rootErr == nil {
			p.rootErr = errors.New("no chain to the trusted root")
		}
		return p
	}
	p.err = errors.Join(p.err, checkShape(p.ca, true), sigErr)
	if p.rootErr == nil {
		p.rootErr = a.signed(p.ca)
	}
	for _, c := range chain[1:] {
		if c != p.ca && !selfIssued(c) {
			p.err = errors.Join(p.err, fmt.Errorf("%s does not belong to the chain", name(c)))
		}
	}
	return p
}

// issuerOf returns the certificate that signed leaf; else, with an error, one that
// has at least the name of its issuer.
func issuerOf(leaf *x509.Certificate, candidates []*x509.Certificate) (named *x509.Certificate, err error) {
	for _, c := range candidates {
		if selfIssued(c) || !bytes.Equal(c.RawSubject, leaf.RawIssuer) {
			continue
		}
		if named, err = c, checkSignature(leaf, c); err == nil {
			break
		}
	}
	return named, err
}

func (p *pckChain) readLeaf() (err error) {
	p.ext, err = PCKExtensionOf(p.leaf)
	if err == nil {
		p.platformID, p.fmspc = hex.EncodeToString(p.ext.PPID[:]), hex.EncodeToString(p.ext.FMSPC[:])
	}
	key, keyErr := p256Key(p.leaf)
	p.key = key
	return errors.Join(err, keyErr, checkShape(p.leaf, false))
}

// leafFirst moves the first certificate that is no authority to the front: chains
// in files come in either order. Inside a quote there is one order.
func leafFirst(chain []*x509.Certificate) {
	if i := slices.IndexFunc(chain, func(c *x509.Certificate) bool { return !c.IsCA }); i > 0 {
		leaf := chain[i]
		copy(chain[1:i+1], chain[:i])
		chain[0] = leaf
	}
}

// signer is a TCB signing certificate that the trusted root issued directly.
type signer struct {
	cert *x509.Certificate
	key  *ecdsa.PublicKey
	err  error // why there is none
}

func (a anchor) newSigner(pem []byte) (s signer) {
	if s.err = a.err; s.err != nil {
		return s
	}
	chain, err := parseChain(pem)
	if err != nil {
		s.err = fmt.Errorf("issuer chain: %w", err)
		return s
	}
	leafFirst(chain)
	cert := chain[0]
	err = errors.Join(a.checkRoots(chain), checkShape(cert, false), a.signed(cert))
	for _, c := range chain[1:] {
		if !selfIssued(c) {
			err = errors.Join(err, fmt.Errorf("%s does not belong to it", name(c)))
		}
	}
	if slices.ContainsFunc(cert.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(OIDSGXExtension) }) {
		err = errors.Join(err, fmt.Errorf("%s is a PCK certificate and may not sign collateral", name(cert)))
	}
	if err != nil {
		s.err = fmt.Errorf("issuer chain: %w", err)
		return s
	}
	s.cert = cert
	s.key, s.err = p256Key(cert)
	return s
}
