package anonifytest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"testing"

	"golang.org/x/crypto/nacl/box"

	"hitoku.dev/internal/ledger/api"
	"hitoku.dev/internal/ledger/ledgertest"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
)

// account is who sends commands. Its numbers are given, so that a test may give wrong ones.
type account interface {
	// id is the account as it stands in the arguments of a command.
	id() string
	// post hands a command over, which is answered 202, and returns what waits for its outcome.
	post(node int, number uint32, name, args string) (wait func() outcome)
	// send is post and wait.
	send(node int, number uint32, name, args string) outcome
	// ask is a query of a kind of package wire; the answer is fresh.
	ask(node int, kind uint8, name, args string) outcome
}

// outcome is what became of a command or query, as the sealed reply says.
type outcome struct {
	status  string // committed, rejected, answer or refused
	code    uint16
	message string
	result  string
}

func wantOK(t *testing.T, o outcome) {
	t.Helper()
	if o.status != "committed" || o.code != ledger.CodeOK {
		t.Fatalf("%+v (%s), wanted it committed", o, ledger.CodeWord(o.code))
	}
}

// wantFailed wants a command to have been ordered and to have failed.
func wantFailed(t *testing.T, o outcome, code uint16) {
	t.Helper()
	if o.status != "committed" || o.code != code {
		t.Errorf("%+v (%s), wanted it committed with %s", o, ledger.CodeWord(o.code), ledger.CodeWord(code))
	}
}

func wantBalance(t *testing.T, a account, node int, want uint64) {
	t.Helper()
	if o := a.ask(node, wire.KindQuery, "balance_of", "{}"); o.status != "answer" || o.result != fmt.Sprint(want) {
		t.Errorf("balance at node %d: %+v, wanted %d", node, o, want)
	}
}

func wantCounter(t *testing.T, a account, want uint32) {
	t.Helper()
	if o := a.ask(0, wire.KindCounter, "", ""); o.status != "answer" || o.result != fmt.Sprintf(`{"user_counter":%d}`, want) {
		t.Errorf("counter: %+v, wanted %d", o, want)
	}
}

func transfer(to account, amount uint64) string {
	return fmt.Sprintf(`{"recipient":%s,"amount":%d}`, to.id(), amount)
}

// signedAccount has an Ed25519 key and seals Requests.
type signedAccount struct {
	world
	u *ledgertest.User
}

func newSigned(w world) account {
	u := w.User()
	u.App = w.app
	return &signedAccount{w, u}
}

func (a *signedAccount) id() string { return fmt.Sprintf("%q", fmt.Sprintf("%x", a.u.Account())) }

func (a *signedAccount) session(node int) *ledgertest.Session {
	a.t.Helper()
	s, err := a.u.Session(node)
	if err != nil {
		a.t.Fatal(err)
	}
	return s
}

func (a *signedAccount) post(node int, number uint32, name, args string) func() outcome {
	a.t.Helper()
	return a.submit(node, a.u.Sign(uint64(number), name, args))
}

// submit hands over one item of a request for commands.
func (a *signedAccount) submit(node int, item []byte) func() outcome {
	a.t.Helper()
	s := a.session(node)
	raw, opener, err := s.Seal(wire.RequestCommands, wire.ModeLocal, item)
	if err != nil {
		a.t.Fatal(err)
	}
	wait := ticket(a.t, a.Nodes[node], api.StateRequest{Request: raw})
	return func() outcome {
		a.t.Helper()
		results, err := s.Open(wait(), opener)
		if err != nil || len(results) != 1 {
			a.t.Fatalf("%d results, %v", len(results), err)
		}
		if results[0].Outcome.Code == ledger.CodeBehind { // than what this account has seen elsewhere
			return a.submit(node, item)()
		}
		return outcomeOf(results[0])
	}
}

func (a *signedAccount) send(node int, number uint32, name, args string) outcome {
	a.t.Helper()
	return a.post(node, number, name, args)()
}

func (a *signedAccount) ask(node int, kind uint8, name, args string) outcome {
	a.t.Helper()
	r, err := a.session(node).Ask(paths[kind], kind, wire.ModeFresh, name, []byte(args))
	if err != nil {
		a.t.Fatal(err)
	}
	return outcomeOf(r)
}

var paths = map[uint8]string{
	wire.KindQuery: "/api/v1/state/query", wire.KindCounter: "/api/v1/user_counter", wire.KindRegister: "/api/v1/register_notification",
}

func outcomeOf(r wire.Result) outcome {
	status := map[uint8]string{wire.StatusCommitted: "committed", wire.StatusRejected: "rejected", wire.StatusAnswer: "answer", wire.StatusRefused: "refused"}
	return outcome{status[r.Status], r.Outcome.Code, r.Outcome.Message, string(r.Outcome.Result)}
}

