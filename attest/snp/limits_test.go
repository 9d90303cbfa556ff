package snp_test

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"hitoku.dev/attest/snp"
)

// TestMemoryOfHostileInput allocates at most 1 MiB for anything. It counts what
// the whole program allocates, so it does not run beside other tests.
func TestMemoryOfHostileInput(t *testing.T) {
	w := world()
	report := w.Report(snp.Milan, 3)
	bare, good := w.Sign(report), w.Leaf(report).Cert.Raw
	junk := bytes.Repeat([]byte{0x30, 0x82, 0x0f, 0xfc}, 1024)
	table := func(kind snp.CertKind, data []byte, n int) []byte {
		var entries []snp.CertEntry
		for range n {
			entries = append(entries, snp.CertEntry{Kind: kind, Data: data})
		}
		raw, err := snp.MarshalCertTable(entries)
		if err != nil {
			t.Fatal(err)
		}
		return append(bytes.Clone(bare), raw...)
	}
	numbers := strings.Repeat("0,", 60<<10)
	crl := w.Line(snp.Milan).CRL(now)
	for name, raw := range map[string][]byte{
		"zeros":            append(bytes.Clone(bare), make([]byte, snp.MaxEvidence-len(bare))...),
		"noise":            append(bytes.Clone(bare), bytes.Repeat([]byte{0xff}, snp.MaxEvidence-len(bare))...),
		"junk certs":       table(snp.CertVCEK, junk, 15),
		"many certs":       table(snp.CertVCEK, good, 16),
		"many CRLs":        table(snp.CertCRL, crl, 16),
		"junk CRLs":        table(snp.CertCRL, junk, 15),
		"numbers":          []byte(`{"attestation_report":{"family_id":[` + numbers + `0]}}`),
		"big certificate":  []byte(`{"attestation_report":null,"cert_chain":[{"cert_type":"VCEK","data":[` + numbers + `0]}]}`),
		"chain before":     []byte(`{"cert_chain":[{"cert_type":"VCEK","data":[` + numbers + `0]}],"attestation_report":null}`),
		"long names":       []byte(`{"attestation_report":{"` + strings.Repeat(`\u0041`, 20000) + `":1}}`),
		"big blob":         []byte(`{"provider":"sev_guest","outblob":"` + strings.Repeat("A", 120<<10) + `"}`),
		"nested":           []byte(`{"attestation_report":{"a":` + strings.Repeat(`[`, 9000) + strings.Repeat(`]`, 9000) + `}}`),
		"many members":     []byte(`{"attestation_report":{` + manyMembers(400) + `}}`),
		"too long":         make([]byte, 8<<20),
		"many JSON chains": []byte(`{"cert_chain":[` + strings.Repeat(`{"cert_type":"VCEK","data":[1]},`, 3000) + `{}],"attestation_report":{}}`),
	} {
		v := snp.NewVerifier(options(w, nil))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := v.Verify(raw, now)
		runtime.ReadMemStats(&after)
		if err == nil && r.OK() {
			t.Errorf("%s: accepted", name)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
			t.Errorf("%s: %d bytes allocated", name, used)
		}
	}
}

// TestAllocations holds the cost of a report with a remembered chain beside the
// signature check of the standard library.
func TestAllocations(t *testing.T) {
	w := world()
	report := w.Report(snp.Turin, 5)
	for name, raw := range map[string][]byte{"bare": w.Sign(report), "extended": w.SignExtended(report)} {
		v := snp.NewVerifier(options(w, w.Collateral(report)))
		if r, err := v.Verify(raw, now); err != nil || !r.OK() {
			t.Fatalf("%v %+v", err, r)
		}
		all := testing.AllocsPerRun(20, func() {
			if _, err := v.Verify(raw, now); err != nil {
				t.Error(err)
			}
		})
		check := verifyOnly(t, w.Leaf(report), raw)
		signature := testing.AllocsPerRun(20, check)
		if all-signature > 20 {
			t.Errorf("%s: %v allocations, %v of them the signature's", name, all, signature)
		}
		t.Logf("%s: %v allocations, %v of them the signature's", name, all, signature)
	}
}
