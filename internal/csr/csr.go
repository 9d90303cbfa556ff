// Package csr writes PKCS#10 certificate requests (RFC 2986) that carry
// evidence: x509.CreateCertificateRequest cannot write an attribute whose value
// is an OCTET STRING.
//
// Invariants: the request is signed by the key that it names, holds exactly the
// attributes that were given, and is DER throughout. Programs inside a TEE
// import this package, so it imports the standard library only.
//
// It trusts its caller with names and evidence and does not promise that
// anybody will accept them.
package csr

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Attribute is a PKCS#10 attribute whose single value is an OCTET STRING.
type Attribute struct {
	OID   asn1.ObjectIdentifier
	Value []byte
}

// Template is what a request asks for.
type Template struct {
	// CommonName may be empty, then the subject is empty.
	CommonName string
	// DNSNames become the subjectAltName extension, in this order.
	DNSNames   []string
	Attributes []Attribute
}

var (
	oidExtensionRequest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}
	oidSubjectAltName   = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidECDSAWithSHA256  = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	oidRSAWithSHA256    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}
)

type requestInfo struct {
	Raw        asn1.RawContent
	Version    int
	Subject    asn1.RawValue
	PublicKey  asn1.RawValue
	Attributes []asn1.RawValue `asn1:"tag:0"`
}

type request struct {
	Info      requestInfo
	Algorithm pkix.AlgorithmIdentifier
	Signature asn1.BitString
}

type attribute struct {
	OID    asn1.ObjectIdentifier
	Values []asn1.RawValue `asn1:"set"`
}

// Create returns the DER form of a request for t, signed by key, which is an
// ECDSA key (SHA-256) or an RSA key (PKCS#1 v1.5, SHA-256).
func Create(rand io.Reader, t Template, key crypto.Signer) ([]byte, error) {
	algorithm, err := signatureAlgorithm(key)
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("certificate request: public key: %w", err)
	}
	var name pkix.Name
	name.CommonName = t.CommonName
	subject, err := asn1.Marshal(name.ToRDNSequence())
	if err != nil {
		return nil, fmt.Errorf("certificate request: subject %q: %w", t.CommonName, err)
	}
	attributes, err := marshalAttributes(t)
	if err != nil {
		return nil, err
	}
	info := requestInfo{
		Subject:    asn1.RawValue{FullBytes: subject},
		PublicKey:  asn1.RawValue{FullBytes: spki},
		Attributes: attributes,
	}
	if info.Raw, err = asn1.Marshal(info); err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	digest := sha256.Sum256(info.Raw)
	signature, err := key.Sign(rand, digest[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("certificate request: sign: %w", err)
	}
	return asn1.Marshal(request{info, algorithm, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}})
}

func signatureAlgorithm(key crypto.Signer) (pkix.AlgorithmIdentifier, error) {
	switch key.Public().(type) {
	case *ecdsa.PublicKey:
		return pkix.AlgorithmIdentifier{Algorithm: oidECDSAWithSHA256}, nil
	case *rsa.PublicKey:
		return pkix.AlgorithmIdentifier{Algorithm: oidRSAWithSHA256, Parameters: asn1.NullRawValue}, nil
	}
	return pkix.AlgorithmIdentifier{}, fmt.Errorf("certificate request: %T is neither an ECDSA nor an RSA key", key.Public())
}

// marshalAttributes returns the attributes in the order that DER wants for a SET OF.
func marshalAttributes(t Template) ([]asn1.RawValue, error) {
	var encoded [][]byte
	add := func(oid asn1.ObjectIdentifier, value []byte) error {
		der, err := asn1.Marshal(attribute{oid, []asn1.RawValue{{FullBytes: value}}})
		if err != nil {
			return fmt.Errorf("certificate request: attribute %v: %w", oid, err)
		}
		encoded = append(encoded, der)
		return nil
	}
	if len(t.DNSNames) > 0 {
		extensions, err := subjectAltName(t.DNSNames)
		if err != nil {
			return nil, err
		}
		if err := add(oidExtensionRequest, extensions); err != nil {
			return nil, err
		}
	}
	for _, a := range t.Attributes {
		if len(a.Value) == 0 {
			return nil, fmt.Errorf("certificate request: attribute %v is empty", a.OID)
		}
		value, err := asn1.Marshal(a.Value)
		if err != nil {
			return nil, fmt.Errorf("certificate request: attribute %v: %w", a.OID, err)
		}
		if err := add(a.OID, value); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(encoded, bytes.Compare)
	raw := make([]asn1.RawValue, len(encoded))
	for i, der := range encoded {
		raw[i].FullBytes = der
	}
	return raw, nil
}

func subjectAltName(names []string) ([]byte, error) {
	general := make([]asn1.RawValue, len(names))
	for i, name := range names {
		for _, c := range []byte(name) {
			if c >= 0x80 {
				return nil, errors.New("certificate request: DNS name " + name + " is not ASCII")
			}
		}
		general[i] = asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte(name)}
	}
	value, err := asn1.Marshal(general)
	if err != nil {
		return nil, fmt.Errorf("certificate request: names: %w", err)
	}
	return asn1.Marshal([]pkix.Extension{{Id: oidSubjectAltName, Value: value}})
}
