package snp_test

import (
	"bytes"
	"errors"
	"testing"

	"hitoku.dev/attest/snp"
	"hitoku.dev/attest/snp/snptest"
)

// FuzzVerify gives evidence in every container to a verifier that trusts the test world.
func FuzzVerify(f *testing.F) {
	w := world()
	for _, report := range []*snp.Report{w.Report(snp.Milan, 2), snptest.Masked(w.Report(snp.Genoa, 3)), w.Report(snp.Turin, 5)} {
		raw := w.Sign(report)
		f.Add(raw)
		f.Add(append(bytes.Clone(raw), make([]byte, 100)...))
		f.Add(w.SignExtended(report))
		f.Add(tsmJSON(f, raw, w.Table(report)))
		f.Add(trusteeJSON(f, raw, snp.CertVCEK, w.Leaf(report).Cert.Raw))
		f.Add(append([]byte{0, 0, 0, 0, 0xa0, 4, 32: 0}[:32], raw...))
	}
	f.Add([]byte(`{"attestation_report":{},"cert_chain":[{"cert_type":{"OTHER":""},"data":[]}]}`))
	v := snp.NewVerifier(options(w, nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := v.Verify(raw, now)
		if err != nil {
			if !errors.Is(err, snp.ErrFormat) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		for _, rule := range r.Rules {
			if !rule.OK && (rule.Seen == "" || rule.Advice == "") {
				t.Fatalf("a refusal that does not explain itself: %+v", rule)
			}
		}
		e, err := snp.Read(raw)
		if err != nil {
			return // reserved bits
		}
		if again := e.Report.Marshal(); !bytes.Equal(again, e.Raw) {
			t.Fatal("marshal differs")
		}
		if r.OK() != snp.Recognise(raw) && r.OK() {
			t.Fatal("accepted, but not recognised")
		}
	})
}

func FuzzCertTable(f *testing.F) {
	for _, entries := range [][]snp.CertEntry{nil, {{Kind: snp.CertVCEK, Data: []byte{1}}}, {{Kind: snp.CertASK, Data: []byte{1, 2}}, {GUID: [16]byte{7}, Data: []byte{3}}}} {
		raw, err := snp.MarshalCertTable(entries)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append(raw, 0))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		entries, err := snp.ParseCertTable(raw)
		if err != nil {
			return
		}
		again, err := snp.MarshalCertTable(entries)
		if err != nil {
			t.Fatalf("does not write what it read: %v", err)
		}
		if _, err := snp.ParseCertTable(again); err != nil {
			t.Fatalf("does not read what it wrote: %v", err)
		}
	})
}

// FuzzCollateral reads certificates and revocation lists, beside an honest report.
func FuzzCollateral(f *testing.F) {
	w := world()
	report := w.Report(snp.Turin, 5)
	raw, roots := w.Sign(report), w.Roots()
	l := w.Line(snp.Turin)
	f.Add(w.Leaf(report).Cert.Raw, l.CRL(now, l.ASK.Cert.SerialNumber))
	f.Add(snptest.PEM(w.Leaf(report).Cert, l.ASK.Cert), []byte("-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"))
	f.Add(w.Line(snp.Milan).VLEK(snptest.CSP, 1).Cert.Raw, w.Line(snp.Milan).CRL(now))
	f.Fuzz(func(t *testing.T, cert, crl []byte) {
		c := &snp.Collateral{Certs: [][]byte{cert, l.ASK.Cert.Raw}, CRLs: [][]byte{crl}}
		if _, err := snp.Verify(raw, snp.Options{At: now, Roots: roots, Collateral: c}); err != nil {
			t.Fatal(err)
		}
	})
}
