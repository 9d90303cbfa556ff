package keyfile

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// create makes a key in a new file.
func create(path string) (ed25519.PrivateKey, error) {
	key, err := Generate(rand.Reader)
	if err != nil {
		return nil, err
	}
	return key, Write(path, key)
}

func TestCreateAndRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.key")
	key, err := create(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v; wanted 0600", info.Mode(), err)
	}
	again, err := ReadPrivate(path)
	if err != nil || !again.Equal(key) {
		t.Fatalf("read another key: %v", err)
	}
	public, private, err := Read(path)
	if err != nil || !private.Equal(key) || !bytes.Equal(public[:], key[32:]) {
		t.Fatalf("Read: %x, %v", public, err)
	}
	raw, err := EncodePublic(public)
	if err != nil {
		t.Fatal(err)
	}
	pub := path + ".pub"
	if err := WriteNew(pub, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Replace(pub, raw, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, private, err := Read(pub); err != nil || got != public || private != nil {
		t.Fatalf("public key: %x, %v, %v", got, private, err)
	}
}

func TestNothingIsOverwritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.key")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := create(path); err == nil || !strings.Contains(err.Error(), "not overwritten") {
		t.Errorf("error %v, wanted a refusal", err)
	}
	if raw, _ := os.ReadFile(path); string(raw) != "mine" {
		t.Errorf("the file has become %q", raw)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good, err := create(filepath.Join(dir, "good"))
	if err != nil {
		t.Fatal(err)
	}
	private, _ := os.ReadFile(filepath.Join(dir, "good"))
	public, _ := EncodePublic([32]byte(good[32:]))
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, _ := x509.MarshalPKCS8PrivateKey(other)
	for _, tc := range []struct {
		name string
		data []byte
		mode os.FileMode
		want string
	}{
		{"readable by others", private, 0o644, "chmod 600"},
		{"a public key", public, 0o600, "the private one is needed"},
		{"no PEM", []byte("hello"), 0o600, "no PEM block"},
		{"another block", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE"}), 0o600, `"CERTIFICATE"`},
		{"another kind of key", pem.EncodeToMemory(&pem.Block{Type: privateType, Bytes: der}), 0o600, "wanted Ed25519"},
		{"broken", pem.EncodeToMemory(&pem.Block{Type: privateType, Bytes: []byte{1}}), 0o600, "asn1"},
		{"too long", bytes.Repeat([]byte{'a'}, maxFile+1), 0o600, "more than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, tc.data, tc.mode); err != nil {
				t.Fatal(err)
			}
			if _, err := ReadPrivate(path); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, wanted %q in it", err, tc.want)
			}
		})
	}
	if _, err := ReadPrivate(filepath.Join(dir, "nowhere")); !os.IsNotExist(err) {
		t.Errorf("error %v, wanted that there is no such file", err)
	}
	if _, err := Generate(bytes.NewReader(nil)); err == nil {
		t.Error("a key was made without randomness")
	}
}

func FuzzParse(f *testing.F) {
	path := filepath.Join(f.TempDir(), "seed")
	key, err := create(path)
	if err != nil {
		f.Fatal(err)
	}
	raw, _ := os.ReadFile(path)
	public, _ := EncodePublic([32]byte(key[32:]))
	f.Add(raw)
	f.Add(public)
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		private, public, err := parse(raw)
		if err == nil && private != nil && !bytes.Equal(private[32:], public[:]) {
			t.Error("private and public key differ")
		}
	})
}
