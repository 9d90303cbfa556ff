package nitro

import (
	"encoding/json"
	"os"
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

// TestRealDocuments gives each document of AWS the outcome that its index states.
func TestRealDocuments(t *testing.T) {
	t.Parallel()
	dir := evidenceDir(t)
	raw, err := os.ReadFile(filepath.Join(dir, "other-evidence.json"))
	if err != nil {
		t.Fatal(err)
	}
	var items []struct {
		File     string `json:"file"`
		VerifyAt string `json:"verify_at"`
	}
	if err := json.Unmarshal(raw, &items); err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, item := range items {
		if !strings.HasPrefix(item.File, "nitro/") {
			continue
		}
		count++
		t.Run(item.File, func(t *testing.T) {
			t.Parallel()
			at, err := time.Parse(time.RFC3339, item.VerifyAt)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := os.ReadFile(filepath.Join(dir, item.File))
			if err != nil {
				t.Fatal(err)
			}
			r, err := Verify(raw, Options{At: at})
			if err != nil || !r.OK() || !Recognise(raw) {
				t.Fatalf("refused: %v %+v", err, r)
			}
			if c := r.Claims; c.Debug != strings.Contains(item.File, "debug") || len(c.Measurement) != 48 || !strings.HasPrefix(c.PlatformID, "i-") || strings.Contains(c.PlatformID, "enc") || c.IssuedAt.Sub(at).Abs() > time.Second {
				t.Errorf("claims %+v", c)
			}
			if r, err := Verify(raw, Options{At: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)}); err != nil || r.OK() || strings.Join(failed(r), " ") != "certificate_chain" {
				t.Errorf("today: %v %+v", err, r)
			}
			if testing.Short() {
				return
			}
			v := NewVerifier(nil)
			for i := range raw {
				raw[i] ^= 1 << (i % 8)
				if r, err := v.Verify(raw, at); err == nil && r.OK() {
					t.Errorf("byte %d changed, accepted", i)
				}
				raw[i] ^= 1 << (i % 8)
				if r, err := v.Verify(raw[:i], at); err == nil && r.OK() {
					t.Errorf("cut at %d, accepted", i)
				}
			}
		})
	}
	if count < 3 {
		t.Errorf("%d documents in the index, wanted 3", count)
	}
}
