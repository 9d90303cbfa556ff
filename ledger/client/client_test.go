package client_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/internal/ledger/clienttest"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
	"hitoku.dev/ledger/client"
	"hitoku.dev/ledger/receipt"
	"hitoku.dev/ledger/wallet"
)

var _ client.Signer = (*wallet.Account)(nil)

// world is a ledger, a node for each executor, and an account.
type world struct {
	*clienttest.Ledger
	nodes []*clienttest.Node
	alice *wallet.Account
}

func newWorld(t *testing.T, nodes int, o clienttest.Options) *world {
	t.Helper()
	w := &world{Ledger: clienttest.New(t, o)}
	w.Skip(3)
	for i := range nodes {
		w.nodes = append(w.nodes, w.Serve(w.Members[i]))
	}
	words, err := wallet.Restore("legal winner thank year wave sausage worth useful legal winner thank yellow")
	if err != nil {
		t.Fatal(err)
	}
	if w.alice, err = words.Account(""); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) options() client.Options {
	o := client.Options{
		Ledger: w.ID, SimulatedRoots: []*x509.Certificate{w.Root()}, Now: func() time.Time { return clienttest.Now.Add(time.Minute) },
		Patience: 5 * time.Second, Retry: time.Millisecond,
	}
	for _, n := range w.nodes {
		o.URLs = append(o.URLs, n.URL)
	}
	return o
}

func (w *world) client(t *testing.T, edit ...func(*client.Options)) *client.Client {
	t.Helper()
	o := w.options()
	for _, e := range edit {
		e(&o)
	}
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func say(args string) client.Call {
	return client.Call{Application: "echo", Name: "say", Arguments: json.RawMessage(args)}
}

func ctx(t *testing.T) context.Context {
	t.Helper()
	c, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return c
}

func TestDo(t *testing.T) {
	t.Parallel()
	for _, suite := range []wire.Suite{wire.SuiteX25519, wire.SuiteHybrid} {
		w := newWorld(t, 1, clienttest.Options{Suite: suite, Executors: 1})
		c := w.client(t)
		commands, out, err := c.Do(ctx(t), w.alice, say(`{"n":1}`), say(`{"n":2}`), client.Call{Application: "echo", Name: "refuse"})
		if err != nil {
			t.Fatal(err)
		}
		if len(out) != 3 || string(out[1].Result) != `{"n":2}` || out[0].Err() != nil || out[1].Index != 1 || !out[1].Committed || out[1].Position != w.Position() {
			t.Errorf("%+v", out)
		}
		var refused *client.RefusedError
		if !errors.As(out[2].Err(), &refused) || !refused.Executed || refused.Code != ledger.CodeRefused || out[2].Word() != "refused" || refused.Error() != "executed and refused: refused: not_today" {
			t.Errorf("%+v", out[2])
		}
		// The same commands again are not executed again.
		before := w.Position()
		again, err := c.Send(ctx(t), commands...)
		if err != nil || again[0].Position != out[0].Position || w.Position() != before {
			t.Errorf("%+v, %v", again, err)
		}
		if n, err := c.Counter(ctx(t), w.alice, "echo"); err != nil || n != 3 {
			t.Errorf("counter %d, %v", n, err)
		}
		if f := c.Floor(); f.Position != w.Position() || f.Epoch != 1 {
			t.Errorf("floor %+v", f)
		}
	}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, clienttest.Options{})
	c := w.client(t)
	long := `"` + strings.Repeat("x", 20_000) + `"`
	for _, args := range []string{`{}`, long} {
		a, err := c.Query(ctx(t), w.alice, say(args), true)
		if err != nil || string(a.Result) != args || a.Position != w.Position() || a.Time.IsZero() {
			t.Errorf("%+v, %v", a, err)
		}
	}
	var refused *client.RefusedError
	if _, err := c.Query(ctx(t), w.alice, client.Call{Application: "echo", Name: "refuse"}, false); !errors.As(err, &refused) || refused.Code != ledger.CodeUnknownQuery || refused.Executed {
		t.Errorf("%v", err)
	}
	if n := w.nodes[0].Calls("/api/v1/enclave_encryption_key"); n != 1 {
		t.Errorf("the node was verified %d times, wanted once", n)
	}
	if _, known, err := c.Lookup(ctx(t), w.alice, "echo", [32]byte{1}); known || err != nil {
		t.Errorf("an unknown command: %v, %v", known, err)
	}
}

