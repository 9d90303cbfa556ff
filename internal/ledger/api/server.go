package api

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"hitoku.dev/internal/ledger/order"
	"hitoku.dev/internal/ledger/replica"
	"hitoku.dev/internal/ledger/wire"
)

// Limits of what a caller may send, in bytes.
const (
	// MaxRequest is the longest sealed request: a bucket of 128 KiB, and what stands around it.
	MaxRequest = 256 << 10
	maxBody    = MaxRequest/3*4 + 4096 // in base64, in JSON
	maxAdmin   = 64 << 10
)

// maxWait is the longest time that a caller may wait for a ticket.
const maxWait = 60 * time.Second

// Operator is what the node does beyond following the log.
type Operator interface {
	// Fresh asks the other executors how far the ledger is (replica.FreshFunc).
	Fresh(ctx context.Context, qid [16]byte) (uint64, error)
	// Rejoin puts fresh evidence on the log.
	Rejoin(ctx context.Context) error
	// Backup gives the vaults the committed state.
	Backup(ctx context.Context) ([]Backup, error)
	// Recover gets the state from a vault, where the node has none.
	Recover(ctx context.Context) (Recovery, error)
	// Order is what the log's order rests on, with its proof where there is one.
	Order(ctx context.Context) (order.Assurance, []byte, error)
}

// Options are what a server needs. Replica, Operator, Random and Now are required.
type Options struct {
	Replica  *replica.Replica
	Operator Operator
	// Peer serves /api/v1/peer/: what other nodes send. Nil refuses it.
	Peer   http.Handler
	Random io.Reader
	Now    func() time.Time
	Log    *slog.Logger // nil: none
	// Requests and Admin bound what one address may ask; zero values are 200 a second with
	// bursts of 400, and 2 a second with bursts of 20.
	Requests, Admin Rate
	// Heartbeat is the time between two comments in a stream; 0 is 15 s.
	Heartbeat time.Duration
	// DetailedMetrics adds counts of commands and cells, and where time goes, to the metrics.
	// Padding hides these from the host: leave it off where that matters.
	DetailedMetrics bool
	// Version stands in the OpenAPI document.
	Version string
}

// Server is the handler of the whole interface.
type Server struct {
	o        Options
	r        *replica.Replica
	ledger   wire.Hash
	mux      *http.ServeMux
	routes   []route
	document []byte
	requests *limiter
	admin    *limiter
	nonces   nonces
	counts   counts
}

// New returns a server with every route.
func New(o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Requests == (Rate{}) {
		o.Requests = Rate{PerSecond: 200, Burst: 400}
	}
	if o.Admin == (Rate{}) {
		o.Admin = Rate{PerSecond: 2, Burst: 20}
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = 15 * time.Second
	}
	s := &Server{
		o: o, r: o.Replica, mux: http.NewServeMux(),
		requests: newLimiter(o.Requests, o.Now), admin: newLimiter(o.Admin, o.Now),
		nonces: nonces{seen: map[nonce]uint64{}}, counts: counts{by: map[counted]uint64{}},
	}
	if s.r != nil {
		s.ledger = s.r.Status().Ledger
	}
	s.public()
	s.clients()
	s.administration()
	var err error
	s.document, err = s.openAPI()
	return s, err
}

// OpenAPI returns the OpenAPI 3.1 document as JSON.
func (s *Server) OpenAPI() []byte { return s.document }

const (
	peerPath   = "/api/v1/peer/"
	healthPath = "/api/v1/health"
)

// ServeHTTP serves the interface. Every answer has a random trace id.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := s.o.Now()
	trace := s.trace()
	h := w.Header()
	h.Set("Hitoku-Trace", trace)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	seen := &watched{ResponseWriter: w}
	pattern := s.serve(seen, r)
	if seen.status == 0 {
		seen.status = http.StatusOK
	}
	s.counts.add(pattern, seen.status)
	s.o.Log.Debug("request", "trace", trace, "route", pattern, "status", seen.status, "took", s.o.Now().Sub(started))
}

// serve finds the route and serves it. It returns the route's pattern.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) string {
	if len(r.URL.Path) > len(peerPath) && r.URL.Path[:len(peerPath)] == peerPath && s.o.Peer != nil {
		s.o.Peer.ServeHTTP(w, r)
		return peerPath
	}
	_, pattern := s.mux.Handler(r)
	if !s.requests.take(address(r)) {
		WriteError(w, Fail(http.StatusTooManyRequests, CodeRateLimited, "too many requests from this address; wait a second"))
		return "limited"
	}
	if pattern == "" {
		s.unrouted(w, r)
		return "none"
	}
	if err := s.r.Err(); err != nil && r.URL.Path != healthPath {
		WriteError(w, errorOf(err))
		return pattern
	}
	s.mux.ServeHTTP(w, r)
	return pattern
}

// unrouted tells a wrong method from a path that is none.
func (s *Server) unrouted(w http.ResponseWriter, r *http.Request) {
	probe := r.Clone(r.Context())
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		probe.Method = method
		if _, pattern := s.mux.Handler(probe); pattern != "" {
			w.Header().Set("Allow", method)
			WriteError(w, Fail(http.StatusMethodNotAllowed, CodeMethod, "the method is not allowed here; wanted %s", method))
			return
		}
	}
	WriteError(w, Fail(http.StatusNotFound, CodeNotFound, "there is nothing at this path; GET /openapi.json lists what is there"))
}

func (s *Server) trace() string {
	var b [8]byte
	if _, err := io.ReadFull(s.o.Random, b[:]); err != nil {
		return "none"
	}
	return hex.EncodeToString(b[:])
}

// watched remembers the status of an answer.
type watched struct {
	http.ResponseWriter
	status int
}

func (w *watched) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *watched) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// readBody reads a body of at most limit bytes.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, Fail(http.StatusRequestEntityTooLarge, CodeTooLarge, "the body is longer than %d bytes", limit)
	case err != nil:
		return nil, Fail(http.StatusBadRequest, CodeBadRequest, "the body ended early")
	}
	return b, nil
}
