package atls

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
)

// Message is what the extension carries.
type Message struct {
	Evidence   []byte           // as the TEE made it
	Binding    []byte           // DER of [attest.Binding]
	Collateral *dcap.Collateral // nil where the reader must have its own
}

// Media types of the records, and the type of the collection (RFC 9999, section 3).
const (
	TypeEvidence   = "application/vnd.hitoku.sgx-quote"
	TypeBinding    = "application/vnd.hitoku.binding"
	TypeCollateral = "application/vnd.hitoku.dcap-collateral+json"
	TypeCollection = "tag:hitoku.dev,2026:evidence"
)

// Indicators of RFC 9999: which kind of message a record holds.
const (
	indEndorsements = 1 << 1
	indEvidence     = 1 << 2
)

// Limits in bytes.
const (
	maxExtension = 256 << 10
	maxEvidence  = 64 << 10
	maxBinding   = 1 << 10
)

// ErrNoEvidence is returned for a certificate without the extension.
var ErrNoEvidence = errors.New("the certificate carries no evidence")

// collection is the JSON form; field order is the order of the sorted keys.
type collection struct {
	Type       string  `json:"__cmwc_t"`
	Binding    record  `json:"binding"`
	Collateral *record `json:"collateral,omitempty"`
	Evidence   record  `json:"evidence"`
}

// record is the JSON array [media type, base64url value, indicator].
type record struct {
	media string
	value []byte
	ind   int
}

func (r record) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{r.media, base64.RawURLEncoding.EncodeToString(r.value), r.ind})
}

func (r *record) UnmarshalJSON(data []byte) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(data, &parts); err != nil {
		return err
	}
	if len(parts) != 3 {
		return fmt.Errorf("a record has %d items, wanted 3", len(parts))
	}
	var value string
	if err := errors.Join(json.Unmarshal(parts[0], &r.media), json.Unmarshal(parts[1], &value), json.Unmarshal(parts[2], &r.ind)); err != nil {
		return err
	}
	var err error
	r.value, err = base64.RawURLEncoding.Strict().DecodeString(value)
	return err
}

// MarshalExtension returns the extension that carries m. It is not critical, so
// that clients which know nothing of evidence can use the certificate too.
func MarshalExtension(m Message) (pkix.Extension, error) {
	text, err := m.marshalJSON()
	if err != nil {
		return pkix.Extension{}, fmt.Errorf("evidence extension: %w", err)
	}
	value, err := asn1.MarshalWithParams(string(text), "utf8")
	if err != nil {
		return pkix.Extension{}, fmt.Errorf("evidence extension: %w", err)
	}
	return pkix.Extension{Id: attest.OIDCMW, Value: value}, nil
}

func (m *Message) marshalJSON() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	c := collection{
		Type:     TypeCollection,
		Binding:  record{TypeBinding, m.Binding, indEvidence},
		Evidence: record{TypeEvidence, m.Evidence, indEvidence},
	}
	if m.Collateral != nil {
		body, err := json.Marshal(m.Collateral)
		if err != nil {
			return nil, err
		}
		c.Collateral = &record{TypeCollateral, body, indEndorsements}
	}
	text, err := json.Marshal(c)
	if err == nil && len(text) > maxExtension {
		err = fmt.Errorf("%d bytes, at most %d allowed", len(text), maxExtension)
	}
	return text, err
}

func (m *Message) check() error {
	switch {
	case len(m.Evidence) == 0 || len(m.Evidence) > maxEvidence:
		return fmt.Errorf("evidence of %d bytes, wanted 1 to %d", len(m.Evidence), maxEvidence)
	case len(m.Binding) == 0 || len(m.Binding) > maxBinding:
		return fmt.Errorf("binding of %d bytes, wanted 1 to %d", len(m.Binding), maxBinding)
	}
	return nil
}

// FromCertificate reads the evidence that a certificate carries. It is
// [ErrNoEvidence] when there is none, and an error when there are two.
func FromCertificate(cert *x509.Certificate) (*Message, error) {
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
		return nil, ErrNoEvidence
	}
	m, err := ParseExtension(found.Value)
	if err != nil {
		return nil, fmt.Errorf("evidence extension: %w", err)
	}
	return m, nil
}

// ParseExtension reads the value of the extension: CMW ::= CHOICE { json
// UTF8String, cbor OCTET STRING }, of which the JSON form is understood; under
// the TCG's identifier the JSON text may also lie in the OCTET STRING. It takes
// the one encoding that MarshalExtension writes.
func ParseExtension(der []byte) (*Message, error) {
	if len(der) > maxExtension {
		return nil, fmt.Errorf("%d bytes, at most %d allowed", len(der), maxExtension)
	}
	var v asn1.RawValue
	rest, err := asn1.Unmarshal(der, &v)
	if err != nil || len(rest) != 0 || v.Class != asn1.ClassUniversal || v.IsCompound {
		return nil, errors.New("not one DER value")
	}
	if v.Tag != asn1.TagUTF8String && (v.Tag != asn1.TagOctetString || !bytes.HasPrefix(v.Bytes, []byte("{"))) {
		return nil, errors.New("neither JSON in a UTF8String nor JSON in an OCTET STRING")
	}
	return parseJSON(v.Bytes)
}

func parseJSON(text []byte) (*Message, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("not UTF-8")
	}
	var c collection
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return nil, fmt.Errorf("not a collection of evidence: %w", err)
	}
	m := &Message{Evidence: c.Evidence.value, Binding: c.Binding.value}
	if c.Collateral != nil {
		m.Collateral = new(dcap.Collateral)
		dec := json.NewDecoder(bytes.NewReader(c.Collateral.value))
		dec.DisallowUnknownFields()
		if err := dec.Decode(m.Collateral); err != nil {
			return nil, fmt.Errorf("collateral: %w", err)
		}
	}
	again, err := m.marshalJSON()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, text) {
		return nil, errors.New("not in the one valid encoding")
	}
	return m, nil
}