func TestLongOutcome(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, clienttest.Options{})
	args := `"` + strings.Repeat("x", 20_000) + `"`
	_, out, err := w.client(t).Do(ctx(t), w.alice, say(args))
	if err != nil || string(out[0].Result) != args {
		t.Errorf("%d bytes, %v", len(out[0].Result), err)
	}
}

// TestUnverified: nothing is sealed for a node that is not what it should be.
func TestUnverified(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		evil func(w *world) clienttest.Evil
		want string
	}{
		"connection ends elsewhere": {func(w *world) clienttest.Evil { return clienttest.Evil{TLS: w.NewKey()} }, "somebody stands between"},
		"key of another member": {func(w *world) clienttest.Evil {
			return clienttest.Evil{KeyInfo: func(i *wire.KeyInfo) { i.Key = w.Members[1].PublicKey() }}
		}, "somebody stands between"},
		"another incarnation": {func(w *world) clienttest.Evil {
			return clienttest.Evil{KeyInfo: func(i *wire.KeyInfo) { i.Incarnation = w.Members[1].ID }}
		}, "not that of its key"},
		"another slot": {func(w *world) clienttest.Evil { return clienttest.Evil{KeyInfo: func(i *wire.KeyInfo) { i.Slot = 1 }} }, "is no executor of epoch 1"},
		"another ledger": {func(w *world) clienttest.Evil {
			return clienttest.Evil{KeyInfo: func(i *wire.KeyInfo) { i.Ledger[0]++ }}
		}, "it is of ledger"},
		"old KeyInfo": {func(w *world) clienttest.Evil {
			return clienttest.Evil{KeyInfo: func(i *wire.KeyInfo) { i.NotAfter = uint64(clienttest.Now.Unix()) }}
		}, "its key was good until"},
		"KeyInfo for ever": {func(w *world) clienttest.Evil {
			return clienttest.Evil{KeyInfo: func(i *wire.KeyInfo) { i.NotAfter = 1 << 63 }}
		}, "longer than"},
		"request key that is none": {func(w *world) clienttest.Evil {
			return clienttest.Evil{KeyInfo: func(i *wire.KeyInfo) { i.RequestKey = make([]byte, 32) }}
		}, "small order"},
		"request key of another length": {func(w *world) clienttest.Evil {
			return clienttest.Evil{KeyInfo: func(i *wire.KeyInfo) { i.RequestKey = i.RequestKey[1:] }}
		}, "HPKE public key"},
		"signature changed": {func(w *world) clienttest.Evil {
			return clienttest.Evil{Signature: func(s []byte) []byte { s[5] ^= 1; return s }}
		}, "signature does not hold"},
		"signature cut": {func(w *world) clienttest.Evil {
			return clienttest.Evil{Signature: func(s []byte) []byte { return s[:63] }}
		}, "signature does not hold"},
		"no control records": {func(w *world) clienttest.Evil {
			return clienttest.Evil{Control: func(c *wire.Control) { c.Records = nil }}
		}, "no executor of epoch 0"},
		"control records of another ledger": {func(w *world) clienttest.Evil {
			other := clienttest.New(t, clienttest.Options{Seed: 9})
			return clienttest.Evil{Control: func(c *wire.Control) { *c = other.Control() }}
		}, "it is of ledger"},
		"evidence of another ledger": {func(w *world) clienttest.Evil {
			other := clienttest.New(t, clienttest.Options{Seed: 9})
			return clienttest.Evil{Control: func(c *wire.Control) { c.Records[0].Record = other.Control().Records[0].Record }}
		}, "record of ledger"},
		"not JSON": {func(w *world) clienttest.Evil {
			return clienttest.Evil{HTTP: func(w http.ResponseWriter, _ *http.Request) bool { fmt.Fprint(w, "hello"); return true }}
		}, "answer does not hold"},
		"elsewhere": {func(w *world) clienttest.Evil {
			return clienttest.Evil{HTTP: func(w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, "https://example.com/", http.StatusFound)
				return true
			}}
		}, "refuses (302"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1, clienttest.Options{})
			w.nodes[0].SetEvil(c.evil(w))
			cl := w.client(t)
			_, err := cl.Query(ctx(t), w.alice, say("{}"), false)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, wanted %q", err, c.want)
			}
			if n := w.nodes[0].Calls("/api/v1/state/query"); n != 0 {
				t.Errorf("%d questions were sealed for it", n)
			}
			if f := cl.Floor(); f != (client.Floor{}) {
				t.Errorf("the floor was raised to %+v", f)
			}
		})
	}
}

