package dcap

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
)

// Members of the signed JSON documents of Intel's service that hold the body.
const (
	MemberTCBInfo           = "tcbInfo"
	MemberEnclaveIdentity   = "enclaveIdentity"
	MemberEvaluationNumbers = "tcbEvaluationDataNumbers"
)

// VerifyDocument checks a document {"<member>":body,"signature":"hex"} of Intel's
// service: chain (PEM, the TCB signing certificate first) leads to root, and the
// signer's key signed the exact bytes of the body, which are returned with the
// signer. Times and revocation are not looked at.
func VerifyDocument(root *x509.Certificate, member string, document, chain []byte) (body []byte, by *x509.Certificate, err error) {
	s := newAnchor(root).newSigner(chain)
	if s.err != nil {
		return nil, nil, s.err
	}
	body, sig, err := splitSigned(document, member)
	if err != nil {
		return nil, nil, err
	}
	if !verifyRaw(s.key, body, sig) {
		return nil, nil, fmt.Errorf("the signature of %s does not match", name(s.cert))
	}
	return body, s.cert, nil
}

// SignedBy reports whether the key of a certificate signed the body of a document;
// it says nothing about the certificate.
func SignedBy(cert *x509.Certificate, member string, document []byte) bool {
	key, err := p256Key(cert)
	if err != nil {
		return false
	}
	body, sig, err := splitSigned(document, member)
	return err == nil && verifyRaw(key, body, sig)
}

// VerifyCRL checks a revocation list in DER, PEM or hexadecimal: root signed it,
// or a CA in chain (PEM) that root signed. It returns the list and its issuer.
// Times and revocation are not looked at.
func VerifyCRL(root *x509.Certificate, crl, chain []byte) (*x509.RevocationList, *x509.Certificate, error) {
	a := newAnchor(root)
	if a.err != nil {
		return nil, nil, a.err
	}
	list, err := parseCRL(crl)
	if err != nil {
		return nil, nil, err
	}
	issuer := a.cert
	if !bytes.Equal(list.issuer, root.RawSubject) {
		issuers, err := a.readIssuers(chain)
		if err != nil {
			return nil, nil, err
		}
		for _, c := range issuers {
			if bytes.Equal(list.issuer, c.RawSubject) {
				issuer = c
				break
			}
		}
	}
	if err := list.checkSignedBy(issuer); err != nil {
		return nil, nil, err
	}
	parsed, err := x509.ParseRevocationList(list.der)
	if err != nil {
		return nil, nil, err
	}
	return parsed, issuer, nil
}

// VerifyPCKChain checks PEM certificates, the PCK certificate first, up to root.
// Times and revocation are not looked at.
func VerifyPCKChain(root *x509.Certificate, chain []byte) (leaf, ca *x509.Certificate, err error) {
	certs, err := parseChain(chain)
	if err != nil {
		return nil, nil, err
	}
	p := newAnchor(root).newPCKChain(certs, nil)
	if err := errors.Join(p.rootErr, p.err); err != nil {
		return nil, nil, err
	}
	return p.leaf, p.ca, nil
}
