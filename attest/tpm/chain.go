package tpm

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

const (
	maxCertSize = 16 << 10
	maxCertKey  = 8192 // bits of RSA; larger ones would only cost time
	maxCRL      = 1 << 20
)

// Extended key usages of the TCG (TCG EK Credential Profile, section 3.2).
func oidEKCertificate() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 23, 133, 8, 1} }
func oidAKCertificate() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 23, 133, 8, 3} }

func oidSubjectAltName() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 17} }

func parseCert(der []byte) (*x509.Certificate, error) {
	if len(der) > maxCertSize {
		return nil, fmt.Errorf("a certificate of %d bytes, at most %d allowed", len(der), maxCertSize)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if key, ok := c.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > maxCertKey {
		return nil, fmt.Errorf("a certificate with an RSA key of %d bits, at most %d allowed", key.N.BitLen(), maxCertKey)
	}
	return c, nil
}

// parsePool reads certificates that may help to build a chain; what does not parse
// does not help. Parse has limited those of the evidence, and collateral is the caller's.
func parsePool(lists ...[][]byte) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, list := range lists {
		for _, der := range list {
			if c, err := parseCert(der); err == nil {
				pool.AddCert(c)
			}
		}
	}
	return pool
}

// chain builds and checks leaf → … → one of the roots at a time.
func (o *Options) chain(leaf *x509.Certificate, intermediates *x509.CertPool) ([]*x509.Certificate, error) {
	if len(o.Roots) == 0 {
		return nil, &adviceError{errors.New("no trusted root was given"), "name the root of the TPM's maker or of the cloud, after checking its fingerprint with them"}
	}
	if o.At.IsZero() { // crypto/x509 would take the machine's clock
		return nil, errors.New("no time was given at which everything must be valid")
	}
	roots := x509.NewCertPool()
	for _, r := range o.Roots {
		roots.AddCert(r)
	}
	// The subject alternative name of such certificates is critical and holds a directory name
	// with maker, model and version only, which crypto/x509 does not read.
	c := *leaf
	c.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(leaf.UnhandledCriticalExtensions), oidSubjectAltName().Equal)
	chains, err := c.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: o.At, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return nil, fmt.Errorf("certificate %q of issuer %q: %w", leaf.Subject.CommonName, leaf.Issuer.CommonName, err)
	}
	return chains[0], nil
}

// checkUse refuses certificates that were not issued for keys of a TPM.
func checkUse(c *x509.Certificate, want x509.KeyUsage, uses ...asn1.ObjectIdentifier) error {
	if c.IsCA {
		return fmt.Errorf("certificate %q is of a certificate authority", c.Subject.CommonName)
	}
	if c.KeyUsage != 0 && c.KeyUsage&want == 0 {
		return fmt.Errorf("certificate %q has key usage %b, wanted %b", c.Subject.CommonName, c.KeyUsage, want)
	}
	if len(c.ExtKeyUsage) == 0 && len(c.UnknownExtKeyUsage) == 0 {
		return nil
	}
	for _, use := range c.UnknownExtKeyUsage {
		if slices.ContainsFunc(uses, use.Equal) {
			return nil
		}
	}
	return fmt.Errorf("certificate %q was issued for another use than keys of a TPM", c.Subject.CommonName)
}

// errNoCRL says that none of the lists is of the issuer of the leaf.
var errNoCRL = errors.New("no CRL of the issuer was given")

