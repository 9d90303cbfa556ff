package wire

import (
	"fmt"

	"hitoku.dev/attest"
)

// CheckBinding says whether a JOIN's binding (DER, docs/attestation.md) is for an application, with
// the subject and the nonce given; account root and configuration may be any. That evidence speaks
// about the binding is for package member.
func CheckBinding(der []byte, subject, nonce Hash) error {
	b, err := attest.ParseBinding(der)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if b.Purpose != attest.PurposeApp || b.Subject != subject || Hash(b.Nonce) != nonce {
		return fmt.Errorf("%w binding: purpose %q, subject %x, nonce %x; wanted %q, %x, %x", ErrMalformed, b.Purpose, b.Subject, b.Nonce, attest.PurposeApp, subject, nonce)
	}
	return nil
}
