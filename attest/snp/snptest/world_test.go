package snptest

import (
	"math/big"
	"testing"
	"time"

	"crypto/x509"

	"hitoku.dev/attest/snp"
)

func TestWorldIsConsistent(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	w := New(t, now)
	for _, p := range snp.Products() {
		l := w.Line(p)
		for _, ca := range []Authority{l.ASK, l.ASVK} {
			if err := ca.Cert.CheckSignatureFrom(l.ARK.Cert); err != nil {
				t.Errorf("%s: %v", p, err)
			}
		}
		for version := uint32(snp.MinVersion); version <= snp.MaxVersion; version++ {
			r := w.Report(p, version)
			raw := w.SignAs(p, r)
			got, err := snp.ParseReport(raw)
			if err != nil {
				t.Fatalf("%s version %d: %v", p, version, err)
			}
			e, err := snp.ParseEndorsement(w.LeafAs(p, got).Cert)
			if err != nil {
				t.Fatal(err)
			}
			if !e.Matches(got) || e.Product != p {
				t.Errorf("%s version %d: certificate %+v does not match", p, version, e)
			}
		}
		r := Masked(w.Report(p, 5))
		if err := w.Leaf(r).Cert.CheckSignatureFrom(l.ASVK.Cert); err != nil {
			t.Errorf("%s: %v", p, err)
		}
		crl, err := x509.ParseRevocationList(l.CRL(now, big.NewInt(9)))
		if err != nil || crl.CheckSignatureFrom(l.ARK.Cert) != nil || len(crl.RevokedCertificateEntries) != 1 {
			t.Errorf("%s: revocation list %v", p, err)
		}
	}
	r := w.Report(snp.Genoa, 3)
	if first := w.Leaf(r); first != w.Leaf(r) {
		t.Error("a chip has two certificates")
	}
	entries, err := snp.ParseCertTable(w.Table(r))
	if err != nil || len(entries) != 3 || entries[0].Kind != snp.CertVCEK {
		t.Errorf("table %v: %v", entries, err)
	}
}
