package client

import (
	"os/exec"
	"strings"
	"testing"
)

// TestImports keeps the guest's trusted base small: everything that this package
// imports is in it.
func TestImports(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	allowed := map[string]bool{
		"golang.org/x/sys/unix":                    true,
		"hitoku.dev/attest":                        true,
		"hitoku.dev/enclave":                       true,
		"hitoku.dev/enclave/simtee/client":         true,
		"hitoku.dev/enclave/simtee/internal/proto": true,
		"vendor/golang.org/x/net/dns/dnsmessage":   true, // of net
	}
	for _, name := range strings.Fields(string(out)) {
		first, _, _ := strings.Cut(name, "/")
		if (strings.Contains(first, ".") || first == "vendor") && !allowed[name] {
			t.Errorf("imports %s", name)
		}
		switch name {
		case "net/http", "crypto/tls", "os/exec", "database/sql":
			t.Errorf("imports %s", name)
		}
	}
}
