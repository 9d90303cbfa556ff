package ledgerd

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
	"hitoku.dev/ledger/auction"
	"hitoku.dev/ledger/erc20"
)

// start runs the program as far as it goes without a TEE.
func start(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(context.Background(), append([]string{"hitoku-ledger"}, args...), []*ledger.App{erc20.App, auction.App, erc20.AnonifyApp}, strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args  []string
		stdin string
		code  int
		want  string
	}{
		{nil, "", 2, "wanted --config FILE"},
		{[]string{"--config", "-", "now"}, "", 2, "wanted --config FILE"},
		{[]string{"--config", "-", "--applications"}, "", 2, "wanted --config FILE"},
		{[]string{"--colour"}, "", 2, "not defined"},
		{[]string{"--help"}, "", 0, "hitoku ledger node"},
		{[]string{"--config", "-"}, "{", 2, "configuration"},
		{[]string{"--config", "/nowhere"}, "", 2, "/nowhere"},
	} {
		code, out, errs := start(t, tc.stdin, tc.args...)
		if code != tc.code || !strings.Contains(errs, tc.want) || out != "" {
			t.Errorf("%v: code %d, %q, %q; wanted %d and %q", tc.args, code, out, errs, tc.code, tc.want)
		}
	}
}

func TestApplicationsAreListed(t *testing.T) {
	t.Parallel()
	code, out, errs := start(t, "", "--applications")
	var list []struct{ Name, Version, Access string }
	if err := json.Unmarshal([]byte(out), &list); code != 0 || err != nil || errs != "" {
		t.Fatalf("code %d, %v, %q", code, err, errs)
	}
	if len(list) != 3 || list[0].Name != "erc20" || list[0].Access != "signatures" || list[2].Access != "none" {
		t.Errorf("%+v", list)
	}
}

func TestWhatCannotRunIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	genesis := filepath.Join(dir, "genesis")
	if err := os.WriteFile(genesis, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := `{"genesis":"` + genesis + `","slot":1,"operator_key":"k","dir":"d","listen":"127.0.0.1:0","tee":"app:/s","log":"127.0.0.1:1"}`
	file := filepath.Join(dir, "config.json")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := start(t, "", "--config", file); code != 1 || !strings.Contains(errs, genesis) {
		t.Errorf("code %d, %q; wanted 1 and the genesis's name", code, errs)
	}
	if err := os.Truncate(genesis, maxGenesis+1); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := start(t, config, "--config", "-"); code != 1 || !strings.Contains(errs, "at most") {
		t.Errorf("code %d, %q; wanted 1 and that the genesis is too long", code, errs)
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	apps := []*ledger.App{erc20.App, auction.App}
	got, err := choose(apps, wire.Genesis{Applications: []wire.Application{{Name: "auction", Version: auction.App.Version}}})
	if err != nil || len(got) != 1 || got[0] != auction.App {
		t.Errorf("%v, %v; wanted the auction alone", got, err)
	}
	_, err = choose(apps, wire.Genesis{Applications: []wire.Application{{Name: "erc20", Version: "99"}, {Name: "poll", Version: "1"}}})
	if err == nil || !strings.Contains(err.Error(), "erc20 in version 99") || !strings.Contains(err.Error(), "poll in version 1") {
		t.Errorf("error %v, wanted both that are missing", err)
	}
}
