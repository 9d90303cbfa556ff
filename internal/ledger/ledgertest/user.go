package ledgertest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"hitoku.dev/internal/ledger/api"
	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
)

// User is one account, which speaks to nodes by REST with sealed requests. It does not
// verify evidence: package ledger/client does.
type User struct {
	Key   ed25519.PrivateKey
	App   string
	Nonce uint64 // of the last command
	// FloorPosition and FloorChain are what the user has seen committed.
	FloorPosition uint64
	FloorChain    wire.Hash

	c *Cluster
}

// User makes an account that uses the first application.
func (c *Cluster) User() *User {
	c.tb.Helper()
	return &User{Key: newKey(c.tb), App: c.o.Apps[0].Name, c: c}
}

// Account is the account's id.
func (u *User) Account() [32]byte {
	pk := public(u.Key)
	return wire.AccountID(wire.SchemeEd25519, pk[:])
}

// Command signs the user's next command.
func (u *User) Command(name, args string) []byte {
	u.Nonce++
	return u.Sign(u.Nonce, name, args)
}

// Sign signs a command with a number.
func (u *User) Sign(nonce uint64, name, args string) []byte {
	pk := public(u.Key)
	c := wire.Command{
		Ledger: u.c.Ledger, Application: u.App, Scheme: wire.SchemeEd25519, Key: pk[:], Nonce: nonce, ExpiresAt: 1 << 40,
		Name: name, Arguments: []byte(args),
	}
	return wire.Signed{Body: c.Encode(), Signature: ed25519.Sign(u.Key, c.Message())}.Encode()
}

// Session is a user's connection to one incarnation of a node.
type Session struct {
	u    *User
	n    *Node
	http *http.Client
	info wire.KeyInfo
}

// Session fetches a node's key.
func (u *User) Session(i int) (*Session, error) {
	n := u.c.Nodes[i]
	running := n.Node()
	if running == nil {
		return nil, fmt.Errorf("slot %d does not run", i)
	}
	s := &Session{u: u, n: n, http: n.clientOf(running.Replica().Key())}
	var k api.KeyReply
	if err := n.call(s.http, "GET", "/api/v1/enclave_encryption_key", nil, nil, &k); err != nil {
		return nil, err
	}
	var err error
	if s.info, err = wire.ParseKeyInfo(k.KeyInfo); err != nil {
		return nil, err
	}
	if !wire.VerifyEd25519(s.info.Key, s.info.Message(), [64]byte(k.Signature)) {
		return nil, fmt.Errorf("slot %d: the signature of its key does not hold", i)
	}
	return s, nil
}

// Seal seals items for the node.
func (s *Session) Seal(kind, mode uint8, items ...[]byte) ([]byte, *keys.ReplyOpener, error) {
	q, opener, err := keys.SealRequest(keys.RequestOptions{
		Suite: s.u.c.o.Suite, Info: s.info, Kind: kind, NotAfter: uint64(s.u.c.o.Now().Unix()) + 60,
		Payload: wire.Payload{FloorPosition: s.u.FloorPosition, FloorChain: s.u.FloorChain, Mode: mode, ReplyBucket: 64 << 10, Items: items},
	})
	return q.Encode(), opener, err
}

// Open opens a reply and raises the user's floor.
func (s *Session) Open(raw []byte, opener *keys.ReplyOpener) ([]wire.Result, error) {
	r, err := wire.ParseReply(raw)
	if err != nil {
		return nil, err
	}
	body, err := opener.Open(r)
	if err != nil {
		return nil, err
	}
	if body.Position >= s.u.FloorPosition {
		s.u.FloorPosition, s.u.FloorChain = body.Position, body.Chain
	}
	return body.Results, nil
}

// Send hands signed commands over and waits for their outcomes. A node that is behind what the
// user has seen committed is asked again.
func (s *Session) Send(commands ...[]byte) ([]wire.Result, error) {
	for {
		out, err := s.send(commands...)
		if err != nil || !behind(out[0]) {
			return out, err
		}
		time.Sleep(time.Millisecond) // the node reads on meanwhile
	}
}

func behind(r wire.Result) bool { return r.Outcome.Code == ledger.CodeBehind }

func (s *Session) send(commands ...[]byte) ([]wire.Result, error) {
	raw, opener, err := s.Seal(wire.RequestCommands, wire.ModeLocal, commands...)
	if err != nil {
		return nil, err
	}
	var t api.TicketReply
	if err := s.post("/api/v1/state", api.StateRequest{Request: raw}, &t); err != nil {
		return nil, err
	}
	for t.Reply == nil {
		if err := s.n.call(s.http, "GET", "/api/v1/tickets/"+t.Ticket+"?wait=30", nil, nil, &t); err != nil {
			return nil, err
		}
	}
	return s.Open(t.Reply, opener)
}

// Ask asks a signed question; a node that is behind is asked again.
func (s *Session) Ask(path string, kind, mode uint8, name string, args []byte) (wire.Result, error) {
	for {
		out, err := s.ask(path, kind, mode, name, args)
		if err != nil || !behind(out) {
			return out, err
		}
		time.Sleep(time.Millisecond)
	}
}

func (s *Session) ask(path string, kind, mode uint8, name string, args []byte) (wire.Result, error) {
	pk := public(s.u.Key)
	q := wire.Query{
		Kind: kind, Ledger: s.u.c.Ledger, Application: s.u.App, Scheme: wire.SchemeEd25519, Key: pk[:],
		NotAfter: uint64(s.u.c.o.Now().Unix()) + 30, Name: name, Arguments: args,
	}
	if _, err := io.ReadFull(rand.Reader, q.ID[:]); err != nil {
		return wire.Result{}, err
	}
	raw, opener, err := s.Seal(wire.RequestQuery, mode, wire.Signed{Body: q.Encode(), Signature: ed25519.Sign(s.u.Key, q.Message())}.Encode())
	if err != nil {
		return wire.Result{}, err
	}
	var out api.QueryReply
	if err := s.post(path, api.QueryRequest{Request: raw}, &out); err != nil {
		return wire.Result{}, err
	}
	results, err := s.Open(out.Reply, opener)
	if err != nil {
		return wire.Result{}, err
	}
	return results[0], nil
}

func (s *Session) post(path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return s.n.call(s.http, "POST", path, body, nil, out)
}

// Do sends one command to a node and returns its outcome; the test fails when there is none.
func (u *User) Do(i int, name, args string) wire.Result {
	u.c.tb.Helper()
	s, err := u.Session(i)
	if err != nil {
		u.c.tb.Fatal(err)
	}
	r, err := s.Send(u.Command(name, args))
	if err != nil {
		u.c.tb.Fatal(err)
	}
	return r[0]
}

// Query asks a node's application; the test fails when it does not answer.
func (u *User) Query(i int, name, args string, mode uint8) wire.Result {
	u.c.tb.Helper()
	s, err := u.Session(i)
	if err != nil {
		u.c.tb.Fatal(err)
	}
	r, err := s.Ask("/api/v1/state/query", wire.KindQuery, mode, name, []byte(args))
	if err != nil {
		u.c.tb.Fatal(err)
	}
	return r
}
