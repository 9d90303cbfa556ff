package api_test

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"hitoku.dev/internal/ledger/api"
	"hitoku.dev/internal/ledger/keys"
	"hitoku.dev/internal/ledger/ledgertest"
	"hitoku.dev/internal/ledger/wire"
)

// cluster is one executor with a token.
func cluster(t *testing.T, o ledgertest.Options) (*ledgertest.Cluster, *ledgertest.User) {
	t.Helper()
	c := ledgertest.Start(t, o)
	u := c.User()
	if r := u.Do(0, "construct", `{"total_supply":1000}`); r.Status != wire.StatusCommitted || r.Outcome.Code != 0 {
		t.Fatalf("construct: %+v", r)
	}
	return c, u
}

// send makes any request and returns status, header and body.
func send(t *testing.T, n *ledgertest.Node, method, path, body string, header http.Header) (int, http.Header, string) {
	t.Helper()
	q, err := http.NewRequest(method, n.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/json")
	for k, v := range header {
		q.Header[k] = v
	}
	r, err := n.HTTP().Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }() // it was read
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, r.Header, string(b)
}

// refusal wants an error of the one form.
func refusal(t *testing.T, what string, status int, body string, wantStatus int, wantCode string) {
	t.Helper()
	var e api.Error
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.Message == "" || e.Code != wantCode || status != wantStatus {
		t.Errorf("%s: %d %.300s, wanted %d %s with a message", what, status, body, wantStatus, wantCode)
	}
}

var bodies = []string{"/api/v1/state", "/api/v1/state/query", "/api/v1/user_counter", "/api/v1/register_notification"}

var signed = map[string]string{
	"/api/v1/key_rotation": "", "/api/v1/register_report": "", "/api/v1/backup": "", "/api/v1/recover": "",
	"/api/v1/policy": `{"update":"AAAA"}`, "/api/v1/approvals": `{"approvals":[]}`, "/api/v1/removals": `{"slot":9}`,
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	c, _ := cluster(t, ledgertest.Options{})
	n := c.Nodes[0]
	gets := []string{
		"/api/v1/health", "/api/v1/genesis", "/api/v1/enclave_encryption_key", "/api/v1/control", "/api/v1/members",
		"/api/v1/checkpoints/1", "/api/v1/tickets/" + strings.Repeat("0", 64), "/api/v1/notifications/" + strings.Repeat("0", 32),
		"/api/v1/proposal", "/api/v1/policies", "/metrics", "/openapi.json",
	}
	for _, path := range gets {
		status, header, body := send(t, n, "POST", path, "{}", nil)
		refusal(t, "POST "+path, status, body, http.StatusMethodNotAllowed, api.CodeMethod)
		if header.Get("Hitoku-Trace") == "" || header.Get("Allow") != "GET" {
			t.Errorf("POST %s: header %v, wanted a trace and Allow: GET", path, header)
		}
	}
	for _, path := range bodies {
		status, _, body := send(t, n, "GET", path, "", nil)
		refusal(t, "GET "+path, status, body, http.StatusMethodNotAllowed, api.CodeMethod)
		for _, bad := range []string{
			"", "{", "[]", `"x"`, `{"request":1}`, `{"request":"AAAA"`, `{"request":"AAAA"} {}`, `{"request":"AAAA","request":"AAAB"}`,
			`{"Request":"AAAA"}`, `{"request":"AAAA","more":1}`, `{"request":"?"}`, strings.Repeat(`{"request":`, 20), "\xff",
		} {
			status, _, body := send(t, n, "POST", path, bad, nil)
			refusal(t, path+" "+bad, status, body, http.StatusBadRequest, api.CodeBadRequest)
		}
		status, _, body = send(t, n, "POST", path, `{"request":"AAAA"}`, http.Header{"Content-Type": {"text/plain"}})
		refusal(t, path+" as text", status, body, http.StatusUnsupportedMediaType, api.CodeMediaType)
		status, _, body = send(t, n, "POST", path, `{"request":"`+strings.Repeat("A", 400<<10)+`"}`, nil)
		refusal(t, path+" too large", status, body, http.StatusRequestEntityTooLarge, api.CodeTooLarge)
		status, _, body = send(t, n, "POST", path, `{"request":"AAAA"}`, nil)
		refusal(t, path+" malformed", status, body, http.StatusBadRequest, api.CodeBadRequest)
	}
	for _, path := range []string{"/", "/api/v1/nothing", "/api/v1/state/", "/api/v2/health", "/api/v1/peer/nothing"} {
		status, _, body := send(t, n, "GET", path, "", nil)
		if strings.HasPrefix(path, "/api/v1/peer/") {
			continue // package node
		}
		refusal(t, path, status, body, http.StatusNotFound, api.CodeNotFound)
	}
	for path, want := range map[string]int{
		"/api/v1/tickets/zz": 400, "/api/v1/tickets/" + strings.Repeat("0", 64): 404, "/api/v1/tickets/" + strings.Repeat("0", 64) + "?wait=61": 400,
		"/api/v1/tickets/" + strings.Repeat("0", 64) + "?wait=-1": 400, "/api/v1/checkpoints/x": 400, "/api/v1/checkpoints/99999": 404,
		"/api/v1/notifications/zz": 400, "/api/v1/notifications/" + strings.Repeat("0", 32): 404,
	} {
		code := api.CodeBadRequest
		if want == 404 {
			code = api.CodeNotFound
		}
		status, _, body := send(t, n, "GET", path, "", nil)
		refusal(t, path, status, body, want, code)
	}
	status, _, body := send(t, n, "GET", "/api/v1/health", "{}", nil)
	refusal(t, "health with a body", status, body, http.StatusBadRequest, api.CodeBadRequest)
}

