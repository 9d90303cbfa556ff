package snp_test

import (
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hitoku.dev/internal/evidencetest"
)

// evidenceDir returns the folder of real evidence, or skips the test and says what is missing.
func evidenceDir(t testing.TB) string {
	t.Helper()
	return evidencetest.Dir(t, "other-evidence.json")
}

func readEvidence(t testing.TB, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// realReport is a row of the evidence's index.
type realReport struct {
	File        string `json:"file"`
	VerifyAt    string `json:"verify_at"`
	Version     string `json:"version"`
	Signer      string `json:"signer"`
	Debug       string `json:"debug"`
	ReportedTCB string `json:"reported_tcb"`
	CertValid   string `json:"cert_valid"`

	raw, cert []byte
	at        time.Time
}

// realReports returns every report of the index with the certificate beside it.
func realReports(t testing.TB, dir string) []realReport {
	t.Helper()
	var index, out []realReport
	if err := json.Unmarshal(readEvidence(t, dir, "other-evidence.json"), &index); err != nil {
		t.Fatal(err)
	}
	for _, row := range index {
		if !strings.HasPrefix(row.File, "snp/") || path.Base(row.File) != "report.bin" {
			continue
		}
		row.raw = readEvidence(t, dir, row.File)
		for _, name := range []string{"vcek.der", "vcek.pem", "vlek.pem"} {
			if b, err := os.ReadFile(filepath.Join(dir, path.Dir(row.File), name)); err == nil {
				row.cert = b
			}
		}
		var err error
		if row.at, err = time.Parse(time.DateOnly, row.VerifyAt); err != nil {
			t.Fatal(err)
		}
		out = append(out, row)
	}
	if len(out) < 9 {
		t.Fatalf("%d reports in the index, wanted at least 9", len(out))
	}
	return out
}
