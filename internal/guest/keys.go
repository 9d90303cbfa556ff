package guest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"

	"hitoku.dev/measure/workload"
)

// newKey makes the private key that c asks for. Decode admits no other kinds.
func newKey(rand io.Reader, c *workload.Certificate) (crypto.Signer, error) {
	var key crypto.Signer
	var err error
	switch {
	case c.KeyType == "EC" && c.KeySize == 256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand)
	case c.KeyType == "RSA" && (c.KeySize == 2048 || c.KeySize == 3072 || c.KeySize == 4096):
		key, err = rsa.GenerateKey(rand, c.KeySize)
	default:
		return nil, fmt.Errorf("key for %s: %s-%d is not made here", c.Subject, c.KeyType, c.KeySize)
	}
	if err != nil {
		return nil, fmt.Errorf("key for %s: %w", c.Subject, err)
	}
	return key, nil
}

// encodeKey returns the PKCS#8 form in PEM.
func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
