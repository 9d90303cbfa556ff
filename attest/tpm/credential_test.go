package tpm

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"hitoku.dev/attest/eventlog"
)

// ekTemplate is an endorsement key of the TCG's default template with this key.
func ekTemplate(key *rsa.PublicKey, edit func(*tpm2.TPMTPublic)) []byte {
	p := tpm2.RSAEKTemplate
	p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: key.N.Bytes()})
	if edit != nil {
		edit(&p)
	}
	return tpm2.Marshal(p)
}

func (w *world) ekCertificate(key *rsa.PrivateKey, edit func(*x509.Certificate)) *x509.Certificate {
	return w.certificate("Test EK", 4, w.ca, w.caKey, &key.PublicKey, false, func(c *x509.Certificate) {
		c.KeyUsage, c.UnknownExtKeyUsage = x509.KeyUsageKeyEncipherment, []asn1.ObjectIdentifier{oidEKCertificate()}
		if edit != nil {
			edit(c)
		}
	})
}

func TestActivation(t *testing.T) {
	t.Parallel()
	w, ek := newWorld(t), newRSA(t)
	o := Options{At: now, Roots: []*x509.Certificate{w.root}, Collateral: &Collateral{CRLs: [][]byte{w.crl(w.ca, w.caKey)}}}
	chain, err := o.EKCertificate(w.ekCertificate(ek, func(c *x509.Certificate) { c.ExtraExtensions = append(c.ExtraExtensions, directoryName()) }).Raw, w.ca.Raw)
	w.must(err)
	c, err := NewChallenge(rand.Reader, chain, ekTemplate(&ek.PublicKey, nil), w.public())
	w.must(err)
	if len(c.CredentialBlob) == 0 || len(c.EncryptedSecret) != 256 || bytes.Contains(c.CredentialBlob, c.secret[:]) {
		t.Error("a challenge without a sealed secret")
	}
	if _, err := c.Check(make([]byte, secretSize)); err == nil {
		t.Error("a wrong answer was accepted")
	}
	if _, err := c.Check(nil); err == nil {
		t.Error("no answer was accepted")
	}
	a, err := c.Check(bytes.Clone(c.secret[:]))
	w.must(err)
	o = Options{At: now, Activated: []*Activation{a}}
	r, err := VerifyEvidence(w.evidence(eventlog.SHA256), o)
	w.must(err)
	if !r.OK() || r.Claims.PlatformID != a.PlatformID() || len(a.PlatformID()) != 64 {
		t.Errorf("%+v", r)
	}
	if failed := newWorld(t).failed(newWorld(t).evidence(eventlog.SHA256), o); !slices.Contains(failed, "ak_trusted") {
		t.Error("another key was taken for the activated one")
	}
	// The activation names the public area: the same key with other attributes is another.
	w.attributes.NoDA = true
	if failed := w.failed(w.evidence(eventlog.SHA256), o); !slices.Equal(failed, []string{"ak_trusted"}) {
		t.Errorf("failed %v", failed)
	}
	w.attributes.NoDA = false
	o.At = now.AddDate(6, 0, 0)
	if failed := w.failed(w.evidence(eventlog.SHA256), o); !slices.Equal(failed, []string{"ak_trusted"}) {
		t.Errorf("an expired endorsement key: failed %v", failed)
	}
}

func TestChallengeRefuses(t *testing.T) {
	t.Parallel()
	w, ek, other := newWorld(t), newRSA(t), newRSA(t)
	chain := []*x509.Certificate{w.ekCertificate(ek, nil), w.ca, w.root}
	good := ekTemplate(&ek.PublicKey, nil)
	unrestricted := newWorld(t)
	unrestricted.attributes.Restricted = false
	for name, tc := range map[string]struct {
		chain  []*x509.Certificate
		ek, ak []byte
		want   string
	}{
		"no certificate":  {nil, good, w.public(), "no certificate"},
		"another key":     {chain, ekTemplate(&other.PublicKey, nil), w.public(), "another key"},
		"signing ek":      {chain, ekTemplate(&ek.PublicKey, func(p *tpm2.TPMTPublic) { p.ObjectAttributes.Decrypt = false }), w.public(), "attributes"},
		"broken ek":       {chain, good[:20], w.public(), "endorsement key"},
		"broken ak":       {chain, good, good[:20], "attestation key"},
		"unrestricted ak": {chain, good, unrestricted.public(), "attributes"},
		"ek as ak":        {chain, good, good, "attributes"},
	} {
		if _, err := NewChallenge(rand.Reader, tc.chain, tc.ek, tc.ak); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, wanted %q", name, err, tc.want)
		}
	}
	if _, err := NewChallenge(bytes.NewReader(nil), chain, good, w.public()); err == nil {
		t.Error("a challenge without randomness")
	}
}

func TestEKCertificateRefuses(t *testing.T) {
	t.Parallel()
	w, ek := newWorld(t), newRSA(t)
	honest := w.ekCertificate(ek, nil).Raw
	for name, tc := range map[string]struct {
		der  []byte
		edit func(o *Options)
	}{
		"broken":    {der: []byte{1}},
		"signing":   {der: w.ekCertificate(ek, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }).Raw},
		"other use": {der: w.ekCertificate(ek, func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{oidAKCertificate()} }).Raw},
		"authority": {der: w.ca.Raw},
		"expired":   {der: honest, edit: func(o *Options) { o.At = now.AddDate(9, 0, 0) }},
		"no roots":  {der: honest, edit: func(o *Options) { o.Roots = nil }},
		"revoked":   {der: honest, edit: func(o *Options) { o.Collateral = &Collateral{CRLs: [][]byte{w.crl(w.ca, w.caKey, 4)}} }},
	} {
		o := Options{At: now, Roots: []*x509.Certificate{w.root}}
		if tc.edit != nil {
			tc.edit(&o)
		}
		if _, err := o.EKCertificate(tc.der, w.ca.Raw); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	o := Options{At: now, Roots: []*x509.Certificate{w.root}, Collateral: &Collateral{Certs: [][]byte{w.ca.Raw}}}
	if _, err := o.EKCertificate(honest); err != nil {
		t.Errorf("with the authority from collateral: %v", err)
	}
}