// TestSealedRefusals: what can be seen of a request outside its seal is refused by the words of
// the interface.
func TestSealedRefusals(t *testing.T) {
	t.Parallel()
	c, u := cluster(t, ledgertest.Options{Executors: 2})
	s, err := u.Session(0)
	if err != nil {
		t.Fatal(err)
	}
	post := func(slot int, path string, raw []byte) (int, string) {
		status, _, body := send(t, c.Nodes[slot], "POST", path, fmt.Sprintf(`{"request":%q}`, base64.StdEncoding.EncodeToString(raw)), nil)
		return status, body
	}
	raw, _, err := s.Seal(wire.RequestCommands, wire.ModeLocal, u.Command("pause", "{}"))
	if err != nil {
		t.Fatal(err)
	}
	status, body := post(1, "/api/v1/state", raw)
	refusal(t, "another node's key", status, body, http.StatusConflict, api.CodeRequestKey)
	status, body = post(0, "/api/v1/state/query", raw)
	refusal(t, "a command as a query", status, body, http.StatusBadRequest, api.CodeBadRequest)
	changed := bytes.Clone(raw)
	changed[len(changed)-1] ^= 1
	status, body = post(0, "/api/v1/state", changed)
	refusal(t, "a changed request", status, body, http.StatusBadRequest, api.CodeBadRequest)

	var first, second api.TicketReply
	for _, out := range []*api.TicketReply{&first, &second} {
		status, body = post(0, "/api/v1/state", raw)
		if err := json.Unmarshal([]byte(body), out); err != nil || status != http.StatusAccepted {
			t.Fatalf("%d %s", status, body)
		}
	}
	if first.Ticket == "" || first.Ticket != second.Ticket {
		t.Errorf("tickets %q and %q for the same bytes", first.Ticket, second.Ticket)
	}
	var waited api.TicketReply
	if err := c.Nodes[0].Get("/api/v1/tickets/"+first.Ticket+"?wait=30", &waited); err != nil || !waited.Ready || len(waited.Reply) == 0 {
		t.Errorf("ticket: %+v, %v", waited, err)
	}
}

