// Package verifytest makes what a client of an attested application sees: an
// account with its authorities, a simulated platform, and certificates that
// carry genuine evidence, for tests. A test can change each part before it is
// signed, which is how refusals are tested.
//
// Nothing of it is for programs: the keys live in the test.
package verifytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net/url"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/atls"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/enclave/simtee/authority"
	"hitoku.dev/internal/manager/ca"
)

// Now is the time at which a world is made and valid.
var Now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// Name is the DNS name in every leaf.
const Name = "web.example.com"

const (
	accountID = "6f1c0c4e-54a4-4a3c-9d6b-2f4b34a7a001"
	zoneID    = "6f1c0c4e-54a4-4a3c-9d6b-2f4b34a7a002"
)

// World is an account with one platform.
type World struct {
	t              testing.TB
	Account, Zone  *ca.Authority
	Authority      *authority.Authority // of simulated platforms
	PCK            []byte               // PEM chain of the platform
	pck, signer    *ecdsa.PrivateKey
	Measurement    [32]byte
	Signer         [32]byte
	EditQuote      func(*dcap.Quote)       // before signing
	EditBinding    func(*attest.Binding)   // before the quote is made
	EditMessage    func(*atls.Message)     // before it goes into the leaf
	EditLeaf       func(*x509.Certificate) // before the zone signs it
	EditExtensions func([]pkix.Extension) []pkix.Extension
}

// New makes a world; simulated accounts are the usual ones.
func New(t testing.TB) *World {
	t.Helper()
	w := &World{t: t, pck: key(t), signer: key(t), Measurement: sha256.Sum256([]byte("image")), Signer: sha256.Sum256([]byte("signer"))}
	var err error
	w.Account, err = ca.NewRoot(rand.Reader, Now, ca.RootParams{AccountID: accountID, Name: "acme", Simulated: true})
	w.must(err)
	w.Zone, err = ca.NewZone(w.Account, rand.Reader, Now, ca.ZoneParams{AccountID: accountID, ZoneID: zoneID, Name: "default", Simulated: true, Domains: []string{"example.com"}})
	w.must(err)
	w.Authority, err = authority.New(rand.Reader, Now)
	w.must(err)
	w.PCK, err = w.Authority.IssuePCK(&w.pck.PublicKey, [16]byte{1, 2, 3}, Now)
	w.must(err)
	return w
}

func key(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (w *World) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// Binding returns a statement over a key, for the world's account.
func (w *World) Binding(spki []byte) *attest.Binding {
	b := &attest.Binding{Purpose: attest.PurposeAppTLS, Subject: attest.SPKIHash(spki), Nonce: make([]byte, attest.NonceSize), AccountRoot: w.Account.SPKIHash()}
	b.Nonce[0] = 7
	if w.EditBinding != nil {
		w.EditBinding(b)
	}
	return b
}

// Collateral returns the platform's collateral.
func (w *World) Collateral() *dcap.Collateral {
	w.t.Helper()
	c, err := w.Authority.Collateral(Now)
	w.must(err)
	return c
}

// Quote makes evidence over report data.
func (w *World) Quote(data [64]byte) []byte {
	w.t.Helper()
	q := &dcap.Quote{
		Header:   dcap.Header{Version: dcap.Version3, KeyType: dcap.KeyTypeECDSAP256, QEVendorID: dcap.IntelQEVendorID()},
		Report:   dcap.ReportBody{CPUSVN: authority.CPUSVN(), Flags: dcap.FlagInit | dcap.FlagMode64, XFRM: 3, MREnclave: w.Measurement, MRSigner: w.Signer, ISVProdID: 1, ISVSVN: 2, ReportData: data},
		QEReport: authority.QEReport(),
		CertType: dcap.CertPCKChain, CertData: w.PCK,
	}
	if w.EditQuote != nil {
		w.EditQuote(q)
	}
	point, err := w.signer.PublicKey.Bytes()
	w.must(err)
	copy(q.AttestationKey[:], point[1:])
	q.QEReport.ReportData = q.QEReportData()
	report, signed := q.QEReport.Bytes(), q.SignedBytes()
	sign := func(k *ecdsa.PrivateKey, message []byte) [64]byte {
		digest := sha256.Sum256(message)
		sig, err := authority.SignRaw(k, digest[:])
		w.must(err)
		return sig
	}
	q.QEReportSignature = sign(w.pck, report[:])
	q.Signature = sign(w.signer, signed[:])
	raw, err := q.Marshal()
	w.must(err)
	return raw
}

// Certificate issues an attested leaf over a new key, with the zone authority behind it.
func (w *World) Certificate() tls.Certificate {
	w.t.Helper()
	k := key(w.t)
	spki, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	w.must(err)
	b := w.Binding(spki)
	der, err := b.MarshalDER()
	w.must(err)
	m := atls.Message{Evidence: w.Quote(b.ReportData()), Binding: der, Collateral: w.Collateral()}
	if w.EditMessage != nil {
		w.EditMessage(&m)
	}
	ext, err := atls.MarshalExtension(m)
	w.must(err)
	exts := []pkix.Extension{ext}
	if w.EditExtensions != nil {
		exts = w.EditExtensions(exts)
	}
	leaf, err := w.Zone.Issue(rand.Reader, Now, ca.Leaf{
		Use: ca.ForApp, Public: &k.PublicKey, CommonName: Name, DNSNames: []string{Name},
		ID: &url.URL{Scheme: "spiffe", Host: "acme.example.com", Path: "/app/a/build/b"}, Lifetime: 24 * time.Hour, Extensions: exts[:min(1, len(exts))],
	})
	w.must(err)
	if w.EditLeaf != nil || len(exts) != 1 {
		leaf = w.reissue(leaf, k, exts)
	}
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, w.Zone.Certificate.Raw}, PrivateKey: k, Leaf: leaf}
}

// reissue signs what the zone authority's own code refuses to sign.
func (w *World) reissue(leaf *x509.Certificate, k *ecdsa.PrivateKey, exts []pkix.Extension) *x509.Certificate {
	tmpl := *leaf
	tmpl.Extensions, tmpl.ExtraExtensions, tmpl.SignatureAlgorithm = nil, exts, 0
	if w.EditLeaf != nil {
		w.EditLeaf(&tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, w.Zone.Certificate, &k.PublicKey, w.Zone.Key)
	w.must(err)
	cert, err := x509.ParseCertificate(der)
	w.must(err)
	return cert
}

// Chain returns the certificates that a server with this world's certificate sends.
func (w *World) Chain() []*x509.Certificate {
	return []*x509.Certificate{w.Certificate().Leaf, w.Zone.Certificate}
}

// PEM encodes certificates.
func PEM(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}
