package wallet

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzFile reads files as far as no work is done for them, and what is inside of those that open.
func FuzzFile(f *testing.F) {
	w, err := Restore("legal winner thank year wave sausage worth useful legal winner thank yellow")
	if err != nil {
		f.Fatal(err)
	}
	good, err := Seal(w, nil, Params{Time: 1, MemoryKiB: 8 << 10, Threads: 1}, bytes.NewReader(make([]byte, 40)))
	if err != nil {
		f.Fatal(err)
	}
	inside, err := json.Marshal(content{w.entropy, w.accounts, w.current})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(inside)
	f.Add([]byte(`{"format":"hitoku-wallet/1"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if x, err := parseFile(data); err == nil {
			if err := (Params{x.Time, x.MemoryKiB, x.Threads}).check(); err != nil || len(x.Salt) != saltSize {
				t.Errorf("parameters beyond their limits pass: %v", err)
			}
		}
		if w, err := parseContent(data); err == nil {
			if a, err := w.Account(""); err != nil || len(a.PublicKey()) < 32 {
				t.Errorf("a wallet without a current account: %v", err)
			}
		}
	})
}
