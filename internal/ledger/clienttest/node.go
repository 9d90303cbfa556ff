package clienttest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/wire"
	"hitoku.dev/ledger"
)

// Evil is how a node, or its host, does not do as it should. Nil members change nothing.
type Evil struct {
	// TLS is the key in which connections end, instead of the incarnation's.
	TLS ed25519.PrivateKey
	// KeyInfo changes it before it is signed, Signature afterwards.
	KeyInfo   func(*wire.KeyInfo)
	Signature func([]byte) []byte
	// Control changes the control records.
	Control func(*wire.Control)
	// Body changes a reply before it is sealed, Reply afterwards.
	Body  func(*wire.ReplyBody)
	Reply func([]byte) []byte
	// Checkpoint changes the answer about a checkpoint.
	Checkpoint func(map[string]any)
	// HTTP may answer a call itself.
	HTTP func(w http.ResponseWriter, r *http.Request) bool
	// Hold keeps replies to commands back.
	Hold bool
	// Counter is the answer about a counter.
	Counter string
}

// Node serves a ledger as one of its members. Commands of application echo give back their arguments; those
// with the name "refuse" are refused. Numbers have to rise by one.
type Node struct {
	URL string

	l  *Ledger
	in *Incarnation

	mu      sync.Mutex
	evil    Evil
	rk      *keys.HPKEKey
	tickets map[string]*pending
	calls   map[string]int
	streams map[string]*stream
}

// pending is a request for commands.
type pending struct {
	sealer *keys.ReplySealer
	bucket uint32
	reply  wire.ReplyBody
}

// stream is a registration.
type stream struct {
	account [32]byte
	key     []byte
	sealed  [][]byte
}

// Serve starts a node for a member, on loopback.
func (l *Ledger) Serve(in *Incarnation) *Node {
	l.tb.Helper()
	n := &Node{l: l, in: in, tickets: map[string]*pending{}, calls: map[string]int{}, streams: map[string]*stream{}}
	n.NewRequestKey()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		l.tb.Fatal(err)
	}
	n.URL = "https://" + listener.Addr().String()
	server := &http.Server{Handler: n, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(n.tls(listener)) // ends with the test
	}()
	l.tb.Cleanup(func() {
		_ = server.Close() // the test is over
		<-served
	})
	return n
}

// SetEvil makes the node evil, or good again.
func (n *Node) SetEvil(e Evil) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.evil = e
}

// NewRequestKey replaces the key that clients seal to.
func (n *Node) NewRequestKey() {
	n.l.mu.Lock()
	k, err := keys.NewHPKE(n.l.Genesis.Suite, n.l.random)
	n.l.mu.Unlock()
	if err != nil {
		n.l.tb.Error(err)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rk = k
	clear(n.tickets)
}

// Restart makes the node another incarnation, which the ledger must have let in.
func (n *Node) Restart(in *Incarnation) {
	n.NewRequestKey()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.in = in
	clear(n.streams)
}

// Calls counts the calls to a path.
func (n *Node) Calls(path string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.calls[path]
}

// problem is a refusal outside of the seal.
type problem struct {
	status        int
	Code, Message string
}

func (p *problem) Error() string { return p.Message }

// ServeHTTP serves the routes that clients use.
func (n *Node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	n.calls[r.URL.Path]++
	evil := n.evil
	n.mu.Unlock()
	if evil.HTTP != nil && evil.HTTP(w, r) {
		return
	}
	mux := http.NewServeMux()
	for pattern, serve := range map[string]func(*http.Request) (any, error){
		"GET /api/v1/enclave_encryption_key": n.key, "GET /api/v1/control": n.control, "POST /api/v1/state": n.submit,
		"GET /api/v1/tickets/{id}": n.ticket, "POST /api/v1/state/query": n.query, "POST /api/v1/user_counter": n.query,
		"POST /api/v1/register_notification": n.query, "GET /api/v1/checkpoints/{position}": n.checkpoint,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			n.mu.Lock()
			n.l.mu.Lock()
			out, err := serve(r)
			n.l.mu.Unlock()
			n.mu.Unlock()
			var p *problem
			if errors.As(err, &p) {
				w.WriteHeader(p.status)
				out = map[string]string{"code": p.Code, "message": p.Message}
			} else if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				out = map[string]string{"code": "bad_request", "message": err.Error()}
			}
			_ = json.NewEncoder(w).Encode(out) // who has gone learns nothing
		})
	}
	mux.HandleFunc("GET /api/v1/notifications/{stream}", n.notifications)
	mux.ServeHTTP(w, r)
}

