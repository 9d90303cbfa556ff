package pkcs11

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hitoku.dev/measure/sgx"
)

const testPIN = "71823"

// token is a SoftHSM of the test's own. The variable that names it holds for the process, so
// that tests with tokens do not run at once.
type token struct{ dir string }

func newToken(t *testing.T) *token {
	t.Helper()
	for _, tool := range []string{"softhsm2-util", "pkcs11-tool"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed; signing with a token was not tried: apt-get install softhsm2 opensc", tool)
		}
	}
	k := &token{t.TempDir()}
	conf := filepath.Join(k.dir, "softhsm2.conf")
	if err := os.Mkdir(filepath.Join(k.dir, "tokens"), 0o700); err != nil {
		t.Fatal(err)
	}
	k.write(t, "softhsm2.conf", []byte("directories.tokendir = "+filepath.Join(k.dir, "tokens")+"\nlog.level = ERROR\n"))
	k.write(t, "pin", []byte(testPIN+"\n"))
	t.Setenv("SOFTHSM2_CONF", conf)
	k.softhsm(t, "--init-token", "--free", "--label", "hk", "--so-pin", "4711", "--pin", testPIN)
	return k
}

func (k *token) write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(k.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (k *token) softhsm(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "softhsm2-util", args...).CombinedOutput(); err != nil {
		t.Fatalf("softhsm2-util %s: %v: %s", args[0], err, out)
	}
}

func (k *token) put(t *testing.T, key *rsa.PrivateKey, label, id string) {
	t.Helper()
	data, err := sgx.MarshalKey(key)
	if err != nil {
		t.Fatal(err)
	}
	k.softhsm(t, "--import", k.write(t, "key.pem", data), "--token", "hk", "--label", label, "--id", id, "--pin", testPIN)
}

func open(t *testing.T, path, query string) (*Signer, error) {
	t.Helper()
	u, err := Parse("pkcs11:" + path + "?" + query)
	if err != nil {
		t.Fatal(err)
	}
	return Open(t.Context(), u, Options{})
}

func TestSigner(t *testing.T) {
	k := newToken(t)
	key, err := sgx.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := sgx.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	wide, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	k.put(t, key, "release key", "a1b2")
	k.put(t, other, "other", "c3")
	k.put(t, wide, "f4", "f4")
	k.put(t, small, "small", "05")

	const pinned = "module-name=softhsm2&pin-source=file:"
	params := sgx.Params{EnclaveHash: [32]byte{1, 2, 3}, ISVProdID: 4, ISVSVN: 5, Date: 20260607}
	want, err := sgx.Sign(t.Context(), params, sgx.KeySigner{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"token=hk;object=release%20key", "token=hk;id=%a1%b2", "token=hk;object=release%20key;id=%a1%b2;type=private"} {
		s, err := open(t, path, pinned+k.dir+"/pin")
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		got, err := sgx.Sign(t.Context(), params, s)
		if err != nil || !bytes.Equal(got.Marshal(), want.Marshal()) {
			t.Errorf("%s signs otherwise than the key in a file: %v", path, err)
		}
	}

	everybody := k.write(t, "open", []byte(testPIN))
	if err := os.Chmod(everybody, 0o644); err != nil {
		t.Fatal(err)
	}
	k.write(t, "empty", nil)
	k.write(t, "lines", []byte("1234\n5678\n"))
	k.write(t, "wrong", []byte("99999"))
	pin := pinned + k.dir + "/pin"
	for name, c := range map[string]struct{ path, query, want string }{
		"exponent":       {"token=hk;object=f4", pin, "public exponent 65537, wanted 3"},
		"size":           {"token=hk;object=small", pin, "RSA-2048, wanted RSA-3072"},
		"no such token":  {"token=hx;object=other", pin, "--list-slots"},
		"no such slot":   {"slot-id=987654;object=other", pin, "in slot 987654"},
		"no such object": {"token=hk;object=nobody", pin, "object not found"},
		"two keys":       {"token=hk;object=other;id=%a1%b2", pin, "object not found"},
		"wrong PIN":      {"token=hk;object=other", pinned + k.dir + "/wrong", "tokens lock themselves"},
		"no PIN file":    {"token=hk;object=other", pinned + k.dir + "/none", "pin-source: open"},
		"PIN of all":     {"token=hk;object=other", pinned + everybody, "lets everybody read it"},
		"empty PIN":      {"token=hk;object=other", pinned + k.dir + "/empty", "wanted one line"},
		"two PINs":       {"token=hk;object=other", pinned + k.dir + "/lines", "wanted one line"},
		"no module":      {"token=hk;object=other", "module-path=/none.so", "/none.so"},
		"no library":     {"token=hk;object=other", "module-name=nolibrary", "no libnolibrary.so in /usr/lib"},
		"not a library":  {"token=hk;object=other", "module-path=" + k.dir + "/pin", "pkcs11-tool"},
	} {
		if _, err := open(t, c.path, c.query); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "99999") {
			t.Errorf("%s: %v; wanted %q", name, err, c.want)
		}
	}

	s, err := open(t, "token=hk;object=other", "module-name=softhsm2")
	if err != nil {
		t.Fatal(err) // public keys need no PIN
	}
	if _, err := sgx.Sign(t.Context(), params, s); err == nil || !strings.Contains(err.Error(), "the URI has no PIN") {
		t.Errorf("without a PIN: %v", err)
	}
	u := &URI{Token: "hk", Object: "other", ModuleName: "softhsm2", PIN: testPIN}
	if s, err = Open(t.Context(), u, Options{PublicKey: &key.PublicKey}); err != nil {
		t.Fatal(err)
	}
	if _, err := sgx.Sign(t.Context(), params, s); err == nil || !strings.Contains(err.Error(), "key match?") {
		t.Errorf("with another public key: %v", err)
	}
	if _, err := Open(t.Context(), u, Options{PublicKey: &wide.PublicKey}); err == nil || !strings.Contains(err.Error(), "65537") {
		t.Errorf("with a public key that SGX does not take: %v", err)
	}
}

