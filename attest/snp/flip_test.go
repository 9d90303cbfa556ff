package snp_test

import (
	"slices"
	"testing"

	"hitoku.dev/attest/snp"
	"hitoku.dev/attest/snp/snptest"
)

func TestFlipEveryByteOfReport(t *testing.T) {
	t.Parallel()
	w := world()
	for _, tc := range []struct {
		p       snp.Product
		version uint32
		masked  bool
	}{{snp.Milan, 2, false}, {snp.Genoa, 3, true}, {snp.Turin, 5, false}} {
		report := w.Report(tc.p, tc.version)
		if tc.masked {
			snptest.Masked(report)
		}
		raw := w.Sign(report)
		v := snp.NewVerifier(options(w, w.Collateral(report)))
		if r, err := v.Verify(raw, now); err != nil || !r.OK() {
			t.Fatalf("the honest report was refused: %v %+v", err, r)
		}
		flipAll(raw, func(i int, flipped []byte) {
			if r, err := v.Verify(flipped, now); err == nil && r.OK() {
				t.Errorf("byte %d of the report changed from %#02x to %#02x, accepted", i, raw[i], flipped[i])
			}
		})
	}
}

// TestFlipEveryByteOfCertificates changes each certificate that travels with a
// report, and each one beside it, also those that the verifier could do without.
func TestFlipEveryByteOfCertificates(t *testing.T) {
	t.Parallel()
	w := world()
	report := w.Report(snp.Turin, 5)
	l := w.Line(snp.Turin)
	bare := w.Sign(report)
	certs := []snp.CertEntry{
		{Kind: snp.CertVCEK, Data: w.Leaf(report).Cert.Raw},
		{Kind: snp.CertASK, Data: l.ASK.Cert.Raw},
		{Kind: snp.CertARK, Data: l.ARK.Cert.Raw},
		{Kind: snp.CertCRL, Data: l.CRL(now)},
	}
	for n, entry := range certs {
		t.Run(string(entry.Kind), func(t *testing.T) {
			t.Parallel()
			table := slices.Clone(certs)
			v := snp.NewVerifier(options(w, &snp.Collateral{Certs: [][]byte{l.ASK.Cert.Raw}}))
			try := func(data []byte) bool {
				table[n].Data = data
				raw, err := snp.MarshalCertTable(table)
				if err != nil {
					t.Fatal(err)
				}
				r, err := v.Verify(append(slices.Clone(bare), raw...), now)
				return err == nil && r.OK()
			}
			if !try(entry.Data) {
				t.Fatal("the honest evidence was refused")
			}
			flipAll(entry.Data, func(i int, flipped []byte) {
				if try(flipped) {
					t.Errorf("byte %d changed from %#02x to %#02x, accepted", i, entry.Data[i], flipped[i])
				}
			})
		})
	}
	t.Run("PEM", func(t *testing.T) {
		t.Parallel()
		text := snptest.PEM(w.Leaf(report).Cert, l.ASK.Cert)
		flipAll(text, func(i int, flipped []byte) {
			r, err := snp.Verify(bare, options(w, &snp.Collateral{Certs: [][]byte{flipped}}))
			if space := func(b byte) bool { return b == '\n' || b == '\r' || b == '\t' || b == ' ' }; err == nil && r.OK() && !(space(text[i]) && space(flipped[i])) {
				t.Errorf("byte %d changed from %q to %q, accepted", i, text[i], flipped[i])
			}
		})
	})
}

func TestTruncateEverywhere(t *testing.T) {
	t.Parallel()
	w := world()
	report := w.Report(snp.Milan, 3)
	extended := w.SignExtended(report)
	v := snp.NewVerifier(options(w, nil))
	for name, raw := range map[string][]byte{
		"extended": extended,
		"trustee":  trusteeJSON(t, w.Sign(report), snp.CertVCEK, w.Leaf(report).Cert.Raw),
		"tsm":      tsmJSON(t, extended[:snp.ReportSize], extended[snp.ReportSize:]),
	} {
		for n := range raw {
			if r, err := v.Verify(raw[:n], now); err == nil && r.OK() {
				t.Errorf("%s accepted at %d of %d bytes", name, n, len(raw))
			}
		}
	}
}
