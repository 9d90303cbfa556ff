//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestLedgerDemo runs the whole demonstration of the ledger on both orders, as root and as another user.
func TestLedgerDemo(t *testing.T) {
	bin := filepath.Join(env(t, "HITOKU_BIN"), "hitoku")
	for _, tc := range []struct {
		name, order, says string
		user              bool
	}{
		{"on the development chain", "", "Records are put in order by a contract on a development chain", false},
		{"on the embedded log, as another user", "embedded", "Records are put in order by the embedded log", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			args := []string{bin, "ledger", "demo", "--once", "--dir", filepath.Join(dir, "demo")}
			if tc.order != "" {
				args = append(args, "--order", tc.order)
			}
			if tc.user {
				if err := os.Chmod(dir, 0o777); err != nil {
					t.Fatal(err)
				}
				parents(t, dir)
				args = append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"}, args...)
			}
			out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
			if err != nil {
				t.Fatalf("hitoku ledger demo --once: %v\n%s", err, out)
			}
			if !strings.Contains(string(out), tc.says) {
				t.Errorf("it does not say %q:\n%s", tc.says, out)
			}
			if _, err := os.Stat(filepath.Join(dir, "demo")); !os.IsNotExist(err) {
				t.Errorf("the demonstration left its folder behind: %v", err)
			}
		})
	}
}
