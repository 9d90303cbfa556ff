package imagetest

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"hitoku.dev/internal/image/registry"
)

// RegistryOptions choose what the registry asks of its clients.
type RegistryOptions struct {
	Username, Password string // asked for if not empty
	Bearer             bool   // by a token of the registry's own token server
	TLS                bool   // https with a certificate that only CA() explains
	Dir                string // where blobs lie; a temporary folder if empty
	NoReferrers        bool   // as registries before OCI 1.1
	NoMount            bool   // mounts are answered by an upload
}

// Registry is a registry on the loopback, stopped when the test ends.
type Registry struct {
	srv  *httptest.Server
	opts RegistryOptions
	next http.Handler

	mu       sync.Mutex
	requests []Request
	faults   []*Fault
	tokens   map[string][]string // token → scopes
}

// Request is one that the registry has answered.
type Request struct {
	Method, Path string
	Query        url.Values
	Status       int
}

// NewRegistry starts a registry.
func NewRegistry(t testing.TB, o RegistryOptions) *Registry {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	h, err := registry.Handler(o.Dir)
	if err != nil {
		t.Fatalf("registry: %v", err)
	}
	r := &Registry{opts: o, next: h, tokens: map[string][]string{}}
	r.srv = httptest.NewUnstartedServer(r)
	r.srv.Config.ErrorLog = quiet()
	if o.TLS {
		r.srv.StartTLS()
	} else {
		r.srv.Start()
	}
	t.Cleanup(func() {
		r.srv.CloseClientConnections()
		r.srv.Close()
	})
	return r
}

// Host is the registry's address, 127.0.0.1:PORT.
func (r *Registry) Host() string { return r.srv.Listener.Addr().String() }

// Image is the reference of name (repository:tag) in this registry.
func (r *Registry) Image(name string) string { return r.Host() + "/" + name }

// URL is the registry's base URL.
func (r *Registry) URL() string { return r.srv.URL }

// CA is the PEM certificate that a client of a TLS registry must trust.
func (r *Registry) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.srv.Certificate().Raw})
}

// Requests are those answered so far whose method and path contain the given
// texts (empty: any).
func (r *Registry) Requests(method, path string) []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Request
	for _, q := range r.requests {
		if (method == "" || q.Method == method) && strings.Contains(q.Path, path) {
			out = append(out, q)
		}
	}
	return out
}

// Forget empties the list of requests.
func (r *Registry) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = nil
}

func (r *Registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	f := r.fault(q)
	out := &faultyWriter{ResponseWriter: w, fault: f, status: http.StatusOK}
	defer func() {
		r.mu.Lock()
		r.requests = append(r.requests, Request{q.Method, q.URL.Path, q.URL.Query(), out.status})
		r.mu.Unlock()
	}()
	if f != nil && f.Wait != nil {
		select {
		case <-f.Wait:
		case <-q.Context().Done():
			return
		}
	}
	if f != nil && f.Status != 0 {
		f.answer(out)
		return
	}
	if q.URL.Path == tokenPath && r.opts.Bearer {
		r.token(out, q)
		return
	}
	if !r.admit(out, q) {
		return
	}
	if r.opts.NoReferrers && strings.Contains(q.URL.Path, "/referrers/") {
		http.NotFound(out, q)
		return
	}
	if r.opts.NoMount && q.URL.Query().Has("mount") {
		q.URL.RawQuery = ""
	}
	r.next.ServeHTTP(out, q)
}
