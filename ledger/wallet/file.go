package wallet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"

	"hitoku.dev/internal/ledger/keyfile"
	"hitoku.dev/internal/ledger/wire"
)

// Format is the format word of wallet files.
const Format = "hitoku-wallet/1"

// MaxFile is the longest wallet file in bytes.
const MaxFile = 16 << 10

const (
	saltSize   = 16
	maxPhrase  = 4096 // bytes of a passphrase
	kdfName    = "argon2id"
	minMemory  = 8 << 10 // KiB
	maxMemory  = 1 << 20 // KiB
	maxTime    = 16
	maxThreads = 16
)

var (
	// ErrPassphrase means that a wallet does not open: another passphrase, or a file that was changed.
	ErrPassphrase = errors.New("the wallet does not open: the passphrase is another one, or the file was changed")
	// ErrFile means that a file is no wallet of this version.
	ErrFile = errors.New("not a wallet file")
)

// Params are the costs of Argon2id (RFC 9106).
type Params struct {
	Time      uint32 // passes, 1 to 16
	MemoryKiB uint32 // 8192 to 1048576
	Threads   uint8  // 1 to 16
}

// DefaultParams are the second choice that RFC 9106 recommends: 3 passes over 64 MiB.
func DefaultParams() Params { return Params{Time: 3, MemoryKiB: 64 << 10, Threads: 4} }

func (p Params) check() error {
	if p.Time < 1 || p.Time > maxTime || p.MemoryKiB < minMemory || p.MemoryKiB > maxMemory || p.Threads < 1 || p.Threads > maxThreads {
		return fmt.Errorf("argon2id with %d passes, %d KiB, %d threads; wanted 1 to %d, %d to %d, 1 to %d",
			p.Time, p.MemoryKiB, p.Threads, maxTime, minMemory, maxMemory, maxThreads)
	}
	return nil
}

// file is a wallet file. All but the ciphertext is authenticated beside it.
type file struct {
	Format     string      `json:"format"`
	KDF        string      `json:"kdf"`
	Time       uint32      `json:"time"`
	MemoryKiB  uint32      `json:"memory_kib"`
	Threads    uint8       `json:"threads"`
	Salt       wire.Base64 `json:"salt"`
	Nonce      wire.Base64 `json:"nonce"`
	Ciphertext wire.Base64 `json:"ciphertext"`
}

// content is what is encrypted.
type content struct {
	Entropy  wire.Base64 `json:"entropy"`
	Accounts []entry     `json:"accounts"`
	Current  string      `json:"current"`
}

// associated is the file without its ciphertext.
func (f file) associated() ([]byte, error) {
	f.Ciphertext = nil
	return json.Marshal(f)
}

func (f file) key(passphrase []byte) []byte {
	return argon2.IDKey(passphrase, f.Salt, f.Time, f.MemoryKiB, f.Threads, chacha20poly1305.KeySize)
}

// Seal encrypts a wallet. random gives 40 bytes: salt and nonce are new each time.
func Seal(w *Wallet, passphrase []byte, p Params, random io.Reader) ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("wallet: %w", err)
	}
	if len(passphrase) > maxPhrase {
		return nil, fmt.Errorf("wallet: passphrase of %d bytes, at most %d are allowed", len(passphrase), maxPhrase)
	}
	fresh := make([]byte, saltSize+chacha20poly1305.NonceSizeX)
	if _, err := io.ReadFull(random, fresh); err != nil {
		return nil, fmt.Errorf("wallet: randomness: %w", err)
	}
	f := file{Format: Format, KDF: kdfName, Time: p.Time, MemoryKiB: p.MemoryKiB, Threads: p.Threads, Salt: fresh[:saltSize], Nonce: fresh[saltSize:]}
	plain, err := json.Marshal(content{w.entropy, w.accounts, w.current})
	if err != nil {
		return nil, err
	}
	aad, err := f.associated()
	if err != nil {
		return nil, err
	}
	aead, err := chacha20poly1305.NewX(f.key(passphrase))
	if err != nil {
		return nil, err
	}
	f.Ciphertext = aead.Seal(nil, f.Nonce, plain, aad)
	out, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, err
	}
	if len(out)+1 > MaxFile {
		return nil, fmt.Errorf("wallet of %d bytes, at most %d fit", len(out)+1, MaxFile)
	}
	return append(out, '\n'), nil
}

