package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"hitoku.dev/internal/manager"
)

// class is who may call an operation.
type class string

// The classes of operations. What an actor may do inside an account is decided
// by the domain; these only say how the caller proves who it is.
const (
	noAuth    class = "NoAuth"
	userAuth  class = "UserAuth"      // a session or an API token
	joinToken class = "JoinTokenAuth" // a join token as bearer
	agentAuth class = "AgentAuth"     // a node certificate in the TLS handshake
)

// operation describes one route.
type operation struct {
	method, path string
	class        class
	summary      string
	tag          string
	status       int   // of success; 200 when zero
	maxBody      int64 // bytes; 1 MiB when zero
	hidden       bool  // an alias that the document does not list
}

// caller is what a handler knows about who calls.
type caller struct {
	actor  manager.Actor // for userAuth
	token  string        // the join token's text, for joinToken
	node   manager.Peer  // for agentAuth
	remote string        // network address, for counting attempts
}

// register adds a route: decode strictly, authenticate, call act, encode.
func register[In, Out any](s *Server, op operation, act func(context.Context, caller, *In) (*Out, error)) {
	if op.status == 0 {
		op.status = http.StatusOK
	}
	if op.maxBody == 0 {
		op.maxBody = 1 << 20
	}
	h := huma.Operation{
		OperationID: operationID(op), Method: op.method, Path: op.path, Summary: op.summary, Tags: []string{op.tag},
		DefaultStatus: op.status, MaxBodyBytes: op.maxBody, Hidden: op.hidden,
		Security: security(op.class),
		Middlewares: huma.Middlewares{func(ctx huma.Context, next func(huma.Context)) {
			r, w := humago.Unwrap(ctx)
			c, err := s.authenticate(r, op.class)
			if err != nil {
				writeReply(w, s.replyTo(err))
				return
			}
			next(huma.WithValue(ctx, callerKey{}, c))
		}},
		Extensions: map[string]any{"x-authorization-class": string(op.class)},
	}
	huma.Register(s.huma, h, func(ctx context.Context, in *In) (*Out, error) {
		out, err := act(ctx, ctx.Value(callerKey{}).(caller), in)
		if err != nil {
			return nil, s.replyTo(err)
		}
		return out, nil
	})
}

type callerKey struct{}

func operationID(op operation) string {
	parts := strings.FieldsFunc(strings.TrimPrefix(op.path, "/v1/"), func(r rune) bool { return strings.ContainsRune("/{}_-.", r) })
	return strings.ToLower(op.method) + "-" + strings.Join(parts, "-")
}

func security(c class) []map[string][]string {
	switch c {
	case userAuth:
		return []map[string][]string{{"bearer": {}}, {"cookie": {}, "csrf": {}}}
	case joinToken:
		return []map[string][]string{{"joinToken": {}}}
	case agentAuth:
		return []map[string][]string{{"nodeCertificate": {}}}
	}
	return []map[string][]string{}
}

// none is the input or output of operations without a body.
type none struct{}

// ByID is the input of operations on one object.
type ByID struct {
	ID string `path:"id" doc:"id of the object" maxLength:"64"`
}

// body wraps a JSON body.
type body[T any] struct {
	Body T
}

// withID is a body for one object.
type withID[T any] struct {
	ID   string `path:"id" doc:"id of the object" maxLength:"64"`
	Body T
}

// reply wraps what the domain returned.
func reply[T any](v *T, err error) (*body[T], error) {
	if err != nil {
		return nil, err
	}
	return &body[T]{Body: *v}, nil
}

// done is the reply of calls that return nothing.
func done(err error) (*none, error) { return &none{}, err }
