package collateral_test

import (
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest/collateral"
	"hitoku.dev/attest/collateral/collateraltest"
	"hitoku.dev/attest/snp"
	"hitoku.dev/attest/snp/snptest"
)

// amd makes a source that trusts the root of some products.
func (s *setup) amd(products ...snp.Product) func(*collateral.Options, *collateral.ClientOptions) {
	return func(o *collateral.Options, _ *collateral.ClientOptions) {
		o.AMD = []*x509.Certificate{}
		for _, p := range products {
			o.AMD = append(o.AMD, s.world.AMD.Line(p).ARK.Cert)
		}
	}
}

func (s *setup) judgeSNP(src *collateral.Source, raw []byte, roots []*x509.Certificate) (failed []string, err error) {
	s.t.Helper()
	c, err := src.SNP(s.t.Context(), raw)
	return s.failedSNP(raw, c, roots), err
}

func (s *setup) failedSNP(raw []byte, c *snp.Collateral, roots []*x509.Certificate) (failed []string) {
	s.t.Helper()
	r, err := snp.Verify(raw, snp.Options{At: s.world.Now(), Roots: roots, Collateral: c})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, rule := range r.Rules {
		if !rule.OK {
			failed = append(failed, rule.Name+": "+rule.Seen)
		}
	}
	if slices.ContainsFunc(r.NotChecked, func(n string) bool { return strings.Contains(n, "revo") }) {
		failed = append(failed, "revocation not checked")
	}
	return failed
}

