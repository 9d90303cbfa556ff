// Package evidencetest finds the real evidence of hardware that lies beside the
// project, for tests. It is no part of the project, so a test that needs it skips
// where it is absent and says what is missing.
package evidencetest

import (
	"os"
	"path/filepath"
	"testing"
)

// Dir returns the folder of real evidence: the one that HITOKU_EVIDENCE names, or
// shared/evidence beside the project, for packages two folders below its root.
// The test is skipped when index is not in it.
func Dir(t testing.TB, index string) string {
	t.Helper()
	dir := os.Getenv("HITOKU_EVIDENCE")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "evidence")
	}
	if _, err := os.Stat(filepath.Join(dir, index)); err != nil {
		t.Skipf("no real evidence: %s/%s is missing; set HITOKU_EVIDENCE to the evidence folder", dir, index)
	}
	return dir
}
