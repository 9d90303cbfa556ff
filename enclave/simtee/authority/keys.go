package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
)

// GenerateKey makes a P-256 key from random alone (FIPS 186-5, appendix A.2.1:
// 64 more bits than needed are reduced). The standard library's own generator
// ignores the source that it is given.
func GenerateKey(random io.Reader) (*ecdsa.PrivateKey, error) {
	var b [40]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return nil, fmt.Errorf("simulated authority: no randomness for a key: %w", err)
	}
	one := big.NewInt(1)
	n := new(big.Int).Sub(elliptic.P256().Params().N, one)
	d := new(big.Int).SetBytes(b[:])
	d.Mod(d, n).Add(d, one)
	return ecdsa.ParseRawPrivateKey(elliptic.P256(), d.FillBytes(make([]byte, 32)))
}

// SignRaw signs a SHA-256 digest and returns r || s, 32 big-endian bytes each,
// the form of signatures in quotes and collateral. It is deterministic (RFC 6979).
func SignRaw(key *ecdsa.PrivateKey, digest []byte) ([64]byte, error) {
	var out [64]byte
	der, err := key.Sign(nil, digest, crypto.SHA256)
	if err != nil {
		return out, err
	}
	var sig struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &sig); err != nil || len(rest) != 0 {
		return out, errors.New("signature is not in the form of RFC 3279")
	}
	sig.R.FillBytes(out[:32])
	sig.S.FillBytes(out[32:])
	return out, nil
}

// deterministic signs without randomness, whatever source it is handed.
type deterministic struct{ *ecdsa.PrivateKey }

func (d deterministic) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return d.PrivateKey.Sign(nil, digest, opts)
}
