package verify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

// TestChains: every device's chain has certificates of the same names as the others'.
func TestChains(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	issue := func(cn string, serial int64, parent *x509.Certificate, by *ecdsa.PrivateKey, ca bool) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		tmpl := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: cn}, NotBefore: now, NotAfter: now.AddDate(1, 0, 0),
			BasicConstraintsValid: true, IsCA: ca, KeyUsage: x509.KeyUsageCertSign,
		}
		if parent == nil {
			parent, by = tmpl, key
		}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, by)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c, key
	}
	root, rootKey := issue("root", 1, nil, nil, true)
	var all [][]byte
	for i := range int64(2*maxChains + 1) { // certificates of another kind, in chains of two
		short, _ := issue("short "+string(rune('a'+i)), i, root, rootKey, false)
		all = append(all, short.Raw)
	}
	var wanted [][]byte
	for device := range int64(3) {
		chain := []*x509.Certificate{root}
		by := rootKey
		for i, cn := range []string{"product", "provisioner", "device", "leaf"} {
			var c *x509.Certificate
			c, by = issue(cn, 10*device+int64(i), chain[0], by, i < 3)
			chain = append([]*x509.Certificate{c}, chain...)
			all = append(all, c.Raw)
		}
		var text []byte
		for _, c := range chain {
			text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
		}
		wanted = append(wanted, text)
	}
	seen := chains(append(all, root.Raw))
	if len(seen) != len(wanted) {
		t.Fatalf("%d chains, wanted %d", len(seen), len(wanted))
	}
	for i := range wanted {
		if !bytes.Equal(seen[i], wanted[i]) {
			t.Errorf("chain %d is another one", i+1)
		}
	}
}