func TestEvidence(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, clienttest.Options{})
	for name, edit := range map[string]func(*client.Options){
		"roots are not named":  func(o *client.Options) { o.SimulatedRoots = nil },
		"named as a maker":     func(o *client.Options) { o.Roots, o.SimulatedRoots = o.SimulatedRoots, nil },
		"evidence is too old":  func(o *client.Options) { o.Now = func() time.Time { return clienttest.Now.Add(10 * 24 * time.Hour) } },
		"it is not yet so far": func(o *client.Options) { o.Now = func() time.Time { return clienttest.Now.Add(-24 * time.Hour) } },
		"another ledger":       func(o *client.Options) { o.Ledger[0]++ },
	} {
		if name == "evidence is too old" {
			w.World.SetNow(clienttest.Now.Add(10 * 24 * time.Hour))
		} else {
			w.World.SetNow(clienttest.Now)
		}
		if _, err := w.client(t, edit).Query(ctx(t), w.alice, say("{}"), false); !errors.Is(err, client.ErrUnverified) {
			t.Errorf("%s: %v", name, err)
		} else if name == "evidence is too old" && !errors.As(err, new(*attest.RefusedError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := w.nodes[0].Calls("/api/v1/state/query"); n != 0 {
		t.Errorf("%d questions were sealed", n)
	}
}

// TestLyingAnswers: a host that changes what a node says, and a node that lies.
func TestLyingAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, clienttest.Options{})
	c := w.client(t)
	if _, _, err := c.Do(ctx(t), w.alice, say("1")); err != nil {
		t.Fatal(err)
	}
	var other []byte
	w.nodes[0].SetEvil(clienttest.Evil{Reply: func(b []byte) []byte { other = b; return b }})
	if _, err := c.Query(ctx(t), w.alice, say(`"first"`), false); err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		evil clienttest.Evil
		want error
	}{
		"reply of another request": {clienttest.Evil{Reply: func([]byte) []byte { return other }}, client.ErrAnswer},
		"a changed byte":           {clienttest.Evil{Reply: func(b []byte) []byte { b[len(b)-1] ^= 1; return b }}, client.ErrAnswer},
		"cut":                      {clienttest.Evil{Reply: func(b []byte) []byte { return b[:len(b)-1] }}, client.ErrAnswer},
		"longer":                   {clienttest.Evil{Reply: func(b []byte) []byte { return append(b, 0) }}, client.ErrAnswer},
		"nothing":                  {clienttest.Evil{Reply: func([]byte) []byte { return nil }}, client.ErrAnswer},
		"two answers":              {clienttest.Evil{Body: func(b *wire.ReplyBody) { b.Results = append(b.Results, b.Results[0]) }}, client.ErrAnswer},
		"no answer":                {clienttest.Evil{Body: func(b *wire.ReplyBody) { b.Results = nil }}, client.ErrAnswer},
		"a committed answer":       {clienttest.Evil{Body: func(b *wire.ReplyBody) { b.Results[0].Status = wire.StatusCommitted }}, client.ErrAnswer},
		"an answer with a code":    {clienttest.Evil{Body: func(b *wire.ReplyBody) { b.Results[0].Outcome.Code = 7 }}, client.ErrAnswer},
		"below the floor":          {clienttest.Evil{Body: func(b *wire.ReplyBody) { b.Position-- }}, client.ErrStale},
		"another history":          {clienttest.Evil{Body: func(b *wire.ReplyBody) { b.Chain[0]++ }}, client.ErrFork},
		"it says that it was forked": {clienttest.Evil{Body: func(b *wire.ReplyBody) {
			b.Results[0] = wire.Result{Status: wire.StatusRefused, Outcome: wire.Outcome{Code: ledger.CodeForked}}
		}}, client.ErrFork},
		"it says that it is behind": {clienttest.Evil{Body: func(b *wire.ReplyBody) {
			b.Results[0] = wire.Result{Status: wire.StatusRefused, Outcome: wire.Outcome{Code: ledger.CodeBehind}}
		}}, client.ErrStale},
		"a question that was asked": {clienttest.Evil{Body: func(b *wire.ReplyBody) {
			b.Results[0] = wire.Result{Status: wire.StatusRefused, Outcome: wire.Outcome{Code: ledger.CodeReplayed}}
		}}, client.ErrAnswer},
	} {
		w.nodes[0].SetEvil(x.evil)
		if _, err := c.Query(ctx(t), w.alice, say(`"second"`), false); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, wanted %v", name, err, x.want)
		}
	}
	var busy *client.NodeError
	w.nodes[0].SetEvil(clienttest.Evil{Body: func(b *wire.ReplyBody) {
		b.Results[0] = wire.Result{Status: wire.StatusRefused, Outcome: wire.Outcome{Code: ledger.CodeNotFresh, Message: "alone"}}
	}})
	if _, err := c.Query(ctx(t), w.alice, say("{}"), true); !errors.As(err, &busy) || busy.Code != "not_fresh" {
		t.Errorf("not fresh: %v", err)
	}
	for _, text := range []string{`{}`, `{"user_counter":-1}`, `[]`, `x`} {
		w.nodes[0].SetEvil(clienttest.Evil{Counter: text})
		if _, err := c.Counter(ctx(t), w.alice, "echo"); !errors.Is(err, client.ErrAnswer) {
			t.Errorf("counter %s: %v", text, err)
		}
	}
	w.nodes[0].SetEvil(clienttest.Evil{})
	if a, err := c.Query(ctx(t), w.alice, say(`"third"`), false); err != nil || string(a.Result) != `"third"` {
		t.Errorf("after all of that: %s, %v", a.Result, err)
	}
}

