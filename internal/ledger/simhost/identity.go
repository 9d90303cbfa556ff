package simhost

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/enclave/simtee/authority"
	"hitoku.dev/measure/sgx"
	"hitoku.dev/measure/workload"
)

// Files of the authority's folder.
const (
	authorityFile = "authority.json"  // the simulated authority with its private keys
	keyFile       = "signing-key.pem" // the enclave signing key
	// RootFile is the simulated root in PEM, for `--trust-simulated-root`.
	RootFile = "simulated-root.pem"
)

const (
	maxProgram   = 256 << 20
	maxAuthority = 1 << 20
)

// Manifest returns the workload manifest of a program file, whose SHA-256 is the
// measurement. It depends on the bytes of the file alone.
func Manifest(program string) ([]byte, error) {
	f, err := os.Open(program)
	if err != nil {
		return nil, fmt.Errorf("program: %w", err)
	}
	defer f.Close()
	platform, err := platformOf(f)
	if err != nil {
		return nil, fmt.Errorf("program %s: %w", program, err)
	}
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(f, 0, maxProgram+1))
	if err == nil && n > maxProgram {
		err = fmt.Errorf("more than %d bytes", maxProgram)
	}
	if err != nil {
		return nil, fmt.Errorf("program %s: %w", program, err)
	}
	return workload.Encode(&workload.Manifest{
		Exec:   workload.Exec{AllowArgs: true, Entry: []string{"/hitoku-ledger"}, WorkDir: "/"},
		Files:  []workload.File{{Mode: 0o755, Path: "/", Type: workload.TypeDir}},
		Guest:  hex.EncodeToString(h.Sum(nil)),
		Schema: workload.Schema,
		Source: platform,
		TEE:    "sim",
	})
}

// platformOf refuses what is no static program, and tells its platform.
func platformOf(r io.ReaderAt) (string, error) {
	f, err := elf.NewFile(r)
	if err != nil {
		return "", fmt.Errorf("no Linux program: %w", err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return "", errors.New("it is linked dynamically, and its libraries would not be measured; build it with CGO_ENABLED=0")
		}
	}
	switch f.Machine {
	case elf.EM_X86_64:
		return "linux/amd64", nil
	case elf.EM_AARCH64:
		return "linux/arm64", nil
	}
	return "", fmt.Errorf("a program for %v, wanted one for x86-64 or AArch64", f.Machine)
}

// Measurement returns the measurement of a program file under this package.
func Measurement(program string) ([32]byte, error) {
	manifest, err := Manifest(program)
	if err != nil {
		return [32]byte{}, err
	}
	return workload.Measurement(manifest), nil
}

// Authority is the simulated maker of the TEE, with the key that signs programs. It
// lives in a folder that the machines of a ledger share; whoever reads it can forge
// every proof.
type Authority struct {
	dir string
	sim *authority.Authority
	key *rsa.PrivateKey
}

// OpenAuthority reads the authority in a folder, or makes one with random valid from
// now. Of two callers at once both get the same one.
func OpenAuthority(dir string, random io.Reader, now time.Time) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("simulated authority: %w", err)
	}
	sim, err := loadOrCreate(filepath.Join(dir, authorityFile), random, now)
	if err != nil {
		return nil, fmt.Errorf("simulated authority: %w", err)
	}
	key, err := sgx.LoadOrCreateKey(filepath.Join(dir, keyFile), random)
	if err != nil {
		return nil, err
	}
	a := &Authority{dir: dir, sim: sim, key: key}
	if err := replace(filepath.Join(dir, RootFile), a.RootPEM(), 0o644); err != nil {
		return nil, fmt.Errorf("simulated authority: %w", err)
	}
	return a, nil
}

func loadOrCreate(path string, random io.Reader, now time.Time) (*authority.Authority, error) {
	a, err := load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return a, err
	}
	if a, err = authority.New(random, now); err != nil {
		return nil, err
	}
	raw, err := a.Marshal()
	if err != nil {
		return nil, err
	}
	tmp, err := temporary(path, raw, 0o600)
	if err != nil {
		return nil, err
	}
	defer os.Remove(tmp)
	// A link, unlike a rename, never replaces the authority of somebody who was faster.
	if err := os.Link(tmp, path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return load(path)
		}
		return nil, err
	}
	return a, nil
}

func load(path string) (*authority.Authority, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode(); mode.Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: mode %v, wanted a file that only its owner may read; run `chmod 600 %s`", path, mode, path)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxAuthority+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxAuthority {
		return nil, fmt.Errorf("%s: more than %d bytes", path, maxAuthority)
	}
	return authority.Parse(raw)
}

// RootPEM returns the root certificate in PEM.
func (a *Authority) RootPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.sim.Root().Raw})
}

// Root returns what a policy lists as root: the SHA-256 of its SubjectPublicKeyInfo.
func (a *Authority) Root() [32]byte { return attest.SPKIHash(a.sim.Root().RawSubjectPublicKeyInfo) }

// Signer returns what a policy lists as signer, MRSIGNER.
func (a *Authority) Signer() [32]byte {
	var modulus [sgx.KeySize]byte
	a.key.N.FillBytes(modulus[:])
	slices.Reverse(modulus[:]) // little-endian
	return sgx.MRSigner(modulus)
}

// sign makes the SIGSTRUCT over a measurement.
func (a *Authority) sign(ctx context.Context, measurement [32]byte, svn uint16) ([]byte, error) {
	s, err := sgx.Sign(ctx, sgx.Params{EnclaveHash: measurement, ISVProdID: productID, ISVSVN: svn}, sgx.KeySigner{Key: a.key})
	if err != nil {
		return nil, err
	}
	return s.Marshal(), nil
}

// productID is ISVPRODID of ledger nodes under this package.
const productID = 4

// replace writes a file whole or not at all.
func replace(path string, data []byte, mode fs.FileMode) error {
	tmp, err := temporary(path, data, mode)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return err
	}
	return nil
}

func temporary(path string, data []byte, mode fs.FileMode) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}
