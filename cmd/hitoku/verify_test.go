package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hitoku.dev/internal/image"
	"hitoku.dev/internal/verify/verifytest"
)

func TestVerifyCommand(t *testing.T) {
	t.Parallel()
	w := verifytest.New(t)
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	chain := file("chain.pem", verifytest.PEM(w.Chain()...))
	root := file("root.pem", verifytest.PEM(w.Account.Certificate))
	simulated := file("simulated.pem", verifytest.PEM(w.Authority.Root()))
	measurement := hex.EncodeToString(w.Measurement[:])
	at := verifytest.Now.Add(time.Minute).Format(time.RFC3339)
	good := []string{chain, "--root", root, "--trust-simulated-root", simulated, "--at", at}
	with := func(more ...string) []string { return append(good[:len(good):len(good)], more...) }
	measure := func(_ context.Context, ref string, _ image.Options) (string, error) {
		if ref != "web" {
			return "", errors.New("no such image")
		}
		return measurement, nil
	}
	cases := map[string]struct {
		args []string
		code int
		out  string
	}{
		"accepted":           {args: good, out: "ACCEPTED"},
		"measurement":        {args: with("--measurement", measurement), out: "ACCEPTED"},
		"image":              {args: with("--image", "web"), out: "image web has " + measurement},
		"other measurement":  {args: with("--measurement", strings.Repeat("00", 32)), code: 1, out: "REFUSED"},
		"other image":        {args: with("--image", "other"), code: 1},
		"no simulated root":  {args: []string{chain, "--root", root, "--at", at}, code: 1, out: "REFUSED"},
		"no such file":       {args: []string{filepath.Join(dir, "none")}, code: 1},
		"no target":          {code: 2},
		"two targets":        {args: []string{chain, chain}, code: 2},
		"plain HTTP":         {args: []string{"http://example.com"}, code: 2},
		"address with path":  {args: []string{"https://example.com/a"}, code: 2},
		"bad measurement":    {args: with("--measurement", "xyz"), code: 2},
		"short measurement":  {args: with("--measurement", "00"), code: 2},
		"bad time":           {args: with("--at", "yesterday"), code: 2},
		"bad report data":    {args: with("--report-data", "0g"), code: 2},
		"long report data":   {args: with("--report-data", strings.Repeat("00", 513)), code: 2},
		"other report data":  {args: with("--report-data", "00"), code: 1, out: "report_data"},
		"day":                {args: []string{chain, "--root", root, "--trust-simulated-root", simulated, "--at", verifytest.Now.AddDate(0, 0, 1).Format(time.DateOnly)}, out: "ACCEPTED"},
		"short nonce":        {args: with("--nonce", "00"), code: 2},
		"missing root":       {args: with("--root", "/none"), code: 2},
		"root of several":    {args: with("--root", chain), code: 2},
		"missing collateral": {args: with("--collateral", "/none"), code: 2},
		"TCB status named":   {args: with("--tcb-status", "OutOfDate"), out: "ACCEPTED"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := newVerifyCommand(measure)
			cmd.SilenceErrors, cmd.SilenceUsage = true, true
			var out bytes.Buffer
			cmd.SetOut(&out)
			cmd.SetArgs(append([]string{}, tc.args...))
			err := cmd.ExecuteContext(t.Context())
			code := 0
			var usage usageError
			switch {
			case errors.As(err, &usage):
				code = 2
			case err != nil:
				code = 1
			}
			if code != tc.code || !strings.Contains(out.String(), tc.out) {
				t.Errorf("code %d, wanted %d; error %v; output:\n%s", code, tc.code, err, out.String())
			}
		})
	}
	cmd := newVerifyCommand(nil)
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs(with("--json"))
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	var j struct{ Accepted, Simulated bool }
	if err := json.Unmarshal(out.Bytes(), &j); err != nil || !j.Accepted || !j.Simulated {
		t.Errorf("%v: %s", err, out.String())
	}
}
