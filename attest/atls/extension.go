package atls

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"

	"hitoku.dev/attest/cmw"
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

// Limits in bytes.
const (
	maxEvidence = 64 << 10
	maxBinding  = 1 << 10
)

// ErrNoEvidence is returned for a certificate without the extension.
var ErrNoEvidence = errors.New("the certificate carries no evidence")

// Labels of the collection.
const (
	labelBinding    = "binding"
	labelCollateral = "collateral"
	labelEvidence   = "evidence"
)

// MarshalExtension returns the extension that carries m. It is not critical, so
// that clients which know nothing of evidence can use the certificate too.
func MarshalExtension(m Message) (pkix.Extension, error) {
	w, err := m.wrap()
	if err != nil {
		return pkix.Extension{}, fmt.Errorf("evidence extension: %w", err)
	}
	e, err := w.JSONExtension()
	if err != nil {
		return pkix.Extension{}, fmt.Errorf("evidence extension: %w", err)
	}
	return e, nil
}

// wrap returns m as a collection.
func (m *Message) wrap() (*cmw.Message, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	c := &cmw.Collection{Type: TypeCollection}
	add := func(label, media string, value []byte, ind cmw.Indicator) {
		record := &cmw.Record{Type: media, Value: value, Indicator: ind}
		c.Items = append(c.Items, cmw.Item{Label: cmw.Label{Text: label}, Message: cmw.Message{Record: record}})
	}
	add(labelBinding, TypeBinding, m.Binding, cmw.Evidence)
	if m.Collateral != nil {
		body, err := json.Marshal(m.Collateral)
		if err != nil {
			return nil, err
		}
		add(labelCollateral, TypeCollateral, body, cmw.Endorsements)
	}
	add(labelEvidence, TypeEvidence, m.Evidence, cmw.Evidence)
	return &cmw.Message{Collection: c}, nil
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
	der, err := cmw.FindExtension(cert)
	if errors.Is(err, cmw.ErrNone) {
		return nil, ErrNoEvidence
	}
	if err != nil {
		return nil, err
	}
	m, err := ParseExtension(der)
	if err != nil {
		return nil, fmt.Errorf("evidence extension: %w", err)
	}
	return m, nil
}

// ParseExtension reads the value of the extension, in JSON; under the TCG's
// identifier the text may also lie in an OCTET STRING. It takes the one encoding
// that MarshalExtension writes.
func ParseExtension(der []byte) (*Message, error) {
	text, isText, err := cmw.Unwrap(der)
	if err != nil {
		return nil, err
	}
	if !isText {
		return nil, errors.New("a message in CBOR, wanted the collection in JSON")
	}
	w, err := cmw.ParseJSON(text)
	if err != nil {
		return nil, fmt.Errorf("not a collection of evidence: %w", err)
	}
	m := new(Message)
	if r := w.Get(labelEvidence); r != nil {
		m.Evidence = r.Value
	}
	if r := w.Get(labelBinding); r != nil {
		m.Binding = r.Value
	}
	if r := w.Get(labelCollateral); r != nil {
		m.Collateral = new(dcap.Collateral)
		if err := json.Unmarshal(r.Value, m.Collateral); err != nil { // unknown members are refused below
			return nil, fmt.Errorf("collateral: %w", err)
		}
	}
	// Whatever else it holds, or holds in another form, makes other bytes.
	whole, err := m.wrap()
	if err != nil {
		return nil, fmt.Errorf("not a collection of evidence: %w", err)
	}
	again, err := whole.JSON()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, text) {
		return nil, errors.New("not in the one valid encoding")
	}
	return m, nil
}
