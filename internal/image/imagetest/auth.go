package imagetest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"slices"
	"strings"
)

const tokenPath = "/token"

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

func (r *Registry) passwordRight(q *http.Request) bool {
	user, password, ok := q.BasicAuth()
	return ok && user == r.opts.Username && password == r.opts.Password
}

// token is a token server as the Docker registry authentication specification
// has it: it gives the scopes that are asked for to whoever has the password.
func (r *Registry) token(w http.ResponseWriter, q *http.Request) {
	if r.opts.Username != "" && !r.passwordRight(q) {
		deny(w, http.StatusUnauthorized, "UNAUTHORIZED", "incorrect username or password")
		return
	}
	tok := rand.Text()
	r.mu.Lock()
	r.tokens[tok] = q.URL.Query()["scope"]
	r.mu.Unlock()
	json.NewEncoder(w).Encode(map[string]any{"token": tok, "expires_in": 300})
}

// GrantToken makes a bearer token for scopes like "repository:NAME:pull,push".
func (r *Registry) GrantToken(scopes ...string) string {
	tok := rand.Text()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tokens[tok] = scopes
	return tok
}

func (r *Registry) admit(w http.ResponseWriter, q *http.Request) bool {
	switch {
	case r.opts.Bearer:
		tok, _ := strings.CutPrefix(q.Header.Get("Authorization"), "Bearer ")
		r.mu.Lock()
		scopes, known := r.tokens[tok]
		r.mu.Unlock()
		if known && r.covered(scopes, q) {
			return true
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q,service=%q", r.srv.URL+tokenPath, r.Host()))
	case r.opts.Username != "":
		if r.passwordRight(q) {
			return true
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
	default:
		return true
	}
	deny(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	return false
}

// covered checks a token's scopes against what a request does.
func (r *Registry) covered(scopes []string, q *http.Request) bool {
	action := "pull"
	if q.Method != http.MethodGet && q.Method != http.MethodHead {
		action = "push"
	}
	repo := strings.TrimPrefix(q.URL.Path, "/v2/")
	for _, end := range []string{"/manifests/", "/blobs/", "/tags/", "/referrers/"} {
		repo, _, _ = strings.Cut(repo, end)
	}
	if repo == "" || q.URL.Path == "/v2/" {
		return true
	}
	if from := q.URL.Query().Get("from"); from != "" && !hasScope(scopes, from, "pull") {
		q.URL.RawQuery = "" // may not read there: an ordinary upload then
	}
	return hasScope(scopes, repo, action)
}

func hasScope(scopes []string, repo, action string) bool {
	for _, all := range scopes {
		for _, s := range strings.Fields(all) {
			rest, ok := strings.CutPrefix(s, "repository:"+repo+":")
			if ok && slices.Contains(strings.Split(rest, ","), action) {
				return true
			}
		}
	}
	return false
}

func deny(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": code, "message": message}}})
}
