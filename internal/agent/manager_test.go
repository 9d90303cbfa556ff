package agent

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hitoku.dev/enclave/simtee"
	"hitoku.dev/internal/client"
	"hitoku.dev/internal/manager/serve"
	"hitoku.dev/internal/wire"
)

// realManager is a manager with its interface, as `hitoku manager` starts it.
type realManager struct {
	t     *testing.T
	o     serve.Options
	ready serve.Ready
	stop  func()
	admin *client.Client
	zone  string
}

func newRealManager(t *testing.T, testOnly bool) *realManager {
	t.Helper()
	m := &realManager{t: t, o: serve.Options{Dir: filepath.Join(t.TempDir(), "manager"), Listen: "127.0.0.1:0", Version: "test", Log: slog.New(slog.DiscardHandler)}}
	m.start()
	ctx := t.Context()
	c, err := client.New(m.ready.URL, client.Trust{Pin: m.ready.Pin}, "")
	if err != nil {
		t.Fatal(err)
	}
	const email, password = "admin@example.org", "correct horse battery staple"
	if _, err := client.Post[wire.User](ctx, c, "/v1/users", wire.SignUp{UserEmail: email, UserPassword: password, OneTimeCode: m.ready.Code}); err != nil {
		t.Fatal(err)
	}
	session, err := c.Login(ctx, email, password)
	if err != nil {
		t.Fatal(err)
	}
	if m.admin, err = client.New(m.ready.URL, client.Trust{Pin: m.ready.Pin}, session.AccessToken); err != nil {
		t.Fatal(err)
	}
	account, err := client.Post[wire.Account](ctx, m.admin, "/v1/accounts", wire.AccountRequest{Name: "acme", NodeEnrollment: &wire.NodeEnrollment{AttestationEnforcementDisabledInsecure: testOnly}})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.admin.SelectAccount(ctx, account.AcctID); err != nil {
		t.Fatal(err)
	}
	zone, err := m.admin.Zone(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	m.zone = zone.ZoneID
	return m
}

// start starts the manager; a second time at the same address.
func (m *realManager) start() {
	m.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan serve.Ready, 1), make(chan error, 1)
	go func() { done <- serve.Run(ctx, m.o, func(r serve.Ready) { ready <- r }) }()
	select {
	case err := <-done:
		cancel()
		m.t.Fatal(err)
	case r := <-ready:
		if m.ready.URL == "" {
			m.ready = r
		}
	}
	m.o.Listen = strings.TrimPrefix(m.ready.URL, "https://")
	stopped := false
	m.stop = func() {
		if !stopped {
			stopped = true
			cancel()
			<-done
		}
	}
	m.t.Cleanup(m.stop)
}

func (m *realManager) token(t *testing.T, uses int) string {
	t.Helper()
	tk, err := client.Post[wire.JoinToken](t.Context(), m.admin, "/v1/zones/"+m.zone+"/join-tokens", wire.JoinTokenRequest{Uses: uses})
	if err != nil {
		t.Fatal(err)
	}
	return tk.Token
}

// options are those of an agent with a simulated platform of its own.
func (m *realManager) options(t *testing.T) Options {
	t.Helper()
	o := newFakeOptions(t)
	o.Manager = m.ready.URL
	platform, err := simtee.LoadOrCreatePlatform(filepath.Join(o.DataDir, "platform.json"))
	if err != nil {
		t.Fatal(err)
	}
	o.Platform, o.TEE, o.TEEDir = platform, simtee.NewServer(platform, simtee.ServerOptions{}), t.TempDir()
	return o
}

func TestWithARealManager(t *testing.T) {
	t.Parallel()
	m := newRealManager(t, true)
	o := m.options(t)
	o.JoinToken = m.token(t, 1)
	a, base, stop := run(t, o)
	ready(t, a)
	eventually(t, "the manager knows the node as running", func() bool {
		n, err := m.admin.Node(t.Context(), "node-1")
		return err == nil && n.Status.Status == "RUNNING" && n.Platform == a.Status().PlatformID && n.Status.LastSeenAt > 0
	})
	if a.Status().TEESocket != filepath.Join(o.TEEDir, "simtee.sock") {
		t.Errorf("TEE socket %q", a.Status().TEESocket)
	}

	status, got := get1(t, base, "/v1/enclave/target-info")
	if status != 200 || got["nonce"] == "" {
		t.Errorf("target-info: %d %v", status, got)
	}
	// A request without evidence is refused by rules that say why.
	request, _ := csrPEM(t, "app.example.org")
	status, got = post1(t, base, "/v1/certificate/issue", jsonOf(map[string]string{"csr": request}))
	if raw := jsonOf(got); got["certificate"] != nil || !strings.Contains(raw, "wanted") && !strings.Contains(raw, "message") {
		t.Errorf("request without evidence: %d %s", status, raw)
	}

	// A restart of the manager is survived.
	m.stop()
	type answer struct {
		status int
		body   map[string]any
	}
	answers := make(chan answer, 1)
	go func() {
		status, body := get1(t, base, "/v1/enclave/target-info")
		answers <- answer{status, body}
	}()
	m.start()
	if a := <-answers; a.status != 200 {
		t.Errorf("over a restart: %d %v", a.status, a.body)
	}
	stop()

	// The stored certificate is enough for the next start.
	o.JoinToken = ""
	b, base, stop := run(t, o)
	ready(t, b)
	eventually(t, "the agent reports again", func() bool { return b.Status().ManagerSeen != nil })
	node := b.Status().NodeID
	if err := m.admin.Call(t.Context(), http.MethodPost, "/v1/nodes/"+node+"/deactivate", nil, nil); err != nil {
		t.Fatal(err)
	}
	status, got = get1(t, base, "/v1/enclave/target-info")
	if status == 200 || got["message"] == nil {
		t.Errorf("deactivated node got a nonce: %d %v", status, got)
	}
	stop()
	c, _, _ := run(t, o)
	eventually(t, "deactivation is said", func() bool { return c.Status().State == StateRefused })
	t.Logf("deactivated: %s", c.Status().WaitingFor)
}

func TestTokensOfARealManager(t *testing.T) {
	t.Parallel()
	m := newRealManager(t, true)
	used := m.token(t, 1)
	o := m.options(t)
	o.JoinToken = used
	a, _, _ := run(t, o)
	ready(t, a)
	rotated, err := client.Get[wire.ZoneToken](t.Context(), m.admin, "/v1/zones/"+m.zone+"/token")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.admin.Call(t.Context(), http.MethodPost, "/v1/zones/"+m.zone+"/token/rotate", nil, nil); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"used": used, "rotated": rotated.Token} {
		o := m.options(t)
		o.JoinToken = text
		b, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		err = b.Run(ctx)
		cancel()
		if err == nil || !strings.Contains(err.Error(), "401") || !strings.Contains(err.Error(), "token") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSimulatedNodeInAnOrdinaryAccount(t *testing.T) {
	t.Parallel()
	m := newRealManager(t, false)
	o := m.options(t)
	o.JoinToken = m.token(t, 1)
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	err = a.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "test-only") {
		t.Errorf("error %v, wanted a refusal that says test-only", err)
	}
	if raw, _ := json.Marshal(a.Status()); !strings.Contains(string(raw), StateRefused) {
		t.Errorf("status %s", raw)
	}
}
