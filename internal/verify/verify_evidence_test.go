package verify_test

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"hitoku.dev/attest/collateral"
	"hitoku.dev/internal/verify"
)

// TestWholePool chooses from everything at once: parts of many platforms, times and editions.
func TestWholePool(t *testing.T) {
	t.Parallel()
	dir := evidenceFolder(t)
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
