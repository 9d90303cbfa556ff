package snp

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
	"time"
)

// revocations are the lists that a verification looks in. AMD publishes one list a
// product and kind of key, signed by the product's root key (publ. 57230). It
// names certificates by serial number.
type revocations struct {
	lists []*x509.RevocationList
	err   error  // a list that could not be read
	from  string // for the rule: where they came from, empty for collateral
}

func newRevocations(items [][]byte, from string) *revocations {
	v := &revocations{from: from}
	for i, item := range items {
		if i == maxCerts {
			v.err = join(v.err, fmt.Errorf("more than %d revocation lists", maxCerts))
			break
		}
		crl, err := parseCRL(item)
		if err != nil {
			v.err = join(v.err, fmt.Errorf("revocation list %d: %w", i+1, err))
			continue
		}
		if !listProduct(crl).Known() {
			v.err = join(v.err, fmt.Errorf("revocation list %d is of %q, wanted that of a root key (ARK)", i+1, crl.Issuer.CommonName))
			continue
		}
		v.lists = append(v.lists, crl)
	}
	return v
}

// listProduct names the product line of a list after its issuer.
func listProduct(crl *x509.RevocationList) Product {
	name, ok := strings.CutPrefix(crl.Issuer.CommonName, "ARK-")
	if !ok {
		return ""
	}
	return Product(name)
}

// revocation is the judgement of the lists over one chain, but for time.
type revocation struct {
	checked bool                 // false when no list is of the chain's root
	best    *x509.RevocationList // the newest authentic list
	seen    string               // for the rule
	err     error
}

func (v *revocations) judge(c *chain) revocation {
	out := revocation{checked: v.err != nil, err: v.err}
	if c.ca == nil {
		return out
	}
	ark := c.ca.root.cert
	for _, crl := range v.lists {
		if listProduct(crl) != c.ca.root.product && v.from == "" {
			continue // collateral serves many reports, evidence only its own
		}
		out.checked = true
		if !bytes.Equal(crl.RawIssuer, ark.RawSubject) || crl.SignatureAlgorithm != x509.SHA384WithRSAPSS || crl.CheckSignatureFrom(ark) != nil {
			out.err = join(out.err, fmt.Errorf("a revocation list is not signed by %s", certName(ark)))
			continue
		}
		if out.best == nil || crl.ThisUpdate.After(out.best.ThisUpdate) {
			out.best = crl
		}
		out.err = join(out.err, checkNotRevoked(crl, c.ca.cert))
		out.err = join(out.err, checkNotRevoked(crl, c.cert))
	}
	if out.best != nil {
		out.seen = fmt.Sprintf("not on the list of %s%s", stamp(out.best.ThisUpdate), v.from)
	}
	return out
}

// current judges the newest list's age. Grace allows it to be stale by that long.
func (r *revocation) current(at time.Time, grace time.Duration) (seen string, err error) {
	crl := r.best
	seen = r.seen
	switch {
	case crl == nil:
	case crl.NextUpdate.IsZero():
		return seen, errors.New("the revocation list does not say when the next one comes")
	case at.Before(crl.ThisUpdate):
		return seen, windowError(at, fmt.Errorf("the revocation list is not valid before %s", stamp(crl.ThisUpdate)))
	case at.After(crl.NextUpdate.Add(grace)):
		return seen, windowError(at, fmt.Errorf("the revocation list is stale since %s", stamp(crl.NextUpdate)))
	case at.After(crl.NextUpdate):
		seen += ", stale since " + stamp(crl.NextUpdate)
	}
	return seen, nil
}

// checkNotRevoked looks a certificate up by its serial number. An entry may name
// another issuer than the list's (RFC 5280, 5.3.3); one that names none counts for
// every certificate below the root. A revocation counts at every time.
func checkNotRevoked(crl *x509.RevocationList, cert *x509.Certificate) error {
	for i := range crl.RevokedCertificateEntries {
		e := &crl.RevokedCertificateEntries[i]
		if e.SerialNumber.Cmp(cert.SerialNumber) != 0 || !entryIssuer(e, cert) {
			continue
		}
		return &adviceError{
			fmt.Errorf("%s, serial number %x, was revoked at %s", certName(cert), cert.SerialNumber, stamp(e.RevocationTime)),
			"do not trust this any more: AMD has revoked it",
		}
	}
	return nil
}

// entryIssuer reports whether an entry can be about a certificate of this issuer.
func entryIssuer(e *x509.RevocationListEntry, cert *x509.Certificate) bool {
	for _, ext := range e.Extensions {
		if ext.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 29}) {
			return bytes.Contains(ext.Value, cert.RawIssuer)
		}
	}
	return true
}
