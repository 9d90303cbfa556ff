package tpm

import (
	"crypto"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/go-tpm/tpm2"
)

// secretSize is the length of a challenge's secret in bytes; a TPM returns at most
// the size of the endorsement key's name hash.
const secretSize = 32

// Challenge asks a TPM to prove that an attestation key and an endorsement key are
// in it together: TPM2_ActivateCredential gives the secret back only then (part 1,
// section 24). Keep it on the verifier's side; send CredentialBlob and EncryptedSecret.
type Challenge struct {
	// CredentialBlob is the content of a TPM2B_ID_OBJECT, without its length.
	CredentialBlob []byte
	// EncryptedSecret is the content of a TPM2B_ENCRYPTED_SECRET, without its length.
	EncryptedSecret []byte

	secret     [secretSize]byte
	activation Activation
}

// Activation is the result of a challenge that was answered: this attestation key
// lives in the TPM with this endorsement key.
type Activation struct {
	ak        *Public
	ek        crypto.PublicKey
	ekHash    []byte
	ekSubject string
	ekChain   []*x509.Certificate
}

// EKCertificate checks an endorsement key certificate against o.Roots and
// o.Collateral at o.At; it is not looked up where its issuer's CRL is not given. NewChallenge takes the key from its result.
func (o *Options) EKCertificate(der []byte, intermediates ...[]byte) ([]*x509.Certificate, error) {
	leaf, err := parseCert(der)
	if err != nil {
		return nil, fmt.Errorf("endorsement key certificate: %w", err)
	}
	if err := checkUse(leaf, x509.KeyUsageKeyEncipherment|x509.KeyUsageKeyAgreement|x509.KeyUsageDataEncipherment, oidEKCertificate()); err != nil {
		return nil, fmt.Errorf("endorsement key: %w", err)
	}
	lists := [][][]byte{intermediates}
	if o.Collateral != nil {
		lists = append(lists, o.Collateral.Certs)
	}
	chain, err := o.chain(leaf, parsePool(lists...))
	if err != nil {
		return nil, fmt.Errorf("endorsement key: %w", err)
	}
	if _, err := o.revocation(chain); err != nil && !errors.Is(err, errNoCRL) {
		return nil, fmt.Errorf("endorsement key: %w", err)
	}
	return chain, nil
}

// NewChallenge makes a credential for the attestation key ak (TPMT_PUBLIC) that only
// the TPM with the endorsement key ek (TPMT_PUBLIC) can open. The chain is that of
// EKCertificate; its leaf must have the key of ek.
func NewChallenge(random io.Reader, chain []*x509.Certificate, ek, ak []byte) (*Challenge, error) {
	akPublic, err := ParsePublic(ak)
	if err != nil {
		return nil, fmt.Errorf("attestation key: %w", err)
	}
	if err := akPublic.checkAttestationKey(); err != nil {
		return nil, fmt.Errorf("attestation key: %w", err)
	}
	ekPublic, err := ParsePublic(ek)
	if err != nil {
		return nil, fmt.Errorf("endorsement key: %w", err)
	}
	const wanted = FixedTPM | FixedParent | SensitiveDataOrigin | Restricted | Decrypt
	switch {
	case ekPublic.Attributes&(wanted|Sign) != wanted:
		return nil, fmt.Errorf("endorsement key: attributes %v, wanted %v", ekPublic.Attributes, wanted)
	case len(chain) == 0:
		return nil, errors.New("endorsement key: no certificate; check it with Options.EKCertificate")
	case !sameKey(chain[0].PublicKey, ekPublic.Key):
		return nil, errors.New("endorsement key: the certificate is of another key")
	}
	hash, err := keyHash(ekPublic.Key)
	if err != nil {
		return nil, err
	}
	c := &Challenge{activation: Activation{ak: akPublic, ek: ekPublic.Key, ekHash: hash, ekChain: chain, ekSubject: chain[0].Issuer.CommonName}}
	if _, err := io.ReadFull(random, c.secret[:]); err != nil {
		return nil, err
	}
	area, err := tpm2.Unmarshal[tpm2.TPMTPublic](unwrap(ek))
	if err != nil {
		return nil, fmt.Errorf("endorsement key: %w", err)
	}
	to, err := tpm2.ImportEncapsulationKey(area)
	if err != nil {
		return nil, fmt.Errorf("endorsement key: %w", err)
	}
	c.CredentialBlob, c.EncryptedSecret, err = tpm2.CreateCredential(random, to, akPublic.Name, c.secret[:])
	if err != nil {
		return nil, fmt.Errorf("make credential: %w", err)
	}
	return c, nil
}

// Check compares the secret that the TPM gave back. A wrong one proves nothing.
func (c *Challenge) Check(answer []byte) (*Activation, error) {
	if subtle.ConstantTimeCompare(answer, c.secret[:]) != 1 {
		return nil, errors.New("credential activation: the answer is not the secret, so the attestation key is not in the TPM of this endorsement key")
	}
	a := c.activation
	return &a, nil
}

// PlatformID is SHA-256 of the endorsement key's SPKI in hexadecimal; it names the TPM.
func (a *Activation) PlatformID() string { return hex.EncodeToString(a.ekHash) }

// validAt reports that the endorsement key's certificates still hold.
func (a *Activation) validAt(at time.Time) error {
	for _, c := range a.ekChain {
		if at.Before(c.NotBefore) || at.After(c.NotAfter) {
			return fmt.Errorf("certificate %q of the endorsement key is valid from %s to %s", c.Subject.CommonName, stamp(c.NotBefore), stamp(c.NotAfter))
		}
	}
	return nil
}

// sameKey compares two public keys of any type.
func sameKey(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && b != nil && k.Equal(b)
}
