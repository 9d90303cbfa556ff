//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestDemo runs the whole demonstration, as root and as another user.
func TestDemo(t *testing.T) {
	bin := filepath.Join(env(t, "HITOKU_BIN"), "hitoku")
	for _, tc := range []struct {
		name string
		user bool
	}{{"as root", false}, {"as another user", true}} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			args := []string{bin, "demo", "--once", "--dir", filepath.Join(dir, "demo")}
			if tc.user {
				if err := os.Chmod(dir, 0o777); err != nil {
					t.Fatal(err)
				}
				parents(t, dir)
				args = append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"}, args...)
			}
			begin := time.Now()
			out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
			if err != nil {
				t.Fatalf("hitoku demo --once: %v\n%s", err, out)
			}
			t.Logf("took %s", time.Since(begin))
			if _, err := os.Stat(filepath.Join(dir, "demo")); !os.IsNotExist(err) {
				t.Errorf("the demonstration left its folder behind: %v", err)
			}
		})
	}
}

// parents makes the folders above dir passable for everybody.
func parents(t *testing.T, dir string) {
	t.Helper()
	for d := filepath.Dir(dir); d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
