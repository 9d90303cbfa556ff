package ear

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// LoadOrCreateKey reads the private key of a verifier from a PEM file (PKCS #8 or
// SEC 1). Where there is no file it makes one, with mode 0600 and a new key on
// P-256. A key file that others can read is refused.
func LoadOrCreateKey(path string, rand io.Reader) (crypto.Signer, error) {
	key, err := loadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	made, err := ecdsa.GenerateKey(elliptic.P256(), rand)
	if err != nil {
		return nil, fmt.Errorf("verifier key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(made)
	if err != nil {
		return nil, fmt.Errorf("verifier key: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return nil, fmt.Errorf("verifier key %s: %w", path, err)
	}
	defer os.Remove(tmp.Name())
	err = pem.Encode(tmp, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return nil, fmt.Errorf("verifier key %s: %w", path, err)
	}
	// A link, unlike a rename, never replaces the key of somebody who was faster.
	if err := os.Link(tmp.Name(), path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return loadKey(path)
		}
		return nil, fmt.Errorf("verifier key %s: %w", path, err)
	}
	return made, nil
}

const maxKeyFile = 16 << 10

func loadKey(path string) (crypto.Signer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("verifier key: %w", err)
	}
	if mode := info.Mode(); !mode.IsRegular() || info.Size() > maxKeyFile {
		return nil, fmt.Errorf("verifier key %s: mode %s, %d bytes; wanted a file of at most %d bytes", path, mode, info.Size(), maxKeyFile)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("verifier key %s: mode %04o lets others read it; run `chmod 600 %s`", path, info.Mode().Perm(), path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("verifier key: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("verifier key %s: no PEM", path)
	}
	var key any
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		err = fmt.Errorf("PEM block %q, wanted PRIVATE KEY", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("verifier key %s: %w", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("verifier key %s: a key that cannot sign", path)
	}
	if _, err := algorithm(signer.Public()); err != nil {
		return nil, fmt.Errorf("verifier key %s: %w", path, err)
	}
	return signer, nil
}

// ParsePublicKey reads the public key of a verifier from PEM: a public key, a
// certificate, or a private key of which the public half is taken.
func ParsePublicKey(data []byte) (crypto.PublicKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("verifier key: no PEM")
	}
	var key any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "CERTIFICATE":
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = cert.PublicKey
		}
	case "PRIVATE KEY":
		if key, err = x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if s, ok := key.(crypto.Signer); ok {
				key = s.Public()
			}
		}
	default:
		err = fmt.Errorf("PEM block %q, wanted PUBLIC KEY or CERTIFICATE", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("verifier key: %w", err)
	}
	if _, err := algorithm(key); err != nil {
		return nil, fmt.Errorf("verifier key: %w", err)
	}
	return key, nil
}
