package collateral_test

import (
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hitoku.dev/attest/collateral"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/attest/snp"
	"hitoku.dev/internal/evidencetest"
)

func evidenceDir(t testing.TB) string {
	t.Helper()
	return evidencetest.Dir(t, "intel-cases.json")
}

// TestRealPool loads the whole pool of real collateral at once: every complete case finds in it
// what gives the outcome that was observed with its own files.
func TestRealPool(t *testing.T) {
	t.Parallel()
	dir := evidenceDir(t)
	var index struct {
		Cases []struct {
			ID       string    `json:"id"`
			Quote    string    `json:"quote"`
			TCBInfo  string    `json:"tcb_info"`
			At       time.Time `json:"verify_at"`
			Complete bool      `json:"complete"`
			Observed struct {
				Overall string `json:"overall"`
			} `json:"observed"`
		} `json:"cases"`
	}
	raw, err := os.ReadFile(filepath.Join(dir, "intel-cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		t.Fatal(err)
	}
	b, err := collateral.Load(filepath.Join(dir, "intel-collateral"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range b.Inspect([]*x509.Certificate{dcap.IntelRoot()}, time.Date(2025, 10, 21, 0, 0, 0, 0, time.UTC)) {
		if e.Root == "" {
			t.Errorf("not verified under Intel's root: %+v", e)
		}
	}
	complete := 0
	for _, c := range index.Cases {
		if !c.Complete {
			continue
		}
		complete++
		quote, err := os.ReadFile(filepath.Join(dir, c.Quote))
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.ReadFile(filepath.Join(dir, c.TCBInfo))
		if err != nil {
			t.Fatal(err)
		}
		own := new(collateral.Bundle)
		if !own.Add(info) {
			t.Fatalf("%s was not recognised", c.TCBInfo)
		}
		as := collateral.Pinned(own.Documents()[0].Evaluation)
		r, err := dcap.Verify(quote, dcap.Options{Root: dcap.IntelRoot(), Collateral: b.DCAPAs(quote, c.At, as), At: c.At})
		if err != nil {
			t.Fatal(err)
		}
		if r.Claims.TCB.Overall != c.Observed.Overall {
			t.Errorf("%s: %s, wanted %s", c.ID, r.Claims.TCB.Overall, c.Observed.Overall)
		}
		for _, rule := range r.Rules {
			if !rule.OK && rule.Name != "tcb_level" {
				t.Errorf("%s: %s: %s", c.ID, rule.Name, rule.Seen)
			}
		}
	}
	if complete < 50 {
		t.Errorf("only %d complete cases", complete)
	}
}

// TestRealFiles recognises and verifies the other files: PCS answers with PCK certificates, AMD's
// roots, VCEKs and VLEKs.
func TestRealFiles(t *testing.T) {
	t.Parallel()
	dir := evidenceDir(t)
	b, err := collateral.Load(filepath.Join(dir, "sgx", "pck-certs"))
	if err != nil {
		t.Fatal(err)
	}
	pcks := 0
	for _, d := range b.Documents() {
		if d.Kind == collateral.PCKCertificate {
			pcks++
		}
	}
	if pcks < 15 {
		t.Errorf("%d PCK certificates in the answers of the service", pcks)
	}
	chips := new(collateral.Bundle)
	files, err := filepath.Glob(filepath.Join(dir, "snp", "*", "v[cl]ek.*"))
	if err != nil {
		t.Fatal(err)
	}
	roots, err := filepath.Glob(filepath.Join(dir, "snp", "amd-roots", "*.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(files, roots...) {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !chips.Add(raw) {
			t.Errorf("%s was not recognised", name)
		}
	}
	at := time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC)
	for _, e := range chips.Inspect(snp.AMDRoots(), at) {
		if e.State == collateral.Unknown {
			t.Errorf("%+v", e)
		}
	}
	reports, err := filepath.Glob(filepath.Join(dir, "snp", "*", "report.bin"))
	if err != nil || len(reports) < 8 {
		t.Fatal(len(reports), err)
	}
	for _, name := range reports {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		e, err := snp.Read(raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		r, err := snp.Verify(raw, snp.Options{At: at, Collateral: chips.SNP(e.Report, at)})
		if err != nil {
			t.Fatal(err)
		}
		for _, rule := range r.Rules {
			if !rule.OK && rule.Name != "vcek_chain" { // some have expired by then
				t.Errorf("%s: %s: %s", name, rule.Name, rule.Seen)
			}
		}
	}
}
