package collateral

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Verified returns the bundle's documents that roots verify, each with its chain
// and the hash of its root filled in, ready for [Encode] or a [Cache]. When one
// document is verified by no root, nothing is returned: a bundle is taken whole
// or not at all. Intel's authorities are in the chains of the others and are left
// out. at chooses among several signing certificates.
func (b *Bundle) Verified(roots []*x509.Certificate, at time.Time) ([]*Document, error) {
	certs := b.certificates()
	var out []*Document
	var errs []error
	for _, d := range b.documents {
		chain := d.issuers(at, certs)
		v, err := d.verifyUnder(roots, chain)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %s: %w", d.Kind, d.Subject, err))
			continue
		}
		if d.Kind == Authority && amdProduct(d.Subject) == "" {
			continue
		}
		if hash := rootHash(v.root); d.Root != "" && d.Root != hash {
			errs = append(errs, fmt.Errorf("%s %s: the bundle says that root %s… verified it, but it was %q, %s…", d.Kind, d.Subject, d.Root[:16], v.root.Subject.CommonName, hash[:16]))
			continue
		}
		out = append(out, d.verifiedBy(v, chain))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if len(out) == 0 {
		return nil, errors.New("there is no document in it")
	}
	return out, nil
}

// verifiedBy returns the document with what verified it. The root itself is left
// out of its chain: who reads the document must have it from elsewhere.
func (d *Document) verifiedBy(v *verification, chain [][]byte) *Document {
	c := *d
	c.Chain, c.Root, c.by = nil, rootHash(v.root), v
	for _, der := range chain {
		if cert, err := x509.ParseCertificate(der); err == nil && !bytes.Equal(cert.RawSubject, cert.RawIssuer) {
			c.Chain = append(c.Chain, der)
		}
	}
	return &c
}
