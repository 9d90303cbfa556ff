package api_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"

	"hitoku.dev/internal/ledger/api"
	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/ledgertest"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
	"hitoku.dev/ledger/erc20"
)

func randReader() io.Reader { return rand.Reader }

// TestAnonifyForm: a command as Anonify's JavaScript client seals it.
func TestAnonifyForm(t *testing.T) {
	t.Parallel()
	c := ledgertest.Start(t, ledgertest.Options{Apps: []*ledger.App{erc20.AnonifyApp}, Flags: wire.GenesisCryptoBox})
	n := c.Nodes[0]
	var k api.KeyReply
	if err := n.Get("/api/v1/enclave_encryption_key", &k); err != nil {
		t.Fatal(err)
	}
	raw, err := hex.DecodeString(k.CryptoBoxKey)
	if err != nil || len(raw) != 32 {
		t.Fatalf("crypto_box key %q", k.CryptoBoxKey)
	}
	info, err := wire.ParseKeyInfo(k.KeyInfo)
	if err != nil {
		t.Fatal(err)
	}
	if !wire.VerifyEd25519(info.Key, wire.Name("CRYPTOBOX", c.Ledger[:], info.Incarnation[:], raw), [64]byte(k.CryptoBoxSignature)) {
		t.Error("the signature of the crypto_box key does not hold")
	}
	account := [20]byte{1, 2, 3}
	do := func(name, args string, counter uint32, user string) keys.BoxReply {
		t.Helper()
		q, opener, err := keys.SealBox([32]byte(raw), keys.BoxCommand{Account: account, Name: name, Arguments: []byte(args), Counter: counter}, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		in := api.StateRequest{EphemeralPublicKey: hex.EncodeToString(q.Ephemeral), Nonce: hex.EncodeToString(q.Nonce), Ciphertext: hex.EncodeToString(q.Ciphertext), UserID: user}
		var ticket api.TicketReply
		if err := n.Post("/api/v1/state", in, &ticket); err != nil {
			t.Fatal(err)
		}
		for !ticket.Ready || ticket.Reply == nil {
			if err := n.Get("/api/v1/tickets/"+ticket.Ticket+"?wait=30", &ticket); err != nil {
				t.Fatal(err)
			}
		}
		reply, err := opener.Open(ticket.Reply)
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	for i, step := range []struct {
		name, args, user, status string
		counter                  uint32
		code                     uint16
	}{
		{"construct", `{"total_supply":100}`, "", "committed", 1, ledger.CodeOK},
		{"burn", `{"amount":7}`, hex.EncodeToString(account[:]), "committed", 2, ledger.CodeOK},
		{"burn", `{"amount":7}`, "", "committed", 2, ledger.CodeNonceUsed},
		{"burn", `{"amount":7}`, hex.EncodeToString(make([]byte, 20)), "rejected", 3, ledger.CodeBadSignature},
		{"nothing", `{}`, "", "committed", 3, ledger.CodeUnknownCommand},
	} {
		if r := do(step.name, step.args, step.counter, step.user); r.Status != step.status || r.Code != step.code {
			t.Errorf("step %d: %+v, wanted %s with code %d", i, r, step.status, step.code)
		}
	}
	for what, in := range map[string]api.StateRequest{
		"key":    {EphemeralPublicKey: "00", Nonce: hex.EncodeToString(make([]byte, 24)), Ciphertext: hex.EncodeToString(make([]byte, 16))},
		"nonce":  {EphemeralPublicKey: hex.EncodeToString(make([]byte, 32)), Ciphertext: hex.EncodeToString(make([]byte, 16))},
		"box":    {EphemeralPublicKey: hex.EncodeToString(make([]byte, 32)), Nonce: hex.EncodeToString(make([]byte, 24)), Ciphertext: "0"},
		"opened": {EphemeralPublicKey: k.CryptoBoxKey, Nonce: hex.EncodeToString(make([]byte, 24)), Ciphertext: hex.EncodeToString(make([]byte, 16))},
		"both":   {Request: []byte{1}, EphemeralPublicKey: k.CryptoBoxKey},
		"user": {
			EphemeralPublicKey: k.CryptoBoxKey, Nonce: hex.EncodeToString(make([]byte, 24)), Ciphertext: hex.EncodeToString(make([]byte, 16)), UserID: "00",
		},
	} {
		body, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		status, _, text := send(t, n, "POST", "/api/v1/state", string(body), nil)
		refusal(t, what, status, text, http.StatusBadRequest, api.CodeBadRequest)
	}
	status, _, text := send(t, n, "POST", "/api/v1/state/query", fmt.Sprintf(`{"request":%q}`, base64.StdEncoding.EncodeToString([]byte("x"))), nil)
	refusal(t, "a query", status, text, http.StatusBadRequest, api.CodeBadRequest)
}

// TestAnonifyFormRefused: a ledger whose genesis does not name the form.
func TestAnonifyFormRefused(t *testing.T) {
	t.Parallel()
	c, _ := cluster(t, ledgertest.Options{})
	body := fmt.Sprintf(`{"ephemeral_public_key":%q,"nonce":%q,"ciphertext":%q}`, hex.EncodeToString(make([]byte, 32)), hex.EncodeToString(make([]byte, 24)), hex.EncodeToString(make([]byte, 16)))
	status, _, text := send(t, c.Nodes[0], "POST", "/api/v1/state", body, nil)
	refusal(t, "Anonify's form", status, text, http.StatusBadRequest, api.CodeBadRequest)
}
