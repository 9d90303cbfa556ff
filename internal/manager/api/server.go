// Package api serves the manager's REST interface: the published paths under
// /v1, and the extensions of package wire. It is the only part of the manager
// that knows HTTP.
//
// Every handler goes the same way: decode strictly, authenticate, call the
// domain, encode. What an authenticated caller may do is decided by the domain
// (package manager), never here.
//
// Requests are not trusted: bodies are bounded, JSON members may stand once
// only, and a browser's cookie counts only together with the CSRF header. The
// package does not promise to hide which routes exist.
package api

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"hitoku.dev/internal/manager"
	"hitoku.dev/internal/wire"
)

// Domain is what the server needs of the manager beyond the calls of its routes.
type Options struct {
	Manager *manager.Manager
	Version string
	Log     *slog.Logger
}

// Server is the handler of the whole interface.
type Server struct {
	m    *manager.Manager
	log  *slog.Logger
	huma huma.API
	mux  *http.ServeMux
}

// New returns a server with every route registered. Manager may be nil when only
// the OpenAPI document is wanted.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{m: o.Manager, log: o.Log, mux: http.NewServeMux()}
	s.huma = humago.New(s.mux, config(o.Version))
	s.sessions(o.Version)
	s.users()
	s.accounts()
	s.zones()
	s.apps()
	s.builds()
	s.tasks()
	s.nodes()
	s.certificates()
	s.registries()
	s.audit()
	return s
}

func config(version string) huma.Config {
	c := huma.DefaultConfig("Hitoku manager", version)
	c.Info.Description = "Accounts, applications, builds, approvals, nodes and certificates of confidential programs. Members marked as extension are not part of the published interface that this one is compatible with."
	c.AllowAdditionalPropertiesByDefault = true // other generations of clients send members that are not known here
	c.OpenAPIPath = "/v1/openapi"
	c.DocsPath, c.SchemasPath = "", ""
	c.CreateHooks = nil // no "$schema" members: replies have the published fields only
	c.Formats = map[string]huma.Format{"application/json": jsonFormat(), "json": jsonFormat()}
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer":          {Type: "http", Scheme: "bearer", Description: "access_token of POST /v1/sys/auth, or an API token"},
		"cookie":          {Type: "apiKey", In: "cookie", Name: sessionCookie},
		"csrf":            {Type: "apiKey", In: "header", Name: csrfHeader, Description: "\"true\", with the cookie"},
		"joinToken":       {Type: "http", Scheme: "bearer", Description: "a join token"},
		"nodeCertificate": {Type: "mutualTLS", Description: "the certificate of an enrolled node"},
	}
	return c
}

// OpenAPI returns the OpenAPI 3.1 document as JSON.
func (s *Server) OpenAPI() ([]byte, error) { return s.huma.OpenAPI().MarshalJSON() }

// ServeHTTP serves the interface; what no route takes is a 404 in the published form.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The same routes under the path that one generation of clients uses.
	if rest, ok := strings.CutPrefix(r.URL.Path, "/api/v1/confidential_computing/"); ok {
		r.URL.Path = "/v1/" + rest
	}
	_, pattern := s.mux.Handler(r)
	if pattern == "" {
		s.unrouted(w, r)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	s.mux.ServeHTTP(w, r)
}

func (s *Server) unrouted(w http.ResponseWriter, r *http.Request) {
	probe := r.Clone(r.Context())
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodPut, http.MethodDelete} {
		probe.Method = method
		if _, pattern := s.mux.Handler(probe); pattern != "" {
			writeReply(w, newReplyError(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", r.URL.Path+" does not take "+r.Method))
			return
		}
	}
	writeReply(w, newReplyError(http.StatusNotFound, "NOT_FOUND", "there is nothing at "+r.URL.Path))
}

// authenticate finds out who calls, in the way that the operation asks for.
func (s *Server) authenticate(r *http.Request, c class) (caller, error) {
	who := caller{remote: remote(r)}
	creds := readCredentials(r)
	switch c {
	case noAuth:
		return who, nil
	case joinToken:
		if creds.bearer == "" {
			return who, &manager.Error{Kind: manager.Unauthenticated, Code: manager.CodeUnauthorized, Message: "a join token is needed: Authorization: Bearer TOKEN"}
		}
		who.token = creds.bearer
		return who, nil
	case agentAuth:
		var chain []*x509.Certificate
		if r.TLS != nil {
			chain = r.TLS.PeerCertificates
		}
		if len(chain) == 0 {
			return who, &manager.Error{Kind: manager.Unauthenticated, Code: manager.CodeNotEnrolled, Message: "a node certificate is needed in the TLS handshake"}
		}
		peer, err := s.m.AuthenticateNode(r.Context(), chain)
		who.node = peer
		return who, err
	}
	token := creds.bearer
	if token == "" && creds.cookie != "" {
		if !creds.csrf {
			return who, &manager.Error{Kind: manager.Forbidden, Code: manager.CodeForbidden, Message: "a session cookie counts only with the header " + csrfHeader + ": true"}
		}
		token = creds.cookie
	}
	if token == "" {
		return who, &manager.Error{Kind: manager.Unauthenticated, Code: manager.CodeUnauthorized, Message: "log in first: POST /v1/sys/auth"}
	}
	actor, err := s.m.Authenticate(r.Context(), token)
	who.actor = actor
	return who, err
}

func remote(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// replyTo turns an error of the domain into one for the client.
func (s *Server) replyTo(err error) *replyError {
	var e *manager.Error
	switch {
	case errors.As(err, &e):
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return newReplyError(http.StatusServiceUnavailable, manager.CodeInternal, "the request was given up")
	default:
		s.log.Error("internal error", "error", err)
		return newReplyError(http.StatusInternalServerError, manager.CodeInternal, "the manager failed; its log says why")
	}
	out := newReplyError(statusOf(e.Kind), e.Code, e.Message)
	for _, r := range e.Rules {
		out.body.Rules = append(out.body.Rules, wire.Rule(r))
	}
	return out
}

func statusOf(k manager.Kind) int {
	switch k {
	case manager.Invalid:
		return http.StatusBadRequest
	case manager.Unauthenticated:
		return http.StatusUnauthorized
	case manager.Forbidden, manager.Refused:
		return http.StatusForbidden
	case manager.NotFound:
		return http.StatusNotFound
	case manager.Conflict:
		return http.StatusConflict
	case manager.Limited:
		return http.StatusTooManyRequests
	case manager.Unsupported:
		return http.StatusNotImplemented
	}
	return http.StatusInternalServerError
}
