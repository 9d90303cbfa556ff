package collateral

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
)

// Entry is what is known about a document at a time.
type Entry struct {
	Kind       Kind      `json:"kind"`
	Subject    string    `json:"subject"`
	Issued     time.Time `json:"issued"`
	NextUpdate time.Time `json:"next_update"`
	Evaluation int       `json:"evaluation_number,omitempty"`
	Choice     Choice    `json:"choice,omitempty"`
	State      State     `json:"state"`
	Root       string    `json:"root,omitempty"`   // common name of the root that verified it
	Reason     string    `json:"reason,omitempty"` // why the state is not fresh
}

// Inspect verifies every document under the roots and says what each is worth at
// a time, in the order of [Bundle.Documents].
func (b *Bundle) Inspect(roots []*x509.Certificate, at time.Time) []Entry {
	certs := b.certificates()
	type found struct {
		*verification
		err error
	}
	all := make([]found, len(b.documents))
	var lists []*x509.RevocationList
	for i, d := range b.documents {
		v, err := d.verifyUnder(roots, d.issuers(at, certs))
		all[i] = found{v, err}
		if err == nil && d.crl != nil {
			lists = append(lists, d.crl)
		}
	}
	out := make([]Entry, len(b.documents))
	for i, d := range b.documents {
		e := Entry{Kind: d.Kind, Subject: d.Subject, Issued: d.Issued, NextUpdate: d.NextUpdate, Evaluation: d.Evaluation, Choice: d.Choice}
		if err := all[i].err; err != nil {
			e.State, e.Reason = Unknown, err.Error()
		} else {
			e.Root = all[i].root.Subject.CommonName
			e.State, e.Reason = all[i].state(d, lists, at)
		}
		out[i] = e
	}
	return out
}

// SortEntries sorts by kind, subject, evaluation number and date.
func SortEntries(list []Entry) {
	slices.SortStableFunc(list, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Evaluation, b.Evaluation), cmp.Compare(a.Choice, b.Choice), a.Issued.Compare(b.Issued))
	})
}

// verification is what was found when a document was verified under a root.
type verification struct {
	root *x509.Certificate
	// involved are the certificates between the document and the root, the document's own included.
	involved []*x509.Certificate
}

// verifyUnder tries the roots; the error is of the one that fits best.
func (d *Document) verifyUnder(roots []*x509.Certificate, chain [][]byte) (*verification, error) {
	err := errors.New("no trusted root was given")
	for _, root := range roots {
		var v *verification
		if v, err = d.verify(root, chain); err == nil {
			return v, nil
		}
	}
	return nil, err
}

// verify checks the signatures from a document up to a root; no times, no revocation.
func (d *Document) verify(root *x509.Certificate, chain [][]byte) (*verification, error) {
	v := &verification{root: root}
	switch {
	case d.Kind.signedMember() != "":
		_, by, err := dcap.VerifyDocument(root, d.Kind.signedMember(), d.Raw, encodePEM(chain...))
		v.involved = []*x509.Certificate{by}
		return v, err
	case d.Kind == PCKCRL || d.Kind == RootCRL:
		_, by, err := dcap.VerifyCRL(root, d.Raw, encodePEM(chain...))
		v.involved = []*x509.Certificate{by}
		return v, err
	case d.Kind == PCKCertificate:
		leaf, ca, err := dcap.VerifyPCKChain(root, encodePEM(append([][]byte{d.Raw}, chain...)...))
		v.involved = []*x509.Certificate{leaf, ca}
		return v, err
	case d.Kind == AMDCRL:
		if !bytes.Equal(d.crl.RawIssuer, root.RawSubject) {
			return nil, fmt.Errorf("it was issued by %q, not by the trusted root %q", d.crl.Issuer.CommonName, root.Subject.CommonName)
		}
		return v, d.crl.CheckSignatureFrom(root)
	}
	return v, v.climb(d.cert, chain)
}

// climb follows the issuers of a certificate to the root.
func (v *verification) climb(cert *x509.Certificate, chain [][]byte) error {
	for depth := 0; depth <= maxChainCerts; depth++ {
		if bytes.Equal(cert.RawSubjectPublicKeyInfo, v.root.RawSubjectPublicKeyInfo) && bytes.Equal(cert.RawSubject, v.root.RawSubject) {
			return nil
		}
		v.involved = append(v.involved, cert)
		if bytes.Equal(cert.RawIssuer, v.root.RawSubject) {
			return cert.CheckSignatureFrom(v.root)
		}
		var issuer *x509.Certificate
		for _, der := range chain {
			if c, err := x509.ParseCertificate(der); err == nil && c.IsCA && bytes.Equal(c.RawSubject, cert.RawIssuer) && cert.CheckSignatureFrom(c) == nil {
				issuer = c
				break
			}
		}
		if issuer == nil {
			return fmt.Errorf("the issuer %q of %q is not there", cert.Issuer.CommonName, cert.Subject.CommonName)
		}
		cert = issuer
	}
	return errors.New("the chain is too long")
}

// state judges a verified document at a time with the verified lists.
func (v *verification) state(d *Document, lists []*x509.RevocationList, at time.Time) (State, string) {
	for _, c := range v.involved {
		if revokedBy(c, lists) {
			return Revoked, fmt.Sprintf("%q, serial number %x, was revoked", c.Subject.CommonName, c.SerialNumber)
		}
	}
	switch until, why := v.until(d); {
	case at.Before(d.Issued):
		return Unknown, "not valid before " + stamp(d.Issued)
	case at.After(until):
		return Stale, why
	}
	return Fresh, ""
}

// until is when a document stops counting: at its next update, or when a certificate
// above it expires.
func (v *verification) until(d *Document) (time.Time, string) {
	end, why := d.NextUpdate, "its next update was due at "+stamp(d.NextUpdate)
	if d.cert != nil {
		why = "expired at " + stamp(d.NextUpdate)
	}
	for _, c := range append(v.involved[:len(v.involved):len(v.involved)], v.root) {
		if c.NotAfter.Before(end) {
			end, why = c.NotAfter, fmt.Sprintf("%q expired at %s", c.Subject.CommonName, stamp(c.NotAfter))
		}
	}
	return end, why
}

// revokedBy looks a certificate up in the lists of its issuer.
func revokedBy(c *x509.Certificate, lists []*x509.RevocationList) bool {
	for _, l := range lists {
		if !bytes.Equal(l.RawIssuer, c.RawIssuer) {
			continue
		}
		for i := range l.RevokedCertificateEntries {
			if l.RevokedCertificateEntries[i].SerialNumber.Cmp(c.SerialNumber) == 0 {
				return true
			}
		}
	}
	return false
}

// issuers returns the chain of a document: its own, else what is found among certs.
func (d *Document) issuers(at time.Time, certs []*Document) [][]byte {
	switch {
	case len(d.Chain) > 0:
		return d.Chain
	case d.cert != nil:
		return chainOf(d.cert, certs)
	case d.crl != nil:
		for _, c := range certs {
			if c.cert.IsCA && bytes.Equal(c.cert.RawSubject, d.crl.RawIssuer) && d.crl.CheckSignatureFrom(c.cert) == nil {
				return append([][]byte{c.Raw}, chainOf(c.cert, certs)...)
			}
		}
		return nil
	}
	return d.signerChain(at, certs)
}

// rootHash names a root: SHA-256 of its SubjectPublicKeyInfo in lower-case hexadecimal.
func rootHash(root *x509.Certificate) string {
	h := attest.SPKIHash(root.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(h[:])
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
