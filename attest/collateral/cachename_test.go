package collateral

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestCacheNamesStayInside gives documents names that lead out of a folder (docs/findings.md,
// 558). Part of a document's name comes from the machine that is judged; it could otherwise
// have files of the manager replaced.
func TestCacheNamesStayInside(t *testing.T) {
	t.Parallel()
	for _, hostile := range []string{"", ".", "..", "../../x", "/etc/passwd", `..\x`, "a/b", "x\x00y", "a.json", "\xff", strings.Repeat("../", 500)} {
		for _, k := range []key{
			{root: strings.Repeat("0", 64), kind: SGXTCBInfo, subject: hostile},
			{root: strings.Repeat("0", 64), kind: SGXTCBInfo, subject: hostile, choice: Pinned(17)},
		} {
			folder, name := filepath.Split(k.path())
			if folder != k.root[:32]+"/"+string(SGXTCBInfo)+"/" || !filepath.IsLocal(k.path()) || name == "" || strings.HasPrefix(name, ".") || strings.ContainsAny(name, "\x00\\") || len(name) > 255 {
				t.Errorf("%.40q is stored as %q", hostile, k.path())
			}
		}
	}
}
