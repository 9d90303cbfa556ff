package attest

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
)

// Purpose says what a piece of evidence was made for. Evidence made for one
// purpose is refused for every other.
type Purpose string

// The purposes of security decision S1.
const (
	PurposeNode         Purpose = "node"          // a compute node's certificate
	PurposeAppTLS       Purpose = "app-tls"       // an application's TLS certificate
	PurposeATLS         Purpose = "atls"          // evidence inside a TLS connection
	PurposeLedgerMember Purpose = "ledger-member" // membership of a ledger
	PurposeApp          Purpose = "app"           // asked for by the application itself
)

// Valid reports whether p is one of the purposes above.
func (p Purpose) Valid() bool {
	switch p {
	case PurposeNode, PurposeAppTLS, PurposeATLS, PurposeLedgerMember, PurposeApp:
		return true
	}
	return false
}

const (
	// NonceSize is the length of a nonce in bytes.
	NonceSize = 32
	// ReportDataSize is the length in bytes of what a TEE signs on request.
	ReportDataSize = 64
	maxBindingSize = 1024
	bindingLabel   = "hitoku/report/1"
)

// Binding is the statement that evidence is made over (security decision S1):
// which key, for which purpose, in answer to which nonce, for which account.
// It travels beside the evidence so that anybody can recompute the report data.
type Binding struct {
	Purpose Purpose
	// Subject is the SHA-256 of the DER SubjectPublicKeyInfo of the bound key. For
	// PurposeApp it is the 32-byte user field of the application's choosing.
	Subject [32]byte
	Nonce   []byte // NonceSize bytes, from the party that will judge
	// AccountRoot is the SHA-256 of the account root's DER SubjectPublicKeyInfo.
	AccountRoot [32]byte
	ConfigID    []byte // 32 bytes, or empty when no configuration is attached
}

// ReportData returns the 64 bytes that the TEE signs:
//
//	SHA-512(LV("hitoku/report/1", purpose, subject, nonce, account root, config id))
//
// where LV writes each item as its length in four big-endian bytes followed by the item.
func (b *Binding) ReportData() [ReportDataSize]byte {
	h := sha512.New()
	for _, item := range [][]byte{[]byte(bindingLabel), []byte(b.Purpose), b.Subject[:], b.Nonce, b.AccountRoot[:], b.ConfigID} {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(item)))
		h.Write(n[:])
		h.Write(item)
	}
	var out [ReportDataSize]byte
	h.Sum(out[:0])
	return out
}

// Check reports what is malformed in b.
func (b *Binding) Check() error {
	switch {
	case !b.Purpose.Valid():
		return fmt.Errorf("binding: purpose %q is not known", b.Purpose)
	case len(b.Nonce) != NonceSize:
		return fmt.Errorf("binding: nonce has %d bytes, wanted %d", len(b.Nonce), NonceSize)
	case len(b.ConfigID) != 0 && len(b.ConfigID) != 32:
		return fmt.Errorf("binding: configuration id has %d bytes, wanted 0 or 32", len(b.ConfigID))
	}
	return nil
}

type bindingDER struct {
	Version     int
	Purpose     string `asn1:"utf8"`
	Subject     []byte
	Nonce       []byte
	AccountRoot []byte
	ConfigID    []byte
}

// MarshalDER returns the DER form of b:
//
//	Binding ::= SEQUENCE { version INTEGER (1), purpose UTF8String, subject OCTET STRING (SIZE 32),
//	  nonce OCTET STRING (SIZE 32), accountRoot OCTET STRING (SIZE 32), configId OCTET STRING (SIZE 0|32) }
func (b *Binding) MarshalDER() ([]byte, error) {
	if err := b.Check(); err != nil {
		return nil, err
	}
	config := b.ConfigID
	if config == nil {
		config = []byte{}
	}
	return asn1.Marshal(bindingDER{1, string(b.Purpose), b.Subject[:], b.Nonce, b.AccountRoot[:], config})
}

// ParseBinding reads the form that MarshalDER writes, and no other.
func ParseBinding(der []byte) (*Binding, error) {
	if len(der) > maxBindingSize {
		return nil, fmt.Errorf("binding: %d bytes, at most %d allowed", len(der), maxBindingSize)
	}
	var d bindingDER
	rest, err := asn1.Unmarshal(der, &d)
	if err != nil {
		return nil, fmt.Errorf("binding: %w", err)
	}
	if len(rest) != 0 {
		return nil, errors.New("binding: bytes after the end")
	}
	if d.Version != 1 {
		return nil, fmt.Errorf("binding: version %d, wanted 1", d.Version)
	}
	if len(d.Subject) != 32 || len(d.AccountRoot) != 32 {
		return nil, errors.New("binding: subject and account root must have 32 bytes each")
	}
	b := &Binding{Purpose: Purpose(d.Purpose), Nonce: d.Nonce, ConfigID: d.ConfigID}
	copy(b.Subject[:], d.Subject)
	copy(b.AccountRoot[:], d.AccountRoot)
	if len(b.ConfigID) == 0 {
		b.ConfigID = nil
	}
	if err := b.Check(); err != nil {
		return nil, err
	}
	again, err := b.MarshalDER()
	if err != nil || string(again) != string(der) {
		return nil, errors.New("binding: not in its canonical encoding")
	}
	return b, nil
}

// SPKIHash returns the SHA-256 of a DER SubjectPublicKeyInfo.
func SPKIHash(spki []byte) [32]byte { return sha256.Sum256(spki) }
