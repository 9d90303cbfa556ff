package api

import (
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"reflect"
	"time"
)

// none is the input of routes that take no body.
type none struct{}

// route is one route, as the handler and the document need it.
type route struct {
	method, path string
	tag, summary string
	admin        bool  // signed by the operator or an administrator
	status       int   // of success; 200 when zero
	limit        int64 // of the body; maxAdmin for signed ones and maxBody for others when zero
	parameters   []parameter
	in, out      reflect.Type
	media        string // of the answer where it is not JSON
}

// parameter is one of the path or the query.
type parameter struct {
	name, in, doc string
}

// call is one request on its way.
type call struct {
	w    http.ResponseWriter
	r    *http.Request
	body []byte
}

// register adds a route: bound, decode, authenticate, act, encode. A nil answer with a
// nil error means that act has answered itself.
func register[In, Out any](s *Server, rt route, act func(context.Context, *call, *In) (*Out, error)) {
	if rt.status == 0 {
		rt.status = http.StatusOK
	}
	if rt.limit == 0 {
		rt.limit = maxBody
		if rt.admin {
			rt.limit = maxAdmin
		}
	}
	rt.in, rt.out = reflect.TypeFor[In](), reflect.TypeFor[Out]()
	s.routes = append(s.routes, rt)
	s.mux.HandleFunc(rt.method+" "+rt.path, func(w http.ResponseWriter, r *http.Request) {
		out, err := handle(s, &rt, w, r, act)
		switch {
		case err != nil:
			e := errorOf(err)
			if e.Code == CodeInternal {
				s.o.Log.Error("a request failed", "trace", w.Header().Get("Hitoku-Trace"), "route", rt.path, "reason", err)
			}
			WriteError(w, e)
		case out != nil:
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(rt.status)
			_ = json.NewEncoder(w).Encode(out) // who has gone learns nothing
		}
	})
}

func handle[In, Out any](s *Server, rt *route, w http.ResponseWriter, r *http.Request, act func(context.Context, *call, *In) (*Out, error)) (*Out, error) {
	if rt.admin && !s.admin.take(address(r)) {
		return nil, Fail(http.StatusTooManyRequests, CodeRateLimited, "too many administrative calls from this address; wait a second")
	}
	c := &call{w: w, r: r}
	var in In
	var err error
	if c.body, err = readBody(w, r, rt.limit); err != nil {
		return nil, err
	}
	unhurried(w)
	if rt.admin {
		if err := s.authenticate(r, c.body); err != nil {
			return nil, err
		}
	}
	switch {
	case rt.in != reflect.TypeFor[none]():
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
			return nil, Fail(http.StatusUnsupportedMediaType, CodeMediaType, "Content-Type: wanted application/json")
		}
		if err := decode(c.body, &in); err != nil {
			return nil, Fail(http.StatusBadRequest, CodeBadRequest, "the body is not what this route takes: %v", err)
		}
	case len(c.body) > 0:
		return nil, Fail(http.StatusBadRequest, CodeBadRequest, "this route takes no body")
	}
	return act(r.Context(), c, &in)
}

// unhurried lifts the deadline for reading, which would end a call that waits. It is for after
// the body; the connection's next request has its own.
func unhurried(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // not every writer has one
}
