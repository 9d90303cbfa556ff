package tpm

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
)

// ak is the attestation key of a piece of evidence, and what vouches for it.
type ak struct {
	key    crypto.PublicKey
	public *Public // nil when only the bare key is known
	hash   []byte  // SHA-256 of its SPKI
	cert   *x509.Certificate
	err    error // why there is no key

	platform string // id of the TPM
}

func (e *Evidence) readKey() *ak {
	k := &ak{key: e.AKKey}
	switch {
	case e.Azure != nil:
		k.key = e.Azure.HCL.AK
	case e.AKPublic != nil:
		if k.public, k.err = ParsePublic(e.AKPublic); k.err != nil {
			return k
		}
		k.key = k.public.Key
	case e.AKKey == nil:
		k.err = errors.New("the evidence has no attestation key")
		return k
	}
	if k.err = checkKey(k.key); k.err == nil {
		k.hash, k.err = keyHash(k.key)
	}
	return k
}

// checkAttestationKey refuses keys that would sign what others made up.
func (p *Public) checkAttestationKey() error {
	if p.Attributes&(AttestationKey|Decrypt) != AttestationKey {
		return fmt.Errorf("attributes %v, wanted %v and not decrypt", p.Attributes, AttestationKey)
	}
	return nil
}

// attributes makes the rule ak_attributes.
func (c *check) attributes() {
	wanted := "an attestation key that is restricted, so that it signs only what the TPM made: " + AttestationKey.String()
	const advice = "make the key anew from an attestation key template; an unrestricted key can sign a made-up quote"
	switch k := c.ak; {
	case k.err != nil:
		c.rule("ak_attributes", wanted, "", k.err, advice)
	case k.public != nil:
		c.rule("ak_attributes", wanted, k.public.Attributes.String(), k.public.checkAttestationKey(), advice)
	case c.vouched():
		c.rule("ak_attributes", wanted, "a bare key; whoever vouches for it vouches for its attributes", nil, "")
	default:
		c.rule("ak_attributes", wanted, "", errors.New("the evidence has the bare key only, and nobody vouches for its attributes"), advice)
	}
}

// vouched reports whether the caller pinned the key, or a certificate for
// attestation keys of this key is there: such are issued after looking at it.
func (c *check) vouched() bool {
	if c.pinned() {
		return true
	}
	cert := c.ak.cert
	return cert != nil && sameKey(cert.PublicKey, c.ak.key) && checkEKU(cert) == nil
}

func checkEKU(cert *x509.Certificate) error {
	for _, use := range cert.UnknownExtKeyUsage {
		if use.Equal(oidAKCertificate()) {
			return nil
		}
	}
	return errors.New("the certificate does not say that it is of an attestation key")
}

func (c *check) pinned() bool {
	for _, key := range c.o.Keys {
		if sameKey(key, c.ak.key) {
			return true
		}
	}
	return false
}

// trusted makes the rules that say who vouches for the attestation key: a pin, an
// activation, or a certificate, in this order.
func (c *check) trusted(e *Evidence) {
	const wanted = "an attestation key that a pinned key, a credential activation or a trusted root vouches for"
	k := c.ak
	if k.err != nil {
		c.rule("ak_trusted", wanted, "", k.err, adviceTrust)
		return
	}
	id := "sha256:" + hex.EncodeToString(k.hash)
	if c.pinned() {
		k.platform = hex.EncodeToString(k.hash)
		c.rule("ak_trusted", wanted, id+", pinned by the caller", nil, "")
		return
	}
	for _, a := range c.o.Activated {
		if k.public != nil && bytes.Equal(a.ak.Name, k.public.Name) {
			k.platform = a.PlatformID()
			c.rule("ak_trusted", wanted, fmt.Sprintf("%s, activated by endorsement key sha256:%s of %q", id, k.platform, a.ekSubject), a.validAt(c.o.At), "enrol the TPM again: its endorsement key certificate is out of date")
			return
		}
	}
	if k.cert == nil {
		c.rule("ak_trusted", wanted, "", fmt.Errorf("nothing vouches for %s", id), adviceTrust)
		return
	}
	c.certificate(e)
}

const adviceTrust = "pin the attestation key after checking it out of band, prove it with its endorsement key (NewChallenge), or name the root that certified it"

func (c *check) certificate(e *Evidence) {
	k, o := c.ak, c.o
	err := checkUse(k.cert, x509.KeyUsageDigitalSignature, oidAKCertificate(), oidEKCertificate())
	if !sameKey(k.cert.PublicKey, k.key) {
		err = errors.Join(err, errors.New("the certificate is of another key than the quote's"))
	}
	lists := [][][]byte{e.Intermediates}
	if o.Collateral != nil {
		lists = append(lists, o.Collateral.Certs)
	}
	chain, chainErr := o.chain(k.cert, parsePool(lists...))
	seen := ""
	if chainErr == nil {
		root := chain[len(chain)-1]
		seen = fmt.Sprintf("%q under %q", k.cert.Subject.CommonName, root.Subject.CommonName)
	}
	c.rule("root_trusted", "a certificate chain to a trusted root, valid at the time", seen, chainErr, adviceTrust)
	c.rule("ak_trusted", "a certificate of the quote's attestation key", "issued by \""+k.cert.Issuer.CommonName+"\"", err, "ask for the certificate of this attestation key")
	if chainErr != nil || err != nil {
		return
	}
	k.platform = hex.EncodeToString(k.hash)
	c.instance = instanceInfo(k.cert)
	seen, err = o.revocation(chain)
	if errors.Is(err, errNoCRL) {
		c.notChecked = append(c.notChecked, "ak_revocation: no CRL of the issuer of the attestation key's certificate was given")
		return
	}
	c.rule("ak_revocation", "a current CRL that does not list the attestation key's certificate", seen, err, "fetch a current CRL from the issuer")
}