// TestFloor: what was seen once is held against every node, over restarts of the client.
func TestFloor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, clienttest.Options{})
	path := filepath.Join(t.TempDir(), "floor")
	keep := func(o *client.Options) { o.Floor = client.NewFileFloor(path, w.ID) }
	c := w.client(t, keep)
	if _, _, err := c.Do(ctx(t), w.alice, say("1")); err != nil {
		t.Fatal(err)
	}
	seen := c.Floor()
	for name, x := range map[string]struct {
		evil clienttest.Evil
		want error
	}{
		"older position": {clienttest.Evil{KeyInfo: func(i *wire.KeyInfo) { i.Position-- }}, client.ErrStale},
		"other history":  {clienttest.Evil{KeyInfo: func(i *wire.KeyInfo) { i.Chain[0]++ }}, client.ErrFork},
	} {
		again := w.client(t, keep)
		if again.Floor() != seen {
			t.Fatalf("floor %+v, wanted %+v", again.Floor(), seen)
		}
		for _, n := range w.nodes {
			n.SetEvil(x.evil)
		}
		if _, err := again.Query(ctx(t), w.alice, say("2"), false); !errors.Is(err, x.want) {
			t.Errorf("%s: %v", name, err)
		}
		// One node that is as it should be is enough.
		w.nodes[1].SetEvil(clienttest.Evil{})
		if _, err := again.Query(ctx(t), w.alice, say("2"), false); err != nil {
			t.Errorf("%s at one of two nodes: %v", name, err)
		}
	}
	if _, err := client.New(client.Options{URLs: []string{w.nodes[0].URL}, Ledger: [32]byte{1}, Floor: client.NewFileFloor(path, [32]byte{1})}); err == nil {
		t.Error("another ledger's floor was taken")
	}
}