// TestAdminRefusals: every signed route, every way to sign wrongly.
func TestAdminRefusals(t *testing.T) {
	t.Parallel()
	c, _ := cluster(t, ledgertest.Options{})
	n := c.Nodes[0]
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	set := func(h http.Header, name, value string) http.Header {
		h = h.Clone()
		h.Set(name, value)
		return h
	}
	routes := map[string][2]string{"/api/v1/proposal": {"GET", ""}}
	for path, body := range signed {
		routes[path] = [2]string{"POST", body}
	}
	for path, route := range routes {
		method, text := route[0], route[1]
		good := func() http.Header { return n.SignCall(n.Operator, method, path, []byte(text)) }
		flipped := []byte(good().Get(api.HeaderSignature))
		flipped[3] ^= 2
		for what, h := range map[string]http.Header{
			"not signed":        nil,
			"no key":            set(good(), api.HeaderKey, ""),
			"short key":         set(good(), api.HeaderKey, "00"),
			"other key":         set(good(), api.HeaderKey, strings.Repeat("00", 32)),
			"no nonce":          set(good(), api.HeaderNonce, ""),
			"other nonce":       set(good(), api.HeaderNonce, strings.Repeat("00", 16)),
			"no signature":      set(good(), api.HeaderSignature, ""),
			"flipped signature": set(good(), api.HeaderSignature, string(flipped)),
			"no time":           set(good(), api.HeaderNotAfter, ""),
			"past":              set(good(), api.HeaderNotAfter, "1"),
			"too far ahead":     set(good(), api.HeaderNotAfter, "99999999999"),
			"other path":        n.SignCall(n.Operator, method, "/api/v1/elsewhere", []byte(text)),
			"other method":      n.SignCall(n.Operator, "PUT", path, []byte(text)),
			"other body":        n.SignCall(n.Operator, method, path, []byte("{}x")),
		} {
			status, _, body := send(t, n, method, path, text, h)
			refusal(t, path+" "+what, status, body, http.StatusUnauthorized, api.CodeSignature)
		}
		status, _, body := send(t, n, method, path, text, n.SignCall(stranger, method, path, []byte(text)))
		refusal(t, path+" by a stranger", status, body, http.StatusForbidden, api.CodeForbidden)
		status, _, body = send(t, n, method, path+"?x=1", text, good())
		refusal(t, path+" with a query", status, body, http.StatusUnauthorized, api.CodeSignature)
		other := "POST"
		if method == "POST" {
			other = "GET"
		}
		status, _, body = send(t, n, other, path, text, good())
		refusal(t, path+" wrong method", status, body, http.StatusMethodNotAllowed, api.CodeMethod)
		large := strings.Repeat(" ", 65<<10)
		status, _, body = send(t, n, method, path, large, n.SignCall(n.Operator, method, path, []byte(large)))
		refusal(t, path+" too large", status, body, http.StatusRequestEntityTooLarge, api.CodeTooLarge)
		once := good()
		first, _, _ := send(t, n, method, path, text, once)
		if first == http.StatusUnauthorized || first == http.StatusForbidden {
			t.Errorf("%s well signed: %d", path, first)
		}
		status, _, body = send(t, n, method, path, text, once)
		refusal(t, path+" replayed", status, body, http.StatusUnauthorized, api.CodeSignature)
		wrong := `{"nothing":1}`
		status, _, body = send(t, n, method, path, wrong, n.SignCall(c.Admins[0], method, path, []byte(wrong)))
		refusal(t, path+" wrong JSON", status, body, http.StatusBadRequest, api.CodeBadRequest)
	}
}

func TestRateLimits(t *testing.T) {
	t.Parallel()
	c, _ := cluster(t, ledgertest.Options{Requests: api.Rate{PerSecond: 1e-9, Burst: 300}, Admin: api.Rate{PerSecond: 1e-9, Burst: 6}})
	n := c.Nodes[0]
	limited := func(path string, header func() http.Header) bool {
		for range 400 {
			var h http.Header
			if header != nil {
				h = header()
			}
			status, got, body := send(t, n, "GET", path, "", h)
			if status == http.StatusTooManyRequests {
				refusal(t, path, status, body, http.StatusTooManyRequests, api.CodeRateLimited)
				if got.Get("Retry-After") == "" {
					t.Errorf("%s: no Retry-After", path)
				}
				return true
			}
		}
		return false
	}
	if !limited("/api/v1/proposal", func() http.Header { return n.SignCall(n.Operator, "GET", "/api/v1/proposal", nil) }) {
		t.Error("administrative calls are not limited")
	}
	if status, _, _ := send(t, n, "GET", "/api/v1/health", "", nil); status != http.StatusOK {
		t.Errorf("health %d: the limit of administrative calls is not its own", status)
	}
	if !limited("/api/v1/health", nil) {
		t.Error("requests are not limited")
	}
}

