package keys

import (
	"crypto/hpke"
	"errors"
	"fmt"
	"io"

	"hitoku.dev/internal/ledger/wire"
)

// HPKEKey is a private key of a suite. It may be used by several goroutines at once, but not while
// it is erased.
type HPKEKey struct {
	suite  wire.Suite
	secret [32]byte // what the key is made from; both suites have 32 bytes
	key    hpke.PrivateKey
	public []byte
}

// NewHPKE makes a key from 32 bytes of random.
func NewHPKE(suite wire.Suite, random io.Reader) (*HPKEKey, error) {
	var secret [32]byte
	if _, err := io.ReadFull(random, secret[:]); err != nil {
		return nil, fmt.Errorf("HPKE key: randomness: %w", err)
	}
	defer Erase(secret[:])
	return ParseHPKE(suite, secret[:])
}

// ParseHPKE reads what Bytes gave.
func ParseHPKE(suite wire.Suite, secret []byte) (*HPKEKey, error) {
	kem, err := suite.KEM()
	if err != nil {
		return nil, err
	}
	if len(secret) != 32 {
		return nil, fmt.Errorf("%w HPKE private key: %d bytes, wanted 32", wire.ErrMalformed, len(secret))
	}
	key, err := kem.NewPrivateKey(secret)
	if err != nil {
		return nil, fmt.Errorf("%w HPKE private key of suite %d: %w", wire.ErrMalformed, suite, err)
	}
	return &HPKEKey{suite: suite, secret: [32]byte(secret), key: key, public: key.PublicKey().Bytes()}, nil
}

// Suite is the key's suite.
func (k *HPKEKey) Suite() wire.Suite { return k.suite }

// Public is the public key: 32 bytes, 1216 with the hybrid. The caller must not change it.
func (k *HPKEKey) Public() []byte { return k.public }

// Bytes is a copy of the 32 bytes that the key is made from. They are as secret as the key.
func (k *HPKEKey) Bytes() []byte { return append([]byte(nil), k.secret[:]...) }

// Erase makes the key useless.
func (k *HPKEKey) Erase() {
	Erase(k.secret[:])
	k.key = nil
}

// sender starts one HPKE encryption to a public key.
func sender(suite wire.Suite, public, info []byte) ([]byte, *hpke.Sender, error) {
	kem, err := suite.KEM()
	if err != nil {
		return nil, nil, err
	}
	key, err := kem.NewPublicKey(public)
	if err != nil {
		return nil, nil, fmt.Errorf("%w HPKE public key of suite %d: %w", wire.ErrMalformed, suite, err)
	}
	enc, s, err := hpke.NewSender(key, hpke.HKDFSHA256(), hpke.AES256GCM(), info)
	if err != nil {
		return nil, nil, fmt.Errorf("sealing to a key of suite %d: %w", suite, err)
	}
	return enc, s, nil
}

func sealTo(suite wire.Suite, public, info, aad, plaintext []byte) (enc, ct []byte, err error) {
	enc, s, err := sender(suite, public, info)
	if err != nil {
		return nil, nil, err
	}
	ct, err = s.Seal(aad, plaintext)
	return enc, ct, err
}

var errErased = errors.New("the private key is erased")

// openWith opens one HPKE encryption and returns the context for exports.
func openWith(k *HPKEKey, enc, info, aad, ct []byte) ([]byte, *hpke.Recipient, error) {
	if k.key == nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrOpen, errErased)
	}
	r, err := hpke.NewRecipient(enc, k.key, hpke.HKDFSHA256(), hpke.AES256GCM(), info)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: encapsulated key: %w", ErrOpen, err)
	}
	out, err := r.Open(aad, ct)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrOpen, err)
	}
	return out, r, nil
}
