package anonifytest

import (
	"crypto/ed25519"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"hitoku.dev/internal/ledger/api"
	"hitoku.dev/internal/ledger/ledgertest"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
)

// checkRefused is what makes Anonify's enclave panic, or what it notices only when the money is gone: after
// each the node serves on.
func checkRefused(t *testing.T, d Driver) {
	w := d.start(t, signed, ledgertest.Options{})
	owner, other := w.owner().(*signedAccount), w.account()
	pad := func(n int) string { return transfer(other, 1) + strings.Repeat(" ", n) }
	number := uint32(1)
	for _, c := range []struct {
		what, name, args string
		code             uint16
	}{
		{"twice Anonify's longest command", "transfer", pad(200), ledger.CodeOK},
		{"a long command", "transfer", pad(20 << 10), ledger.CodeOK},
		{"an unknown command", "changeEverything", "{}", ledger.CodeUnknownCommand},
		{"an empty name", "", "{}", ledger.CodeUnknownCommand},
		{"a query called as a command", "balance_of", "{}", ledger.CodeUnknownCommand},
		{"an unknown argument", "transfer", `{"recipient":` + other.id() + `,"amount":1,"fee":1}`, ledger.CodeBadArguments},
		{"an absent argument", "transfer", `{"amount":1}`, ledger.CodeBadArguments},
		{"a negative amount", "transfer", `{"recipient":` + other.id() + `,"amount":-1}`, ledger.CodeBadArguments},
		{"no JSON", "transfer", `{"recipient`, ledger.CodeBadArguments},
	} {
		number++
		if o := owner.send(0, number, c.name, c.args); o.status != "committed" || o.code != c.code {
			t.Errorf("%s: %+v (%s), wanted it committed with %s", c.what, o, ledger.CodeWord(o.code), ledger.CodeWord(c.code))
		}
	}
	wantBalance(t, owner, 0, 98)
	wantCounter(t, owner, number)

	// What is refused before it is ordered uses up no number.
	sign := func(change func(*wire.Command)) []byte {
		c := wire.Command{
			Ledger: w.Ledger, Application: w.app, Scheme: wire.SchemeEd25519, Key: owner.u.Key.Public().(ed25519.PublicKey), Nonce: uint64(number + 1),
			ExpiresAt: 1 << 40, Name: "transfer", Arguments: []byte(transfer(other, 1)),
		}
		change(&c)
		return wire.Signed{Body: c.Encode(), Signature: ed25519.Sign(owner.u.Key, c.Message())}.Encode()
	}
	for _, c := range []struct {
		what, status string
		item         []byte
		code         uint16
	}{
		{"arguments that are too long", "rejected", sign(func(c *wire.Command) { c.Arguments = []byte(pad(wire.MaxArguments)) }), ledger.CodeMalformed},
		{"another ledger", "rejected", sign(func(c *wire.Command) { c.Ledger[0] ^= 1 }), ledger.CodeWrongLedger},
		{"expired", "rejected", sign(func(c *wire.Command) { c.ExpiresAt = 1 }), ledger.CodeExpired},
		{"an unknown scheme", "rejected", sign(func(c *wire.Command) { c.Scheme = 9 }), ledger.CodeMalformed},
		{"no command", "rejected", []byte("transfer"), ledger.CodeMalformed},
		{"an unknown application", "committed", sign(func(c *wire.Command) { c.Application = "erc721" }), ledger.CodeUnknownApplication},
	} {
		if o := owner.submit(0, c.item)(); o.status != c.status || o.code != c.code {
			t.Errorf("%s: %+v (%s), wanted it %s with %s", c.what, o, ledger.CodeWord(o.code), c.status, ledger.CodeWord(c.code))
		}
	}
	// A claimed account is taken only by applications that say so.
	nobody := wire.Command{Ledger: w.Ledger, Application: w.app, Scheme: wire.SchemeNone, Key: make([]byte, 20), Nonce: 1, ExpiresAt: 1 << 40, Name: "burn", Arguments: []byte(`{"amount":0}`)}
	if o := owner.submit(0, wire.Signed{Body: nobody.Encode()}.Encode())(); o.code != ledger.CodePolicyRefused {
		t.Errorf("a claimed account: %+v (%s)", o, ledger.CodeWord(o.code))
	}
	for name, code := range map[string]uint16{"transfer": ledger.CodeUnknownQuery, "nothing": ledger.CodeUnknownQuery} {
		if o := owner.ask(0, wire.KindQuery, name, "{}"); o.status != "refused" || o.code != code {
			t.Errorf("query %s: %+v (%s), wanted %s", name, o, ledger.CodeWord(o.code), ledger.CodeWord(code))
		}
	}
	wantError(t, w.Nodes[0].Post("/api/v1/state", api.StateRequest{Request: make([]byte, api.MaxRequest+1)}, nil), http.StatusRequestEntityTooLarge)
	wantError(t, w.Nodes[0].Post("/api/v1/state", api.StateRequest{Request: []byte("junk")}, nil), http.StatusBadRequest)
	w.strangers()

	wantCounter(t, owner, number)
	wantOK(t, owner.send(0, number+1, "transfer", transfer(other, 8)))
	wantBalance(t, owner, 0, 90)
}

