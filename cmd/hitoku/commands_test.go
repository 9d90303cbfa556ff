package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// tryCommand runs the command line inside this process.
func tryCommand(args ...string) (code int, stdout, stderr string) {
	root := newRootCommand()
	var out, errs bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetIn(strings.NewReader(""))
	code = execute(context.Background(), root, args)
	return code, out.String(), errs.String()
}

// leaves returns the words of every command that does something.
func leaves(cmd *cobra.Command, words []string) [][]string {
	var out [][]string
	for _, sub := range cmd.Commands() {
		path := append(slices.Clone(words), sub.Name())
		if !sub.HasSubCommands() || sub.Flags().HasFlags() && sub.Name() != "completion" {
			out = append(out, path)
		}
		out = append(out, leaves(sub, path)...)
	}
	return out
}

func TestEveryCommand(t *testing.T) {
	t.Parallel()
	all := leaves(newRootCommand(), nil)
	if len(all) < 50 {
		t.Fatalf("only %d commands found", len(all))
	}
	for _, words := range all {
		name := strings.Join(words, " ")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := tryCommand(append(slices.Clone(words), "--help")...)
			if code != 0 || stderr != "" || !strings.Contains(stdout, "Usage:") {
				t.Errorf("--help: exit code %d, %q, standard error %q", code, stdout, stderr)
			}
			code, stdout, stderr = tryCommand(append(slices.Clone(words), "--frobnicate")...)
			if code != 2 || stdout != "" || !strings.Contains(stderr, "unknown flag: --frobnicate; see `hitoku "+name+" --help`") {
				t.Errorf("unknown flag: exit code %d, standard output %q, standard error %q", code, stdout, stderr)
			}
			cmd, _, err := newRootCommand().Find(words)
			if err != nil {
				t.Fatal(err)
			}
			if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
				t.Errorf("short description %q", cmd.Short)
			}
			// The interface's description is JSON anyway, demonstrations are for people, and the chain is a program of its own.
			if !slices.Contains([]string{"manager openapi", "demo", "ledger demo", "ledger devchain"}, name) && cmd.Flags().Lookup("json") == nil {
				t.Error("there is no --json")
			}
		})
	}
}

func TestWrongCommands(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args   string
		code   int
		stderr string
	}{
		{"", 0, ""},
		{"app", 0, ""},
		{"--version", 0, ""},
		{"frobnicate", 2, "hitoku: there is no command `hitoku frobnicate`; see `hitoku --help`\n"},
		{"acount", 2, "did you mean `hitoku account`?"},
		{"app lst", 2, "there is no command `hitoku app lst`; did you mean `hitoku app list`?"},
		{"app list web", 2, "app list: 1 argument is not what it takes; usage: hitoku app list [flags]"},
		{"task approve", 2, "task approve: 0 arguments are not what it takes; usage: hitoku task approve ID [flags]"},
		{"app create web --isv-svn 70000", 2, `app create: invalid argument "70000" for "--isv-svn" flag: value out of range; see`},
		{"app create web", 2, "--input and --output are both needed"},
		{"app create web --input a --output a", 2, "the converted image needs a name of its own"},
		{"app create web --input A --output b", 2, "app create web: "},
		{"image register", 2, "--app, --measurement and --signer are all needed"},
		{"image register --app a --measurement 00 --signer 00", 2, `--measurement "00": wanted 64 hexadecimal digits`},
		{"image create", 2, "image create: --app is missing"},
		{"image create --app a --remote --tls 1=2 --guest g", 2, "leave out --guest, --tls, or --remote"},
		{"image create --app a --no-manager", 2, "use hitoku convert for --no-manager"},
		{"task deny 0", 2, "--reason is missing"},
		{"task list --type nonsense", 2, "--type NONSENSE: wanted one of BUILD_WHITELIST, DOMAIN_WHITELIST"},
		{"node token --uses 0", 2, "--uses must be at least 1"},
		{"token create ci --ttl -1s", 2, "--ttl must be at least 1s"},
		{"registry create r.example.com", 2, "registry create: --username is missing"},
		{"audit --limit -1", 2, "--limit must not be negative"},
		{"login https://127.0.0.1:1/path --email a@example.com", 2, "wanted https://HOST:PORT"},
		{"login http://127.0.0.1:1 --email a@example.com", 2, "only https is used"},
		{"login https://127.0.0.1:1 --email a@example.com --pin sha256:12", 2, "followed by 64 hexadecimal digits"},
		{"login https://127.0.0.1:1 --email a@example.com --code x --sign-up", 2, "leave --sign-up out"},
		{"manager", 2, "--data-dir is missing"},
		{"manager backup x", 2, "--data-dir is missing"},
		{"manager restore x", 2, "--data-dir is missing"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			t.Parallel()
			code, _, stderr := tryCommand(strings.Fields(tc.args)...)
			if code != tc.code || !strings.Contains(stderr, tc.stderr) || tc.stderr == "" && stderr != "" {
				t.Errorf("exit code %d and %q, wanted %d and %q", code, stderr, tc.code, tc.stderr)
			}
		})
	}
}

// TestCompletion checks the scripts for the shells, and what they ask the program.
func TestCompletion(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if code, stdout, stderr := tryCommand("completion", shell); code != 0 || !strings.Contains(stdout, "hitoku") || stderr != "" {
			t.Errorf("completion %s: exit code %d, standard error %q", shell, code, stderr)
		}
	}
	if code, stdout, _ := tryCommand("__complete", "image", "cre"); code != 0 || !strings.HasPrefix(stdout, "create\tConvert") {
		t.Errorf("completion of `image cre`: exit code %d, %q", code, stdout)
	}
}
