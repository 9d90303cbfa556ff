package sgx

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// Signer signs enclaves. The message is what the signature covers, not its hash.
type Signer interface {
	Public() *rsa.PublicKey
	// SignPKCS1v15SHA256 returns the big-endian RSASSA-PKCS1-v1_5 signature over SHA-256(message).
	SignPKCS1v15SHA256(ctx context.Context, message []byte) ([]byte, error)
}

// KeySigner signs with a key in memory.
type KeySigner struct{ Key *rsa.PrivateKey }

// Public returns the public half of the key.
func (k KeySigner) Public() *rsa.PublicKey { return &k.Key.PublicKey }

// SignPKCS1v15SHA256 implements [Signer]; it is deterministic.
func (k KeySigner) SignPKCS1v15SHA256(_ context.Context, message []byte) ([]byte, error) {
	digest := sha256.Sum256(message)
	return rsa.SignPKCS1v15(nil, k.Key, crypto.SHA256, digest[:])
}

// CommandSigner signs by an external command, for keys in an HSM: the message
// goes to its standard input, the 384 bytes of the big-endian signature come
// from its standard output.
type CommandSigner struct {
	Argv   []string
	PubKey *rsa.PublicKey
}

// Public returns the public key that the command is said to sign with.
func (c CommandSigner) Public() *rsa.PublicKey { return c.PubKey }

// SignPKCS1v15SHA256 runs the command once.
func (c CommandSigner) SignPKCS1v15SHA256(ctx context.Context, message []byte) ([]byte, error) {
	if len(c.Argv) == 0 {
		return nil, errors.New("signing command: nothing to run")
	}
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	var out, errOut LimitedBuffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(message), &out, &errOut
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("signing command %q: %w: %s", c.Argv[0], err, bytes.TrimSpace(errOut.b))
	}
	if len(out.b) != KeySize {
		return nil, fmt.Errorf("signing command %q wrote %d bytes, wanted the %d bytes of an RSA-3072 signature", c.Argv[0], len(out.b), KeySize)
	}
	return out.b, nil
}

// LimitedBuffer takes what a signing program writes: it keeps the first bytes and drops all others.
type LimitedBuffer struct {
	Limit int // bytes that are kept; 0 means 4096
	b     []byte
}

// Bytes returns what was kept.
func (l *LimitedBuffer) Bytes() []byte { return l.b }

// Write never fails.
func (l *LimitedBuffer) Write(p []byte) (int, error) {
	limit := l.Limit
	if limit == 0 {
		limit = 4096
	}
	l.b = append(l.b, p[:min(len(p), limit-len(l.b))]...)
	return len(p), nil
}

// GenerateKey makes an RSA-3072 key with public exponent 3, from rand alone.
func GenerateKey(rand io.Reader) (*rsa.PrivateKey, error) {
	const half = KeySize / 2
	e := big.NewInt(Exponent)
	one := big.NewInt(1)
	for {
		p, err := prime(rand, half)
		if err != nil {
			return nil, err
		}
		q, err := prime(rand, half)
		if err != nil {
			return nil, err
		}
		if p.Cmp(q) == 0 {
			continue
		}
		n := new(big.Int).Mul(p, q)
		phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
		d := new(big.Int).ModInverse(e, phi)
		if d == nil || n.BitLen() != KeySize*8 {
			continue
		}
		key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: Exponent}, D: d, Primes: []*big.Int{p, q}}
		key.Precompute()
		if err := key.Validate(); err != nil {
			return nil, fmt.Errorf("generate enclave signing key: %w", err)
		}
		return key, nil
	}
}

// prime returns a random prime of the given bytes whose two highest bits are
// set and that leaves 2 when divided by 3, so that 3 has an inverse.
func prime(rand io.Reader, size int) (*big.Int, error) {
	b := make([]byte, size)
	p, three, r := new(big.Int), big.NewInt(3), new(big.Int)
	for {
		if _, err := io.ReadFull(rand, b); err != nil {
			return nil, fmt.Errorf("generate enclave signing key: %w", err)
		}
		b[0] |= 0xc0
		b[size-1] |= 1
		p.SetBytes(b)
		if r.Mod(p, three).Int64() == 2 && p.ProbablyPrime(20) {
			return new(big.Int).Set(p), nil
		}
	}
}

// ParseKey reads a private key in PEM, PKCS#8 or PKCS#1.
func ParseKey(data []byte) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("enclave signing key: no PEM block in it")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("enclave signing key: PEM block %q, wanted PRIVATE KEY or RSA PRIVATE KEY", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("enclave signing key: %w", err)
	}
	k, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("enclave signing key: %T, wanted RSA-3072", key)
	}
	return k, CheckPublicKey(&k.PublicKey)
}

// ParsePublicKey reads a public key in PEM (PKIX), for [CommandSigner].
func ParsePublicKey(data []byte) (*rsa.PublicKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("enclave signing public key: no PEM block in it")
	}
	return ParsePublicKeyDER(block.Bytes)
}

// ParsePublicKeyDER reads a public key in DER (SubjectPublicKeyInfo, RFC 5280).
func ParsePublicKeyDER(der []byte) (*rsa.PublicKey, error) {
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("enclave signing public key: %w", err)
	}
	pub, ok := key.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("enclave signing public key: %T, wanted RSA-3072", key)
	}
	return pub, CheckPublicKey(pub)
}

// MarshalKey returns key as PEM (PKCS#8).
func MarshalKey(key *rsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// LoadKey reads the key in the file path. A file that others may read is refused.
func LoadKey(path string) (*rsa.PrivateKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("enclave signing key %s: mode %04o lets everybody read it; run `chmod 600 %s`", path, info.Mode().Perm(), path)
	}
	data, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return nil, err
	}
	key, err := ParseKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// LoadOrCreateKey reads the key in the file path; where there is none it makes
// one from rand and writes it with mode 0600. Of two callers at once both get
// the same key.
func LoadOrCreateKey(path string, rand io.Reader) (*rsa.PrivateKey, error) {
	key, err := LoadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key, err = GenerateKey(rand)
	if err != nil {
		return nil, err
	}
	data, err := MarshalKey(key)
	if err != nil {
		return nil, err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return nil, fmt.Errorf("enclave signing key %s: %w", path, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return nil, fmt.Errorf("enclave signing key %s: %w", path, err)
	}
	// A link, unlike a rename, never replaces the key of somebody who was faster.
	if err := os.Link(tmp.Name(), path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return LoadKey(path)
		}
		return nil, fmt.Errorf("enclave signing key %s: %w", path, err)
	}
	return key, nil
}
