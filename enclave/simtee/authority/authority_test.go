package authority

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hitoku.dev/attest/dcap"
)

var epoch = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// seeded is a random source that repeats.
func seeded(seed byte) *mathrand.ChaCha8 { return mathrand.NewChaCha8([32]byte{seed}) }

func newAuthority(t testing.TB, seed byte) *Authority {
	t.Helper()
	a, err := New(seeded(seed), epoch)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t testing.TB, seed byte) *ecdsa.PublicKey {
	t.Helper()
	k, err := GenerateKey(seeded(seed))
	if err != nil {
		t.Fatal(err)
	}
	return &k.PublicKey
}

func parseChain(t testing.TB, chain []byte) []*x509.Certificate {
	t.Helper()
	var certs []*x509.Certificate
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		certs = append(certs, cert)
	}
	return certs
}

func TestSameArgumentsSameBytes(t *testing.T) {
	t.Parallel()
	build := func() [][]byte {
		a := newAuthority(t, 1)
		chain, err := a.IssuePCK(newKey(t, 2), [16]byte{1}, epoch)
		if err != nil {
			t.Fatal(err)
		}
		c, err := a.Collateral(epoch)
		if err != nil {
			t.Fatal(err)
		}
		state, err := a.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return [][]byte{chain, c.TCBInfo, c.QEIdentity, c.PCKCRL, c.RootCRL, c.PCKCRLChain, c.TCBInfoChain, state}
	}
	if diff := cmp.Diff(build(), build()); diff != "" {
		t.Error(diff)
	}
}

func TestChain(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, 1)
	key := newKey(t, 2)
	chain, err := a.IssuePCK(key, [16]byte{9, 8}, epoch)
	if err != nil {
		t.Fatal(err)
	}
	certs := parseChain(t, chain)
	if len(certs) != 3 || !certs[2].Equal(a.Root()) {
		t.Fatalf("%d certificates", len(certs))
	}
	for i, c := range certs {
		if err := c.CheckSignatureFrom(certs[min(i+1, 2)]); err != nil {
			t.Error(err)
		}
		if !strings.Contains(c.Subject.CommonName, "Simulated") || strings.Contains(c.Subject.String(), "Intel") {
			t.Errorf("subject %q", c.Subject)
		}
		if c.NotAfter.After(a.Root().NotAfter) || c.SerialNumber.Sign() <= 0 || c.SerialNumber.BitLen() > 160 {
			t.Errorf("%q: until %v, serial number %x", c.Subject.CommonName, c.NotAfter, c.SerialNumber)
		}
	}
	if !key.Equal(certs[0].PublicKey) || certs[0].IsCA || certs[0].KeyUsage != x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment {
		t.Errorf("PCK certificate: %+v", certs[0])
	}
	ext, err := dcap.PCKExtensionOf(certs[0])
	if err != nil {
		t.Fatal(err)
	}
	if ext.PPID != [16]byte{9, 8} || ext.TCB.Components != CPUSVN() || ext.TCB.PCESVN != PCESVN || ext.FMSPC != fmspc {
		t.Errorf("SGX extension: %+v", ext)
	}
	again, err := a.IssuePCK(key, [16]byte{9, 8}, epoch)
	if err != nil || bytes.Equal(again, chain) {
		t.Errorf("second certificate: equal to the first, error %v", err)
	}
}

func TestPCKEndsWithItsRoot(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, 1)
	late := epoch.Add(RootLifetime - time.Hour)
	chain, err := a.IssuePCK(newKey(t, 2), [16]byte{}, late)
	if err != nil {
		t.Fatal(err)
	}
	if leaf := parseChain(t, chain)[0]; leaf.NotAfter.After(a.Root().NotAfter) {
		t.Errorf("PCK certificate until %v, root until %v", leaf.NotAfter, a.Root().NotAfter)
	}
	if _, err := a.IssuePCK(newKey(t, 2), [16]byte{}, late.Add(2*time.Hour)); err == nil {
		t.Error("a certificate after the end of the root")
	}
}

