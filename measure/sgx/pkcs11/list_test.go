package pkcs11

import (
	"strings"
	"testing"
)

const listed = `Private Key Object; RSA 
  label:      release key
  ID:         a1b2
  Usage:      decrypt, sign, unwrap
  Access:     sensitive
Private Key Object; RSA 
  label:      twice
  ID:         01
Private Key Object; RSA 
  label:      twice
  ID:         02
Private Key Object; EC
  label:      no id
  Usage:      sign
Private Key Object; EC
  ID:         03
Private Key Object; RSA
  label:      odd
  ID:         0g
`

func TestFindID(t *testing.T) {
	t.Parallel()
	for label, want := range map[string]string{"release key": "\xa1\xb2"} {
		if got, err := findID([]byte(listed), label); err != nil || got != want {
			t.Errorf("%s: %x, %v", label, got, err)
		}
	}
	for label, want := range map[string]string{"nobody": "no private key", "release": "no private key", "twice": "more than one", "no id": "has no id", "odd": "has no id", "": "no private key"} {
		if got, err := findID([]byte(listed), label); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %x, %v; wanted %q", label, got, err, want)
		}
	}
}

func FuzzFindID(f *testing.F) {
	f.Add([]byte(listed), "release key")
	f.Add([]byte("  label: x\n  ID: 00"), "x")
	f.Fuzz(func(t *testing.T, list []byte, label string) {
		if id, err := findID(list, label); err == nil && (id == "" || len(id) > maxID) {
			t.Errorf("id %x", id)
		}
	})
}
