package disk

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"io"

	"hitoku.dev/internal/ledger/keys"
)

const (
	keySize   = 32
	nonceSize = 12
	tagSize   = 16
)

// What a generation's key, or an exported file's, seals; the first four bytes of the nonce.
const (
	domainBase   = 1
	domainLog    = 2
	domainExport = 3
)

// aead is AES-256-GCM under one key.
type aead struct {
	gcm cipher.AEAD
	key [keySize]byte
	rec keys.Recorder
}

func newAEAD(key [keySize]byte, rec keys.Recorder) *aead {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // a key of 32 bytes is never refused
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // nor a block of 16
	}
	return &aead{gcm, key, rec}
}

func (a *aead) seal(dst []byte, nonce [nonceSize]byte, plaintext, aad []byte) []byte {
	if a.rec != nil {
		a.rec(a.key[:], nonce[:], aad, plaintext)
	}
	return a.gcm.Seal(dst, nonce[:], plaintext, aad)
}

func (a *aead) open(dst []byte, nonce [nonceSize]byte, ciphertext, aad []byte) ([]byte, error) {
	plain, err := a.gcm.Open(dst, nonce[:], ciphertext, aad)
	if err != nil {
		return nil, ErrTampered
	}
	return plain, nil
}

// counterNonce is u32 domain ‖ u64 counter.
func counterNonce(domain uint32, counter uint64) (n [nonceSize]byte) {
	binary.BigEndian.PutUint32(n[:], domain)
	binary.BigEndian.PutUint64(n[4:], counter)
	return n
}

// sealRandom seals under a random nonce, which stands before the ciphertext.
func sealRandom(random io.Reader, a *aead, plaintext, aad []byte) ([]byte, error) {
	var nonce [nonceSize]byte
	if _, err := io.ReadFull(random, nonce[:]); err != nil {
		return nil, err
	}
	return a.seal(append([]byte(nil), nonce[:]...), nonce, plaintext, aad), nil
}

func openRandom(a *aead, sealed, aad []byte) ([]byte, error) {
	if len(sealed) < nonceSize+tagSize {
		return nil, tampered("%d bytes, wanted at least %d", len(sealed), nonceSize+tagSize)
	}
	return a.open(nil, [nonceSize]byte(sealed), sealed[nonceSize:], aad)
}

func randomKey(random io.Reader) (key [keySize]byte, err error) {
	_, err = io.ReadFull(random, key[:])
	return key, err
}