// script is a pkcs11-tool that does what the text says.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pkcs11-tool")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSignerAsksWithoutShowingThePIN(t *testing.T) {
	t.Parallel()
	key, err := sgx.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	u := &URI{SlotDescription: "-x", ID: "\xff", Object: "--pin", ModulePath: dir, PIN: testPIN}
	tool := script(t, `printf '%s\n' "$@" >`+dir+`/args; printf %s "$`+pinVariable+`" >`+dir+`/pin; cat >`+dir+`/in; head -c 384 /dev/zero`)
	s, err := Open(t.Context(), u, Options{Tool: tool, PublicKey: &key.PublicKey})
	if err != nil {
		t.Fatal(err)
	}
	sig, err := s.SignPKCS1v15SHA256(t.Context(), []byte("message"))
	if err != nil || len(sig) != sgx.KeySize {
		t.Fatalf("%d bytes, %v", len(sig), err)
	}
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	want := "--sign\n--mechanism=RSA-PKCS\n--module=" + dir + "\n--slot-description=-x\n--label=--pin\n--id=ff\n--login\n--pin=env:" + pinVariable + "\n"
	if got := read("args"); got != want {
		t.Errorf("arguments %q, wanted %q", got, want)
	}
	if read("pin") != testPIN {
		t.Error("the PIN did not come by the environment")
	}
	// What the token pads and raises must be what the standard library hashes.
	made, err := rsa.SignPKCS1v15(nil, key, crypto.Hash(0), []byte(read("in")))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("message"))
	if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], made); err != nil {
		t.Errorf("the token was asked for another signature: %v", err)
	}
}

func TestSignerRefusesWhatTheToolSays(t *testing.T) {
	t.Parallel()
	key, err := sgx.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	u := &URI{SlotID: "1", Object: "k", ID: "k", ModulePath: "/dev/null", PIN: testPIN}
	for text, want := range map[string]string{
		"cat >/dev/null; echo x":                              "2 bytes came back",
		"cat >/dev/null; head -c 100000 /dev/zero":            "100000 bytes came back",
		"cat >/dev/null; echo no " + testPIN + " >&2; exit 3": "no …",
	} {
		s, err := Open(t.Context(), u, Options{Tool: script(t, text), PublicKey: &key.PublicKey})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.SignPKCS1v15SHA256(t.Context(), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; wanted %q", text, err, want)
		}
	}
	elliptic, _ := pem.Decode([]byte(ecKey))
	der := filepath.Join(t.TempDir(), "der")
	if err := os.WriteFile(der, elliptic.Bytes, 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"echo nothing": "public key",
		"cat " + der:   "*ecdsa.PublicKey, wanted RSA-3072",
		"exit 1":       "its public key must be given",
	} {
		if _, err := Open(t.Context(), u, Options{Tool: script(t, text)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; wanted %q", text, err, want)
		}
	}
}

const ecKey = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEguetkkYz6CiJjfdPYpS5eXnzkawK
QHknm9NrjSgapufp3bKtztWg5IRKTmxT7SXlKrRTE2/BHntOQ20XZMSB8A==
-----END PUBLIC KEY-----
`
