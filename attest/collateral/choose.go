package collateral

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"math/big"

	"time"

	"hitoku.dev/attest/dcap"
)

// DCAP returns the collateral for a quote of Intel's TEEs at a time, as far as
// the bundle has it. Of several documents that fit, it prefers one that is valid
// then, and of those the highest evaluation number; see [Bundle.DCAPAs] to want
// another one. It verifies nothing, and bytes that are no quote get nothing.
func (b *Bundle) DCAP(quote []byte, at time.Time) *dcap.Collateral {
	return b.DCAPAs(quote, at, "")
}

// DCAPAs is [Bundle.DCAP] for a choice of evaluation number. A pinned number is
// never replaced by another one. For [Standard] and [Early] the documents that
// were fetched as such are preferred; standard never takes those fetched as early.
func (b *Bundle) DCAPAs(quote []byte, at time.Time, as Choice) *dcap.Collateral {
	if b.set != nil && !b.mixed {
		return b.set
	}
	c := new(dcap.Collateral)
	q, err := dcap.ParseQuote(quote)
	if err != nil {
		return c
	}
	certs := b.certificates()
	var leaf *x509.Certificate
	pck, err := q.PCK()
	switch {
	case err != nil:
	case len(pck.Chain) > 0:
		leaf = pck.Chain[0]
	default:
		if d := signerOf(q, b.of(PCKCertificate, "")); d != nil {
			leaf = d.cert
			c.PCKChain = encodePEM(append([][]byte{leaf.Raw}, chainOf(leaf, certs)...)...)
		}
	}
	if leaf != nil {
		if ext, err := dcap.PCKExtensionOf(leaf); err == nil {
			c.TCBInfo, c.TCBInfoChain = b.signed(tcbInfoKind(q.TEE()), hex.EncodeToString(ext.FMSPC[:]), at, as, certs)
		}
		if d := best(b.issuedBy(leaf.RawIssuer), at); d != nil {
			c.PCKCRL = d.Raw
		}
		candidates := certs
		for _, cert := range pck.Chain {
			candidates = append(candidates[:len(candidates):len(candidates)], certDocument(cert))
		}
		if ca := issuerOf(leaf, candidates); ca != nil {
			c.PCKCRLChain = encodePEM(ca.Raw)
			if d := best(b.issuedBy(ca.RawIssuer), at); d != nil {
				c.RootCRL = d.Raw
			}
		}
	}
	c.QEIdentity, c.QEIdentityChain = b.signed(identityKind(q.TEE()), "", at, as, certs)
	return c
}

// signed chooses a signed JSON document and the chain of its signer.
func (b *Bundle) signed(kind Kind, subject string, at time.Time, as Choice, certs []*Document) (raw, chain []byte) {
	d := best(choose(b.of(kind, subject), as), at)
	if d == nil {
		return nil, nil
	}
	return d.Raw, encodePEM(d.signerChain(at, certs)...)
}

// of returns the documents of a kind; those of one subject if it is not empty.
func (b *Bundle) of(kind Kind, subject string) []*Document {
	var out []*Document
	for _, d := range b.documents {
		if d.Kind == kind && (subject == "" || d.Subject == subject) {
			out = append(out, d)
		}
	}
	return out
}

func (b *Bundle) issuedBy(rawIssuer []byte) []*Document {
	var out []*Document
	for _, d := range b.documents {
		if d.crl != nil && bytes.Equal(d.crl.RawIssuer, rawIssuer) {
			out = append(out, d)
		}
	}
	return out
}

// choose leaves the documents that a choice allows.
func choose(list []*Document, as Choice) []*Document {
	keep := func(want func(d *Document) bool) []*Document {
		var out []*Document
		for _, d := range list {
			if want(d) {
				out = append(out, d)
			}
		}
		return out
	}
	switch {
	case as == "":
		return list
	case as.number() != 0:
		return keep(func(d *Document) bool { return d.Evaluation == as.number() })
	}
	if asked := keep(func(d *Document) bool { return d.Choice == as }); len(asked) > 0 {
		return asked
	}
	return keep(func(d *Document) bool { return as == Early || d.Choice != Early })
}

func (d *Document) validAt(at time.Time) bool {
	return !at.Before(d.Issued) && !at.After(d.NextUpdate)
}

// best prefers what is valid at the time, then the highest evaluation number, then
// what was issued last.
func best(list []*Document, at time.Time) *Document {
	var top *Document
	for _, d := range list {
		if top == nil || d.betterThan(top, at) {
			top = d
		}
	}
	return top
}

func (d *Document) betterThan(o *Document, at time.Time) bool {
	if v := d.validAt(at); v != o.validAt(at) {
		return v
	}
	if d.Evaluation != o.Evaluation {
		return d.Evaluation > o.Evaluation
	}
	return d.Issued.After(o.Issued)
}

// certificates returns every certificate once, those of the chains too.
func (b *Bundle) certificates() []*Document {
	all := new(Bundle)
	for _, d := range b.documents {
		if d.cert != nil {
			all.insert(d)
		}
		for _, der := range d.Chain {
			if cert, err := x509.ParseCertificate(der); err == nil {
				all.insert(certDocument(cert))
			}
		}
	}
	return all.documents
}

// signerChain returns the DER of the certificate that signed a JSON document,
// valid at the time if there is a choice: its own, else one among certs.
func (d *Document) signerChain(at time.Time, certs []*Document) [][]byte {
	if len(d.Chain) > 0 {
		return d.Chain
	}
	var fit []*Document
	for _, c := range certs {
		if c.Kind == Authority && !c.cert.IsCA && dcap.SignedBy(c.cert, d.Kind.signedMember(), d.Raw) {
			fit = append(fit, c)
		}
	}
	if top := best(fit, at); top != nil {
		return [][]byte{top.Raw}
	}
	return nil
}

// signerOf returns the PCK certificate whose key signed the QE report of a quote;
// failing that, the only one that there is, so that the verifier can say what is
// wrong.
func signerOf(q *dcap.Quote, list []*Document) *Document {
	for _, d := range list {
		if signedReport(q, d) {
			return d
		}
	}
	if len(list) == 1 {
		return list[0]
	}
	return nil
}

// signedReport reports whether the key of a certificate signed the QE report of a quote.
func signedReport(q *dcap.Quote, d *Document) bool {
	report := q.QEReport.Bytes()
	digest := sha256.Sum256(report[:])
	key, ok := d.cert.PublicKey.(*ecdsa.PublicKey)
	r, s := new(big.Int).SetBytes(q.QEReportSignature[:32]), new(big.Int).SetBytes(q.QEReportSignature[32:])
	return ok && ecdsa.Verify(key, digest[:], r, s)
}

// chainOf returns the issuers of a certificate, nearest first, as far as they are among certs.
func chainOf(leaf *x509.Certificate, certs []*Document) [][]byte {
	var out [][]byte
	for c := leaf; len(out) < maxChainCerts; {
		issuer := issuerOf(c, certs)
		if issuer == nil {
			break
		}
		out = append(out, issuer.Raw)
		if bytes.Equal(issuer.RawIssuer, issuer.RawSubject) {
			break
		}
		c = issuer
	}
	return out
}

// issuerOf returns the authority among certs that signed c.
func issuerOf(c *x509.Certificate, certs []*Document) *x509.Certificate {
	for _, d := range certs {
		if d.cert.IsCA && bytes.Equal(d.cert.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(d.cert) == nil {
			return d.cert
		}
	}
	return nil
}
