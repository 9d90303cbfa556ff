package sgx

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"
)

func testSigstruct(t testing.TB) *Sigstruct {
	t.Helper()
	key, err := GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Sign(t.Context(), Params{EnclaveHash: [32]byte{1, 2, 3}, ISVProdID: 7, ISVSVN: 9}, KeySigner{key})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSignIsDeterministicAndVerifies(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "k.pem")
	key, err := LoadOrCreateKey(path, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadOrCreateKey(path, rand.Reader)
	if err != nil || !again.Equal(key) {
		t.Fatalf("second load: %v", err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v", info.Mode())
	}
	p := Params{EnclaveHash: [32]byte{5}, ISVProdID: 3, ISVSVN: 4, Date: 20251231}
	a, err := Sign(t.Context(), p, KeySigner{key})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Sign(t.Context(), p, KeySigner{again})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Marshal(), b.Marshal()) {
		t.Fatal("two signatures differ")
	}
	parsed, err := Parse(a.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	if *parsed != *a {
		t.Fatal("parse of marshal differs")
	}
	if err := parsed.Verify(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(path); err == nil {
		t.Fatal("a key that everybody can read was taken")
	}
}

func TestFlipEveryByte(t *testing.T) {
	t.Parallel()
	raw := testSigstruct(t).Marshal()
	for i := range raw {
		bad := bytes.Clone(raw)
		bad[i] ^= 1
		s, err := Parse(bad)
		if err == nil {
			err = s.Verify()
		}
		if err == nil {
			t.Fatalf("byte %d flipped, accepted", i)
		}
	}
}

func TestParseEveryLength(t *testing.T) {
	t.Parallel()
	raw := testSigstruct(t).Marshal()
	for n := range raw {
		if _, err := Parse(raw[:n]); err == nil {
			t.Fatalf("%d bytes accepted", n)
		}
	}
	if _, err := Parse(append(raw, 0)); err == nil {
		t.Fatal("a byte after the end was accepted")
	}
}
