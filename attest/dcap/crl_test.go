package dcap

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// crlParts are what a list is built of, each replaceable.
type crlParts struct {
	version            int64
	inner, outer       asn1.ObjectIdentifier
	parameters         bool
	this, next         time.Time
	entries, extension func(b *cryptobyte.Builder)
	tail, trailing     []byte
}

func (p *crlParts) build(t *testing.T, issuer *x509.Certificate) []byte {
	algorithm := func(b *cryptobyte.Builder, id asn1.ObjectIdentifier) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(id)
			if p.parameters {
				b.AddASN1NULL()
			}
		})
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(p.version)
			algorithm(b, p.inner)
			b.AddBytes(issuer.RawSubject)
			b.AddASN1UTCTime(p.this)
			if !p.next.IsZero() {
				b.AddASN1GeneralizedTime(p.next)
			}
			if p.entries != nil {
				b.AddASN1(cbasn1.SEQUENCE, p.entries)
			}
			if p.extension != nil {
				b.AddASN1(cbasn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) { b.AddASN1(cbasn1.SEQUENCE, p.extension) })
			}
			b.AddBytes(p.tail)
		})
		algorithm(b, p.outer)
		b.AddASN1BitString([]byte{1, 2, 3})
		b.AddBytes(p.trailing)
	})
	der, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func entry(serial *big.Int, at time.Time, extensions func(b *cryptobyte.Builder)) func(b *cryptobyte.Builder) {
	return func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1BigInt(serial)
			b.AddASN1UTCTime(at)
			if extensions != nil {
				b.AddASN1(cbasn1.SEQUENCE, extensions)
			}
		})
	}
}

func extension(critical bool) func(b *cryptobyte.Builder) {
	return func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{2, 5, 29, 21})
			if critical {
				b.AddASN1Boolean(true)
			}
			b.AddASN1OctetString([]byte{0x0a, 1, 1})
		})
	}
}

// TestCRLFormat has one case for each way in which bytes are no revocation list.
func TestCRLFormat(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, tc := range map[string]struct {
		edit func(p *crlParts)
		err  string // empty: it is read
	}{
		"honest":                  {func(*crlParts) {}, ""},
		"no entries":              {func(p *crlParts) { p.entries = nil }, ""},
		"a reason":                {func(p *crlParts) { p.entries = entry(big.NewInt(9), now, extension(false)) }, ""},
		"an extension":            {func(p *crlParts) { p.extension = extension(false) }, ""},
		"version 1":               {func(p *crlParts) { p.version = 0 }, "version 2"},
		"two algorithms":          {func(p *crlParts) { p.outer = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3} }, "differ"},
		"another algorithm":       {func(p *crlParts) { p.outer = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}; p.inner = p.outer }, "wanted ECDSA-SHA256"},
		"algorithm parameters":    {func(p *crlParts) { p.parameters = true }, "wanted ECDSA-SHA256"},
		"no next update":          {func(p *crlParts) { p.next = time.Time{} }, "when the next one comes"},
		"critical extension":      {func(p *crlParts) { p.extension = extension(true) }, "critical extension"},
		"critical reason":         {func(p *crlParts) { p.entries = entry(big.NewInt(9), now, extension(true)) }, "critical extension"},
		"negative serial":         {func(p *crlParts) { p.entries = entry(big.NewInt(-9), now, nil) }, "entry 1"},
		"entry of nothing":        {func(p *crlParts) { p.entries = func(b *cryptobyte.Builder) { b.AddASN1NULL() } }, "entry 1"},
		"extension of nothing":    {func(p *crlParts) { p.extension = func(b *cryptobyte.Builder) { b.AddASN1NULL() } }, "extension cannot be read"},
		"bytes after extensions":  {func(p *crlParts) { p.extension, p.tail = extension(false), []byte{5, 0} }, "extensions cannot be read"},
		"bytes instead of them":   {func(p *crlParts) { p.tail = []byte{5, 0} }, "extensions cannot be read"},
		"bytes after a signature": {func(p *crlParts) { p.trailing = []byte{5, 0} }, "not a list, an algorithm and a signature"},
	} {
		p := crlParts{version: 1, inner: oidECDSAWithSHA256, outer: oidECDSAWithSHA256, this: now, next: now.AddDate(0, 1, 0), entries: entry(big.NewInt(9), now, nil)}
		tc.edit(&p)
		c, err := parseCRL(p.build(t, w.ca))
		switch {
		case tc.err == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case tc.err == "":
			if err := c.checkSignedBy(w.ca); err == nil || !strings.Contains(err.Error(), "does not match") {
				t.Errorf("%s: signature: %v", name, err)
			}
		case err == nil || !strings.Contains(err.Error(), tc.err):
			t.Errorf("%s: %v, wanted %q", name, err, tc.err)
		}
	}
	for name, data := range map[string]string{
		"empty": " ", "text": "hello", "odd hexadecimal": "300", "PEM of something else": string(pemOf(w.ca)),
		"bytes after PEM": "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\nhello", "too long": strings.Repeat("0", 2*maxCRL+1), "too long DER": "\x30" + strings.Repeat("x", maxCRL),
	} {
		if _, err := parseCRL([]byte(data)); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}

// TestCRLSerials looks serial numbers of all shapes up in a list that the
// standard library wrote.
func TestCRLSerials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	long := new(big.Int).Lsh(big.NewInt(0x7f), 152)
	listed := []*big.Int{big.NewInt(1), big.NewInt(0x80), big.NewInt(0x0100), long}
	c, err := parseCRL(w.crl(w.ca, w.caKey, listed))
	if err != nil || c.count != len(listed) {
		t.Fatalf("%d entries: %v", c.count, err)
	}
	if err := c.checkSignedBy(w.ca); err != nil {
		t.Error(err)
	}
	for _, n := range listed {
		if err := c.checkNotRevoked(&x509.Certificate{SerialNumber: n}); err == nil || !strings.Contains(err.Error(), "was revoked at 2026-06-01T12:00:00Z") {
			t.Errorf("%x: %v", n, err)
		}
		near := new(big.Int).Add(n, big.NewInt(2))
		if err := c.checkNotRevoked(&x509.Certificate{SerialNumber: near}); err != nil {
			t.Errorf("%x: %v", near, err)
		}
	}
}

// TestCRLSigner refuses lists of whoever may not sign them.
func TestCRLSigner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	noCRLs := w.certificate("Test CA without CRLs", 9, w.root, w.rootKey, w.caKey, nil, true, nil, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign })
	tmpl := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now, NextUpdate: now.Add(time.Hour)}
	mayNot := *noCRLs
	mayNot.KeyUsage |= x509.KeyUsageCRLSign // so that the standard library signs
	der, err := x509.CreateRevocationList(rand.Reader, tmpl, &mayNot, w.caKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := parseCRL(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.checkSignedBy(noCRLs); err == nil || !strings.Contains(err.Error(), "may not sign") {
		t.Errorf("signed by a CA without CRLs: %v", err)
	}
	if err := c.checkSignedBy(w.ca); err == nil || !strings.Contains(err.Error(), `it was issued by "Test CA without CRLs"`) {
		t.Errorf("issued by another: %v", err)
	}
	if got := commonName([]byte{1, 2}); got != "a name that cannot be read" {
		t.Error(got)
	}
}