func TestPublic(t *testing.T) {
	t.Parallel()
	c, u := cluster(t, ledgertest.Options{Executors: 2, Vaults: 1})
	n := c.Nodes[1]
	var g api.GenesisReply
	if err := n.Get("/api/v1/genesis", &g); err != nil || g.Ledger != hex.EncodeToString(c.Ledger[:]) || !bytes.Equal(g.Genesis, c.Genesis.Encode()) {
		t.Errorf("genesis %s, %v", g.Ledger, err)
	}
	var control wire.Control
	if err := n.Get("/api/v1/control", &control); err != nil || len(control.Records) != 4 {
		t.Errorf("%d control records, %v; wanted three JOINs and a COMMIT", len(control.Records), err)
	}
	var m api.Members
	if err := n.Get("/api/v1/members", &m); err != nil || m.Epoch != 1 || len(m.Members) != 3 || m.Members[2].Kind != "vault" || m.Members[0].Measurement != hex.EncodeToString(c.World.Identity.Measurement[:]) {
		t.Errorf("members %+v, %v", m, err)
	}
	r := u.Do(0, "mint", `{"recipient":"`+strings.Repeat("0", 64)+`","amount":1}`)
	var check api.CheckpointReply
	c.Wait("the other node has committed it", func() bool {
		return n.Get(fmt.Sprintf("/api/v1/checkpoints/%d", r.Position), &check) == nil
	})
	parsed, err := wire.ParseCheckpoint(check.Checkpoint)
	if err != nil || parsed.Position < r.Position || len(check.Signatures) < 2 || check.OrderAssurance != "operator" || check.Count != 1 {
		t.Errorf("checkpoint %+v: %+v, %v", parsed, check, err)
	}
	_, _, metrics := send(t, n, "GET", "/metrics", "", nil)
	for _, want := range []string{"hitoku_ledger_running 1\n", "hitoku_ledger_members 3\n", "# TYPE hitoku_ledger_positions_total counter", `hitoku_ledger_requests_total{route="GET /api/v1/genesis",status="200"} 1`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %q:\n%s", want, metrics)
		}
	}
	var doc struct {
		OpenAPI string                                `json:"openapi"`
		Paths   map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := n.Get("/openapi.json", &doc); err != nil || doc.OpenAPI != "3.1.0" {
		t.Errorf("document of OpenAPI %q, %v", doc.OpenAPI, err)
	}
	for path := range signed {
		if doc.Paths[path]["post"] == nil {
			t.Errorf("the document lacks POST %s", path)
		}
	}
	for _, path := range append([]string{"/api/v1/tickets/{ticket}", "/api/v1/notifications/{stream}", "/metrics"}, bodies...) {
		if doc.Paths[path] == nil {
			t.Errorf("the document lacks %s", path)
		}
	}
}

// TestNotifications: a sealed notice comes as a server-sent event, and again after a reconnect.
func TestNotifications(t *testing.T) {
	t.Parallel()
	c, u := cluster(t, ledgertest.Options{})
	key, err := keys.NewHPKE(wire.SuiteX25519, randReader())
	if err != nil {
		t.Fatal(err)
	}
	s, err := u.Session(0)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Ask("/api/v1/register_notification", wire.KindRegister, wire.ModeLocal, "", key.Public())
	if err != nil || r.Status != wire.StatusAnswer {
		t.Fatalf("register: %+v, %v", r, err)
	}
	var reg struct{ Stream string }
	if err := json.Unmarshal(r.Outcome.Result, &reg); err != nil {
		t.Fatal(err)
	}
	first := u.Do(0, "burn", `{"amount":1}`)
	second := u.Do(0, "burn", `{"amount":1}`)
	for last, want := range map[string]uint64{"": first.Position, "0": second.Position} {
		q, err := http.NewRequest("GET", c.Nodes[0].URL+"/api/v1/notifications/"+reg.Stream, nil)
		if err != nil {
			t.Fatal(err)
		}
		if last != "" {
			q.Header.Set("Last-Event-ID", last)
		}
		resp, err := c.Nodes[0].HTTP().Do(q)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			text, ok := strings.CutPrefix(lines.Text(), "data: ")
			if !ok {
				continue
			}
			raw, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			sealed, err := wire.ParseSealedNotice(raw)
			if err != nil {
				t.Fatal(err)
			}
			notice, err := keys.OpenNotice(key, c.Ledger, u.Account(), sealed)
			if err != nil || notice.Position != want {
				t.Errorf("after %q: notice of position %d, %v; wanted %d", last, notice.Position, err, want)
			}
			break
		}
		_ = resp.Body.Close() // the stream has no end
	}
	counter, err := s.Ask("/api/v1/user_counter", wire.KindCounter, wire.ModeLocal, "", nil)
	if err != nil || string(counter.Outcome.Result) != `{"user_counter":3}` {
		t.Errorf("counter %s, %v", counter.Outcome.Result, err)
	}
}