func TestRefusedKeys(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, 1)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	off := &ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)} //lint:ignore SA1019 no other way to write a point that is not on the curve
	for name, k := range map[string]*ecdsa.PublicKey{"none": nil, "P-384": &p384.PublicKey, "not on the curve": off} {
		if _, err := a.IssuePCK(k, [16]byte{}, epoch); err == nil {
			t.Errorf("%s: certified", name)
		}
	}
}

func TestStateSurvives(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, 1)
	for i := range byte(3) {
		if _, err := a.IssuePCK(newKey(t, 2+i), [16]byte{i}, epoch); err != nil {
			t.Fatal(err)
		}
	}
	if !a.Revoke([16]byte{1}, epoch.Add(time.Minute)) || a.Revoke([16]byte{7}, epoch) {
		t.Error("Revoke says the wrong thing")
	}
	a.SetTCB(TCB{Status: "OutOfDate", Advisories: []string{"INTEL-SA-00001"}, Date: epoch, QEStatus: "UpToDate", Evaluation: 4})
	state, err := a.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	b, err := Parse(state)
	if err != nil {
		t.Fatal(err)
	}
	again, err := b.Marshal()
	if err != nil || !bytes.Equal(again, state) {
		t.Errorf("state changed: %v\n%s\n%s", err, state, again)
	}
	ca, err := a.Collateral(epoch)
	if err != nil {
		t.Fatal(err)
	}
	cb, err := b.Collateral(epoch)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ca, cb); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(a.TCB(), b.TCB()); diff != "" {
		t.Error(diff)
	}
	if _, err := b.IssuePCK(newKey(t, 3), [16]byte{1}, epoch); !errors.Is(err, ErrRevoked) {
		t.Errorf("revoked platform: %v", err)
	}
	list, err := x509.ParseRevocationList(cb.PCKCRL)
	if err != nil || len(list.RevokedCertificateEntries) != 1 {
		t.Errorf("revocation list: %+v, %v", list, err)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	state, err := newAuthority(t, 1).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	other, err := newAuthority(t, 2).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	key := func(s []byte) []byte {
		_, rest, _ := bytes.Cut(s, []byte(`"key":"`))
		k, _, _ := bytes.Cut(rest, []byte(`"`))
		return k
	}
	for name, b := range map[string][]byte{
		"empty":        nil,
		"version":      bytes.Replace(state, []byte(`"version":1`), []byte(`"version":2`), 1),
		"unknown":      bytes.Replace(state, []byte(`"version":1`), []byte(`"version":1,"x":1`), 1),
		"after end":    slices.Concat(state, []byte("{}")),
		"another key":  bytes.Replace(state, key(state), key(other), 1),
		"issued":       bytes.Replace(state, []byte(`"issued":[]`), []byte(`"issued":[{"ppid":"00","serial":"01"}]`), 1),
		"empty serial": bytes.Replace(state, []byte(`"issued":[]`), []byte(`"issued":[{"ppid":"00000000000000000000000000000000","serial":""}]`), 1),
	} {
		if _, err := Parse(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestGenerateKeyWantsRandomness(t *testing.T) {
	t.Parallel()
	if _, err := GenerateKey(bytes.NewReader(make([]byte, 39))); err == nil {
		t.Error("a key from too few bytes")
	}
	if _, err := New(bytes.NewReader(nil), epoch); err == nil {
		t.Error("an authority without randomness")
	}
}

func FuzzParse(f *testing.F) {
	state, err := newAuthority(f, 1).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(state)
	f.Add([]byte(`{"version":1,"issued":[{"ppid":"","serial":""}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := Parse(b)
		if err != nil {
			return
		}
		if _, err := a.Marshal(); err != nil {
			t.Fatal(err)
		}
		_, _ = a.Collateral(epoch)
	})
}