// TestEpochFloor: a host cannot bring back members that were removed.
func TestEpochFloor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, clienttest.Options{})
	old := w.Control()
	gone := w.Members[0]
	w.Change(w.Members[1], nil, []wire.Remove{{Slot: 0, Incarnation: gone.ID, Reason: wire.RemoveByAdmins}})
	floor := new(client.MemoryFloor)
	keep := func(o *client.Options) { o.Floor = floor }
	if _, err := w.client(t, keep).Query(ctx(t), w.alice, say("1"), false); err != nil {
		t.Fatal(err)
	}
	w.nodes[0].SetEvil(clienttest.Evil{Control: func(c *wire.Control) { *c = old }})
	only := func(o *client.Options) { keep(o); o.URLs = o.URLs[:1] }
	if _, err := w.client(t, only).Query(ctx(t), w.alice, say("1"), false); !errors.Is(err, client.ErrStale) {
		t.Errorf("old control records: %v", err)
	}
	w.nodes[0].SetEvil(clienttest.Evil{})
	if _, err := w.client(t, only).Query(ctx(t), w.alice, say("1"), false); !errors.Is(err, client.ErrUnverified) {
		t.Errorf("a member that was removed: %v", err)
	}
	if err := floor.Save(client.Floor{Epoch: 3, T: [32]byte{1}}); err != nil {
		t.Fatal(err)
	}
	w.Change(w.Members[1], nil, nil)
	if _, err := w.client(t, keep).Query(ctx(t), w.alice, say("1"), false); !errors.Is(err, client.ErrFork) && !errors.Is(err, client.ErrStale) {
		t.Errorf("another epoch 3: %v", err)
	}
}

