package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestWrongFlags(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"--listen", "0.0.0.0:1"}, {"--listen", "8545"}, {"--period", "-1s"}, {"--period", "1ms"}, {"--fork", "paris"}, {"--chain-id", "0"},
		{"--gas-limit", "1000"}, {"--fund", "0x12=3"}, {"--fund", "0x0000000000000000000000000000000000000001"}, {"extra"}, {"--unknown"},
	} {
		var stderr bytes.Buffer
		if code := run(t.Context(), args, &stderr, &stderr); code != 2 || stderr.Len() == 0 {
			t.Errorf("%q: exit code %d, %q", args, code, stderr.String())
		}
	}
}

// ask calls a method of a running chain.
func ask(t *testing.T, c *chain, method string, params ...any) string {
	t.Helper()
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(c.endpoint(), "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct{ Result, Error json.RawMessage }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return string(answer.Result) + string(answer.Error)
}

// TestChain makes and takes back blocks, stops, and begins again with other flags: the chain stays what it was.
func TestChain(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"--data", t.TempDir(), "--listen", "127.0.0.1:0", "--admin", "--chain-id", "7", "--fork", "london",
		"--fund", "0x00000000000000000000000000000000000000aa=5"}, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := start(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		method string
		params []any
		want   string
	}{
		{"eth_chainId", nil, `"0x7"`},
		{"dev_mine", []any{10}, "10"},
		{"dev_reorganise", []any{6, false}, "11"},
		{"dev_reorganise", []any{12, false}, "not beyond the genesis"},
		{"dev_reorganise", []any{0, false}, "1 to 60"},
		{"dev_mine", []any{1001}, "at most 1000"},
		{"eth_getBalance", []any{"0x00000000000000000000000000000000000000aa", "latest"}, `"0x4563918244f40000"`},
	} {
		if got := ask(t, c, step.method, step.params...); !strings.Contains(got, step.want) {
			t.Errorf("%s %v: %s, %s wanted", step.method, step.params, got, step.want)
		}
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	o.ChainID, o.Fund, o.admin = 8, nil, false
	if c, err = start(o); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, c, "eth_chainId") + ask(t, c, "eth_blockNumber"); got != `"0x7""0xb"` {
		t.Errorf("started again, it is at %s", got)
	}
	if got := ask(t, c, "dev_mine", 1); !strings.Contains(got, "does not exist") {
		t.Errorf("without --admin: %s", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := c.produce(ctx); err != nil {
		t.Error(err)
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
}