// ticket hands a request over, and returns what waits for its sealed reply.
func ticket(t *testing.T, n *ledgertest.Node, in api.StateRequest) (wait func() []byte) {
	t.Helper()
	var out api.TicketReply
	if err := n.Post("/api/v1/state", in, &out); err != nil {
		t.Fatal(err)
	}
	return func() []byte {
		t.Helper()
		for out.Reply == nil {
			if err := n.Get("/api/v1/tickets/"+out.Ticket+"?wait=30", &out); err != nil {
				t.Fatal(err)
			}
		}
		return out.Reply
	}
}

// claimedAccount is 20 bytes that anybody may claim, and seals as Anonify's clients do.
type claimedAccount struct {
	world
	key [20]byte
	// userID is sent beside the seal when it is not empty.
	userID string
	reader *ledgertest.User // whose sessions carry queries
}

func newClaimed(w world) account {
	w.t.Helper()
	a := &claimedAccount{world: w, reader: w.User()}
	if _, err := io.ReadFull(rand.Reader, a.key[:]); err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (a *claimedAccount) id() string {
	list := make([]int, len(a.key))
	for i, b := range a.key {
		list[i] = int(b)
	}
	b, err := json.Marshal(list)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(b)
}

func (a *claimedAccount) post(node int, number uint32, name, args string) func() outcome {
	a.t.Helper()
	plain := fmt.Sprintf(`{"access_policy":{"account_id":%s},"runtime_params":%s,"cmd_name":%q,"counter":%d}`, a.id(), args, name, number)
	in, shared := sealBox(a.t, a.Nodes[node], plain)
	in.UserID = a.userID
	wait := ticket(a.t, a.Nodes[node], in)
	return func() outcome {
		a.t.Helper()
		reply := wait()
		plain, ok := box.OpenAfterPrecomputation(nil, reply[24:], (*[24]byte)(reply), shared)
		if !ok {
			a.t.Fatal("the reply does not open")
		}
		var r struct {
			Status, Message string
			Code            uint16
			Result          json.RawMessage
		}
		if err := json.Unmarshal(plain, &r); err != nil {
			a.t.Fatal(err)
		}
		return outcome{r.Status, r.Code, r.Message, string(r.Result)}
	}
}

func (a *claimedAccount) send(node int, number uint32, name, args string) outcome {
	a.t.Helper()
	return a.post(node, number, name, args)()
}

// sealBox seals a text to a node's key as Anonify's clients do.
func sealBox(t *testing.T, n *ledgertest.Node, plain string) (api.StateRequest, *[32]byte) {
	t.Helper()
	var k api.KeyReply
	if err := n.Get("/api/v1/enclave_encryption_key", &k); err != nil {
		t.Fatal(err)
	}
	to, err := hex.DecodeString(k.CryptoBoxKey)
	if err != nil || len(to) != 32 {
		t.Fatalf("crypto_box key %q", k.CryptoBoxKey)
	}
	public, private, err := box.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var nonce [24]byte
	if _, err := io.ReadFull(rand.Reader, nonce[:]); err != nil {
		t.Fatal(err)
	}
	var shared [32]byte
	box.Precompute(&shared, (*[32]byte)(to), private)
	sealed := box.SealAfterPrecomputation(nil, []byte(plain), &nonce, &shared)
	return api.StateRequest{EphemeralPublicKey: hex.EncodeToString(public[:]), Nonce: hex.EncodeToString(nonce[:]), Ciphertext: hex.EncodeToString(sealed)}, &shared
}

// ask seals the question in this project's form, unsigned: Anonify's form has no queries.
func (a *claimedAccount) ask(node int, kind uint8, name, args string) outcome {
	a.t.Helper()
	return a.question(a.reader, node, wire.Query{
		Kind: kind, Scheme: wire.SchemeNone, Key: a.key[:], Name: name, Arguments: []byte(args),
	}, nil)
}

// question seals a query and asks it. A key that is not nil signs it, whosever it is.
func (w world) question(u *ledgertest.User, node int, q wire.Query, key ed25519.PrivateKey) outcome {
	w.t.Helper()
	s, err := u.Session(node)
	if err != nil {
		w.t.Fatal(err)
	}
	q.Ledger, q.Application, q.NotAfter = w.Ledger, w.app, uint64(w.now().Unix())+30
	if _, err := io.ReadFull(rand.Reader, q.ID[:]); err != nil {
		w.t.Fatal(err)
	}
	item := wire.Signed{Body: q.Encode()}
	if key != nil {
		item.Signature = ed25519.Sign(key, q.Message())
	}
	raw, opener, err := s.Seal(wire.RequestQuery, wire.ModeFresh, item.Encode())
	if err != nil {
		w.t.Fatal(err)
	}
	var out api.QueryReply
	if err := w.Nodes[node].Post(paths[q.Kind], api.QueryRequest{Request: raw}, &out); err != nil {
		w.t.Fatal(err)
	}
	results, err := s.Open(out.Reply, opener)
	if err != nil || len(results) != 1 {
		w.t.Fatalf("%d results, %v", len(results), err)
	}
	if results[0].Outcome.Code == ledger.CodeBehind {
		return w.question(u, node, q, key)
	}
	return outcomeOf(results[0])
}