// TestNextNode: commands find a node that works, and are executed once.
func TestNextNode(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3, clienttest.Options{})
	c := w.client(t)
	down := clienttest.Evil{HTTP: func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"code":"not_running","message":"later"}`)
		return true
	}}
	w.nodes[0].SetEvil(down)
	w.nodes[1].SetEvil(clienttest.Evil{TLS: w.NewKey()})
	if _, _, err := c.Do(ctx(t), w.alice, say("1")); err != nil {
		t.Fatal(err)
	}
	// The node that took them goes away before it answers.
	w.nodes[1].SetEvil(clienttest.Evil{})
	w.nodes[2].SetEvil(clienttest.Evil{Hold: true})
	commands, err := c.Sign(ctx(t), w.alice, say("2"))
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := c.Submit(ctx(t), commands...)
	if err != nil {
		t.Fatal(err)
	}
	w.nodes[2].SetEvil(down)
	out, err := ticket.Wait(ctx(t))
	if err != nil || out[0].Err() != nil || string(out[0].Result) != "2" {
		t.Fatalf("%+v, %v", out, err)
	}
	before := w.Position()
	w.nodes[0].SetEvil(clienttest.Evil{})
	if again, err := c.Send(ctx(t), commands...); err != nil || again[0].Position != out[0].Position || w.Position() != before {
		t.Errorf("%+v, %v", again, err)
	}
	// All are down: the refusals of each are told.
	for _, n := range w.nodes {
		n.SetEvil(down)
	}
	if _, err := c.Query(ctx(t), w.alice, say("3"), false); err == nil || strings.Count(err.Error(), "not_running") != 3 {
		t.Errorf("%v", err)
	}
}

// TestKeyChanges: a node's new request key, and a new incarnation, are verified and used.
func TestKeyChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, clienttest.Options{})
	c := w.client(t)
	for range 2 {
		if _, _, err := c.Do(ctx(t), w.alice, say("1")); err != nil {
			t.Fatal(err)
		}
		w.nodes[0].NewRequestKey()
	}
	again := w.Join(0)
	w.Change(w.Members[1], []*clienttest.Incarnation{again}, []wire.Remove{{Slot: 0, Incarnation: w.Members[0].ID, Reason: wire.RemoveReplaced}})
	w.nodes[0].Restart(again)
	c.Close()
	if _, _, err := c.Do(ctx(t), w.alice, say("2")); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Verify(ctx(t), w.nodes[0].URL); err != nil || n.Epoch != 2 || !n.Evidence.Accepted || !n.Evidence.Simulated || n.Slot != 0 {
		t.Errorf("%+v, %v", n, err)
	}
}

func TestPending(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, clienttest.Options{})
	w.nodes[0].SetEvil(clienttest.Evil{Hold: true})
	c := w.client(t)
	short, cancel := context.WithCancel(ctx(t))
	commands, err := c.Sign(short, w.alice, say("1"))
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := c.Submit(short, commands...)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := ticket.Wait(short); !errors.Is(err, client.ErrPending) {
		t.Errorf("%v", err)
	}
	w.nodes[0].SetEvil(clienttest.Evil{})
	kept, err := client.ParseCommand(commands[0].Signed)
	if err != nil || kept.Nonce != 1 || kept.Account != w.alice.ID() || kept.Hash != commands[0].Hash {
		t.Fatalf("%+v, %v", kept, err)
	}
	if out, err := c.Send(ctx(t), kept); err != nil || out[0].Err() != nil {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, clienttest.Options{})
	c := w.client(t)
	args := `"` + strings.Repeat("x", 30_000) + `"`
	if _, _, err := c.Do(ctx(t), w.alice, say(args), say(args), say(args), say(args), say(args)); !errors.Is(err, client.ErrTooLarge) {
		t.Errorf("%v", err)
	}
	if _, _, err := c.Do(ctx(t), w.alice, say(args), say(args)); err != nil {
		t.Errorf("%v", err)
	}
	if _, err := c.Sign(ctx(t), w.alice, say(`"`+strings.Repeat("x", 40_000)+`"`)); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("%v", err)
	}
	if _, err := c.Submit(ctx(t)); !errors.Is(err, client.ErrTooLarge) {
		t.Errorf("%v", err)
	}
}

func TestReceipt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, clienttest.Options{})
	c := w.client(t)
	commands, _, err := c.Do(ctx(t), w.alice, say("1"), say("2"), client.Call{Application: "echo", Name: "refuse"})
	if err != nil {
		t.Fatal(err)
	}
	for i, word := range []string{"ok", "ok", "refused"} {
		data, report, err := c.Receipt(ctx(t), w.alice, commands[i])
		if err != nil || !report.Accepted || report.Outcome.Word != word || report.Command.Account != w.alice.ID().String() {
			t.Fatalf("%+v, %v", report, err)
		}
		if again, err := receipt.Verify(data, receipt.Options{Ledger: w.ID, SimulatedRoots: []*x509.Certificate{w.Root()}}); err != nil || again.Command.Nonce != uint64(i+1) {
			t.Errorf("%+v, %v", again, err)
		}
	}
	stranger, err := wallet.New(12, bytes.NewReader(make([]byte, 16)))
	if err != nil {
		t.Fatal(err)
	}
	mallory, err := stranger.Account("")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Receipt(ctx(t), mallory, commands[0]); err == nil || !strings.Contains(err.Error(), "cannot ask for its outcome") {
		t.Errorf("a stranger's: %v", err)
	}
	for name, evil := range map[string]clienttest.Evil{
		"other control records": {Control: func(c *wire.Control) { c.Records = c.Records[:2] }},
		"too few signatures":    {Checkpoint: func(m map[string]any) { m["signatures"] = m["signatures"].([]map[string]any)[:1] }},
		"a cut hash":            {Checkpoint: func(m map[string]any) { m["before"] = m["before"].([]byte)[:31] }},
		"a cut signature":       {Checkpoint: func(m map[string]any) { m["signatures"].([]map[string]any)[0]["signature"] = []byte("x") }},
		"another order":         {Checkpoint: func(m map[string]any) { m["order_assurance"] = "validators" }},
		"another outcome":       {Body: func(b *wire.ReplyBody) { b.Results[0].Outcome.Result = []byte("9") }},
	} {
		w.nodes[0].SetEvil(evil)
		if data, _, err := c.Receipt(ctx(t), w.alice, commands[0]); data != nil || !errors.Is(err, client.ErrAnswer) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, clienttest.Options{})
	c := w.client(t)
	stream, err := c.Watch(ctx(t), w.alice, "echo")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	for i := range 3 {
		if _, _, err := c.Do(ctx(t), w.alice, say(fmt.Sprint(i)), say(fmt.Sprint(10*i))); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{fmt.Sprint(i), fmt.Sprint(10 * i)} {
			n, err := stream.Next(ctx(t))
			if err != nil || string(n.Payload) != want {
				t.Fatalf("%+v, %v, wanted %s", n, err, want)
			}
		}
	}
	w.nodes[0].SetEvil(clienttest.Evil{HTTP: func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "notifications") {
			return false
		}
		fmt.Fprint(w, "id: 9\ndata: AAAA\n\n")
		return true
	}})
	if _, err := stream.Next(ctx(t)); !errors.Is(err, client.ErrAnswer) {
		t.Errorf("junk: %v", err)
	}
	w.nodes[0].SetEvil(clienttest.Evil{})
	stream.Close()
	gone, cancel := context.WithCancel(ctx(t))
	cancel()
	if _, err := stream.Next(gone); !errors.Is(err, context.Canceled) && !errors.Is(err, client.ErrStream) {
		t.Errorf("cancelled: %v", err)
	}
	w.nodes[0].Restart(w.Members[0])
	if _, err := stream.Next(ctx(t)); !errors.Is(err, client.ErrStream) {
		t.Errorf("a node that has restarted: %v", err)
	}
}

func TestMembers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2, clienttest.Options{Vaults: 1, Spare: 1})
	w.nodes[0].SetEvil(clienttest.Evil{Control: func(c *wire.Control) { c.Records = c.Records[1:] }})
	w.Join(4)
	m, err := w.client(t).Members(ctx(t))
	if err != nil || m.Epoch != 1 || len(m.Members) != 4 || len(m.Pending) != 1 || m.Members[3].Kind != "vault" || m.Pending[0].Slot != 4 {
		t.Fatalf("%+v, %v", m, err)
	}
	for _, x := range m.Members {
		if x.Refused != "" || len(x.Measurement) != 64 || x.JoinTime.Before(clienttest.Now) {
			t.Errorf("%+v", x)
		}
	}
	late := w.client(t, func(o *client.Options) { o.Now = func() time.Time { return clienttest.Now.Add(30 * 24 * time.Hour) } })
	if m, err := late.Members(ctx(t)); err != nil || m.Members[0].Refused == "" {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	id := [32]byte{1}
	for _, o := range []client.Options{
		{}, {URLs: []string{"https://a:1"}}, {Ledger: id}, {Ledger: id, URLs: []string{"http://a:1"}}, {Ledger: id, URLs: []string{"a:1"}},
		{Ledger: id, URLs: []string{"https://a:1/x"}}, {Ledger: id, URLs: []string{"https://u@a:1"}}, {Ledger: id, URLs: []string{"https://a:1?x=1"}},
	} {
		if _, err := client.New(o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
	c, err := client.New(client.Options{Ledger: id, URLs: []string{"https://a:1/"}})
	if err != nil || c.URLs()[0] != "https://a:1" {
		t.Errorf("%v, %v", c.URLs(), err)
	}
}

// TestNothingReadable looks at all that passes the wire inside of TLS.
func TestNothingReadable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, clienttest.Options{})
	var seen bytes.Buffer
	w.nodes[0].SetEvil(clienttest.Evil{
		HTTP: func(_ http.ResponseWriter, r *http.Request) bool {
			fmt.Fprintln(&seen, r.URL, r.Header)
			var b bytes.Buffer
			_, _ = b.ReadFrom(r.Body)
			seen.Write(b.Bytes())
			r.Body = http.NoBody
			if b.Len() > 0 {
				r.Body = readCloser{&b}
			}
			return false
		},
		Reply: func(b []byte) []byte { seen.Write(b); return b },
	})
	if _, _, err := w.client(t).Do(ctx(t), w.alice, client.Call{Application: "echo", Name: "announcement", Arguments: json.RawMessage(`{"amount":424242424242}`)}); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"424242424242", `"amount"`, "announcement", w.alice.ID().String()} {
		if bytes.Contains(seen.Bytes(), []byte(secret)) {
			t.Errorf("%q can be read", secret)
		}
	}
	if bytes.Contains(seen.Bytes(), w.alice.PublicKey()) {
		t.Error("the account's key can be read")
	}
}

type readCloser struct{ *bytes.Buffer }

func (readCloser) Close() error { return nil }
