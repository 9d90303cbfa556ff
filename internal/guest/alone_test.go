package guest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckAlone(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name      string
		pid       int
		processes []string
		want      string // in the refusal, empty for none
	}{
		{"the only process", 1, []string{"1", "self", "sys"}, ""},
		{"not the first", 7, []string{"1", "7"}, "PID 7"},
		{"a helper was there before", 1, []string{"1", "2", "self"}, "process 2 beside it"},
	} {
		proc := t.TempDir()
		for _, p := range tc.processes {
			if err := os.Mkdir(filepath.Join(proc, p), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		err := checkAlone(tc.pid, proc)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, wanted %q", tc.name, err, tc.want)
		}
	}
	if err := checkAlone(1, filepath.Join(t.TempDir(), "nothing")); err == nil {
		t.Error("a /proc that cannot be read was accepted")
	}
}
