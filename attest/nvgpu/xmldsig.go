package nvgpu

import (
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"hitoku.dev/attest/internal/p384"
)

// Names of XML Signature 1.1 and of the algorithms that NVIDIA signs RIM files with.
const (
	dsigSpace    = "http://www.w3.org/2000/09/xmldsig#"
	algEnveloped = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
	algC14N10    = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
	algC14N11    = "http://www.w3.org/2006/12/xml-c14n11"
	algSHA384    = "http://www.w3.org/2001/04/xmldsig-more#sha384"
	algECDSA384  = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"
)

// xmlSignature is an enveloped signature over the whole of the document around it.
type xmlSignature struct {
	signedInfo []byte // in canonical form
	digest     []byte // of the document without the signature, 48 bytes
	value      []byte // r and s, 96 bytes
	chain      [][]byte
	node       *element
}

// readSignature reads the one signature of a document. It has one shape: a reference
// to the whole document, by the algorithms above, and certificates, the signer's first.
func readSignature(root *element) (*xmlSignature, error) {
	all := root.find(dsigSpace, "Signature")
	if len(all) != 1 {
		return nil, fmt.Errorf("%d signatures in the document, wanted one", len(all))
	}
	s := &xmlSignature{node: all[0]}
	parts, err := sequence(s.node, "SignedInfo", "SignatureValue", "KeyInfo")
	if err != nil {
		return nil, err
	}
	info, err := sequence(parts[0], "CanonicalizationMethod", "SignatureMethod", "Reference")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(algorithm(info[0], algC14N11, algC14N10), algorithm(info[1], algECDSA384)); err != nil {
		return nil, err
	}
	if err := s.reference(info[2]); err != nil {
		return nil, err
	}
	if s.value, err = base64Of(parts[1], p384.SignatureSize); err != nil {
		return nil, err
	}
	s.signedInfo = canonical(parts[0], nil)
	return s, s.keyInfo(parts[2])
}

func (s *xmlSignature) reference(ref *element) error {
	if uri, ok := ref.attr("", "URI"); !ok || uri != "" || len(ref.attrs) != 1 {
		return errors.New("the signature covers something else than the whole document")
	}
	parts, err := sequence(ref, "Transforms", "DigestMethod", "DigestValue")
	if err != nil {
		return err
	}
	transforms, err := sequence(parts[0], "Transform", "Transform")
	if err != nil {
		return err
	}
	if err := errors.Join(algorithm(transforms[0], algEnveloped), algorithm(transforms[1], algC14N11, algC14N10), algorithm(parts[1], algSHA384)); err != nil {
		return err
	}
	s.digest, err = base64Of(parts[2], sha512.Size384)
	return err
}

func (s *xmlSignature) keyInfo(info *element) error {
	data, err := sequence(info, "X509Data")
	if err != nil {
		return err
	}
	if len(data[0].attrs) > 0 {
		return errors.New("the X509Data element has attributes")
	}
	for _, c := range data[0].children {
		if c.elem == nil && strings.Trim(c.text, xmlSpace) == "" {
			continue
		}
		if c.elem == nil || c.elem.space != dsigSpace || c.elem.local != "X509Certificate" || len(c.elem.attrs) > 0 {
			return errors.New("the X509Data element has something else than certificates")
		}
		if len(s.chain) == maxRIMChain {
			return fmt.Errorf("more than %d certificates", maxRIMChain)
		}
		der, err := base64Of(c.elem, 0)
		if err != nil {
			return err
		}
		s.chain = append(s.chain, der)
	}
	if len(s.chain) < 2 {
		return fmt.Errorf("%d certificates, wanted the signer's, its authorities' and the root's", len(s.chain))
	}
	return nil
}

const maxRIMChain = 6

// verify checks the digest of the document and the signature over that, by a key that is trusted.
func (s *xmlSignature) verify(root *element, signer *x509.Certificate) error {
	key, err := p384.Key(signer)
	if err != nil {
		return err
	}
	if digest := sha512.Sum384(canonical(root, s.node)); string(digest[:]) != string(s.digest) {
		return fmt.Errorf("the document's digest is %x…, the signature covers %x…", digest[:8], s.digest[:8])
	}
	if !p384.Verify(key, s.value, s.signedInfo) {
		return errors.New("the signature does not match")
	}
	return nil
}

// sequence returns the child elements of e, which must be exactly these of XML
// Signature, with nothing but white space between them.
func sequence(e *element, names ...string) ([]*element, error) {
	var out []*element
	for _, c := range e.children {
		if c.elem == nil {
			if strings.Trim(c.text, xmlSpace) != "" {
				return nil, fmt.Errorf("text in %s", e.local)
			}
			continue
		}
		if n := len(out); n == len(names) || c.elem.space != dsigSpace || c.elem.local != names[n] {
			return nil, fmt.Errorf("%s has %q, wanted %s", e.local, c.elem.local, strings.Join(names, ", "))
		}
		out = append(out, c.elem)
	}
	if len(out) != len(names) {
		return nil, fmt.Errorf("%s has %d elements, wanted %s", e.local, len(out), strings.Join(names, ", "))
	}
	return out, nil
}

// algorithm wants an empty element whose one attribute names one of the algorithms.
func algorithm(e *element, wanted ...string) error {
	seen, _ := e.attr("", "Algorithm")
	for _, w := range wanted {
		if seen == w && len(e.attrs) == 1 && len(e.children) == 0 {
			return nil
		}
	}
	return fmt.Errorf("%s %.80q, wanted %s", e.local, seen, wanted[0])
}

// base64Of reads the text of an element; size 0 is that of a certificate.
func base64Of(e *element, size int) ([]byte, error) {
	if len(e.children) != 1 || e.children[0].elem != nil || len(e.attrs) > 0 && e.local != "SignatureValue" {
		return nil, fmt.Errorf("%s is no plain text", e.local)
	}
	text := strings.Trim(e.children[0].text, xmlSpace)
	if len(text) > 2*maxCertificate {
		return nil, fmt.Errorf("%s has %d characters", e.local, len(text))
	}
	b, err := base64.StdEncoding.Strict().DecodeString(text) // which skips line ends
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", e.local, err)
	case size > 0 && len(b) != size || len(b) == 0 || len(b) > maxCertificate:
		return nil, fmt.Errorf("%s has %d bytes", e.local, len(b))
	}
	return b, nil
}
