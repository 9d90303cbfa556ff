package snp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"hitoku.dev/attest"
)

// root is a trusted root key of a product line.
type root struct {
	cert    *x509.Certificate
	product Product
	seen    string // for the rule
	err     error  // why it can be the root of nothing
}

func newRoot(cert *x509.Certificate) *root {
	r := &root{cert: cert}
	name, ok := strings.CutPrefix(cert.Subject.CommonName, "ARK-")
	r.product = Product(name)
	if !ok || !r.product.Known() {
		r.err = fmt.Errorf("the trusted root %s is no root of a known product; its name must be ARK-Milan, ARK-Genoa or ARK-Turin", certName(cert))
		return r
	}
	r.err = checkAuthority(cert)
	hash := attest.SPKIHash(cert.RawSubjectPublicKeyInfo)
	r.seen = fmt.Sprintf("%s, key sha256:%x…", cert.Subject.CommonName, hash[:8])
	return r
}

// authority is an intermediate that a trusted root signed: an ASK issues VCEKs, an ASVK issues VLEKs.
type authority struct {
	cert *x509.Certificate
	root *root
	key  SigningKey // the kind that it issues
}

// authorityName takes "SEV-Milan" and "SEV-VLEK-Milan" apart.
func authorityName(cert *x509.Certificate) (p Product, key SigningKey, ok bool) {
	name, ok := strings.CutPrefix(cert.Subject.CommonName, "SEV-")
	if line, vlek := strings.CutPrefix(name, "VLEK-"); vlek {
		name, key = line, VLEK
	}
	return Product(name), key, ok && Product(name).Known()
}

func selfIssued(cert *x509.Certificate) bool { return bytes.Equal(cert.RawSubject, cert.RawIssuer) }

// newAuthority checks an intermediate against the trusted roots.
func newAuthority(cert *x509.Certificate, roots []*root) (*authority, error) {
	p, key, ok := authorityName(cert)
	if !ok {
		return nil, fmt.Errorf("%s is no ASK or ASVK of a known product", certName(cert))
	}
	if err := checkAuthority(cert); err != nil {
		return nil, err
	}
	err := &rootError{fmt.Errorf("%s was issued by %q, which is no trusted root", certName(cert), cert.Issuer.CommonName)}
	for _, r := range roots {
		if r.product != p || r.err != nil || !bytes.Equal(cert.RawIssuer, r.cert.RawSubject) {
			continue
		}
		sigErr := checkSignature(cert, r.cert)
		if sigErr == nil {
			return &authority{cert, r, key}, nil
		}
		err = &rootError{sigErr}
	}
	return nil, err
}

// rootError says that a chain does not lead to a trusted root.
type rootError struct{ error }

func checkAuthority(cert *x509.Certificate) error {
	key, ok := cert.PublicKey.(*rsa.PublicKey)
	switch {
	case !ok || key.N.BitLen() < 2048 || key.N.BitLen() > 4096:
		return fmt.Errorf("%s has no RSA key of 2048 to 4096 bits", certName(cert))
	case cert.Version != 3:
		return fmt.Errorf("%s is of X.509 version %d, wanted 3", certName(cert), cert.Version)
	case !cert.BasicConstraintsValid || !cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign == 0:
		return fmt.Errorf("%s is no certificate authority", certName(cert))
	case len(cert.UnhandledCriticalExtensions) > 0:
		return fmt.Errorf("%s has critical extension %v, which is not known", certName(cert), cert.UnhandledCriticalExtensions[0])
	}
	return nil
}

// checkSignature checks RSASSA-PSS with SHA-384, the only way in which AMD signs certificates.
func checkSignature(cert, issuer *x509.Certificate) error {
	if cert.SignatureAlgorithm != x509.SHA384WithRSAPSS {
		return fmt.Errorf("%s is signed with %v, wanted SHA384-RSAPSS", certName(cert), cert.SignatureAlgorithm)
	}
	if err := cert.CheckSignatureFrom(issuer); err != nil {
		return fmt.Errorf("%s is not signed by %s: %w", certName(cert), certName(issuer), err)
	}
	return nil
}

// chain is a VCEK or VLEK with its issuer, as far as it could be checked. It does
// not depend on time or report.
type chain struct {
	cert *x509.Certificate
	key  *ecdsa.PublicKey // nil when the certificate has none that can sign reports
	info *Endorsement     // nil when its extensions cannot be read
	ca   *authority       // nil when no trusted authority issued it

	err     error // why the chain does not hold
	rootErr error // why it does not lead to a trusted root

	revocation revocation

	issuedBy, productSeen, chipSeen, tcbSeen string // for the rules
}

func newChain(cert *x509.Certificate, cas []*authority) *chain {
	c := &chain{cert: cert}
	var infoErr, keyErr, caErr error
	c.info, infoErr = ParseEndorsement(cert)
	c.key, keyErr = endorsementKey(cert)
	for _, ca := range cas {
		if !bytes.Equal(cert.RawIssuer, ca.cert.RawSubject) {
			continue
		}
		if caErr = checkSignature(cert, ca.cert); caErr == nil {
			c.ca = ca
			break
		}
	}
	switch {
	case c.ca == nil && caErr == nil:
		caErr = fmt.Errorf("no trusted authority %q, the issuer of %s, is known", cert.Issuer.CommonName, certName(cert))
		c.rootErr = errors.New("no chain to a trusted root")
	case c.ca == nil:
		c.rootErr = errors.New("no chain to a trusted root")
	case c.info != nil && c.info.Key != c.ca.key:
		caErr = fmt.Errorf("%s was issued by %s, which issues another kind of key", certName(cert), certName(c.ca.cert))
	case c.info != nil && c.info.Product != c.ca.root.product:
		caErr = fmt.Errorf("%s for %s was issued by %s", certName(cert), c.info.ProductName, certName(c.ca.cert))
	}
	c.err = join(join(infoErr, keyErr), caErr)
	if c.info != nil && c.ca != nil {
		c.describe()
	}
	return c
}

// describe writes what rules say about the chain, once.
func (c *chain) describe() {
	c.issuedBy = fmt.Sprintf("%s, issued by %s, valid until %s", c.cert.Subject.CommonName, c.ca.cert.Subject.CommonName, stamp(c.cert.NotAfter))
	c.productSeen = c.info.ProductName
	c.tcbSeen = c.info.TCB.text(c.info.Product)
	if c.info.Key == VLEK {
		c.chipSeen = "a key of " + c.info.CSP
	} else {
		c.chipSeen = fmt.Sprintf("chip %x…", c.info.HWID[:8])
	}
}

// checkWindows reports the first certificate that is not valid at the time.
func checkWindows(at time.Time, certs ...*x509.Certificate) error {
	for _, c := range certs {
		if at.Before(c.NotBefore) {
			return windowError(at, fmt.Errorf("%s is not valid before %s", certName(c), stamp(c.NotBefore)))
		}
		if at.After(c.NotAfter) {
			return windowError(at, fmt.Errorf("%s expired at %s", certName(c), stamp(c.NotAfter)))
		}
	}
	return nil
}

func windowError(at time.Time, err error) error {
	return &adviceError{err, "judged at " + stamp(at) + "; get a current one, or name the time at which the evidence was made"}
}

// adviceError is an error whose cause calls for other advice than its rule's usual one.
type adviceError struct {
	error
	advice string
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// join is errors.Join without its allocation where at most one has failed.
func join(a, b error) error {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return errors.Join(a, b)
}
