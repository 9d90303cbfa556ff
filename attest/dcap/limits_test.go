package dcap

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"runtime"
	"strings"
	"testing"
)

// allocated returns the bytes that f allocates, of which it may free some.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestHostileInputsStaySmall lets each parser read the worst that fits into its
// limits. It must not run beside other tests: they would be counted too.
func TestHostileInputsStaySmall(t *testing.T) {
	w := newWorld(t)
	quote := func(certData []byte) []byte {
		q := w.quote()
		q.CertData = certData
		return w.seal(q)
	}
	fill := func(unit []byte) []byte { return bytes.Repeat(unit, maxCertData/len(unit)) }
	extensions := w.hostileCertificate(t, func(c *x509.Certificate) {
		for i := range 1070 {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, i}, Value: []byte{5, 0}})
		}
	})
	names := w.hostileCertificate(t, func(c *x509.Certificate) {
		for range 480 {
			c.Subject.ExtraNames = append(c.Subject.ExtraNames, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 11}, Value: "x"})
		}
	})
	sans := w.hostileCertificate(t, func(c *x509.Certificate) {
		for i := range 3800 {
			c.DNSNames = append(c.DNSNames, string(rune('a'+i%26)))
		}
	})
	serials := make([]*big.Int, 7000)
	for i := range serials {
		serials[i] = big.NewInt(int64(i + 1))
	}
	honest := w.collateral()
	with := func(edit func(c *Collateral)) func() {
		c := *honest
		edit(&c)
		return func() { NewVerifier(w.root, &c, false) }
	}
	verifier := NewVerifier(w.root, honest, false)
	judge := func(raw []byte) func() {
		return func() {
			if r, err := verifier.Verify(raw, now); err == nil && r.OK() {
				t.Error("accepted")
			}
		}
	}
	for name, f := range map[string]func(){
		"thousands of certificates": judge(quote(fill([]byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")))),
		"PEM without an end":        judge(quote(append([]byte("-----BEGIN CERTIFICATE-----\n"), fill([]byte("A"))[:maxCertData-64]...))),
		"line ends":                 judge(quote(fill([]byte("\n")))),
		"extensions":                judge(quote(pemOf(extensions))),
		"names":                     judge(quote(pemOf(names))),
		"alternative names":         judge(quote(pemOf(sans))),
		"nested TCB info":           with(func(c *Collateral) { c.TCBInfo = []byte(`{"tcbInfo":` + strings.Repeat("[", maxSignedJSON-100)) }),
		"long TCB info":             with(func(c *Collateral) { c.TCBInfo = []byte(`{"tcbInfo":"` + strings.Repeat("x", maxSignedJSON-100) + `"`) }),
		"TCB info of members":       with(func(c *Collateral) { c.TCBInfo = []byte(`{"tcbInfo":{` + strings.Repeat(`"":0,`, maxSignedJSON/5-100)) }),
		"CRL of thousands":          with(func(c *Collateral) { c.PCKCRL = w.crl(w.root, w.rootKey, serials) }),
		"CRL of thousands, in PEM": with(func(c *Collateral) {
			c.PCKCRL = pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: w.crl(w.root, w.rootKey, serials)})
		}),
		"CRL in hexadecimal":         with(func(c *Collateral) { c.PCKCRL = fmt.Appendf(nil, "%x", w.crl(w.root, w.rootKey, serials)) }),
		"CRL that is only too long":  with(func(c *Collateral) { c.PCKCRL = bytes.Repeat([]byte("00"), maxCRL) }),
		"collateral of certificates": with(func(c *Collateral) { c.PCKCRLChain = fill(pemOf(w.ca)) }),
	} {
		f() // what is made once for all, and the honest parts
		if n := allocated(f); n > 1<<20 {
			t.Errorf("%s: %d bytes allocated, at most 1 MiB is wanted", name, n)
		}
	}
}

func (w *world) hostileCertificate(t *testing.T, edit func(c *x509.Certificate)) *x509.Certificate {
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(5), NotBefore: now, NotAfter: now, Subject: pkix.Name{CommonName: "hostile"}}
	edit(tmpl)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &w.pckKey.PublicKey, w.pckKey)
	if err != nil {
		t.Fatal(err)
	}
	return &x509.Certificate{Raw: der}
}
