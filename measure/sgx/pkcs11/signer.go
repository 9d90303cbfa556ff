package pkcs11

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"hitoku.dev/measure/sgx"
)

// pinVariable hands the PIN to pkcs11-tool.
const pinVariable = "HITOKU_TOKEN_PIN"

// Options say how tokens are reached. The zero value is that of a common machine.
type Options struct {
	Tool      string         // pkcs11-tool; empty: found in PATH
	Folders   []string       // where libraries lie that are named by module-name; empty: the usual ones
	PublicKey *rsa.PublicKey // of the key; nil: the token is asked for it
}

// Signer signs with the key that a URI names. It is a [sgx.Signer].
type Signer struct {
	tool, module, pin string
	uri               *URI
	key               *rsa.PublicKey
}

// Open finds the module and the PIN, and reads the public key from the token. A key that is
// not RSA-3072 with exponent 3 is an error that names what was seen.
func Open(ctx context.Context, u *URI, o Options) (*Signer, error) {
	s := &Signer{tool: o.Tool, uri: u, pin: u.PIN, module: u.ModulePath, key: o.PublicKey}
	var err error
	if s.tool == "" {
		if s.tool, err = exec.LookPath("pkcs11-tool"); err != nil {
			return nil, fmt.Errorf("PKCS #11: %w; it is part of OpenSC: apt-get install opensc, dnf install opensc or brew install opensc", err)
		}
	}
	if u.ModuleName != "" {
		if s.module, err = findModule(u.ModuleName, o.Folders); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(s.module); err != nil {
		return nil, fmt.Errorf("PKCS #11 module: %w", err)
	}
	if u.PINFile != "" {
		if s.pin, err = readPIN(u.PINFile); err != nil {
			return nil, err
		}
	}
	if s.key == nil {
		if s.key, err = s.readPublicKey(ctx); err != nil {
			return nil, err
		}
	}
	if err := sgx.CheckPublicKey(s.key); err != nil {
		return nil, fmt.Errorf("%s: %w", s, err)
	}
	return s, nil
}

// String names the key without its PIN.
func (s *Signer) String() string {
	name := "PKCS #11 key"
	if s.uri.Object != "" {
		name += fmt.Sprintf(" %q", s.uri.Object)
	}
	if s.uri.ID != "" {
		name += fmt.Sprintf(" id %x", s.uri.ID)
	}
	if s.uri.Token != "" {
		return name + fmt.Sprintf(" in token %q", s.uri.Token)
	}
	return name + fmt.Sprintf(" in slot %s", s.uri.SlotID+s.uri.SlotDescription)
}

// Public returns the public key.
func (s *Signer) Public() *rsa.PublicKey { return s.key }

// digestInfo is what stands before a SHA-256 hash in RSASSA-PKCS1-v1_5 (RFC 8017, section 9.2).
const digestInfo = "\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"

// SignPKCS1v15SHA256 implements [sgx.Signer] with the mechanism CKM_RSA_PKCS, which every token
// with RSA has.
func (s *Signer) SignPKCS1v15SHA256(ctx context.Context, message []byte) ([]byte, error) {
	id := s.uri.ID
	if id == "" { // given a label alone, pkcs11-tool 0.23 signs with any private key
		list, err := s.run(ctx, nil, "", "--list-objects", "--type=privkey")
		if err != nil {
			return nil, err
		}
		if id, err = findID(list, s.uri.Object); err != nil {
			return nil, s.failure(err, "")
		}
	}
	sum := sha256.Sum256(message)
	sig, err := s.run(ctx, append([]byte(digestInfo), sum[:]...), id, "--sign", "--mechanism=RSA-PKCS")
	if err != nil {
		return nil, err
	}
	if len(sig) != sgx.KeySize {
		return nil, fmt.Errorf("%s: %d bytes came back, wanted the %d of an RSA-3072 signature", s, len(sig), sgx.KeySize)
	}
	return sig, nil
}

func (s *Signer) readPublicKey(ctx context.Context) (*rsa.PublicKey, error) {
	der, err := s.run(ctx, nil, s.uri.ID, "--read-object", "--type=pubkey")
	if err != nil {
		return nil, fmt.Errorf("%w; where the token holds no public key for it, its public key must be given", err)
	}
	key, err := sgx.ParsePublicKeyDER(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s, err)
	}
	return key, nil
}

