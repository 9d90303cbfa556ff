package collateral

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"hitoku.dev/attest/dcap"
	"hitoku.dev/attest/snp"
)

// Limits on one document and the certificates beside it, in bytes.
const (
	maxDocument   = 256 << 10
	maxChainCerts = 8
	maxCert       = 16 << 10
)

// Document is one signed thing with what chooses it. Its members are as the
// document says, and prove nothing before a root verified it.
type Document struct {
	Kind Kind
	// Subject is whom it is about: an FMSPC (12 lower-case hexadecimal digits), a CA ("processor",
	// "platform"), a product of AMD ("milan"), for a PCK certificate PPID-CPUSVN-PCESVN, for a VCEK
	// product-chip-TCB, for a VLEK product-provider-TCB, for an authority its common name. Empty
	// where the kind says all.
	Subject    string
	Evaluation int // tcbEvaluationDataNumber; 0 where the kind has none
	// Choice is what the document was asked for as: standard, early or a number; of AMD's revocation
	// lists "vcek" or "vlek". Empty when it was not asked for, and for other kinds.
	Choice Choice
	// Issued and NextUpdate bound the time in which the document counts; of certificates, their
	// validity.
	Issued, NextUpdate time.Time
	Raw                []byte   // JSON as the service answers it; DER of lists and certificates
	Chain              [][]byte // DER of its issuers, nearest first, as far as known

	// Root is the SHA-256 of the SubjectPublicKeyInfo of the root that verified the document, as 64
	// lower-case hexadecimal digits; empty when none did.
	Root string

	by   *verification        // nil until a root verified it
	cert *x509.Certificate    // of certificates
	crl  *x509.RevocationList // of lists
}

// body is what chooses a signed JSON document.
type body struct {
	ID         string    `json:"id"`
	FMSPC      string    `json:"fmspc"`
	IssueDate  time.Time `json:"issueDate"`
	NextUpdate time.Time `json:"nextUpdate"`
	Evaluation int       `json:"tcbEvaluationDataNumber"`
}

// signedDocument reads {"<member>":{…},"signature":"…"}. Nil means that it is no such document.
func signedDocument(text []byte) *Document {
	if len(text) > maxDocument {
		return nil
	}
	var file struct {
		TCBInfo  *body `json:"tcbInfo"`
		Identity *body `json:"enclaveIdentity"`
		Numbers  *body `json:"tcbEvaluationDataNumbers"`
	}
	if json.Unmarshal(text, &file) != nil {
		return nil
	}
	d := &Document{Raw: bytes.Clone(text)}
	var b *body
	switch {
	case file.TCBInfo != nil:
		b, d.Kind = file.TCBInfo, SGXTCBInfo // version 2 has no id and is of SGX
		if b.ID == "TDX" {
			d.Kind = TDXTCBInfo
		}
		if fmspc, err := hex.DecodeString(b.FMSPC); err != nil || len(fmspc) != 6 {
			return nil
		}
		d.Subject = strings.ToLower(b.FMSPC)
	case file.Identity != nil:
		b = file.Identity
		switch b.ID {
		case "QE":
			d.Kind = QEIdentity
		case "TD_QE":
			d.Kind = TDQEIdentity
		case "QVE":
			d.Kind = QVEIdentity
		case "QAE":
			d.Kind = QAEIdentity
		default:
			return nil
		}
	case file.Numbers != nil:
		b, d.Kind = file.Numbers, SGXEvaluationNumbers
		if b.ID == "TDX" {
			d.Kind = TDXEvaluationNumbers
		}
	default:
		return nil
	}
	d.Issued, d.NextUpdate = b.IssueDate, b.NextUpdate
	if d.Kind.numbered() {
		d.Evaluation = b.Evaluation
	}
	return d
}

// crlDocument makes a document of a revocation list.
func crlDocument(der []byte) (*Document, error) {
	if len(der) > maxDocument {
		return nil, fmt.Errorf("revocation list of %d bytes, at most %d allowed", len(der), maxDocument)
	}
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	if len(crl.Raw) != len(der) {
		return nil, errors.New("bytes after the revocation list")
	}
	d := &Document{Kind: RootCRL, Issued: crl.ThisUpdate, NextUpdate: crl.NextUpdate, Raw: bytes.Clone(der), crl: crl}
	switch cn := crl.Issuer.CommonName; {
	case amdProduct(cn) != "":
		d.Kind, d.Subject = AMDCRL, amdProduct(cn)
	case strings.Contains(cn, "PCK Processor CA"):
		d.Kind, d.Subject = PCKCRL, dcap.CAProcessor
	case strings.Contains(cn, "PCK Platform CA"):
		d.Kind, d.Subject = PCKCRL, dcap.CAPlatform
	}
	return d, nil
}

// certDocument makes a document of a certificate.
func certDocument(cert *x509.Certificate) *Document {
	d := &Document{Kind: Authority, Subject: cert.Subject.CommonName, Issued: cert.NotBefore, NextUpdate: cert.NotAfter, Raw: cert.Raw, cert: cert}
	switch cn := cert.Subject.CommonName; cn {
	case "SEV-VCEK", "SEV-VLEK":
		if e, err := snp.ParseEndorsement(cert); err == nil {
			d.Kind, d.Subject = Kind(e.Key.String()), amdLeafSubject(e)
		}
	default:
		if ext, err := dcap.PCKExtensionOf(cert); err == nil && !cert.IsCA {
			d.Kind, d.Subject = PCKCertificate, pckSubject(ext)
		}
	}
	return d
}

func pckSubject(e *dcap.PCKExtension) string {
	return fmt.Sprintf("%x-%x-%04x", e.PPID, e.TCB.CPUSVN, e.TCB.PCESVN)
}

// pemChain is the chain as dcap wants it: PEM, nearest issuer first.
func (d *Document) pemChain() []byte { return encodePEM(d.Chain...) }

func encodePEM(ders ...[]byte) []byte {
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}

func (d *Document) id() documentID { return documentID{d.Kind, sha256.Sum256(d.Raw)} }

// equal reports whether two documents are the same bytes.
func (d *Document) equal(o *Document) bool { return d.Kind == o.Kind && bytes.Equal(d.Raw, o.Raw) }