// parseFile reads the form of a file and holds its parameters to their limits.
func parseFile(data []byte) (file, error) {
	var f file
	if len(data) > MaxFile {
		return f, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrFile, len(data), MaxFile)
	}
	if err := wire.DecodeJSON("wallet", data, &f); err != nil {
		return file{}, fmt.Errorf("%w: %w", ErrFile, err)
	}
	switch {
	case f.Format != Format:
		return file{}, fmt.Errorf("%w: format %.40q, wanted %q", ErrFile, f.Format, Format)
	case f.KDF != kdfName:
		return file{}, fmt.Errorf("%w: kdf %.40q, wanted %q", ErrFile, f.KDF, kdfName)
	case len(f.Salt) != saltSize || len(f.Nonce) != chacha20poly1305.NonceSizeX:
		return file{}, fmt.Errorf("%w: salt and nonce of %d and %d bytes, wanted %d and %d", ErrFile, len(f.Salt), len(f.Nonce), saltSize, chacha20poly1305.NonceSizeX)
	}
	if err := (Params{f.Time, f.MemoryKiB, f.Threads}).check(); err != nil {
		return file{}, fmt.Errorf("%w: %w", ErrFile, err)
	}
	return f, nil
}

// Unseal opens a wallet file's bytes. Errors are ErrFile and ErrPassphrase.
func Unseal(data, passphrase []byte) (*Wallet, Params, error) {
	f, err := parseFile(data)
	if err != nil {
		return nil, Params{}, err
	}
	p := Params{f.Time, f.MemoryKiB, f.Threads}
	aad, err := f.associated()
	if err != nil {
		return nil, p, err
	}
	aead, err := chacha20poly1305.NewX(f.key(passphrase))
	if err != nil {
		return nil, p, err
	}
	plain, err := aead.Open(nil, f.Nonce, f.Ciphertext, aad)
	if err != nil {
		return nil, p, ErrPassphrase
	}
	w, err := parseContent(plain)
	if err != nil {
		return nil, p, fmt.Errorf("%w: %w", ErrFile, err)
	}
	return w, p, nil
}

func parseContent(plain []byte) (*Wallet, error) {
	var c content
	if err := wire.DecodeJSON("content of the wallet", plain, &c); err != nil {
		return nil, err
	}
	w, err := open(c.Entropy)
	if err != nil {
		return nil, err
	}
	for _, e := range c.Accounts {
		a, err := w.Add(e.Name, e.Scheme)
		if err != nil {
			return nil, err
		}
		if a.index != e.Index {
			return nil, fmt.Errorf("account %q has number %d, wanted %d", e.Name, e.Index, a.index)
		}
	}
	return w, w.Use(c.Current)
}

// Create writes a wallet to a new file of mode 0600. A file that is there stays as it is.
func Create(path string, w *Wallet, passphrase []byte, p Params, random io.Reader) error {
	data, err := Seal(w, passphrase, p, random)
	if err != nil {
		return err
	}
	return keyfile.WriteSecret(path, data)
}

// Replace writes a wallet in the place of its file, whole or not at all.
func Replace(path string, w *Wallet, passphrase []byte, p Params, random io.Reader) error {
	data, err := Seal(w, passphrase, p, random)
	if err != nil {
		return err
	}
	return keyfile.Replace(path, data, 0o600)
}

// Open reads a wallet file, which only its owner may read, with the parameters that it was sealed with.
// Errors are ErrFile, ErrPassphrase and those of reading it.
func Open(path string, passphrase []byte) (*Wallet, Params, error) {
	data, err := keyfile.ReadSecret(path)
	if err != nil {
		return nil, Params{}, err
	}
	w, p, err := Unseal(data, passphrase)
	if err != nil {
		return nil, p, fmt.Errorf("%s: %w", path, err)
	}
	return w, p, nil
}