// run starts pkcs11-tool on the key with this id, where one is known, and returns what it writes.
func (s *Signer) run(ctx context.Context, in []byte, id string, args ...string) ([]byte, error) {
	args = append(args, "--module="+s.module)
	for _, a := range []struct{ name, value string }{
		{"--token-label=", s.uri.Token},
		{"--slot=", s.uri.SlotID},
		{"--slot-description=", s.uri.SlotDescription},
		{"--label=", s.uri.Object},
		{"--id=", hex.EncodeToString([]byte(id))},
	} {
		if a.value != "" {
			args = append(args, a.name+a.value)
		}
	}
	if s.pin != "" {
		args = append(args, "--login", "--pin=env:"+pinVariable)
	}
	cmd := exec.CommandContext(ctx, s.tool, args...)
	cmd.Env = append(os.Environ(), pinVariable+"="+s.pin)
	out, errOut := sgx.LimitedBuffer{Limit: maxList}, sgx.LimitedBuffer{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &errOut
	if err := cmd.Run(); err != nil {
		return nil, s.failure(fmt.Errorf("pkcs11-tool: %w", err), string(errOut.Bytes()))
	}
	return out.Bytes(), nil
}

// failure says what pkcs11-tool said, and what helps.
func (s *Signer) failure(err error, said string) error {
	said = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(said), "Aborting."))
	said = strings.ReplaceAll(said, "\n", "; ")
	if s.pin != "" {
		said = strings.ReplaceAll(said, s.pin, "…")
	}
	err = fmt.Errorf("%s: %w", s, err)
	if said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	switch {
	case strings.Contains(said, "CKR_PIN_"):
		return fmt.Errorf("%w; correct the PIN before you try again: tokens lock themselves after a few wrong ones", err)
	case strings.Contains(said, "not found") || strings.Contains(said, "No slot"):
		return fmt.Errorf("%w; see what there is: pkcs11-tool --module %s --list-slots, and --list-objects --login --token-label LABEL", err, s.module)
	case errors.Is(err, errAmbiguous):
		return err
	case s.pin == "":
		return fmt.Errorf("%w; the URI has no PIN: add pin-source=file:/PATH behind ?", err)
	}
	return err
}

// findModule looks for the library of a module-name.
func findModule(name string, folders []string) (string, error) {
	if len(folders) == 0 {
		for _, lib := range []string{"/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/local/lib", "/opt/homebrew/lib"} {
			folders = append(folders, lib, lib+"/pkcs11", lib+"/softhsm")
		}
	}
	for _, dir := range folders {
		for _, file := range []string{"lib" + name + ".so", name + ".so", "lib" + name + ".dylib", name + ".dll"} {
			path := filepath.Join(dir, file)
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("PKCS #11 module-name %q: no lib%s.so in %s; give module-path=/PATH", name, name, strings.Join(folders, ", "))
}

// readPIN reads the first line of a file that others may not read.
func readPIN(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("PKCS #11 pin-source: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("PKCS #11 pin-source: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o007 != 0 {
		return "", fmt.Errorf("PKCS #11 pin-source %s: mode %04o lets everybody read it; run `chmod 600 %s`", path, info.Mode().Perm(), path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxPIN+3))
	if err != nil {
		return "", fmt.Errorf("PKCS #11 pin-source: %w", err)
	}
	pin, rest, _ := strings.Cut(string(data), "\n")
	pin = strings.TrimSuffix(pin, "\r")
	if pin == "" || len(pin) > maxPIN || rest != "" || notText(pin) != "" {
		return "", errors.New("PKCS #11 pin-source " + path + ": wanted one line, the PIN of 1 to 255 bytes of text")
	}
	return pin, nil
}