// revocation looks the certificates of a chain up in the lists of their issuers;
// lists of others are left alone. The error is errNoCRL when the leaf's issuer has none.
func (o *Options) revocation(chain []*x509.Certificate) (string, error) {
	if o.Collateral == nil {
		return "", errNoCRL
	}
	var clear []string
	checked := false
	for n, der := range o.Collateral.CRLs {
		if len(der) > maxCRL {
			return "", fmt.Errorf("CRL %d has %d bytes, at most %d allowed", n+1, len(der), maxCRL)
		}
		crl, err := x509.ParseRevocationList(der)
		if err != nil {
			return "", fmt.Errorf("CRL %d: %w", n+1, err)
		}
		for i, c := range chain[:len(chain)-1] {
			if !bytes.Equal(crl.RawIssuer, chain[i+1].RawSubject) {
				continue
			}
			stale, err := o.lookUp(c, chain[i+1], crl)
			if err != nil {
				return "", err
			}
			clear = append(clear, fmt.Sprintf("%q is not among %d revoked%s", c.Subject.CommonName, len(crl.RevokedCertificateEntries), stale))
			checked = checked || i == 0
		}
	}
	if !checked {
		return "", errNoCRL
	}
	return strings.Join(clear, "; "), nil
}

func (o *Options) lookUp(c, issuer *x509.Certificate, crl *x509.RevocationList) (stale string, err error) {
	if err := crl.CheckSignatureFrom(issuer); err != nil {
		return "", fmt.Errorf("the CRL of %q is not signed by it: %w", issuer.Subject.CommonName, err)
	}
	if err := checkScope(crl, c.IsCA); err != nil {
		return "", fmt.Errorf("the CRL of %q: %w", issuer.Subject.CommonName, err)
	}
	if stale, err = o.checkWindow(crl); err != nil {
		return "", err
	}
	for _, e := range crl.RevokedCertificateEntries {
		if e.SerialNumber.Cmp(c.SerialNumber) == 0 {
			return "", &adviceError{
				fmt.Errorf("certificate %q, serial number %x, was revoked at %s", c.Subject.CommonName, c.SerialNumber, stamp(e.RevocationTime)),
				"do not trust this TPM any more: its issuer has revoked it",
			}
		}
	}
	return stale, nil
}

// checkScope refuses lists that cannot clear a certificate, as they hold a part of
// what was revoked: changes since another list, some reasons, other kinds of certificates
// (RFC 5280, sections 5.2.4 and 5.2.5). Such lists say so in a critical extension.
func checkScope(crl *x509.RevocationList, ca bool) error {
	for _, ext := range crl.Extensions {
		if !ext.Critical {
			continue
		}
		if !ext.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 28}) {
			return fmt.Errorf("critical extension %v is not known", ext.Id)
		}
		in, seq := cryptobyte.String(ext.Value), cryptobyte.String(nil)
		if !in.ReadASN1(&seq, cbasn1.SEQUENCE) || !in.Empty() {
			return errors.New("its issuing distribution point cannot be read")
		}
		only := cbasn1.Tag(1).ContextSpecific() // certificates that are no authority's
		if ca {
			only = cbasn1.Tag(2).ContextSpecific()
		}
		for !seq.Empty() {
			var value cryptobyte.String
			var tag cbasn1.Tag
			if !seq.ReadAnyASN1(&value, &tag) || tag != cbasn1.Tag(0).ContextSpecific().Constructed() && tag != only {
				return errors.New("it covers a part of the issuer's certificates only")
			}
		}
	}
	return nil
}

func (o *Options) checkWindow(crl *x509.RevocationList) (stale string, err error) {
	issuer := crl.Issuer.CommonName
	switch {
	case crl.NextUpdate.IsZero():
		return "", fmt.Errorf("the CRL of %q does not say when the next one comes", issuer)
	case o.At.Before(crl.ThisUpdate):
		return "", fmt.Errorf("the CRL of %q is not valid before %s", issuer, stamp(crl.ThisUpdate))
	case !o.At.After(crl.NextUpdate):
		return "", nil
	case o.At.After(crl.NextUpdate.Add(o.Grace)):
		return "", fmt.Errorf("the CRL of %q expired at %s", issuer, stamp(crl.NextUpdate))
	}
	return ", stale since " + stamp(crl.NextUpdate), nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// adviceError is an error that knows what to do about it.
type adviceError struct {
	error
	advice string
}

func (e *adviceError) Unwrap() error { return e.error }