func (n *Node) key(*http.Request) (any, error) {
	p := n.l.Position()
	info := wire.KeyInfo{
		Ledger: n.l.ID, Slot: n.in.Slot, Incarnation: n.in.ID, Key: n.in.PublicKey(), RequestKey: n.rk.Public(),
		NotAfter: uint64(n.l.World.Now().Add(45 * time.Minute).Unix()), Position: p, Chain: n.l.chains[p],
	}
	if n.evil.KeyInfo != nil {
		n.evil.KeyInfo(&info)
	}
	signature := ed25519.Sign(n.in.Key, info.Message())
	if n.evil.Signature != nil {
		signature = n.evil.Signature(signature)
	}
	control, err := n.control(nil)
	return map[string]any{"key_info": info.Encode(), "signature": signature, "control": control, "order_assurance": "operator"}, err
}

func (n *Node) control(*http.Request) (any, error) {
	c := n.l.Control()
	if n.evil.Control != nil {
		n.evil.Control(&c)
	}
	return c, nil
}

// unseal opens a request, and says why the client's floor does not fit.
func (n *Node) unseal(r *http.Request, kind uint8) (raw []byte, p wire.Payload, s *keys.ReplySealer, code uint16, err error) {
	var in struct {
		Request []byte `json:"request"`
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err == nil {
		err = json.Unmarshal(body, &in)
	}
	if err != nil {
		return nil, p, nil, 0, err
	}
	q, err := wire.ParseRequest(in.Request)
	if err != nil {
		return nil, p, nil, 0, err
	}
	if q.KeyID != wire.RequestKeyID(n.rk.Public()) {
		return nil, p, nil, 0, &problem{http.StatusConflict, "request_key", "sealed to a key that is not there any more"}
	}
	if q.Kind != kind {
		return nil, p, nil, 0, fmt.Errorf("request of kind %d", q.Kind)
	}
	if p, s, err = keys.OpenRequest(n.rk, n.l.ID, n.in.ID, q); err != nil {
		return nil, p, nil, 0, err
	}
	switch {
	case p.FloorPosition > n.l.Position():
		code = ledger.CodeBehind
	case p.FloorPosition > 0 && n.l.chains[p.FloorPosition] != p.FloorChain:
		code = ledger.CodeForked
	}
	return in.Request, p, s, code, nil
}

// seal seals a reply as the node is, good or evil.
func (n *Node) seal(s *keys.ReplySealer, body wire.ReplyBody, bucket uint32) ([]byte, error) {
	if len(body.Encode())+4 > int(bucket) {
		for i, x := range body.Results {
			body.Results[i] = wire.Result{Status: x.Status, Outcome: wire.Outcome{Code: ledger.CodeTooLarge}, Position: x.Position, Index: x.Index}
		}
	}
	if n.evil.Body != nil {
		n.evil.Body(&body)
	}
	reply, err := s.Seal(body, bucket, n.l.random, nil)
	out := reply.Encode()
	if n.evil.Reply != nil {
		out = n.evil.Reply(out)
	}
	return out, err
}

func (n *Node) submit(r *http.Request) (any, error) {
	raw, p, s, code, err := n.unseal(r, wire.RequestCommands)
	if err != nil {
		return nil, err
	}
	id := sha256.Sum256(raw)
	t := &pending{sealer: s, bucket: p.ReplyBucket}
	if code == 0 {
		t.reply.Results = n.l.run(p.Items, n)
	} else {
		for range p.Items {
			t.reply.Results = append(t.reply.Results, wire.Result{Status: wire.StatusRejected, Outcome: wire.Outcome{Code: code}})
		}
	}
	t.reply.Position, t.reply.Chain, t.reply.Time = n.l.Position(), n.l.chains[n.l.Position()], n.l.time
	n.tickets[hex.EncodeToString(id[:])] = t
	return map[string]any{"ticket": hex.EncodeToString(id[:]), "ready": !n.evil.Hold}, nil
}

// run executes what was not executed before.
func (l *Ledger) run(items [][]byte, n *Node) []wire.Result {
	var fresh [][]byte
	var outcomes []wire.Outcome
	out := make([]wire.Result, len(items))
	for i, item := range items {
		if _, known := l.executed[wire.SignedHash(item)]; known {
			continue
		}
		s, err := wire.ParseSigned(item)
		var c wire.Command
		if err == nil {
			c, err = s.VerifyCommand()
		}
		if err != nil || c.Ledger != l.ID {
			out[i] = wire.Result{Status: wire.StatusRejected, Outcome: wire.Outcome{Code: ledger.CodeMalformed}}
			continue
		}
		fresh, outcomes = append(fresh, item), append(outcomes, l.outcome(c, n))
	}
	if len(fresh) > 0 {
		l.Execute(fresh, outcomes)
	}
	for i, item := range items {
		if p, ok := l.executed[wire.SignedHash(item)]; ok {
			out[i] = l.result(p)
		}
	}
	return out
}

func (l *Ledger) outcome(c wire.Command, n *Node) wire.Outcome {
	account := wire.AccountID(c.Scheme, c.Key)
	switch {
	case c.Nonce <= l.counters[account]:
		return wire.Outcome{Code: ledger.CodeNonceUsed}
	case c.Nonce > l.counters[account]+1:
		return wire.Outcome{Code: ledger.CodeNonceGap}
	}
	l.counters[account]++
	if c.Name == "refuse" {
		return wire.Outcome{Code: ledger.CodeRefused, Message: "not_today"}
	}
	for _, s := range n.streams {
		if s.account == account {
			notice := wire.Notice{Position: l.Position() + 1, Application: c.Application, Payload: c.Arguments}
			sealed, err := keys.SealNotice(l.Genesis.Suite, s.key, l.ID, account, notice)
			if err == nil {
				s.sealed = append(s.sealed, sealed.Encode())
			}
		}
	}
	return wire.Outcome{Result: c.Arguments}
}

func (n *Node) ticket(r *http.Request) (any, error) {
	t := n.tickets[r.PathValue("id")]
	if t == nil {
		return nil, &problem{http.StatusNotFound, "not_found", "no such ticket"}
	}
	out := map[string]any{"ticket": r.PathValue("id"), "ready": !n.evil.Hold}
	if n.evil.Hold {
		return out, nil
	}
	var err error
	out["reply"], err = n.seal(t.sealer, t.reply, t.bucket)
	return out, err
}

func (n *Node) query(r *http.Request) (any, error) {
	_, p, s, code, err := n.unseal(r, wire.RequestQuery)
	if err != nil {
		return nil, err
	}
	body := wire.ReplyBody{Position: n.l.Position(), Chain: n.l.chains[n.l.Position()], Time: n.l.time}
	x := wire.Result{Status: wire.StatusRefused, Outcome: wire.Outcome{Code: code}}
	if code == 0 {
		x = n.answer(p.Items[0])
	}
	body.Results = []wire.Result{x}
	reply, err := n.seal(s, body, p.ReplyBucket)
	return map[string]any{"reply": reply}, err
}

func (n *Node) answer(item []byte) wire.Result {
	refused := func(code uint16) wire.Result {
		return wire.Result{Status: wire.StatusRefused, Outcome: wire.Outcome{Code: code}}
	}
	answer := func(text string) wire.Result {
		return wire.Result{Status: wire.StatusAnswer, Outcome: wire.Outcome{Result: []byte(text)}}
	}
	s, err := wire.ParseSigned(item)
	if err != nil {
		return refused(ledger.CodeMalformed)
	}
	q, err := s.VerifyQuery()
	if err != nil {
		return refused(ledger.CodeBadSignature)
	}
	account := wire.AccountID(q.Scheme, q.Key)
	switch q.Kind {
	case wire.KindCounter:
		if n.evil.Counter != "" {
			return answer(n.evil.Counter)
		}
		return answer(fmt.Sprintf(`{"user_counter":%d}`, n.l.counters[account]))
	case wire.KindRegister:
		id := strconv.Itoa(len(n.streams) + 1)
		id = hex.EncodeToString(append(make([]byte, 15), id[0]))
		n.streams[id] = &stream{account: account, key: q.Arguments}
		return answer(fmt.Sprintf(`{"stream":%q}`, id))
	case wire.KindOutcome:
		p, ok := n.l.executed[wire.Hash(q.Arguments)]
		if !ok {
			return wire.Result{Status: wire.StatusPending}
		}
		return n.l.result(p)
	}
	if q.Name == "refuse" {
		return refused(ledger.CodeUnknownQuery)
	}
	return answer(string(q.Arguments))
}

func (n *Node) checkpoint(r *http.Request) (any, error) {
	position, err := strconv.ParseUint(r.PathValue("position"), 10, 64)
	if err != nil {
		return nil, err
	}
	for i, b := range n.l.blocks {
		if b.position != position {
			continue
		}
		x := n.l.Receipt(i, 0, i)
		var signatures []map[string]any
		for _, s := range x.Signatures {
			signatures = append(signatures, map[string]any{"iid": hex.EncodeToString(s.Incarnation[:]), "signature": s.Signature[:]})
		}
		out := map[string]any{
			"checkpoint": []byte(x.Checkpoint), "signatures": signatures, "count": x.Count, "before": x.Before[:], "after": [][]byte{}, "order_assurance": "operator",
		}
		if n.evil.Checkpoint != nil {
			n.evil.Checkpoint(out)
		}
		return out, nil
	}
	return nil, &problem{http.StatusNotFound, "not_found", "no checkpoint position"}
}

// notifications sends what is there and ends the connection, so that clients have to come back.
func (n *Node) notifications(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.streams[r.PathValue("stream")]
	if s == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	from := 0
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		from, _ = strconv.Atoi(last)
		from++
	}
	_, _ = io.WriteString(w, ": still here\n\n") // who has gone learns nothing
	for i := from; i < len(s.sealed); i++ {
		fmt.Fprintf(w, "id: %d\ndata: %s\n\n", i, base64.StdEncoding.EncodeToString(s.sealed[i]))
	}
}
