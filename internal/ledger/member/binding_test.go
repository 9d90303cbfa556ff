package member_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"testing"

	"hitoku.dev/attest"
	"hitoku.dev/internal/ledger/member"
	"hitoku.dev/internal/ledger/member/membertest"
	"hitoku.dev/internal/ledger/wire"
)

func mustBinding(t testing.TB, der []byte) *attest.Binding {
	t.Helper()
	b, err := attest.ParseBinding(der)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// forgeRoot makes a certificate with the name and key of a root, signed by another key.
func forgeRoot(t testing.TB, root *x509.Certificate) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent := *root
	parent.PublicKey = &key.PublicKey
	template := *root
	template.SignatureAlgorithm = x509.ECDSAWithSHA256
	der, err := x509.CreateCertificate(rand.Reader, &template, &parent, root.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestCheckBinding(t *testing.T) {
	t.Parallel()
	w := membertest.New(t, 1, start)
	for name, edit := range map[string]func(h *wire.Header, j *wire.Join){
		"good":           nil,
		"other ledger":   func(h *wire.Header, _ *wire.Join) { h.Ledger[0]++ },
		"other anchor":   func(h *wire.Header, _ *wire.Join) { h.Anchor++ },
		"other history":  func(h *wire.Header, _ *wire.Join) { h.AnchorChain[0]++ },
		"other slot":     func(_ *wire.Header, j *wire.Join) { j.Slot++ },
		"other key":      func(_ *wire.Header, j *wire.Join) { j.Key[0]++ },
		"other HPKE key": func(_ *wire.Header, j *wire.Join) { j.HPKE = []byte("another key") },
		"other policy":   func(_ *wire.Header, j *wire.Join) { j.PolicyVersion++ },
		"no binding":     func(_ *wire.Header, j *wire.Join) { j.Binding = nil },
		"trailing byte":  func(_ *wire.Header, j *wire.Join) { j.Binding = append(j.Binding, 0) },
		"no evidence":    func(_ *wire.Header, j *wire.Join) { j.Evidence = nil },
		"evidence too large": func(_ *wire.Header, j *wire.Join) {
			j.Evidence = append(j.Evidence, make([]byte, member.MaxEvidence)...)
		},
		"replayed binding": func(h *wire.Header, j *wire.Join) { // evidence of yesterday beside today's binding
			old := *h
			old.AnchorChain[5]++
			b := &attest.Binding{Purpose: attest.PurposeApp, Subject: member.Subject(old, *j), Nonce: old.AnchorChain[:]}
			j.Evidence = w.Attester(1, w.Identity).Prove(b).Evidence
		},
		"replayed whole": func(h *wire.Header, j *wire.Join) {
			old := *h
			old.Anchor--
			b := &attest.Binding{Purpose: attest.PurposeApp, Subject: member.Subject(old, *j), Nonce: old.AnchorChain[:]}
			p := w.Attester(1, w.Identity).Prove(b)
			j.Evidence, j.Binding = p.Evidence, p.Binding
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, j, _ := join(t, w, w.Identity)
			if edit != nil {
				edit(&h, &j)
			}
			if err := member.CheckBinding(h, j); (err == nil) != (edit == nil) {
				t.Error(err)
			}
		})
	}
}