func TestSNP(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	products := []snp.Product{snp.Milan, snp.Genoa}
	edit := s.amd(products...)
	var roots []*x509.Certificate
	for _, p := range products {
		roots = append(roots, s.world.AMD.Line(p).ARK.Cert)
	}
	src := s.source(edit)
	began := s.world.Now()
	bare := s.world.AMD.Sign(s.world.AMD.Report(snp.Milan, 3))
	if failed, err := s.judgeSNP(src, bare, roots); err != nil || len(failed) > 0 {
		t.Fatalf("Milan: %v, failed %v", err, failed)
	}
	requests := s.server.Requests()
	if len(requests) != 3 || !strings.HasPrefix(requests[0], "/vcek/v1/Milan/cert_chain") || !strings.HasPrefix(requests[1], "/vcek/v1/Milan/c1c1") || requests[2] != "/vcek/v1/Milan/crl" {
		t.Errorf("requests %v", requests)
	}
	if passed := s.world.Now().Sub(began); passed < 4*time.Second {
		t.Errorf("three requests to AMD's service within %v, wanted two seconds between them", passed)
	}
	// Version 2 names no product.
	if failed, err := s.judgeSNP(src, s.world.AMD.SignAs(snp.Milan, s.world.AMD.Report(snp.Milan, 2)), roots); err != nil || len(failed) > 0 {
		t.Errorf("Milan, version 2: %v, failed %v", err, failed)
	}
	if more := s.server.Requests(); len(more) > 0 {
		t.Errorf("asked again: %v", more)
	}
	// A report with its certificate table needs no VCEK from the service.
	extended := s.world.AMD.SignExtended(s.world.AMD.Report(snp.Genoa, 3))
	if failed, err := s.judgeSNP(src, extended, roots); err != nil || len(failed) > 0 {
		t.Errorf("Genoa, extended: %v, failed %v", err, failed)
	}
	if n := len(s.server.Requests()); n != 2 {
		t.Errorf("%d requests for an extended report, wanted 2", n)
	}
	// Everything is on disk now.
	off := s.source(func(o *collateral.Options, c *collateral.ClientOptions) { edit(o, c); c.HTTP = nil })
	if failed, err := s.judgeSNP(off, bare, roots); err != nil || len(failed) > 0 {
		t.Errorf("offline: %v, failed %v", err, failed)
	}
	b, err := collateral.Load(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	report, err := snp.ParseReport(bare)
	if err != nil {
		t.Fatal(err)
	}
	if failed := s.failedSNP(bare, b.SNP(report, s.world.Now()), roots); len(failed) > 0 {
		t.Errorf("from the folder: failed %v", failed)
	}
	for _, e := range b.Inspect(roots, s.world.Now()) {
		if e.State != collateral.Fresh || e.Root == "" {
			t.Errorf("%+v", e)
		}
	}
	// A masked chip that a VLEK signs: the certificate is the provider's to give.
	masked := s.world.AMD.Sign(snptest.Masked(s.world.AMD.Report(snp.Milan, 3)))
	if failed, err := s.judgeSNP(src, masked, roots); err == nil || !strings.Contains(err.Error(), "only the cloud provider") || len(failed) == 0 {
		t.Errorf("VLEK: %v, failed %v", err, failed)
	}
	// The ASK is revoked: at the list's renewal everything of it is refused.
	s.world.Revoke(s.world.AMD.Line(snp.Milan).ASK.Cert)
	s.world.SetNow(now().AddDate(0, 0, 89))
	if failed, err := s.judgeSNP(src, bare, roots); err != nil || len(failed) != 1 || !strings.HasPrefix(failed[0], "vcek_revocation") {
		t.Errorf("revoked: %v, failed %v", err, failed)
	}
	if b, err = collateral.Load(s.dir); err != nil {
		t.Fatal(err)
	}
	for _, e := range b.Inspect(roots, s.world.Now()) {
		if revoked := e.State == collateral.Revoked; revoked != (e.Kind == collateral.VCEK || e.Subject == "SEV-Milan") {
			t.Errorf("%+v", e)
		}
	}
}

func TestKDSFails(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	edit := s.amd(snp.Milan)
	roots := []*x509.Certificate{s.world.AMD.Line(snp.Milan).ARK.Cert}
	bare := s.world.AMD.Sign(s.world.AMD.Report(snp.Milan, 3))
	for _, c := range []struct {
		name string
		set  func()
		says string
	}{
		{"no VCEK", func() { s.server.Set(func(b *collateraltest.Behaviour) { b.NoVCEK = true }) }, "collateral vcek for milan-c1c1"},
		{"rate limit", func() {
			s.server.Set(func(b *collateraltest.Behaviour) { b.NoVCEK = false })
			s.server.Fail(3, http.StatusTooManyRequests, "Retry-After", "10")
		}, ""},
		{"long rate limit", func() { s.server.Fail(1, http.StatusTooManyRequests, "Retry-After", "600") }, "left alone until"},
	} {
		s.dir = t.TempDir()
		c.set()
		began := s.world.Now()
		failed, err := s.judgeSNP(s.source(edit), bare, roots)
		switch {
		case c.says == "" && (err != nil || len(failed) > 0 || s.world.Now().Sub(began) < 30*time.Second):
			t.Errorf("%s: %v, failed %v, after %v", c.name, err, failed, s.world.Now().Sub(began))
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || len(failed) == 0):
			t.Errorf("%s: error %v, wanted %q; failed %v", c.name, err, c.says, failed)
		}
	}
	if n := len(s.server.Requests()); n != 3+6+1 {
		t.Errorf("%d requests, wanted 10: a service that asks to be left alone is not asked for the others either", n)
	}
	// No root of the product, no report, no key.
	src := s.source(edit)
	for says, raw := range map[string][]byte{
		"no trusted root":  s.world.AMD.Sign(s.world.AMD.Report(snp.Genoa, 3)),
		"not":              []byte("hello"),
		"signed by no key": unsigned(s.world.AMD.Report(snp.Milan, 3)),
		"is no product":    unknown(s.world.AMD.Report(snp.Milan, 3)),
		"masked":           masked(s.world.AMD.Report(snp.Milan, 3)),
	} {
		if _, err := src.SNP(t.Context(), raw); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, wanted %q", err, says)
		}
	}
	if !errors.Is(&collateral.FetchError{Err: collateral.ErrNotFound}, collateral.ErrNotFound) {
		t.Error("the cause of a FetchError is lost")
	}
}

func unsigned(r *snp.Report) []byte {
	r.KeyInfo, r.SignatureAlgo = snp.NewKeyInfo(snp.None, false, false), 0
	return r.Marshal()
}

func unknown(r *snp.Report) []byte { r.Family = 0x30; return r.Marshal() }

func masked(r *snp.Report) []byte { r.ChipID = [64]byte{}; return r.Marshal() }
