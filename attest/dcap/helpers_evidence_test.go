package dcap

import (
	"os"
	"path/filepath"
	"testing"
)

// evidenceDir returns the folder of real evidence, or skips the test and says what is missing.
func evidenceDir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("HITOKU_EVIDENCE")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "evidence")
	}
	if _, err := os.Stat(filepath.Join(dir, "intel-cases.json")); err != nil {
		t.Skipf("no real evidence: %s/intel-cases.json is missing; set HITOKU_EVIDENCE to the evidence folder", dir)
	}
	return dir
}

func readEvidence(t testing.TB, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
