package sgx

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
)

// ErrSignature is wrapped by every error of [Sigstruct.Verify].
var ErrSignature = errors.New("SIGSTRUCT refused")

// PublicKey returns the key in s.
func (s *Sigstruct) PublicKey() *rsa.PublicKey {
	return &rsa.PublicKey{N: fromLittleEndian(s.Modulus), E: int(s.Exponent)}
}

// Verify checks what EINIT checks of the structure itself: the key's size and
// exponent, the RSA signature, and Q1 and Q2.
func (s *Sigstruct) Verify() error {
	pub := s.PublicKey()
	if err := CheckPublicKey(pub); err != nil {
		return fmt.Errorf("%w: %w", ErrSignature, err)
	}
	sig := fromLittleEndian(s.Signature)
	if sig.Cmp(pub.N) >= 0 {
		return fmt.Errorf("%w: the signature is not below the modulus", ErrSignature)
	}
	digest := sha256.Sum256(s.SignedBytes())
	if err := rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], sig.FillBytes(make([]byte, KeySize))); err != nil {
		return fmt.Errorf("%w: the RSA signature does not match (%w)", ErrSignature, err)
	}
	q1, q2 := quotients(sig, pub.N)
	if q1.Cmp(fromLittleEndian(s.Q1)) != 0 {
		return fmt.Errorf("%w: Q1 is wrong", ErrSignature)
	}
	if q2.Cmp(fromLittleEndian(s.Q2)) != 0 {
		return fmt.Errorf("%w: Q2 is wrong", ErrSignature)
	}
	return nil
}
