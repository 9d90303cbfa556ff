package main

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hitoku.dev/measure/sgx"
)

// TestRegisterFromFiles: a SIGSTRUCT says all four values; what contradicts it is refused.
func TestRegisterFromFiles(t *testing.T) {
	t.Parallel()
	key, err := sgx.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, p sgx.Params, change func(b []byte)) string {
		s, err := sgx.Sign(t.Context(), p, sgx.KeySigner{Key: key})
		if err != nil {
			t.Fatal(err)
		}
		b := s.Marshal()
		if change != nil {
			change(b)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	all := sgx.Attributes{Flags: ^uint64(0), XFRM: ^uint64(0)}
	p := sgx.Params{EnclaveHash: [32]byte{1, 2, 3}, ISVProdID: 7, ISVSVN: 9}
	debug := p
	debug.Attributes, debug.AttributesMask = sgx.Attributes{Flags: 4 | sgx.FlagDebug, XFRM: 3}, all
	good := write("good", p, nil)
	hash := hex.EncodeToString(p.EnclaveHash[:])
	none := func(string) bool { return false }

	o := imageRegisterOptions{tee: "sim", sigstruct: good}
	if err := o.fromFiles(none); err != nil {
		t.Fatal(err)
	}
	if o.tee != "sgx" || o.measurement != hash || len(o.signer) != 64 || o.prodID != 7 || o.svn != 9 {
		t.Errorf("%+v", o)
	}
	for name, c := range map[string]struct {
		o       imageRegisterOptions
		changed string
		want    string
	}{
		"other measurement": {imageRegisterOptions{sigstruct: good, measurement: strings.Repeat("00", 32)}, "measurement", "has " + hash},
		"other signer":      {imageRegisterOptions{sigstruct: good, signer: strings.Repeat("00", 32)}, "signer", "--signer"},
		"other version":     {imageRegisterOptions{sigstruct: good, svn: 8}, "isv-svn", "has 9"},
		"signature":         {imageRegisterOptions{sigstruct: write("bad", p, func(b []byte) { b[960] ^= 1 })}, "", "signature"},
		"debug":             {imageRegisterOptions{sigstruct: write("debug", debug, nil)}, "", "debug enclaves"},
		"missing":           {imageRegisterOptions{sigstruct: filepath.Join(dir, "missing")}, "", "missing"},
		"simulated":         {imageRegisterOptions{sigstruct: good, tee: "sim"}, "tee", "--tee sgx"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := c.o
			err := o.fromFiles(func(f string) bool { return f == c.changed })
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, wanted %q", err, c.want)
			}
		})
	}
}
