package tpm

import (
	"os"
	"path/filepath"
	"testing"

	"hitoku.dev/internal/evidencetest"
)

// readEvidence returns a file of the real evidence, or skips the test and says what is missing.
func readEvidence(t testing.TB, name string) []byte {
	t.Helper()
	dir := evidencetest.Dir(t, "other-evidence.json")
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
