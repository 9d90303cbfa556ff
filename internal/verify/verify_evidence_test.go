package verify_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest/collateral"
	"hitoku.dev/internal/verify"
)

// TestRealQuotesWithFolder judges real quotes with the real collateral of their
// time, given as a folder of the service's answers under meaningless names.
func TestRealQuotesWithFolder(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("HITOKU_EVIDENCE")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "evidence")
	}
	raw, err := os.ReadFile(filepath.Join(dir, "intel-cases.json"))
	if err != nil {
		t.Skipf("no real evidence: %s/intel-cases.json is missing; set HITOKU_EVIDENCE to the evidence folder", dir)
	}
	var index struct {
		Cases []struct {
			ID       string
			Quote    string
			TCBInfo  string    `json:"tcb_info"`
			TCBChain string    `json:"tcb_info_chain"`
			Identity string    `json:"enclave_identity"`
			QEChain  string    `json:"enclave_identity_chain"`
			PCKCRL   string    `json:"pck_crl"`
			RootCRL  string    `json:"root_ca_crl"`
			VerifyAt time.Time `json:"verify_at"`
			Complete bool
			Observed struct {
				Overall string
				Debug   bool
			}
		}
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, c := range index.Cases {
		if !c.Complete || !strings.HasPrefix(c.Quote, "sgx/quotes/v3_") {
			continue
		}
		tried++
		t.Run(c.ID, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			for i, name := range []string{c.TCBInfo, c.TCBChain, c.Identity, c.QEChain, c.PCKCRL, c.RootCRL} {
				data, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(folder, string(rune('a'+i))), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			bundle, err := collateral.Load(folder)
			if err != nil {
				t.Fatal(err)
			}
			r, err := verify.Run(t.Context(), verify.Options{Target: filepath.Join(dir, c.Quote), Collateral: bundle, At: c.VerifyAt})
			if err != nil {
				t.Fatal(err)
			}
			var wanted []string
			if c.Observed.Debug {
				wanted = append(wanted, "debug")
			}
			if c.Observed.Overall != "UpToDate" {
				wanted = append(wanted, "tcb_status")
			}
			if got := failed(r); !slices.Equal(got, wanted) || r.Verdict.TCB.Overall != c.Observed.Overall {
				t.Errorf("TCB %s, failed %v; wanted %s, %v: %+v", r.Verdict.TCB.Overall, got, c.Observed.Overall, wanted, r.Verdict.Failed())
			}
		})
	}
	if tried == 0 {
		t.Fatal("no complete SGX case in the index")
	}

	// The whole pool at once: parts of many platforms, times and editions.
	bundle, err := collateral.Load(filepath.Join(dir, "intel-collateral"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := verify.Run(t.Context(), verify.Options{
		Target: filepath.Join(dir, "sgx/quotes/v3_phala_sgx_quote.bin"), Collateral: bundle, At: time.Date(2025, 7, 4, 10, 28, 44, 0, time.UTC),
	})
	if err != nil || !slices.Equal(failed(r), []string{"tcb_status"}) || r.Verdict.TCB.Overall != "ConfigurationAndSWHardeningNeeded" {
		t.Errorf("whole pool: %v %+v", err, r.Verdict.Failed())
	}
}
