package verify_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest/collateral"
	"hitoku.dev/internal/evidencetest"
	"hitoku.dev/internal/verify"
)

// evidenceFolder returns the folder of real evidence, or skips the test and says what is missing.
func evidenceFolder(t *testing.T) string {
	t.Helper()
	return evidencetest.Dir(t, "intel-cases.json")
}

func readIndex(t *testing.T, path string, into any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}

// folder copies files under meaningless names, as a user's folder might hold them.
func folder(t *testing.T, dir string, names ...string) *collateral.Bundle {
	t.Helper()
	to := t.TempDir()
	for i, name := range names {
		if name == "" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, string(rune('a'+i))), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bundle, err := collateral.Load(to)
	if err != nil {
		t.Fatal(err)
	}
	return bundle
}

// TestEveryIntelCase judges every case of the index by the default: it is accepted
// exactly when it is complete, not debug and UpToDate.
func TestEveryIntelCase(t *testing.T) {
	t.Parallel()
	dir := evidenceFolder(t)
	var index struct {
		Quotes []struct{ File string }
		Cases  []struct {
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
				Overall    string
				Platform   string `json:"platform_tcb"`
				Module     string `json:"tdx_module"`
				QE         string
				Advisories []string
				Debug      bool
			}
		}
	}
	readIndex(t, filepath.Join(dir, "intel-cases.json"), &index)
	if len(index.Cases) == 0 {
		t.Fatal("no case in the index")
	}
	for _, c := range index.Cases {
		t.Run(c.ID, func(t *testing.T) {
			t.Parallel()
			bundle := folder(t, dir, c.TCBInfo, c.TCBChain, c.Identity, c.QEChain, c.PCKCRL, c.RootCRL)
			r, err := verify.Run(t.Context(), verify.Options{Target: filepath.Join(dir, c.Quote), Collateral: bundle, At: c.VerifyAt})
			if err != nil {
				t.Fatal(err)
			}
			wanted := c.Complete && !c.Observed.Debug && c.Observed.Overall == "UpToDate"
			if r.Accepted() != wanted {
				t.Errorf("accepted %v, wanted %v: failed %v", r.Accepted(), wanted, r.Verdict.Failed())
			}
			if c.Observed.Platform == "no-match" {
				c.Observed.Platform = "TCBNotSupported"
			}
			if strings.HasPrefix(c.Observed.Module, "version 0") { // such a module has no identity of its own
				c.Observed.Module = ""
			}
			tcb := r.Verdict.TCB
			if c.Complete && (tcb.Overall != c.Observed.Overall || tcb.Platform != c.Observed.Platform || tcb.QE != c.Observed.QE || tcb.Module != c.Observed.Module) {
				t.Errorf("TCB %+v, wanted %+v", tcb, c.Observed)
			}
			if r.Verdict.Debug != c.Observed.Debug {
				t.Errorf("debug %v", r.Verdict.Debug)
			}
		})
	}
	// Every quote without any collateral is recognised, judged and refused.
	for _, q := range index.Quotes {
		r, err := verify.Run(t.Context(), verify.Options{Target: filepath.Join(dir, q.File), At: time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)})
		if err != nil || r.Accepted() || r.Verdict.Format == "" {
			t.Errorf("%s: %v, format %q, accepted", q.File, err, r.Verdict.Format)
		}
	}
}

// moment is when an item of the other index is judged: its own time, or one at
// which the long-lived chains of the rest are valid.
func moment(t *testing.T, s string) time.Time {
	t.Helper()
	if s == "" {
		s = "2025-06-01"
	}
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(form, s); err == nil {
			return at
		}
	}
	t.Fatalf("time %q", s)
	return time.Time{}
}

// other says what the default wants of an item of the other index, and what must
// be among the reasons of a refusal. Items that are no evidence are not judged.
func other(file string) (judge, accept bool, reason string) {
	base := filepath.Base(file)
	switch {
	case base == "report.bin":
		return true, !strings.Contains(file, "debug"), "debug"
	case strings.HasPrefix(file, "nitro/"):
		return true, !strings.Contains(file, "debug"), "debug"
	case strings.HasPrefix(file, "azure-vtpm/az-snp-vtpm/evidence"):
		return true, true, ""
	case strings.HasPrefix(file, "azure-vtpm/az-tdx-vtpm/evidence"):
		return true, false, "tcb_status" // TDX without collateral
	case strings.HasPrefix(file, "nvidia-gpu/") && strings.HasSuffix(file, ".json"), base == "hopperAttestationReport.txt":
		return true, true, ""
	case strings.HasPrefix(file, "tpm/gce/gce-"), base == "trustee_tpm_evidence.json":
		return true, false, "ak_trusted" // nothing vouches for the key
	case strings.HasPrefix(file, "tdx/eventlog/") && (strings.HasSuffix(file, "quote.dat") || strings.HasSuffix(file, "quote-report.json") || strings.HasSuffix(file, "getquote.json")):
		return true, false, "tcb_status"
	}
	return false, false, ""
}

func TestAllOtherEvidence(t *testing.T) {
	t.Parallel()
	dir := evidenceFolder(t)
	var index []struct {
		File     string
		VerifyAt string `json:"verify_at"`
	}
	readIndex(t, filepath.Join(dir, "other-evidence.json"), &index)
	judged := 0
	for _, item := range index {
		judge, accept, reason := other(item.File)
		if !judge {
			continue
		}
		judged++
		t.Run(strings.ReplaceAll(item.File, "/", "_"), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(dir, item.File)
			o := verify.Options{Target: path, At: moment(t, item.VerifyAt)}
			// The folder of the item gives its certificates, if it has any.
			if bundle, err := collateral.Load(filepath.Dir(path)); err == nil {
				o.Collateral = bundle
			}
			r, err := verify.Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if r.Accepted() != accept || r.Verdict.Format == "" {
				t.Errorf("format %q, accepted %v, wanted %v", r.Verdict.Format, r.Accepted(), accept)
				for _, f := range r.Verdict.Failed() {
					t.Errorf("%+v", f)
				}
			}
			if !accept && !strings.Contains(strings.Join(failed(r), " "), reason) {
				t.Errorf("failed %v, wanted %s among them", failed(r), reason)
			}
		})
	}
	if judged < 27 {
		t.Errorf("%d items judged", judged)
	}
}
