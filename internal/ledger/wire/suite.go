package wire

import (
	"crypto/ecdh"
	"crypto/hpke"
	"fmt"
)

// KEM is the suite's key encapsulation.
func (s Suite) KEM() (hpke.KEM, error) {
	switch s {
	case SuiteX25519:
		return hpke.DHKEM(ecdh.X25519()), nil
	case SuiteHybrid:
		return hpke.MLKEM768X25519(), nil
	}
	return nil, fmt.Errorf("%w: suite %d, wanted 1 or 2", ErrMalformed, s)
}

// CheckPublic says whether b is an HPKE public key of the suite that one can seal to: of the right
// length (32 bytes; 1216 with the hybrid), and its X25519 half not of small order.
func (s Suite) CheckPublic(b []byte) error {
	kem, err := s.KEM()
	if err != nil {
		return err
	}
	if _, err := kem.NewPublicKey(b); err != nil {
		return fmt.Errorf("%w: HPKE public key of suite %d: %d bytes: %w", ErrMalformed, s, len(b), err)
	}
	// Any private key finds a point of small order: the shared secret is zero, which crypto/ecdh refuses.
	probe, err := ecdh.X25519().NewPrivateKey([]byte("a probe, no secret: 32 bytes long"[:32]))
	if err != nil {
		return err
	}
	point, err := ecdh.X25519().NewPublicKey(b[len(b)-32:])
	if err != nil {
		return fmt.Errorf("%w: HPKE public key: %w", ErrMalformed, err)
	}
	if _, err := probe.ECDH(point); err != nil {
		return fmt.Errorf("%w: HPKE public key: its X25519 point has a small order", ErrMalformed)
	}
	return nil
}
