package simtee

import (
	"crypto/x509"
	"fmt"
	mathrand "math/rand/v2"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/enclave/simtee/authority"
)

var epoch = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func seeded(seed byte) *mathrand.ChaCha8 { return mathrand.NewChaCha8([32]byte{seed}) }

func newAuthority(t testing.TB, seed byte) *authority.Authority {
	t.Helper()
	a, err := authority.New(seeded(seed), epoch)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// newPlatform makes a platform, provisioned when a is not nil.
func newPlatform(t testing.TB, seed byte, a *authority.Authority) *Platform {
	t.Helper()
	p, err := NewPlatform(seeded(seed))
	if err != nil {
		t.Fatal(err)
	}
	if a != nil {
		provision(t, p, a)
	}
	return p
}

func provision(t testing.TB, p *Platform, a *authority.Authority) {
	t.Helper()
	chain, err := a.IssuePCK(p.PCKPublic(), p.PPID(), epoch)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.InstallPCK(chain); err != nil {
		t.Fatal(err)
	}
}

// verify judges a quote under an authority's root and collateral.
func verify(t testing.TB, quote []byte, a *authority.Authority) *attest.Result {
	t.Helper()
	return verifyUnder(t, quote, a, a.Root())
}

func verifyUnder(t testing.TB, quote []byte, a *authority.Authority, root *x509.Certificate) *attest.Result {
	t.Helper()
	c, err := a.Collateral(epoch)
	if err != nil {
		t.Fatal(err)
	}
	r, err := dcap.Verify(quote, dcap.Options{Root: root, Collateral: c, At: epoch.Add(time.Hour), Simulated: true})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func failed(r *attest.Result) string {
	s := ""
	for _, rule := range r.Rules {
		if !rule.OK {
			s += fmt.Sprintf("%s: wanted %s, seen %s\n", rule.Name, rule.Wanted, rule.Seen)
		}
	}
	return s
}

func failedRule(r *attest.Result, name string) bool {
	for _, rule := range r.Rules {
		if rule.Name == name {
			return !rule.OK
		}
	}
	return false
}

func binding(purpose attest.Purpose) *attest.Binding {
	b := &attest.Binding{Purpose: purpose, Subject: [32]byte{1}, Nonce: make([]byte, attest.NonceSize), AccountRoot: [32]byte{2}}
	b.Nonce[0] = 3
	return b
}
