package dcap

import (
	"os"
	"path/filepath"
	"testing"

	"hitoku.dev/internal/evidencetest"
)

// evidenceDir returns the folder of real evidence, or skips the test and says what is missing.
func evidenceDir(t testing.TB) string {
	t.Helper()
	return evidencetest.Dir(t, "intel-cases.json")
}

func readEvidence(t testing.TB, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
