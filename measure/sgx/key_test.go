package sgx

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestGenerateKeyUsesOnlyItsSource(t *testing.T) {
	t.Parallel()
	if _, err := GenerateKey(bytes.NewReader(make([]byte, 100))); err == nil {
		t.Fatal("a key from 100 bytes of randomness")
	}
}

func TestParseKey(t *testing.T) {
	t.Parallel()
	key, err := GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	usual, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8 := func(k any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	for name, tc := range map[string]struct {
		data []byte
		ok   bool
	}{
		"PKCS#8":      {pkcs8(key), true},
		"PKCS#1":      {pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), true},
		"exponent":    {pkcs8(usual), false},
		"ECDSA":       {pkcs8(ec), false},
		"no PEM":      {[]byte("hello"), false},
		"other block": {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{0}}), false},
		"broken":      {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{0}}), false},
	} {
		k, err := ParseKey(tc.data)
		if (err == nil) != tc.ok || tc.ok && !k.Equal(key) {
			t.Errorf("%s: %v", name, err)
		}
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := ParsePublicKey(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	if err != nil || !pub.Equal(&key.PublicKey) {
		t.Errorf("public key: %v", err)
	}
	if _, err := ParsePublicKey([]byte("x")); err == nil {
		t.Error("a text was taken for a public key")
	}
}

func TestLoadOrCreateKeyAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key.pem")
	keys := make([]*rsa.PrivateKey, 3)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			var err error
			if keys[i], err = LoadOrCreateKey(path, rand.Reader); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, k := range keys[1:] {
		if k == nil || !k.Equal(keys[0]) {
			t.Fatal("two callers have two keys")
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".key-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// broken is a signer that returns what the test says.
type broken struct {
	pub *rsa.PublicKey
	sig []byte
	err error
}

func (b broken) Public() *rsa.PublicKey { return b.pub }
func (b broken) SignPKCS1v15SHA256(context.Context, []byte) ([]byte, error) {
	return b.sig, b.err
}

func TestSignRefusesBadSigners(t *testing.T) {
	t.Parallel()
	key, err := GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 3}
	for name, s := range map[string]Signer{
		"no key":          broken{},
		"RSA-2048":        broken{pub: small},
		"exponent":        broken{pub: &rsa.PublicKey{N: key.N, E: 65537}},
		"failure":         broken{pub: &key.PublicKey, err: errors.New("token is locked")},
		"short signature": broken{pub: &key.PublicKey, sig: make([]byte, 100)},
		"above modulus":   broken{pub: &key.PublicKey, sig: bytes.Repeat([]byte{0xff}, KeySize)},
		"zero":            broken{pub: &key.PublicKey, sig: make([]byte, KeySize)},
	} {
		if _, err := Sign(t.Context(), Params{}, s); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
	if _, err := Sign(t.Context(), Params{Date: 100000000}, KeySigner{key}); err == nil {
		t.Error("a date of nine digits was signed")
	}
}

func TestCommandSigner(t *testing.T) {
	t.Parallel()
	key, err := GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	data, err := MarshalKey(key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, argv := range map[string][]string{
		"nothing to run":  nil,
		"no such file":    {"/none"},
		"fails":           {"/bin/sh", "-c", "echo token is locked >&2; exit 3"},
		"writes too few":  {"/bin/sh", "-c", "cat >/dev/null; echo x"},
		"writes too many": {"/bin/sh", "-c", "cat >/dev/null; head -c 100000 /dev/zero"},
	} {
		_, err := Sign(t.Context(), Params{}, CommandSigner{Argv: argv, PubKey: &key.PublicKey})
		if err == nil {
			t.Errorf("%s: signed", name)
		}
		if name == "fails" && !strings.Contains(err.Error(), "token is locked") {
			t.Errorf("the command's words are lost: %v", err)
		}
	}
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed; signing by a real command was not tried")
	}
	byCommand, err := Sign(t.Context(), Params{ISVSVN: 3}, CommandSigner{Argv: []string{"openssl", "dgst", "-sha256", "-sign", path}, PubKey: &key.PublicKey})
	if err != nil {
		t.Fatal(err)
	}
	byKey, err := Sign(t.Context(), Params{ISVSVN: 3}, KeySigner{key})
	if err != nil || *byKey != *byCommand {
		t.Errorf("the command signs otherwise: %v", err)
	}
}

func TestDates(t *testing.T) {
	t.Parallel()
	if d := Date(time.Date(2025, 2, 3, 23, 0, 0, 0, time.FixedZone("", -2*3600))); d != 20250204 {
		t.Errorf("date %d", d)
	}
	for text, want := range map[string]uint32{"2026-01-31": 20260131, "20260131": 20260131, "2026-02-30": 0, "x": 0} {
		if d, err := ParseDate(text); d != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %d %v", text, d, err)
		}
	}
	if _, err := fromBCD(0x2026010a); err == nil {
		t.Error("a digit above nine was read")
	}
	if toBCD(20260101) != 0x20260101 {
		t.Errorf("%#x", toBCD(20260101))
	}
}

func FuzzParse(f *testing.F) {
	raw := testSigstruct(f).Marshal()
	f.Add(raw)
	f.Add(raw[:SigstructSize-1])
	f.Add(make([]byte, SigstructSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(b)
		if err != nil {
			return
		}
		if !bytes.Equal(s.Marshal(), b) {
			t.Fatal("two encodings")
		}
		_ = s.Verify()
	})
}
