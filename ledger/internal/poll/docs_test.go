package poll

import (
	"os"
	"strings"
	"testing"
)

// TestDocumentation holds the example in docs/ledger-applications.md to the code that was compiled and run here.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../docs/ledger-applications.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"poll.go", "poll_test.go"} {
		code, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page), "```go\n"+string(code)+"```\n") {
			t.Errorf("docs/ledger-applications.md does not show ledger/internal/poll/%s as it is", name)
		}
	}
}
