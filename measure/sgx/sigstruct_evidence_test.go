package sgx

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestRealSigstructs(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("HITOKU_EVIDENCE")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "evidence")
	}
	files, _ := filepath.Glob(filepath.Join(dir, "sgx", "sigstruct", "*.sig"))
	if len(files) == 0 {
		t.Skipf("no real SIGSTRUCTs: %s/sgx/sigstruct is missing; set HITOKU_EVIDENCE to the evidence folder", dir)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Parse(raw)
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		if err := s.Verify(); err != nil {
			t.Errorf("%s: %v", f, err)
		}
		if !bytes.Equal(s.Marshal(), raw) {
			t.Errorf("%s: marshal differs", f)
		}
		for i := range raw {
			bad := bytes.Clone(raw)
			bad[i] ^= 1 << (i % 8)
			if s, err := Parse(bad); err == nil && s.Verify() == nil {
				t.Errorf("%s: byte %d changed, accepted", f, i)
			}
		}
	}
}
