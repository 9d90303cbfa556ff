package wallet_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
	"hitoku.dev/ledger/wallet"
)

// cheap are the least parameters that are allowed.
func cheap() wallet.Params { return wallet.Params{Time: 1, MemoryKiB: 8 << 10, Threads: 1} }

func seeded(n byte) *mathrand.ChaCha8 { return mathrand.NewChaCha8([32]byte{n}) }

func restore(tb testing.TB) *wallet.Wallet {
	tb.Helper()
	w, err := wallet.Restore("legal winner thank year wave sausage worth useful legal winner thank yellow")
	if err != nil {
		tb.Fatal(err)
	}
	return w
}

// TestAccountsAreFixed holds the accounts of some words: they must never change.
func TestAccountsAreFixed(t *testing.T) {
	t.Parallel()
	w := restore(t)
	for _, name := range []string{"second", "phone"} {
		scheme := ledger.SchemeEd25519
		if name == "phone" {
			scheme = ledger.SchemeP256
		}
		if _, err := w.Add(name, scheme); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []struct{ name, path, key, id string }{
		{"main", "m/44'/6845547'/0'", "9c9cdc6aac8fdd26af7961d83031a0fe8954a257b45932133b27e809b35b6a87", "b2ebe89cdb9f12e2572b176b92cfcaa8eeeb28b2437c32e59e8977ab3d5bf064"},
		{"second", "m/44'/6845547'/1'", "2d876e9967c9b2d58dc0110a503c8ce173fd93181dbe74cc7cdd0e0dc4cff98e", "726681e4604e06c9fa5eda096c28fca601172474c5725571024b99c8c1b23297"},
		{"phone", "m/44'/6845547'/0'", "027245ec8d11761b6a1342b5bc8d9510f2c5df1c7584668e2fddef66564781325c", "16f2cd2bc02e2d94d78a412f8c27f921b00e7d4d5972edf3d51970b0212715f4"},
	} {
		a, err := w.Account(want.name)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(a.PublicKey()); got != want.key || a.Path() != want.path || a.ID().String() != want.id || a.Name() != want.name {
			t.Errorf("%s: key %s, path %s, account %s", want.name, got, a.Path(), a.ID())
		}
	}
	if a, err := w.Account(""); err != nil || a.Name() != wallet.FirstAccount {
		t.Errorf("current account: %v, %v", a, err)
	}
}

// TestSignaturesHold: the ledger takes what accounts sign, of either scheme.
func TestSignaturesHold(t *testing.T) {
	t.Parallel()
	w := restore(t)
	if _, err := w.Add("phone", ledger.SchemeP256); err != nil {
		t.Fatal(err)
	}
	for _, name := range w.Names() {
		a, err := w.Account(name)
		if err != nil {
			t.Fatal(err)
		}
		for n := range uint64(20) {
			c := wire.Command{Application: "erc20", Scheme: a.Scheme(), Key: a.PublicKey(), Nonce: n, Name: "transfer", Arguments: []byte("{}")}
			first, err := a.Sign(c.Message())
			if err != nil {
				t.Fatal(err)
			}
			again, err := a.Sign(c.Message())
			if err != nil || !bytes.Equal(first, again) {
				t.Fatalf("%s: two signatures of one message differ: %v", name, err)
			}
			if _, err := (wire.Signed{Body: c.Encode(), Signature: first}).VerifyCommand(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			first[40] ^= 1
			if _, err := (wire.Signed{Body: c.Encode(), Signature: first}).VerifyCommand(); !errors.Is(err, wire.ErrSignature) {
				t.Errorf("%s: a changed signature: %v", name, err)
			}
		}
	}
}

func TestAccountNames(t *testing.T) {
	t.Parallel()
	w := restore(t)
	for _, name := range []string{"", "main", "a b", "-x", ".x", "ä", strings.Repeat("a", 65), "a/b"} {
		if _, err := w.Add(name, ledger.SchemeEd25519); !errors.Is(err, wallet.ErrAccount) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	if _, err := w.Add("x", ledger.SchemeNone); !errors.Is(err, wallet.ErrAccount) {
		t.Errorf("scheme 0: %v", err)
	}
	if err := w.Use("nobody"); !errors.Is(err, wallet.ErrNoAccount) || w.Current() != "main" {
		t.Errorf("use: %v; current is %q", err, w.Current())
	}
	for i := 1; i < wallet.MaxAccounts; i++ {
		if _, err := w.Add("a"+strings.Repeat("b", i%60)+string(rune('A'+i/60)), ledger.SchemeEd25519); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Add("one-more", ledger.SchemeEd25519); !errors.Is(err, wallet.ErrAccount) {
		t.Errorf("account %d: %v", wallet.MaxAccounts+1, err)
	}
	if _, err := wallet.Seal(w, nil, cheap(), seeded(1)); err != nil {
		t.Errorf("a full wallet does not fit into its file: %v", err)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	for _, words := range []int{12, 24} {
		w, err := wallet.New(words, seeded(byte(words)))
		if err != nil {
			t.Fatal(err)
		}
		text, err := w.Mnemonic()
		if err != nil || len(strings.Fields(text)) != words {
			t.Fatalf("%q, %v", text, err)
		}
		again, err := wallet.Restore(text)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := w.Account("")
		b, _ := again.Account("")
		if a.ID() != b.ID() {
			t.Error("the restored wallet has another account")
		}
	}
	if _, err := wallet.New(18, seeded(1)); err == nil {
		t.Error("18 words were taken")
	}
	if _, err := wallet.New(12, bytes.NewReader(make([]byte, 15))); err == nil {
		t.Error("too little randomness was taken")
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "wallet")
	w := restore(t)
	if err := wallet.Create(path, w, []byte("secret"), cheap(), seeded(1)); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	if err := wallet.Create(path, w, nil, cheap(), seeded(1)); err == nil {
		t.Error("a wallet was overwritten")
	}
	if _, _, err := wallet.Open(path, []byte("Secret")); !errors.Is(err, wallet.ErrPassphrase) {
		t.Errorf("another passphrase: %v", err)
	}
	read, p, err := wallet.Open(path, []byte("secret"))
	if err != nil || p != cheap() {
		t.Fatalf("%v, %v", p, err)
	}
	if _, err := read.Add("second", ledger.SchemeP256); err != nil {
		t.Fatal(err)
	}
	if err := read.Use("second"); err != nil {
		t.Fatal(err)
	}
	if err := wallet.Replace(path, read, nil, wallet.Params{Time: 2, MemoryKiB: 9 << 10, Threads: 2}, seeded(2)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := wallet.Open(path, []byte("secret")); !errors.Is(err, wallet.ErrPassphrase) {
		t.Errorf("the old passphrase: %v", err)
	}
	read, p, err = wallet.Open(path, nil)
	if err != nil || p.Time != 2 || read.Current() != "second" || !slices.Equal(read.Names(), []string{"main", "second"}) {
		t.Fatalf("%+v, %+v, %v", read, p, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, _, err := wallet.Open(path, nil); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file that others may read: %v", err)
	}
	if list, _ := os.ReadDir(filepath.Dir(path)); len(list) != 1 {
		t.Errorf("%d files are left, wanted 1", len(list))
	}
}

// TestFileHidesEverything: neither words nor names nor keys stand in the file.
func TestFileHidesEverything(t *testing.T) {
	t.Parallel()
	w := restore(t)
	data, err := wallet.Seal(w, []byte("x"), cheap(), seeded(1))
	if err != nil {
		t.Fatal(err)
	}
	a, _ := w.Account("")
	for _, secret := range []string{"main", "legal", "winner", a.ID().String(), hex.EncodeToString(a.PublicKey())} {
		if bytes.Contains(data, []byte(secret)) {
			t.Errorf("the file shows %q", secret)
		}
	}
	other, err := wallet.Seal(w, []byte("x"), cheap(), seeded(2))
	if err != nil || bytes.Equal(data, other) {
		t.Errorf("two files of one wallet are the same: %v", err)
	}
}

// TestFileParameters: limits hold before any work is done.
func TestFileParameters(t *testing.T) {
	t.Parallel()
	w := restore(t)
	good, err := wallet.Seal(w, []byte("x"), cheap(), seeded(1))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"no passes":        {`"time": 1`, `"time": 0`},
		"too many passes":  {`"time": 1`, `"time": 17`},
		"too much memory":  {`"memory_kib": 8192`, `"memory_kib": 4194304`},
		"too little":       {`"memory_kib": 8192`, `"memory_kib": 64`},
		"no threads":       {`"threads": 1`, `"threads": 0`},
		"many threads":     {`"threads": 1`, `"threads": 200`},
		"negative":         {`"time": 1`, `"time": -1`},
		"other kdf":        {"argon2id", "argon2i"},
		"other format":     {"hitoku-wallet/1", "hitoku-wallet/2"},
		"unknown member":   {`"time"`, `"extra": 1, "time"`},
		"member twice":     {`"time"`, `"time": 1, "time"`},
		"missing member":   {`"time": 1,`, ""},
		"bytes at the end": {"}\n", "}{}"},
	} {
		bad := strings.Replace(string(good), change[0], change[1], 1)
		if bad == string(good) {
			t.Fatalf("%s: nothing was changed", name)
		}
		if _, _, err := wallet.Unseal([]byte(bad), []byte("x")); !errors.Is(err, wallet.ErrFile) {
			t.Errorf("%s: %v, wanted ErrFile", name, err)
		}
	}
	if _, _, err := wallet.Unseal(make([]byte, wallet.MaxFile+1), nil); !errors.Is(err, wallet.ErrFile) {
		t.Errorf("a long file: %v", err)
	}
	for _, p := range []wallet.Params{{}, {Time: 99, MemoryKiB: 8 << 10, Threads: 1}, {Time: 1, MemoryKiB: 1, Threads: 1}, {Time: 1, MemoryKiB: 2 << 20, Threads: 1}} {
		if _, err := wallet.Seal(w, nil, p, seeded(1)); err == nil {
			t.Errorf("parameters %+v were taken", p)
		}
	}
	if _, err := wallet.Seal(w, make([]byte, 5000), cheap(), seeded(1)); err == nil {
		t.Error("a passphrase of 5000 bytes was taken")
	}
	// Costs that were raised within the limits make another key.
	bad := strings.Replace(string(good), `"time": 1`, `"time": 2`, 1)
	if _, _, err := wallet.Unseal([]byte(bad), []byte("x")); !errors.Is(err, wallet.ErrPassphrase) {
		t.Errorf("other costs: %v", err)
	}
}

// TestEveryByteCounts changes each byte of the file; none may pass.
func TestEveryByteCounts(t *testing.T) {
	t.Parallel()
	good, err := wallet.Seal(restore(t), []byte("x"), cheap(), seeded(1))
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := slices.Clone(good)
		if bad[i] ^= 1; bytes.ContainsAny(bad[i:i+1], " \n\t\r") && bytes.ContainsAny(good[i:i+1], " \n\t\r") {
			continue // white space for white space is the same JSON
		}
		if _, _, err := wallet.Unseal(bad, []byte("x")); err == nil {
			t.Fatalf("byte %d: a changed file opens", i)
		}
	}
}
