package main

import (
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// allowedPackages is all that is linked beside the standard library. Each line
// more is in everybody's trusted base.
var allowedPackages = []string{
	"golang.org/x/sys/unix",
	"hitoku.dev/attest",
	"hitoku.dev/cmd/hitoku-init",
	"hitoku.dev/enclave",
	"hitoku.dev/enclave/gramine",
	"hitoku.dev/enclave/simtee/client",
	"hitoku.dev/enclave/simtee/internal/proto",
	"hitoku.dev/internal/csr",
	"hitoku.dev/internal/guest",
	"hitoku.dev/internal/packed",
	"hitoku.dev/measure/workload",
}

// forbiddenStandard are parts of the standard library that the first program in
// a TEE has no use for: they start other programs, load code, read archives,
// templates or databases, or look users up on the host.
var forbiddenStandard = []string{
	"archive/", "cgo", "database/", "debug/", "encoding/gob", "expvar", "go/", "html", "image", "index/", "log/syslog", "net/http/",
	"net/rpc", "net/smtp", "os/exec", "os/user", "plugin", "runtime/cgo", "runtime/pprof", "runtime/trace", "testing", "text/template",
}

func TestImports(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}x {{end}}{{.ImportPath}}", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var others []string
	for line := range strings.Lines(string(out)) {
		name, other := strings.CutPrefix(strings.TrimSpace(line), "x ")
		if other {
			others = append(others, name)
			continue
		}
		if strings.HasPrefix(name, "net/http/internal") || name == "net/http/httptrace" {
			continue // of net/http itself
		}
		for _, f := range forbiddenStandard {
			if name == f || strings.HasSuffix(f, "/") && strings.HasPrefix(name, f) {
				t.Errorf("the guest imports %s", name)
			}
		}
	}
	slices.Sort(others)
	if !slices.Equal(others, allowedPackages) {
		t.Errorf("the guest imports\n%s\nallowed are\n%s", strings.Join(others, "\n"), strings.Join(allowedPackages, "\n"))
	}
}

// TestBuild: the same bytes from two folders, and small.
func TestBuild(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds the guest twice")
	}
	const most = 12 << 20
	source, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(t.TempDir(), "elsewhere")
	copySources(t, source, moved)
	var first [32]byte
	for i, folder := range []string{source, moved} {
		program := build(t, folder)
		if len(program) > most {
			t.Errorf("the guest has %d bytes, at most %d are allowed", len(program), most)
		}
		sum := sha256.Sum256(program)
		if i == 0 {
			first = sum
		} else if sum != first {
			t.Errorf("%s gives %x, %s gives %x", source, first, folder, sum)
		}
	}
}

func build(t *testing.T, folder string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "init")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", out, "./cmd/hitoku-init")
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOAMD64=v1")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	program, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// copySources copies what the guest is built from.
func copySources(t *testing.T, from, to string) {
	t.Helper()
	folders := []string{"."}
	for _, p := range allowedPackages {
		if rel, ok := strings.CutPrefix(p, "hitoku.dev/"); ok {
			folders = append(folders, rel)
		}
	}
	for _, folder := range folders {
		if err := os.MkdirAll(filepath.Join(to, folder), 0o755); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(filepath.Join(from, folder))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := filepath.Join(folder, e.Name())
			source := strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
			if e.IsDir() || !source && name != "go.mod" && name != "go.sum" {
				continue
			}
			data, err := os.ReadFile(filepath.Join(from, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(to, name), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
