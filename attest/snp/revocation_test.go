package snp_test

import (
	"crypto/x509"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/snp"
	"hitoku.dev/attest/snp/snptest"
)

func TestRevocation(t *testing.T) {
	t.Parallel()
	w := world()
	milan := w.Line(snp.Milan)
	report := w.Report(snp.Milan, 3)
	raw := w.Sign(report)
	leaf := milan.NewVCEK(report.ChipID, report.ReportedTCB, func(c *x509.Certificate) { c.SerialNumber = big.NewInt(4711) })
	own := w.SignWith(report, leaf.Key)
	certs := func(l *snptest.Leaf) [][]byte { return [][]byte{l.Cert.Raw, milan.ASK.Cert.Raw} }
	forged := snptest.New(t, now).Line(snp.Milan)
	good := milan.CRL(now)
	flipped := slices.Clone(good)
	flipped[len(flipped)-1] ^= 1
	for name, tc := range map[string]struct {
		raw   []byte
		certs [][]byte
		crls  [][]byte
		at    time.Time
		grace time.Duration
		ok    bool
		rule  bool // whether the rule is made at all
	}{
		"current":               {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{milan.CRL(now, big.NewInt(99))}, at: now, ok: true, rule: true},
		"none":                  {raw: raw, certs: certs(w.Leaf(report)), at: now, ok: true},
		"of another product":    {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{w.Line(snp.Genoa).CRL(now)}, at: now, ok: true},
		"ASK revoked":           {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{milan.CRL(now, milan.ASK.Cert.SerialNumber)}, at: now, rule: true},
		"ASVK revoked":          {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{milan.CRL(now, milan.ASVK.Cert.SerialNumber)}, at: now, ok: true, rule: true},
		"VCEK revoked":          {raw: own, certs: certs(leaf), crls: [][]byte{milan.CRL(now, big.NewInt(4711))}, at: now, rule: true},
		"VCEK not revoked":      {raw: own, certs: certs(leaf), crls: [][]byte{milan.CRL(now, big.NewInt(4712))}, at: now, ok: true, rule: true},
		"revoked on older list": {raw: own, certs: certs(leaf), crls: [][]byte{milan.CRL(now), milan.CRL(now.AddDate(0, 0, -5), big.NewInt(4711))}, at: now, rule: true},
		"stale":                 {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{milan.CRL(now.AddDate(0, 0, -90))}, at: now, rule: true},
		"stale with grace":      {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{milan.CRL(now.AddDate(0, 0, -90))}, at: now, grace: 48 * time.Hour, ok: true, rule: true},
		"stale beyond grace":    {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{milan.CRL(now.AddDate(0, 0, -90))}, at: now, grace: time.Hour, rule: true},
		"from the future":       {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{milan.CRL(now.AddDate(0, 0, 2))}, at: now, grace: 48 * time.Hour, rule: true},
		"forged":                {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{forged.CRL(now)}, at: now, rule: true},
		"flipped":               {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{flipped}, at: now, rule: true},
		"not a list":            {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{{1}}, at: now, rule: true},
		"oversized":             {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{make([]byte, 1<<16)}, at: now, rule: true},
		"bytes after its end":   {raw: raw, certs: certs(w.Leaf(report)), crls: [][]byte{append(slices.Clone(good), 0)}, at: now, rule: true},
	} {
		r := verify(t, tc.raw, snp.Options{At: tc.at, Roots: w.Roots(), Collateral: &snp.Collateral{Certs: tc.certs, CRLs: tc.crls}, Grace: tc.grace})
		made := slices.ContainsFunc(r.Rules, func(rule attest.Rule) bool { return rule.Name == "vcek_revocation" })
		if r.OK() != tc.ok || made != tc.rule {
			t.Errorf("%s: accepted %v, rule made %v: %+v", name, r.OK(), made, r.Rules)
		}
		if !tc.ok && !slices.Equal(failedNames(r), []string{"vcek_revocation"}) {
			t.Errorf("%s: failed %v", name, failedNames(r))
		}
		if tc.ok && tc.rule == r.Claims.CollateralDate.IsZero() {
			t.Errorf("%s: collateral of %v", name, r.Claims.CollateralDate)
		}
		if name == "stale with grace" && !strings.Contains(ruleOf(t, r, "vcek_revocation").Seen, "stale since") {
			t.Errorf("grace is not stated: %+v", r.Rules)
		}
	}
}

// TestRevocationListInEvidence counts, unless the verifier brought its own.
func TestRevocationListInEvidence(t *testing.T) {
	t.Parallel()
	w := world()
	milan := w.Line(snp.Milan)
	report := w.Report(snp.Milan, 3)
	extended := func(crl []byte) []byte {
		table, err := snp.MarshalCertTable([]snp.CertEntry{
			{Kind: snp.CertVCEK, Data: w.Leaf(report).Cert.Raw}, {Kind: snp.CertASK, Data: milan.ASK.Cert.Raw}, {Kind: snp.CertCRL, Data: crl},
		})
		if err != nil {
			t.Fatal(err)
		}
		return append(w.Sign(report), table...)
	}
	clean, revoking := milan.CRL(now), milan.CRL(now, milan.ASK.Cert.SerialNumber)
	r := verify(t, extended(clean), options(w, nil))
	if seen := ruleOf(t, r, "vcek_revocation").Seen; !r.OK() || !strings.Contains(seen, "the evidence carries") {
		t.Errorf("%v, seen %q", failedNames(r), seen)
	}
	if r := verify(t, extended(revoking), options(w, nil)); r.OK() {
		t.Error("a revoking list in the evidence was ignored")
	}
	if r := verify(t, extended(clean), options(w, &snp.Collateral{CRLs: [][]byte{revoking}})); r.OK() {
		t.Error("the evidence's list was preferred to the verifier's")
	}
}
