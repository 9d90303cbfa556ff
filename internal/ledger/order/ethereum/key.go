package ethereum

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

// Key is a secp256k1 key of an account.
type Key struct {
	private *secp256k1.PrivateKey
	address Address
}

// ParseKey reads 64 hexadecimal digits with or without 0x.
func ParseKey(s string) (*Key, error) {
	b, err := hex.DecodeString(strings.TrimPrefix(strings.TrimSpace(s), "0x"))
	if err != nil || len(b) != 32 {
		return nil, errors.New("ethereum: a private key is 64 hexadecimal digits")
	}
	return newKey(b)
}

// NewKey draws a key from 32 random bytes.
func NewKey(rand io.Reader) (*Key, error) {
	b := make([]byte, 32)
	if _, err := io.ReadFull(rand, b); err != nil {
		return nil, fmt.Errorf("ethereum: draw a key: %w", err)
	}
	return newKey(b)
}

func newKey(b []byte) (*Key, error) {
	var s secp256k1.ModNScalar
	if s.SetByteSlice(b) || s.IsZero() {
		return nil, errors.New("ethereum: the private key is not within the group's order")
	}
	p := secp256k1.NewPrivateKey(&s)
	return &Key{private: p, address: addressOf(p.PubKey())}, nil
}

// Address is the key's account.
func (k *Key) Address() Address { return k.address }

// Hex is the private key in 64 hexadecimal digits, for a file of mode 0600.
func (k *Key) Hex() string { return hex.EncodeToString(k.private.Serialize()) }

// Sign signs a digest: r, s (the lower of the two) and 0 or 1, 65 bytes. Deterministic (RFC 6979).
func (k *Key) Sign(digest Hash) [65]byte {
	compact := ecdsa.SignCompact(k.private, digest[:], false)
	var sig [65]byte
	copy(sig[:64], compact[1:])
	sig[64] = compact[0] - 27
	return sig
}

func addressOf(p *secp256k1.PublicKey) (a Address) {
	h := keccak(p.SerializeUncompressed()[1:])
	copy(a[:], h[12:])
	return a
}

var errSignature = errors.New("ethereum: signature of no account")

// recoverAddress returns who signed a digest with r, s, and 0 or 1 (or 27 or 28).
func recoverAddress(digest Hash, sig []byte) (Address, error) {
	if len(sig) != 65 {
		return Address{}, errSignature
	}
	v := sig[64]
	if v >= 27 {
		v -= 27
	}
	if v > 1 {
		return Address{}, errSignature
	}
	compact := append([]byte{v + 27}, sig[:64]...)
	p, _, err := ecdsa.RecoverCompact(compact, digest[:])
	if err != nil {
		return Address{}, errSignature
	}
	return addressOf(p), nil
}
