package p384

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func ca(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now, NotAfter: now.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, MaxPathLen: -1,
	}
}

func sign(t *testing.T, tmpl, issuer *x509.Certificate, key, issuerKey *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, issuer, &key.PublicKey, issuerKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestVerify signs until r or s was short, since numbers with leading zeros have a DER of their own.
func TestVerify(t *testing.T) {
	t.Parallel()
	key := newKey(t, elliptic.P384())
	short := 0
	for i := 0; i < 2000 && short < 3; i++ {
		message := []byte{byte(i), byte(i >> 8)}
		digest := sha512.Sum384(message)
		r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		if r.BitLen() <= 376 || s.BitLen() <= 376 {
			short++
		} else if i > 20 {
			continue
		}
		sig := make([]byte, SignatureSize)
		r.FillBytes(sig[:48])
		s.FillBytes(sig[48:])
		if !Verify(&key.PublicKey, sig, message) || !Verify(&key.PublicKey, sig, message[:1], message[1:]) {
			t.Fatalf("refused r %x, s %x", r, s)
		}
		if Verify(&key.PublicKey, sig, message[:1]) || Verify(nil, sig, message) || Verify(&key.PublicKey, sig[:95], message) || Verify(&key.PublicKey, append(sig, 0), message) {
			t.Fatal("accepted")
		}
	}
	for _, sig := range [][]byte{make([]byte, 96), bytes.Repeat([]byte{0xff}, 96)} {
		if Verify(&key.PublicKey, sig, nil) {
			t.Errorf("%x… accepted", sig[:4])
		}
	}
	if short == 0 {
		t.Error("no short number was met")
	}
}

func TestPutInteger(t *testing.T) {
	t.Parallel()
	for _, n := range []int64{0, 1, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000} {
		want, err := asn1.Marshal(big.NewInt(n))
		if err != nil {
			t.Fatal(err)
		}
		out := make([]byte, 8)
		if got := out[:putInteger(out, big.NewInt(n).FillBytes(make([]byte, 4)))]; !bytes.Equal(got, want) {
			t.Errorf("%d: %x, wanted %x", n, got, want)
		}
	}
}

func TestTrusted(t *testing.T) {
	t.Parallel()
	key, small := newKey(t, elliptic.P384()), newKey(t, elliptic.P256())
	root, other := sign(t, ca("root"), ca("root"), key, key), sign(t, ca("other"), ca("other"), key, key)
	weak := sign(t, ca("weak"), ca("weak"), small, small)
	same := sign(t, ca("root"), ca("root"), key, key) // another certificate of the same name and key
	leafy := ca("leaf")
	leafy.IsCA, leafy.MaxPathLen = false, 0
	leaf := sign(t, leafy, root, key, key)
	for name, tc := range map[string]struct {
		roots []*x509.Certificate
		der   []byte
		err   string
	}{
		"the first":     {[]*x509.Certificate{root, other}, root.Raw, ""},
		"the second":    {[]*x509.Certificate{other, root}, root.Raw, ""},
		"another":       {[]*x509.Certificate{root}, other.Raw, `ends in "other"`},
		"same key":      {[]*x509.Certificate{root}, same.Raw, "not the same certificate"},
		"no DER":        {[]*x509.Certificate{root}, []byte{1}, "cannot be read"},
		"none":          {nil, root.Raw, "no root is trusted"},
		"nil":           {[]*x509.Certificate{nil}, root.Raw, "no trusted root was given"},
		"another curve": {[]*x509.Certificate{weak}, weak.Raw, "no P-384 key"},
		"no authority":  {[]*x509.Certificate{leaf}, leaf.Raw, "no certificate authority"},
	} {
		got, err := Trusted(tc.roots, tc.der)
		if tc.err == "" && (err != nil || got != root) || tc.err != "" && (err == nil || got != nil || !strings.Contains(err.Error(), tc.err)) {
			t.Errorf("%s: %v, wanted %q", name, err, tc.err)
		}
	}
}

// TestPathLength has chains of three authorities, one of which allows that many below it.
func TestPathLength(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		place, most int // of the authority, the root's place being 3
		ok          bool
	}{{3, 0, false}, {3, 1, false}, {3, 2, true}, {2, 0, false}, {2, 1, true}, {1, 0, true}, {1, 5, true}} {
		issuerKey := newKey(t, elliptic.P384())
		var issuer, root *x509.Certificate
		var chain [][]byte
		for place := 3; place >= 0; place-- {
			tmpl := ca(strings.Repeat("x", place+1))
			if place == 0 {
				tmpl.IsCA, tmpl.KeyUsage = false, x509.KeyUsageDigitalSignature
			}
			if place == tc.place {
				tmpl.MaxPathLen, tmpl.MaxPathLenZero = tc.most, tc.most == 0
			}
			if issuer == nil {
				root = sign(t, tmpl, tmpl, issuerKey, issuerKey)
				issuer = root
				continue
			}
			key := newKey(t, elliptic.P384())
			issuer, issuerKey = sign(t, tmpl, issuer, key, issuerKey), key
			chain = append([][]byte{issuer.Raw}, chain...)
		}
		var m Memory
		for range 2 { // judged the same when it is remembered
			got, err := m.Chain(root, chain)
			if (err == nil) != tc.ok {
				t.Errorf("%d below the authority at place %d: %v", tc.most, tc.place, err)
			}
			if err == nil && (len(got) != 3 || !bytes.Equal(got[0].Raw, chain[0])) {
				t.Error("another chain")
			}
		}
		if _, err := m.Chain(root, nil); err == nil {
			t.Error("an empty chain is one")
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	var m Memory
	c := &x509.Certificate{}
	for i := range maxLinks + 10 {
		m.add(sha256.Sum256([]byte{byte(i), byte(i >> 8)}), c)
	}
	if len(m.links) != 10 || m.find(sha256.Sum256([]byte{0, 0})) != nil {
		t.Errorf("%d links kept", len(m.links))
	}
}

func TestCheckWindows(t *testing.T) {
	t.Parallel()
	c := &x509.Certificate{Subject: pkix.Name{CommonName: "c"}, NotBefore: now, NotAfter: now.Add(time.Hour)}
	for at, ok := range map[time.Time]bool{
		now: true, now.Add(time.Hour): true, now.Add(-time.Second): false, now.Add(time.Hour + time.Second): false, {}: false,
	} {
		if err := CheckWindows(at, nil, c); (err == nil) != ok {
			t.Errorf("%s: %v", at, err)
		}
	}
}
