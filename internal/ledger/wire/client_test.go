package wire_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/wire"
)

const clientFile = "../../../test/ledger/client.mjs"

// runClient runs the client in the other language and gives its output, messages and exit code.
func runClient(t *testing.T, input any, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed: test/setup.sh installs it")
	}
	in, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	var out, message bytes.Buffer
	cmd := exec.CommandContext(t.Context(), node, append([]string{clientFile}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &message
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), message.String(), cmd.ProcessState.ExitCode()
}

// TestClientVectors has the client, which was written from the document, check the vectors.
func TestClientVectors(t *testing.T) {
	t.Parallel()
	out, message, code := runClient(t, nil, "vectors", vectorsFile)
	if code != 0 {
		t.Fatal(message)
	}
	for _, section := range []string{"structures: 25", "refused receipts: ", "receipts with a byte changed: "} {
		if !strings.Contains(out, section) {
			t.Errorf("%q is not in what it checked:\n%s", section, out)
		}
	}
	changed := strings.Replace(string(must(os.ReadFile(vectorsFile))), `"valid": true`, `"valid": false`, 1)
	file := filepath.Join(t.TempDir(), "vectors.json")
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, message, code := runClient(t, nil, "vectors", file); code != 1 || !strings.Contains(message, "ed25519[0]") {
		t.Errorf("a wrong vector: exit %d, %s", code, message)
	}
	if _, message, code := runClient(t, nil, "vectors"); code != 2 || !strings.Contains(message, "usage") {
		t.Errorf("no file: exit %d, %s", code, message)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestClientSeals has the client sign and seal a command and a query; the node opens and verifies them,
// and the client opens the replies.
func TestClientSeals(t *testing.T) {
	t.Parallel()
	k := fixed(43)
	info := wire.KeyInfo{Ledger: filled(1), Slot: 1, Incarnation: iidOf(31), Key: public(seeded(31)), RequestKey: k.Public(), NotAfter: 1_800_003_600, Position: 14, Chain: filled(4)}
	input := map[string]any{
		"ledger": hx(filledSlice(1)), "seed": hx(filledSlice(3)), "key_info": info.Encode(), "signature": ed25519.Sign(seeded(31), info.Message()),
		"application": "erc20", "name": "transfer", "arguments": `{"amount":"1"}`, "not_after": 1_800_000_060, "reply_bucket": 2048,
		"floor": map[string]any{"position": 14, "chain": hx(filledSlice(4))}, "nonce": 5, "expires_at": 900,
	}
	for _, name := range []string{"command", "query"} {
		kind := wire.RequestCommands
		if name == "query" {
			kind = wire.RequestQuery
			input["query_kind"], input["qid"], input["fresh"] = wire.KindQuery, "000102030405060708090a0b0c0d0e0f", true
		}
		out, message, code := runClient(t, input, "seal")
		if code != 0 {
			t.Fatalf("%s: %s", name, message)
		}
		var sealed struct{ Request, Signed, Secret, Account string }
		if err := json.Unmarshal([]byte(out), &sealed); err != nil {
			t.Fatal(err)
		}
		raw := must(base64.StdEncoding.DecodeString(sealed.Request))
		q, err := wire.ParseRequest(raw)
		if err != nil {
			t.Fatal(err)
		}
		p, sealer, err := keys.OpenRequest(k, info.Ledger, info.Incarnation, q)
		if err != nil || q.Kind != kind || len(p.Items) != 1 || p.FloorPosition != 14 {
			t.Fatalf("%s: %v", name, err)
		}
		s, err := wire.ParseSigned(p.Items[0])
		if err != nil {
			t.Fatal(err)
		}
		var account [32]byte
		if name == "command" {
			c, err := s.VerifyCommand()
			if err != nil || c.Nonce != 5 || string(c.Arguments) != `{"amount":"1"}` {
				t.Fatalf("command %+v: %v", c, err)
			}
			account = wire.AccountID(c.Scheme, c.Key)
		} else {
			c, err := s.VerifyQuery()
			if err != nil || c.ID[15] != 15 || p.Mode != wire.ModeFresh {
				t.Fatalf("query %+v: %v", c, err)
			}
			account = wire.AccountID(c.Scheme, c.Key)
		}
		if hx(account[:]) != sealed.Account {
			t.Errorf("%s: account %s, wanted %x", name, sealed.Account, account)
		}
		reply, err := sealer.Seal(wire.ReplyBody{Position: 15, Results: []wire.Result{{Status: wire.StatusCommitted, Outcome: wire.Outcome{Code: 11, Message: "refused"}}}}, p.ReplyBucket, rand.Reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		open := map[string]any{"request": raw, "secret": sealed.Secret, "reply": reply.Encode()}
		out, message, code = runClient(t, open, "open")
		var body struct {
			Position int
			Results  []struct {
				Status  int
				Outcome struct{ Message string }
			}
		}
		if err := json.Unmarshal([]byte(out), &body); code != 0 || err != nil || body.Position != 15 || body.Results[0].Outcome.Message != "refused" {
			t.Fatalf("%s: reply %s: %v %s", name, out, err, message)
		}
		reply.CT[0] ^= 1
		open["reply"] = reply.Encode()
		if _, message, code = runClient(t, open, "open"); code != 1 || !strings.Contains(message, "tag does not hold") {
			t.Errorf("%s: a changed reply: exit %d, %s", name, code, message)
		}
	}
	input["signature"] = make([]byte, 64)
	if _, message, code := runClient(t, input, "seal"); code != 1 || !strings.Contains(message, "signature does not hold") {
		t.Errorf("KeyInfo without signature: exit %d, %s", code, message)
	}
}

// TestClientReceipt has the client verify a receipt from a file.
func TestClientReceipt(t *testing.T) {
	t.Parallel()
	v := readVectors(t).Receipt
	file := filepath.Join(t.TempDir(), "receipt.json")
	if err := os.WriteFile(file, v.Receipt, 0o600); err != nil {
		t.Fatal(err)
	}
	out, message, code := runClient(t, nil, "receipt", v.Ledger, file)
	if code != 0 || !strings.Contains(out, "insufficient_balance") {
		t.Errorf("exit %d: %s%s", code, out, message)
	}
	if _, message, code := runClient(t, nil, "receipt", hx(filledSlice(1)), file); code != 1 || !strings.Contains(message, "another ledger") {
		t.Errorf("another ledger: exit %d, %s", code, message)
	}
}
