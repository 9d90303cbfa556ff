package cmw

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"

	"hitoku.dev/attest"
)

// ErrNone is returned for a certificate without a wrapper.
var ErrNone = errors.New("the certificate carries no conceptual message wrapper")

// JSONExtension returns the extension id-pe-cmw that carries m as JSON. It is not
// critical, so that clients which know nothing of it can use the certificate too.
func (m *Message) JSONExtension() (pkix.Extension, error) {
	text, err := m.JSON()
	if err != nil {
		return pkix.Extension{}, err
	}
	value, err := asn1.MarshalWithParams(string(text), "utf8")
	return extension(value, err)
}

// CBORExtension returns the extension id-pe-cmw that carries m as CBOR.
func (m *Message) CBORExtension() (pkix.Extension, error) {
	raw, err := m.CBOR()
	if err != nil {
		return pkix.Extension{}, err
	}
	value, err := asn1.Marshal(raw)
	return extension(value, err)
}

func extension(value []byte, err error) (pkix.Extension, error) {
	if err == nil && len(value) > MaxExtension {
		err = fmt.Errorf("cmw: %d bytes, at most %d allowed in a certificate", len(value), MaxExtension)
	}
	if err != nil {
		return pkix.Extension{}, err
	}
	return pkix.Extension{Id: attest.OIDCMW, Value: value}, nil
}

// FindExtension returns the value of the wrapper's extension, under the
// identifier of RFC 9999 or the TCG's earlier one. Two of them are refused, since
// it would not be clear which one counts.
func FindExtension(cert *x509.Certificate) ([]byte, error) {
	var found *pkix.Extension
	for i := range cert.Extensions {
		e := &cert.Extensions[i]
		if !e.Id.Equal(attest.OIDCMW) && !e.Id.Equal(attest.OIDTCGCMW) {
			continue
		}
		if found != nil {
			return nil, errors.New("the certificate carries two evidence extensions, so it is not clear which one counts")
		}
		found = e
	}
	if found == nil {
		return nil, ErrNone
	}
	return found.Value, nil
}

// Unwrap returns what lies in the value of the extension, CMW ::= CHOICE { json
// UTF8String, cbor OCTET STRING }, and whether it is JSON. Under the TCG's
// identifier the JSON text may also lie in the OCTET STRING.
func Unwrap(der []byte) (inner []byte, isText bool, err error) {
	if len(der) > MaxExtension {
		return nil, false, fmt.Errorf("%d bytes, at most %d allowed in a certificate", len(der), MaxExtension)
	}
	var v asn1.RawValue
	rest, err := asn1.Unmarshal(der, &v)
	if err != nil || len(rest) != 0 || v.Class != asn1.ClassUniversal || v.IsCompound {
		return nil, false, errors.New("not one DER value")
	}
	switch {
	case v.Tag == asn1.TagUTF8String, v.Tag == asn1.TagOctetString && isJSON(v.Bytes):
		return v.Bytes, true, nil
	case v.Tag == asn1.TagOctetString:
		return v.Bytes, false, nil
	}
	return nil, false, errors.New("neither JSON in a UTF8String nor CBOR or JSON in an OCTET STRING")
}

// ParseExtension reads the value of the extension in the one encoding of its form.
func ParseExtension(der []byte) (*Message, error) {
	inner, isText, err := Unwrap(der)
	if err != nil {
		return nil, fmt.Errorf("cmw: %w", err)
	}
	if !isText {
		return ParseCBOR(inner)
	}
	m, err := ParseJSON(inner)
	if err != nil {
		return nil, err
	}
	again, err := m.JSON()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, inner) {
		return nil, errors.New("cmw: not in the one valid encoding of a certificate, JSON without white space and sorted")
	}
	return m, nil
}

// FromCertificate reads the wrapper that a certificate carries; [ErrNone] where there is none.
func FromCertificate(cert *x509.Certificate) (*Message, error) {
	der, err := FindExtension(cert)
	if err != nil {
		return nil, err
	}
	return ParseExtension(der)
}