// checkBoxForm is Anonify's request in its exact form, and what is refused of it.
func checkBoxForm(t *testing.T, d Driver) {
	w := d.start(t, claimed, ledgertest.Options{})
	n, owner := w.Nodes[0], w.owner().(*claimedAccount)
	command := func(account, params, name, counter string) string {
		return fmt.Sprintf(`{"access_policy":{"account_id":%s},"runtime_params":%s,"cmd_name":%s,"counter":%s}`, account, params, name, counter)
	}
	good := command(owner.id(), `{"amount":1}`, `"burn"`, "2")
	for what, plain := range map[string]string{
		"a query":                    fmt.Sprintf(`{"access_policy":{"account_id":%s},"runtime_params":{},"state_name":"balance_of"}`, owner.id()),
		"a query for the counter":    fmt.Sprintf(`{"access_policy":{"account_id":%s}}`, owner.id()),
		"a query beside the command": strings.TrimSuffix(good, "}") + `,"state_name":"balance_of"}`,
		"the counter twice":          strings.TrimSuffix(good, "}") + `,"counter":2}`,
		"no counter":                 strings.TrimSuffix(good, `,"counter":2}`) + "}",
		"a counter above 32 bits":    command(owner.id(), "{}", `"burn"`, "4294967296"),
		"a negative counter":         command(owner.id(), "{}", `"burn"`, "-1"),
		"an account of 19 numbers":   command("["+strings.Repeat("1,", 18)+"1]", "{}", `"burn"`, "2"),
		"an account number of 256":   command("["+strings.Repeat("1,", 19)+"256]", "{}", `"burn"`, "2"),
		"a challenge of Anonify's":   `{"access_policy":{"sig":[1],"pubkey":[1],"challenge":[1]},"runtime_params":{},"cmd_name":"burn","counter":2}`,
		"a long name":                command(owner.id(), "{}", `"`+strings.Repeat("b", 65)+`"`, "2"),
		"long parameters":            command(owner.id(), `"`+strings.Repeat("b", 33<<10)+`"`, `"burn"`, "2"),
		"no JSON":                    good[1:],
		"nothing":                    "",
	} {
		in, _ := sealBox(t, n, plain)
		if err := n.Post("/api/v1/state", in, nil); err == nil {
			t.Errorf("%s was taken", what)
		} else {
			wantError(t, err, http.StatusBadRequest)
		}
	}
	// Its fields are hexadecimal, of their lengths; queries in the form are no queries here.
	in, _ := sealBox(t, n, good)
	for what, change := range map[string]func(*api.StateRequest){
		"no ephemeral key":      func(in *api.StateRequest) { in.EphemeralPublicKey = "" },
		"a short nonce":         func(in *api.StateRequest) { in.Nonce = in.Nonce[2:] },
		"another nonce":         func(in *api.StateRequest) { in.Nonce = strings.Repeat("00", 24) },
		"a key of small order":  func(in *api.StateRequest) { in.EphemeralPublicKey = strings.Repeat("00", 32) },
		"no hexadecimal digits": func(in *api.StateRequest) { in.Ciphertext = strings.Repeat("zz", 40) },
		"a short user_id":       func(in *api.StateRequest) { in.UserID = "00" },
	} {
		bad := in
		change(&bad)
		if err := n.Post("/api/v1/state", bad, nil); err == nil {
			t.Errorf("%s was taken", what)
		} else {
			wantError(t, err, http.StatusBadRequest)
		}
	}
	for _, path := range paths {
		wantError(t, n.Post(path, in, nil), http.StatusBadRequest)
	}
	wantCounter(t, owner, 1)
	// The same request again is the same ticket, and burns once.
	var first, again api.TicketReply
	if err := n.Post("/api/v1/state", in, &first); err != nil {
		t.Fatal(err)
	}
	if err := n.Post("/api/v1/state", in, &again); err != nil || first.Ticket != again.Ticket {
		t.Errorf("ticket %s, then %s, %v", first.Ticket, again.Ticket, err)
	}
	wantFailed(t, owner.send(0, 2, "burn", `{"amount":2}`), ledger.CodeNonceUsed)
	wantFailed(t, owner.send(0, 3, "nothing", "{}"), ledger.CodeUnknownCommand)
	wantFailed(t, owner.send(0, 4, "balance_of", "{}"), ledger.CodeUnknownCommand)
	wantOK(t, owner.send(0, 5, "transfer", transfer(owner, 60)))
	wantBalance(t, owner, 0, 99)
	wantCounter(t, owner, 5)

	// Where the genesis does not name the form it is refused.
	plain := d.start(t, signed, ledgertest.Options{})
	var k api.KeyReply
	if err := plain.Nodes[0].Get("/api/v1/enclave_encryption_key", &k); err != nil || k.CryptoBoxKey != "" {
		t.Errorf("crypto_box key %q, %v; wanted none", k.CryptoBoxKey, err)
	}
	wantError(t, plain.Nodes[0].Post("/api/v1/state", in, nil), http.StatusBadRequest)
}
