package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestNoTestKeysInTheProgram keeps makers of false evidence out of the program (docs/findings.md,
// 563, 608): their keys are known to everybody, and what they make would look like a machine's.
// The simulated TEE of test-only accounts is no such: each account makes its own keys.
func TestNoTestKeysInTheProgram(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(string(out)) {
		if name == "testing" || strings.HasPrefix(name, "hitoku.dev/") && strings.HasSuffix(name, "test") && name != "hitoku.dev/attest" {
			t.Errorf("the program contains %s", name)
		}
	}
}

// TestSecretsAreNotArguments finds flags that would take a secret itself (docs/findings.md, 556):
// everybody on a machine can read the arguments of its processes. Secrets come from files,
// the environment or standard input. The join token and the code of the first administrator may
// come as arguments too; their help says who can see them.
func TestSecretsAreNotArguments(t *testing.T) {
	t.Parallel()
	for _, words := range leaves(newRootCommand(), nil) {
		cmd, _, err := newRootCommand().Find(words)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			for _, word := range strings.Split(f.Name, "-") {
				switch word {
				case "password", "passphrase", "secret", "token", "code", "credential", "credentials", "key":
					kind, usage := pflag.UnquoteUsage(f)
					elsewhere := slices.Contains([]string{"file", "folder"}, strings.ToLower(kind)) || strings.HasPrefix(usage, "PEM file") || f.Name == "master-key-command"
					warned := strings.Contains(usage, "process list, --"+f.Name+"-file hides it") || strings.Contains(usage, "until it is used, --"+f.Name+"-file hides it")
					if f.Value.Type() != "bool" && !elsewhere && !warned {
						t.Errorf("%s --%s takes a %s: %s", strings.Join(words, " "), f.Name, kind, usage)
					}
				}
			}
		})
	}
}
