package anonifytest_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os/exec"
	"testing"
	"time"

	"hitoku.dev/internal/ledger/api"
	"hitoku.dev/internal/ledger/ledgertest"
	"hitoku.dev/internal/ledger/wire"
)

// client runs the client in JavaScript.
func client(t *testing.T, word string, in, out any) {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed: test/setup.sh installs it")
	}
	input, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), node, "../../../test/ledger/client.mjs", word)
	var text, message bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &text, &message
	if err := cmd.Run(); err != nil {
		t.Fatalf("client.mjs %s: %v: %s", word, err, message.String())
	}
	if err := json.Unmarshal(text.Bytes(), out); err != nil {
		t.Fatal(err)
	}
}

// TestJavaScriptClient is Anonify's E2E test: JavaScript seals, a node constructs, JavaScript reads 100.
func TestJavaScriptClient(t *testing.T) {
	t.Parallel()
	c := ledgertest.Start(t, ledgertest.Options{})
	n := c.Nodes[0]
	var k api.KeyReply
	if err := n.Get("/api/v1/enclave_encryption_key", &k); err != nil {
		t.Fatal(err)
	}
	type sealed struct {
		Request []byte
		Secret  string
	}
	seal := func(more map[string]any) (out sealed) {
		t.Helper()
		in := map[string]any{
			"ledger": hex.EncodeToString(c.Ledger[:]), "seed": "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20",
			"key_info": k.KeyInfo, "signature": k.Signature, "application": "erc20", "not_after": time.Now().Unix() + 30, "reply_bucket": 1024,
			"floor": map[string]any{"position": 0, "chain": hex.EncodeToString(c.Ledger[:])},
		}
		for name, v := range more {
			in[name] = v
		}
		client(t, "seal", in, &out)
		return out
	}
	open := func(s sealed, reply []byte, status int, result string) {
		t.Helper()
		var out struct {
			Results []struct {
				Status  int
				Outcome struct {
					Code   int
					Result string
				}
			}
		}
		client(t, "open", map[string]any{"request": s.Request, "reply": reply, "secret": s.Secret}, &out)
		if len(out.Results) != 1 || out.Results[0].Status != status || out.Results[0].Outcome.Code != 0 || out.Results[0].Outcome.Result != hex.EncodeToString([]byte(result)) {
			t.Fatalf("%+v, wanted status %d and %q", out, status, result)
		}
	}
	s := seal(map[string]any{"name": "construct", "arguments": `{"total_supply":100}`, "nonce": 1, "expires_at": 1000})
	var ticket api.TicketReply
	if err := n.Post("/api/v1/state", api.StateRequest{Request: s.Request}, &ticket); err != nil {
		t.Fatal(err)
	}
	for ticket.Reply == nil {
		if err := n.Get("/api/v1/tickets/"+ticket.Ticket+"?wait=30", &ticket); err != nil {
			t.Fatal(err)
		}
	}
	open(s, ticket.Reply, int(wire.StatusCommitted), "")
	s = seal(map[string]any{"name": "balanceOf", "arguments": "{}", "query_kind": wire.KindQuery, "qid": "000102030405060708090a0b0c0d0e0f", "fresh": true})
	var answer api.QueryReply
	if err := n.Post("/api/v1/state/query", api.QueryRequest{Request: s.Request}, &answer); err != nil {
		t.Fatal(err)
	}
	open(s, answer.Reply, int(wire.StatusAnswer), "100")
}
