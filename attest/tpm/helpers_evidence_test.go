package tpm

import (
	"os"
	"path/filepath"
	"testing"
)

// readEvidence returns a file of the real evidence, or skips the test and says what is missing.
func readEvidence(t testing.TB, name string) []byte {
	t.Helper()
	dir := os.Getenv("HITOKU_EVIDENCE")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "evidence")
	}
	if _, err := os.Stat(filepath.Join(dir, "other-evidence.json")); err != nil {
		t.Skipf("no real evidence: %s/other-evidence.json is missing; set HITOKU_EVIDENCE to the evidence folder", dir)
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
