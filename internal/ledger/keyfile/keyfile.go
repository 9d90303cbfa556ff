// Package keyfile keeps the Ed25519 keys of a ledger's administrators and operators in
// files: PEM, private keys as PKCS #8, public ones as SubjectPublicKeyInfo, so that
// openssl and others read and write them too.
//
// A private key is written with mode 0600 and never over anything that is there; one
// that others may read is refused. The files are not encrypted: who reads one acts in
// its owner's name until a policy removes the key.
package keyfile

import (
	"crypto/ed25519"
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

const (
	privateType = "PRIVATE KEY"
	publicType  = "PUBLIC KEY"
	maxFile     = 16 << 10
)

// Generate makes a key from 32 random bytes.
func Generate(random io.Reader) (ed25519.PrivateKey, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return nil, fmt.Errorf("draw a key: %w", err)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// Write writes a private key to a new file.
func Write(path string, key ed25519.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return WriteSecret(path, pem.EncodeToMemory(&pem.Block{Type: privateType, Bytes: der}))
}

// WriteSecret writes a new file of mode 0600 and puts it on the disk. A file that is there stays as it is.
func WriteSecret(path string, data []byte) error { return WriteNew(path, data, 0o600) }

// WriteNew is WriteSecret with another mode, for files without secrets.
func WriteNew(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already and is not overwritten; name another file, or move that one away", path)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// ReadPrivate reads a private key.
func ReadPrivate(path string) (ed25519.PrivateKey, error) {
	_, key, err := Read(path)
	if err == nil && key == nil {
		err = fmt.Errorf("%s: a public key, and the private one is needed", path)
	}
	return key, err
}

// ReadSecret reads a file of at most 16 KiB that only its owner may read, where the system knows such modes.
func ReadSecret(path string) ([]byte, error) {
	raw, mode, err := read(path)
	if err == nil && runtime.GOOS != "windows" && mode.Perm()&0o077 != 0 {
		err = fmt.Errorf("%s: mode %v, wanted a file that only its owner may read; run `chmod 600 %s`", path, mode, path)
	}
	return raw, err
}

// Read reads a key of either kind; private is nil for a public one.
func Read(path string) (public [32]byte, private ed25519.PrivateKey, err error) {
	raw, mode, err := read(path)
	if err != nil {
		return public, nil, err
	}
	private, public, err = parse(raw)
	if err == nil && private != nil && runtime.GOOS != "windows" && mode.Perm()&0o077 != 0 {
		err = fmt.Errorf("mode %v, wanted a file that only its owner may read; run `chmod 600 %s`", mode, path)
	}
	if err != nil {
		return public, nil, fmt.Errorf("%s: %w", path, err)
	}
	return public, private, nil
}

// EncodePublic returns a public key in PEM.
func EncodePublic(public [32]byte) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(ed25519.PublicKey(public[:]))
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: publicType, Bytes: der}), nil
}

func read(path string) ([]byte, fs.FileMode, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(raw) > maxFile {
		err = fmt.Errorf("%s: more than %d bytes", path, maxFile)
	}
	return raw, info.Mode(), err
}

func parse(raw []byte) (private ed25519.PrivateKey, public [32]byte, err error) {
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, public, errors.New("no PEM block with an Ed25519 key in it")
	}
	var key any
	switch block.Type {
	case privateType:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case publicType:
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	default:
		err = fmt.Errorf("a PEM block %q, wanted %q or %q", block.Type, privateType, publicType)
	}
	if err != nil {
		return nil, public, err
	}
	switch k := key.(type) {
	case ed25519.PrivateKey:
		return k, [32]byte(k.Public().(ed25519.PublicKey)), nil
	case ed25519.PublicKey:
		return nil, [32]byte(k), nil
	}
	return nil, public, fmt.Errorf("a key of type %T, wanted Ed25519", key)
}

// Replace writes a file in the place of the one that is there, whole or not at all.
func Replace(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
