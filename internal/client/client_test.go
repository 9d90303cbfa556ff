package client_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"hitoku.dev/internal/client"
	"hitoku.dev/internal/wire"
)

// serve starts a TLS server and returns its address with the trusts that fit it.
func serve(t *testing.T, h http.HandlerFunc) (url string, pin, ca client.Trust) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what the tests want
	s.StartTLS()
	t.Cleanup(s.Close)
	key := sha256.Sum256(s.Certificate().RawSubjectPublicKeyInfo)
	return s.URL, client.Trust{Pin: "sha256:" + hex.EncodeToString(key[:])},
		client.Trust{CA: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))}
}

func dial(t *testing.T, url string, trust client.Trust) *client.Client {
	t.Helper()
	c, err := client.New(url, trust, "secret-token")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; wanted %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

// TestTrust checks that a server which does not prove itself gets no request, and so no token.
func TestTrust(t *testing.T) {
	t.Parallel()
	var wrong = client.Trust{Pin: "sha256:" + strings.Repeat("00", 32)}
	for _, tc := range []struct {
		name  string
		trust func(pin, ca client.Trust) client.Trust
		says  []string // nothing: accepted
	}{
		{name: "pin", trust: func(pin, _ client.Trust) client.Trust { return pin }},
		{name: "CA", trust: func(_, ca client.Trust) client.Trust { return ca }},
		{name: "both", trust: func(pin, ca client.Trust) client.Trust { return client.Trust{Pin: pin.Pin, CA: ca.CA} }},
		{"other pin", func(_, _ client.Trust) client.Trust { return wrong }, []string{"the pin wants " + wrong.Pin, "another server answers"}},
		{"CA and other pin", func(_, ca client.Trust) client.Trust { return client.Trust{Pin: wrong.Pin, CA: ca.CA} }, []string{"the pin wants"}},
		{"none", func(_, _ client.Trust) client.Trust { return client.Trust{} }, []string{"not from a CA that this machine knows", "--pin sha256:…", "--ca FILE"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			asked := false
			url, pin, ca := serve(t, func(w http.ResponseWriter, r *http.Request) {
				asked = r.Header.Get("Authorization") == "Bearer secret-token"
				fmt.Fprint(w, "{}")
			})
			err := dial(t, url, tc.trust(pin, ca)).Call(t.Context(), http.MethodGet, "/v1/user", nil, nil)
			if tc.says == nil {
				if err != nil || !asked {
					t.Fatalf("error %v, asked with the token: %t", err, asked)
				}
				return
			}
			wantError(t, err, append(tc.says, url)...)
			if strings.Contains(err.Error(), "/v1/user") {
				t.Errorf("error names the request, which was never made: %q", err)
			}
			if asked {
				t.Error("the server got the token")
			}
		})
	}
}

// TestPinOnResumption checks that a resumed connection is held to the pin too.
func TestPinOnResumption(t *testing.T) {
	t.Parallel()
	_, pin, _ := serve(t, func(http.ResponseWriter, *http.Request) {})
	cfg, err := pin.TLS()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.VerifyConnection == nil || cfg.VerifyConnection(tls.ConnectionState{DidResume: true}) == nil {
		t.Error("a connection without a certificate is accepted")
	}
}

func TestWrongName(t *testing.T) {
	t.Parallel()
	url, _, ca := serve(t, func(http.ResponseWriter, *http.Request) {})
	_, port, _ := strings.Cut(strings.TrimPrefix(url, "https://"), ":")
	err := dial(t, "https://localhost:"+port, ca).Call(t.Context(), http.MethodGet, "/v1/user", nil, nil)
	wantError(t, err, "use a name that is in the certificate", "--host localhost")
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(nil)
	url := strings.Replace(s.URL, "http:", "https:", 1)
	s.Close()
	err := dial(t, url, client.Trust{}).Call(t.Context(), http.MethodGet, "/v1/user", nil, nil)
	wantError(t, err, url, "nothing answers", "is `hitoku manager` running?")
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	url, pin, _ := serve(t, func(http.ResponseWriter, *http.Request) { cancel(); <-release })
	t.Cleanup(func() { close(release) }) // before the server is closed, which waits for the handler
	err := dial(t, url, pin).Call(ctx, http.MethodGet, "/v1/user", nil, nil)
	wantError(t, err, "stopped before it answered")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v is no cancellation", err)
	}
}

func TestAddress(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ text, want, says string }{
		{"https://Manager.example:8443", "https://manager.example:8443", ""},
		{"https://manager.example/", "https://manager.example", ""},
		{"https://[::1]:8443", "https://[::1]:8443", ""},
		{"http://manager.example", "", "only https is used"},
		{"manager.example:8443", "", "wanted https://HOST:PORT"},
		{"manager.example", "", "wanted https://HOST:PORT"},
		{"https://manager.example/v1", "", "wanted https://HOST:PORT"},
		{"https://manager.example?x=1", "", "wanted https://HOST:PORT"},
		{"https://me:secret@manager.example", "", "wanted https://HOST:PORT"},
		{"", "", "wanted https://HOST:PORT"},
		{"https://%zz", "", "wanted https://HOST:PORT"},
	} {
		got, err := client.Address(tc.text)
		if got != tc.want || tc.says == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%q: %q and %v, wanted %q and %q", tc.text, got, err, tc.want, tc.says)
		}
	}
}

