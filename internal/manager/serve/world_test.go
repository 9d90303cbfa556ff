package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"path/filepath"
	"testing"
	"time"

	"hitoku.dev/internal/client"
	"hitoku.dev/internal/wire"
)

// world is a manager as `hitoku manager` runs it, and what is needed to call it.
type world struct {
	t     *testing.T
	ready Ready
	dir   string
}

// start runs a manager in a new folder until the test ends.
func start(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "manager")}
	w.run()
	return w
}

// run starts the manager in the world's folder and returns what stops it.
func (w *world) run() (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	up, ended := make(chan Ready, 1), make(chan error, 1)
	o := Options{Dir: w.dir, Listen: "127.0.0.1:0", Version: "test", Log: discard(), OpenSignUp: true}
	go func() { ended <- Run(ctx, o, func(r Ready) { up <- r }) }()
	select {
	case w.ready = <-up:
	case err := <-ended:
		cancel()
		w.t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("the manager ended with %v", err)
		}
	}
	w.t.Cleanup(stop)
	return stop
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func (w *world) trust() client.Trust { return client.Trust{Pin: w.ready.Pin} }

// user signs somebody up and logs in.
func (w *world) user(email, code string) *person {
	w.t.Helper()
	p := &person{w: w, email: email}
	p.must(p.do("POST", "/v1/users", wire.SignUp{UserEmail: email, UserPassword: "correct horse", OneTimeCode: code}), http.StatusCreated, nil)
	c, err := client.New(w.ready.URL, w.trust(), "")
	if err != nil {
		w.t.Fatal(err)
	}
	auth, err := c.Login(w.t.Context(), email, "correct horse")
	if err != nil {
		w.t.Fatal(err)
	}
	p.token = auth.AccessToken
	return p
}

// person calls the manager with a session.
type person struct {
	w            *world
	email, token string
}

// answer is a reply as it came over the wire.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do makes one request; in may be nil, a string sent as it is, or a value sent as JSON.
func (p *person) do(method, path string, in any, change ...func(*http.Request)) answer {
	p.w.t.Helper()
	return p.w.do(p.w.client(nil), method, path, in, append([]func(*http.Request){func(r *http.Request) {
		if p.token != "" {
			r.Header.Set("Authorization", "Bearer "+p.token)
		}
	}}, change...)...)
}

func (w *world) client(jar *cookiejar.Jar) *http.Client {
	cfg, err := w.trust().TLS()
	if err != nil {
		w.t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}
	c := &http.Client{Transport: transport, Timeout: time.Minute}
	if jar != nil {
		c.Jar = jar
	}
	return c
}

func (w *world) do(c *http.Client, method, path string, in any, change ...func(*http.Request)) answer {
	w.t.Helper()
	var body io.Reader
	switch v := in.(type) {
	case nil:
	case string:
		body = bytes.NewReader([]byte(v))
	default:
		raw, err := json.Marshal(v)
		if err != nil {
			w.t.Fatal(err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.ready.URL+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, f := range change {
		f(req)
	}
	res, err := c.Do(req)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, raw}
}

// must checks the status and decodes the body into out.
func (p *person) must(a answer, status int, out any) answer {
	p.w.t.Helper()
	if a.status != status {
		p.w.t.Fatalf("status %d, wanted %d: %s", a.status, status, a.body)
	}
	if out != nil {
		if err := json.Unmarshal(a.body, out); err != nil {
			p.w.t.Fatalf("%v in %s", err, a.body)
		}
	}
	return a
}

// account creates a test-only account and selects it.
func (p *person) account(name string) wire.Account {
	p.w.t.Helper()
	var a wire.Account
	p.must(p.do("POST", "/v1/accounts", wire.AccountRequest{Name: name, NodeEnrollment: &wire.NodeEnrollment{AttestationEnforcementDisabledInsecure: true}}), http.StatusOK, &a)
	p.must(p.do("POST", "/v1/sys/session/select_account/"+a.AcctID, nil), http.StatusOK, nil)
	return a
}

// app creates an application with one name.
func (p *person) app(name, domain string) wire.App {
	p.w.t.Helper()
	var a wire.App
	p.must(p.do("POST", "/v1/apps", wire.AppRequest{Name: name, InputImageName: "r/" + name, OutputImageName: "r/" + name + "-out", AllowedDomains: []string{domain}}), http.StatusOK, &a)
	return a
}
