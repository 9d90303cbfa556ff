package client_test

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"hitoku.dev/internal/ledger/ledgertest"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
	"hitoku.dev/ledger/client"
	"hitoku.dev/ledger/receipt"
	"hitoku.dev/ledger/wallet"
)

// real is a running ledger with a client and two accounts, one of each scheme.
type real struct {
	*ledgertest.Cluster
	client     *client.Client
	alice, bob *wallet.Account
}

func newReal(t *testing.T, o ledgertest.Options) *real {
	t.Helper()
	r := &real{Cluster: ledgertest.Start(t, o)}
	options := client.Options{Ledger: r.Ledger, SimulatedRoots: []*x509.Certificate{r.World.Authority.Root()}, Retry: 20 * time.Millisecond}
	for _, n := range r.Nodes {
		if n.Kind == wire.KindExecutor {
			options.URLs = append(options.URLs, n.URL)
		}
	}
	var err error
	if r.client, err = client.New(options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.client.Close)
	words, err := wallet.Restore("legal winner thank year wave sausage worth useful legal winner thank yellow")
	if err != nil {
		t.Fatal(err)
	}
	if r.alice, err = words.Account(""); err != nil {
		t.Fatal(err)
	}
	if r.bob, err = words.Add("bob", ledger.SchemeP256); err != nil {
		t.Fatal(err)
	}
	return r
}

func token(name, format string, a ...any) client.Call {
	return client.Call{Application: "erc20", Name: name, Arguments: fmt.Appendf(nil, format, a...)}
}

func (r *real) do(t *testing.T, account client.Signer, calls ...client.Call) []client.Command {
	t.Helper()
	commands, out, err := r.client.Do(ctx(t), account, calls...)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range out {
		if o.Err() != nil || !o.Committed {
			t.Fatalf("%+v", o)
		}
	}
	return commands
}

func (r *real) balance(t *testing.T, account client.Signer, fresh bool) string {
	t.Helper()
	a, err := r.client.Query(ctx(t), account, token("balanceOf", "{}"), fresh)
	if err != nil {
		t.Fatal(err)
	}
	return string(a.Result)
}

// TestRunningLedger: three executors and a vault under load of a client, over a rotation and a crash.
func TestRunningLedger(t *testing.T) {
	t.Parallel()
	r := newReal(t, ledgertest.Options{Executors: 3, Vaults: 1})
	r.do(t, r.alice, token("construct", `{"total_supply":1000}`))
	stream, err := r.client.Watch(ctx(t), r.bob, "erc20")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	transfer := token("transfer", `{"recipient":%q,"amount":10}`, r.bob.ID())
	commands := r.do(t, r.alice, transfer, transfer, transfer)
	if got := r.balance(t, r.bob, true); got != "30" {
		t.Errorf("balance %s, wanted 30", got)
	}
	for _, want := range []string{`{"balance":10}`, `{"balance":20}`, `{"balance":30}`} {
		if n, err := stream.Next(ctx(t)); err != nil || string(n.Payload) != want {
			t.Errorf("%s, %v, wanted %s", n.Payload, err, want)
		}
	}
	var receipts [][]byte
	for _, c := range commands {
		data, report, err := r.client.Receipt(ctx(t), r.alice, c)
		if err != nil || len(report.Signers) < 2 || report.Command.Name != "transfer" {
			t.Fatalf("%+v, %v", report, err)
		}
		receipts = append(receipts, data)
	}
	r.Rotate(1)
	r.do(t, r.bob, token("transfer", `{"recipient":%q,"amount":5}`, r.alice.ID()))
	r.Nodes[0].Kill()
	r.do(t, r.alice, transfer)
	r.Nodes[0].Start()
	r.WaitRunning()
	if got := r.balance(t, r.alice, true); got != "965" {
		t.Errorf("balance %s, wanted 965", got)
	}
	again, err := r.client.Send(ctx(t), commands...)
	if err != nil || again[0].Err() != nil {
		t.Errorf("commands that were executed, again: %+v, %v", again, err)
	}
	if got := r.balance(t, r.alice, false); got != "965" {
		t.Errorf("balance %s after commands came again, wanted 965", got)
	}
	m, err := r.client.Members(ctx(t))
	if err != nil || m.Epoch < 3 || len(m.Members) != 4 {
		t.Errorf("%+v, %v", m, err)
	}
	for _, url := range r.client.URLs() {
		if n, err := r.client.Verify(ctx(t), url); err != nil || !n.Evidence.Accepted {
			t.Errorf("%+v, %v", n, err)
		}
	}
	for _, data := range receipts {
		if _, err := receipt.Verify(data, receipt.Options{Ledger: r.Ledger, SimulatedRoots: []*x509.Certificate{r.World.Authority.Root()}}); err != nil {
			t.Error(err)
		}
	}
}

// TestRunningRefusals: what a real ledger refuses comes back as what it is.
func TestRunningRefusals(t *testing.T) {
	t.Parallel()
	r := newReal(t, ledgertest.Options{})
	r.do(t, r.alice, token("construct", `{"total_supply":1000}`))
	var refused *client.RefusedError
	_, out, err := r.client.Do(ctx(t), r.bob, token("transfer", `{"recipient":%q,"amount":10}`, r.alice.ID()))
	if err != nil || !errors.As(out[0].Err(), &refused) || !refused.Executed || refused.Code != ledger.CodeRefused {
		t.Errorf("%+v, %v", out, err)
	}
	if _, err := r.client.Query(ctx(t), r.bob, token("nothing", "{}"), false); !errors.As(err, &refused) || refused.Code != ledger.CodeUnknownQuery {
		t.Errorf("%v", err)
	}
	if _, err := r.client.Counter(ctx(t), r.bob, "nothing"); !errors.As(err, &refused) || refused.Code != ledger.CodeUnknownApplication {
		t.Errorf("%v", err)
	}
	foreign, err := client.SignCommand([32]byte{1}, r.bob, token("burn", `{"amount":1}`), 2, 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	gap, err := client.SignCommand(r.Ledger, r.bob, token("burn", `{"amount":1}`), 9, 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	late, err := client.SignCommand(r.Ledger, r.bob, token("burn", `{"amount":1}`), 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	out, err = r.client.Send(ctx(t), foreign, gap, late)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []uint16{ledger.CodeWrongLedger, ledger.CodeNonceGap, ledger.CodeExpired} {
		if out[i].Code != want {
			t.Errorf("command %d: code %s, wanted %s", i, out[i].Word(), ledger.CodeWord(want))
		}
	}
	if _, _, err := r.client.Receipt(ctx(t), r.bob, gap); err != nil {
		t.Errorf("a command that was executed and refused has a receipt too: %v", err)
	}
	if a, err := r.client.Query(ctx(t), r.bob, client.Call{Application: "erc20", Name: "totalSupply", Arguments: json.RawMessage("{}")}, false); err != nil || string(a.Result) != "1000" {
		t.Errorf("%s, %v", a.Result, err)
	}
}