func TestParsePin(t *testing.T) {
	t.Parallel()
	good := strings.Repeat("0f", 32)
	for _, tc := range []struct {
		text string
		ok   bool
	}{
		{"sha256:" + good, true}, {good, false}, {"sha256:" + good[2:], false}, {"sha256:" + good + "00", false}, {"sha1:" + good, false}, {"sha256:" + strings.Repeat("zz", 32), false}, {"", false},
	} {
		if _, err := client.ParsePin(tc.text); (err == nil) != tc.ok {
			t.Errorf("%q: %v", tc.text, err)
		}
	}
	if _, err := (client.Trust{CA: "no PEM"}).TLS(); err == nil {
		t.Error("a CA without a certificate is accepted")
	}
	if _, err := client.New("https://manager.example", client.Trust{Pin: "sha256:00"}, ""); err == nil {
		t.Error("a short pin is accepted")
	}
}

// TestReplies checks what becomes of replies that are no success, or not what was asked for.
func TestReplies(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		status int
		body   string
		says   []string
	}{
		{"rules", 403, `{"message":"refused","code":"FORBIDDEN","rules":[{"name":"known_image","wanted":"an approved one","seen":"aa","advice":"approve it"},{"name":"fine","ok":true}]}`, []string{"refused (FORBIDDEN, HTTP 403)", "\n  known_image: wanted an approved one, seen aa; approve it"}},
		{"no account", 403, `{"message":"no account is selected","code":"NO_ACCOUNT_SELECTED"}`, []string{"`hitoku account select NAME` chooses one"}},
		{"expired", 401, `{"message":"the session expired","code":"SESSION_EXPIRED"}`, []string{"`hitoku login` begins a session"}},
		{"no JSON", 502, "Bad Gateway\n", []string{"Bad Gateway (HTTP 502)"}},
		{"nothing", 500, "", []string{"the manager gave no reason (HTTP 500)"}},
		{"other JSON", 200, `{"items": 7}`, []string{"is not what this command knows"}},
		{"half", 200, `{"items": [`, []string{"is not what this command knows"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			url, pin, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.status)
				fmt.Fprint(w, tc.body)
			})
			_, err := client.Get[wire.List[wire.App]](t.Context(), dial(t, url, pin), "/v1/apps")
			wantError(t, err, tc.says...)
			var api *client.APIError
			if errors.As(err, &api) != (tc.status >= 300) || api != nil && api.Status != tc.status {
				t.Errorf("%T %v", err, err)
			}
			if strings.Contains(err.Error(), "fine") {
				t.Errorf("a rule that holds is shown: %v", err)
			}
		})
	}
}

// pages serves a list of n applications in the manager's manner.
func pages(t *testing.T, n int, requests *int) *client.Client {
	url, pin, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		*requests++
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
		list := wire.List[wire.App]{Metadata: &wire.Metadata{TotalCount: n, FilteredCount: n}}
		for i := offset; i < min(n, offset+limit); i++ {
			list.Items = append(list.Items, wire.App{AppID: strconv.Itoa(i)})
		}
		_ = json.NewEncoder(w).Encode(list)
	})
	return dial(t, url, pin)
}

func TestPaging(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ items, limit, want, requests int }{
		{0, 0, 0, 1}, {1, 0, 1, 1}, {100, 0, 100, 1}, {101, 0, 101, 2}, {250, 0, 250, 3}, {250, 10, 10, 1}, {250, 150, 150, 2}, {5, 10, 5, 1},
	} {
		t.Run(fmt.Sprintf("%d of %d", tc.limit, tc.items), func(t *testing.T) {
			t.Parallel()
			requests := 0
			got, total, err := client.Newest[wire.App](t.Context(), pages(t, tc.items, &requests), "/v1/apps?x=1", tc.limit)
			if err != nil || got == nil || len(got) != tc.want || total != tc.items || requests != tc.requests {
				t.Fatalf("%d items of %d in %d requests, nil %t, %v; wanted %+v", len(got), total, requests, got == nil, err, tc)
			}
			for i, a := range got {
				if a.AppID != strconv.Itoa(i) {
					t.Fatalf("item %d is %s", i, a.AppID)
				}
			}
		})
	}
}

// TestPagingEnds checks that a total which is never reached does not ask for ever.
func TestPagingEnds(t *testing.T) {
	t.Parallel()
	requests := 0
	url, pin, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests++
		list := wire.List[wire.App]{Metadata: &wire.Metadata{FilteredCount: 1000}}
		if requests == 1 {
			list.Items = []wire.App{{AppID: "0"}}
		}
		_ = json.NewEncoder(w).Encode(list)
	})
	got, err := client.All[wire.App](t.Context(), dial(t, url, pin), "/v1/apps")
	if err != nil || len(got) != 1 || requests != 2 {
		t.Errorf("%d items in %d requests, %v", len(got), requests, err)
	}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pairs []string
		want  string
	}{
		{nil, "/v1/tasks"},
		{[]string{"status", ""}, "/v1/tasks"},
		{[]string{"status", "A&B", "x", ""}, "/v1/tasks?status=A%26B"},
	} {
		if got := client.Query("/v1/tasks", tc.pairs...); got != tc.want {
			t.Errorf("%q: %q, wanted %q", tc.pairs, got, tc.want)
		}
	}
}
