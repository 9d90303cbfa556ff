package agent

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"hitoku.dev/attest"
)

// A renewed certificate of the account root is taken over, another root never.
func TestAdoptRoot(t *testing.T) {
	t.Parallel()
	m := newFakeManager(t)
	again := func(end time.Duration) string {
		tmpl := &x509.Certificate{
			SerialNumber: big.NewInt(9), Subject: pkix.Name{CommonName: "Account Root"}, IsCA: true, BasicConstraintsValid: true,
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(end), KeyUsage: x509.KeyUsageCertSign,
		}
		return pemOf(m.sign(tmpl, tmpl, &m.rootKey.PublicKey, m.rootKey))
	}
	_, other := m.makeCA("Account Root", nil, nil)
	later := again(240 * time.Hour)
	for name, c := range map[string]struct {
		text  string
		taken bool
	}{
		"later end":    {later, true},
		"earlier end":  {again(time.Hour), false},
		"other root":   {pemOf(other), false},
		"two roots":    {later + later, false},
		"no authority": {pemOf(m.leaf("x", nil, &m.rootKey.PublicKey, nil, 240*time.Hour)), false},
		"text":         {"x", false},
		"nothing":      {"", false},
	} {
		n := &node{AccountRoot: "old", root: m.root, accountRootHash: attest.SPKIHash(m.root.RawSubjectPublicKeyInfo)}
		n.adoptRoot(c.text)
		if (n.AccountRoot == c.text) != c.taken || !c.taken && n.AccountRoot != "old" {
			t.Errorf("%s: taken %v", name, n.AccountRoot != "old")
		}
	}
}
