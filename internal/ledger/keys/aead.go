package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"

	"hitoku.dev/internal/ledger/wire"
)

// ErrOpen means that sealed bytes do not open: another key, other bytes, or not what they claim.
var ErrOpen = errors.New("sealed bytes do not open")

// ErrTooLarge means that something does not fit into its padded size.
var ErrTooLarge = errors.New("does not fit into its padded size")

// Recorder sees every encryption with AES-GCM outside HPKE. Tests use it to see that no pair of key
// and nonce has two plaintexts. It must not keep the slices.
type Recorder func(key, nonce, aad, plaintext []byte)

// aead is AES-256-GCM. It is the only place where this package makes one.
type aead struct {
	key      [32]byte
	gcm      cipher.AEAD
	recorder Recorder
}

func newAEAD(key [32]byte, recorder Recorder) *aead {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // 32 bytes are a length that AES has
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has the block size of GCM
	}
	return &aead{key, gcm, recorder}
}

func (a *aead) seal(nonce [12]byte, plaintext, aad []byte) []byte {
	if a.recorder != nil {
		a.recorder(a.key[:], nonce[:], aad, plaintext)
	}
	return a.gcm.Seal(nil, nonce[:], plaintext, aad)
}

func (a *aead) open(nonce [12]byte, ciphertext, aad []byte) ([]byte, error) {
	out, err := a.gcm.Open(nil, nonce[:], ciphertext, aad)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOpen, err)
	}
	return out, nil
}

// expand is Ex(k, x).
func expand(key [32]byte, info []byte) [32]byte {
	out, err := hkdf.Expand(sha256.New, key[:], string(info), 32)
	if err != nil {
		panic(err) // 32 bytes are one block of HKDF
	}
	return [32]byte(out)
}

// mac is MAC(k, x).
func mac(key [32]byte, parts ...[]byte) (out wire.Hash) {
	h := hmac.New(sha256.New, key[:])
	for _, p := range parts {
		h.Write(p)
	}
	h.Sum(out[:0])
	return out
}

// Erase overwrites a secret with zeros.
func Erase(secret []byte) { clear(secret) }
