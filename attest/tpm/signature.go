package tpm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"

	"hitoku.dev/attest/eventlog"
)

// Signature is a TPMT_SIGNATURE (part 2, section 11.3.4).
type Signature struct {
	Scheme uint16
	Hash   eventlog.Alg
	RSA    []byte
	R, S   []byte
}

// ParseSignature reads a TPMT_SIGNATURE of RSASSA, RSAPSS or ECDSA completely.
func ParseSignature(raw []byte) (*Signature, error) {
	if len(raw) > maxPublic {
		return nil, fmt.Errorf("TPM signature: %d bytes, at most %d allowed", len(raw), maxPublic)
	}
	r := reader{b: raw}
	s := &Signature{Scheme: r.u16(), Hash: eventlog.Alg(r.u16())}
	switch s.Scheme {
	case algRSASSA, algRSAPSS:
		s.RSA = r.sized()
	case algECDSA:
		s.R, s.S = r.sized(), r.sized()
	default:
		r.err = fmt.Errorf("scheme %#04x, known are RSASSA, RSAPSS and ECDSA", s.Scheme)
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("TPM signature: %w", err)
	}
	return s, nil
}

// String names scheme and hash.
func (s *Signature) String() string {
	name := map[uint16]string{algRSASSA: "RSASSA", algRSAPSS: "RSAPSS", algECDSA: "ECDSA"}[s.Scheme]
	return name + " with " + s.Hash.String()
}

func cryptoHash(a eventlog.Alg) crypto.Hash {
	switch a {
	case eventlog.SHA256:
		return crypto.SHA256
	case eventlog.SHA384:
		return crypto.SHA384
	case eventlog.SHA512:
		return crypto.SHA512
	}
	return 0 // SHA-1 is not accepted for signatures
}

// Verify checks the signature over message. Signatures of SHA-1 are refused.
func (s *Signature) Verify(key crypto.PublicKey, message []byte) error {
	h := cryptoHash(s.Hash)
	if h == 0 {
		return fmt.Errorf("a signature with %v, wanted SHA-256, SHA-384 or SHA-512", s.Hash)
	}
	hasher := s.Hash.New()
	hasher.Write(message)
	digest := hasher.Sum(nil)
	mismatch := errors.New("the signature does not match")
	switch k := key.(type) {
	case *rsa.PublicKey:
		switch s.Scheme {
		case algRSASSA:
			if rsa.VerifyPKCS1v15(k, h, digest, s.RSA) != nil {
				return mismatch
			}
			return nil
		case algRSAPSS:
			if rsa.VerifyPSS(k, h, digest, s.RSA, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto}) != nil {
				return mismatch
			}
			return nil
		}
	case *ecdsa.PublicKey:
		if s.Scheme == algECDSA {
			if !ecdsa.Verify(k, digest, new(big.Int).SetBytes(s.R), new(big.Int).SetBytes(s.S)) {
				return mismatch
			}
			return nil
		}
	}
	return fmt.Errorf("a signature of %v under a key of type %T", s, key)
}
