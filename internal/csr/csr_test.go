package csr_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"testing"

	"hitoku.dev/attest"
	"hitoku.dev/internal/csr"
)

func TestCreate(t *testing.T) {
	t.Parallel()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	quote, binding := bytes.Repeat([]byte{7}, 5000), []byte("binding")
	for name, key := range map[string]crypto.Signer{"ec": ec, "rsa": rsaKey} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			der, err := csr.Create(rand.Reader, csr.Template{
				CommonName: "app.example",
				DNSNames:   []string{"app.example", "other.example"},
				Attributes: []csr.Attribute{{OID: attest.OIDQuote, Value: quote}, {OID: attest.OIDBinding, Value: binding}},
			}, key)
			if err != nil {
				t.Fatal(err)
			}
			got, err := x509.ParseCertificateRequest(der)
			if err != nil {
				t.Fatal(err)
			}
			if err := got.CheckSignature(); err != nil {
				t.Error(err)
			}
			if got.Subject.CommonName != "app.example" || !slices.Equal(got.DNSNames, []string{"app.example", "other.example"}) {
				t.Errorf("subject %q, names %q", got.Subject.CommonName, got.DNSNames)
			}
			for oid, want := range map[string][]byte{attest.OIDQuote.String(): quote, attest.OIDBinding.String(): binding} {
				if value := octets(t, got.RawTBSCertificateRequest, oid); !bytes.Equal(value, want) {
					t.Errorf("attribute %s has %d bytes, wanted %d", oid, len(value), len(want))
				}
			}
		})
	}
}

// octets finds an attribute's OCTET STRING by walking the DER as a reader of PKCS#10 does.
func octets(t *testing.T, tbs []byte, oid string) []byte {
	t.Helper()
	var info struct {
		Version            int
		Subject, PublicKey asn1.RawValue
		Attributes         []struct {
			OID    asn1.ObjectIdentifier
			Values []asn1.RawValue `asn1:"set"`
		} `asn1:"tag:0,set"`
	}
	if rest, err := asn1.Unmarshal(tbs, &info); err != nil || len(rest) != 0 {
		t.Fatalf("request info: %v, %d bytes left", err, len(rest))
	}
	for _, a := range info.Attributes {
		if a.OID.String() == oid {
			var value []byte
			if _, err := asn1.Unmarshal(a.Values[0].FullBytes, &value); err != nil || len(a.Values) != 1 {
				t.Fatalf("attribute %s: %v, %d values", oid, err, len(a.Values))
			}
			return value
		}
	}
	return nil
}

func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		key crypto.Signer
		t   csr.Template
	}{
		"another kind of key": {edwards, csr.Template{}},
		"empty attribute":     {ec, csr.Template{Attributes: []csr.Attribute{{OID: attest.OIDQuote}}}},
		"name not ASCII":      {ec, csr.Template{DNSNames: []string{"bücher.example"}}},
	} {
		if _, err := csr.Create(rand.Reader, c.t, c.key); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
