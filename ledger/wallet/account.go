package wallet

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"fmt"
	"math/big"

	"hitoku.dev/ledger"
)

// CoinType is the second number of every account's path.
const CoinType = 6845547

// Account is one key that can sign.
type Account struct {
	name   string
	scheme uint8
	index  uint32
	public []byte
	id     ledger.AccountID
	sign   func(message []byte) ([]byte, error)
}

// Name is the account's name in its wallet.
func (a *Account) Name() string { return a.name }

// Scheme is ledger.SchemeEd25519 or ledger.SchemeP256.
func (a *Account) Scheme() uint8 { return a.scheme }

// PublicKey is the public key: 32 bytes of Ed25519, or 33 of P-256 in its compressed form. The caller must
// not change it.
func (a *Account) PublicKey() []byte { return a.public }

// ID is the account id on every ledger.
func (a *Account) ID() ledger.AccountID { return a.id }

// Path is how the key follows from the words.
func (a *Account) Path() string { return fmt.Sprintf("m/44'/%d'/%d'", CoinType, a.index) }

// Sign signs a message: 64 bytes, of Ed25519, or of ECDSA over SHA-256 as r ‖ s with s in the lower half. The
// same message has the same signature.
func (a *Account) Sign(message []byte) ([]byte, error) { return a.sign(message) }

// account derives account i of a seed.
func account(seed []byte, name string, scheme uint8, i uint32) (*Account, error) {
	n := masterNode(scheme, seed).derive(44, CoinType, i)
	a := &Account{name: name, scheme: scheme, index: i}
	switch scheme {
	case ledger.SchemeEd25519:
		key := ed25519.NewKeyFromSeed(n.key[:])
		a.public = key[ed25519.SeedSize:]
		a.sign = func(message []byte) ([]byte, error) { return ed25519.Sign(key, message), nil }
	case ledger.SchemeP256:
		key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), n.key[:])
		if err != nil {
			return nil, fmt.Errorf("account %q: %w", name, err)
		}
		if a.public, err = compress(&key.PublicKey); err != nil {
			return nil, fmt.Errorf("account %q: %w", name, err)
		}
		a.sign = func(message []byte) ([]byte, error) { return signP256(key, message) }
	default:
		return nil, fmt.Errorf("account %q: scheme %d, wanted 1 (Ed25519) or 2 (P-256)", name, scheme)
	}
	var err error
	a.id, err = ledger.AccountOf(scheme, a.public)
	return a, err
}

// compress is the 33 bytes of a point.
func compress(k *ecdsa.PublicKey) ([]byte, error) {
	b, err := k.Bytes() // 4 ‖ x ‖ y
	if err != nil {
		return nil, err
	}
	return append([]byte{2 | b[64]&1}, b[1:33]...), nil
}

func signP256(key *ecdsa.PrivateKey, message []byte) ([]byte, error) {
	digest := sha256.Sum256(message)
	der, err := key.Sign(nil, digest[:], crypto.SHA256) // without randomness: RFC 6979
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &rs); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	order := elliptic.P256().Params().N
	if rs.S.Cmp(new(big.Int).Rsh(order, 1)) > 0 {
		rs.S.Sub(order, rs.S)
	}
	out := make([]byte, 64)
	rs.R.FillBytes(out[:32])
	rs.S.FillBytes(out[32:])
	return out, nil
}
