package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"hitoku.dev/internal/wire"
)

const (
	maxBody = 256 << 10
	// issueTimeout keeps the answer inside the 60 seconds that clients wait.
	issueTimeout = 55 * time.Second
	maxCalls     = 64 // calls to the manager at a time; others wait for their turn
)

// TargetInfoReply is the reply of GET /v1/enclave/target-info.
type TargetInfoReply struct {
	TargetInfo []byte `json:"targetInfo"`
	// Extensions: a single-use nonce from the manager for the next request, and the account
	// root that this node is enrolled under, which a workload compares with its own.
	Nonce       []byte `json:"nonce"`
	AccountRoot string `json:"account_root"`
}

// AttestReply is the reply of POST /v1/enclave/attest.
type AttestReply struct {
	AttestationCertificate string `json:"attestation_certificate"`
	NodeCertificate        string `json:"node_certificate"`
	FQPEReport             []byte `json:"fqpe_report"`
}

// IssueReply is the reply of the two calls under /v1/certificate. TaskStatus is
// INPROGRESS, FAILED, SUCCESS, DENIED or PENDING_WHITELIST.
type IssueReply struct {
	TaskID      string `json:"task_id,omitempty"`
	TaskStatus  string `json:"task_status,omitempty"`
	Certificate string `json:"certificate,omitempty"` // PEM: leaf, then the zone CA
	// Extensions.
	AccountRoot string      `json:"account_root,omitempty"` // PEM
	Reason      string      `json:"reason,omitempty"`
	Rules       []wire.Rule `json:"rules,omitempty"`
	Task        *TaskRef    `json:"task,omitempty"` // what a pending request waits for
}

// TaskRef names a task for people.
type TaskRef struct {
	TaskID      string `json:"task_id"`
	Description string `json:"description"`
}

// apiError is a reply that is not a success.
type apiError struct {
	status int
	body   wire.Error
}

func (e *apiError) Error() string { return e.body.Message }

func fail(status int, code, format string, args ...any) *apiError {
	return &apiError{status, wire.Error{Message: fmt.Sprintf(format, args...), Code: code, Severity: "ERROR"}}
}

// Handler returns the HTTP interface of the agent: the five published calls, and
// the status on loopback. Each is served with and without its /v1 and with it
// twice, since clients differ in whether their base address ends in /v1.
func (a *Agent) Handler() http.Handler {
	calls := make(chan struct{}, maxCalls)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		reply, err := a.route(r, calls)
		if err != nil {
			a.writeError(w, r, err)
			return
		}
		writeJSON(w, http.StatusOK, reply)
	})
}

// route finds the call that r is for and makes it.
func (a *Agent) route(r *http.Request, calls chan struct{}) (any, error) {
	path := trimVersion(r.URL.Path)
	if id, ok := strings.CutPrefix(path, "/certificate/result/"); ok {
		return a.post(r, calls, func(ctx context.Context) (any, error) { return a.handleResult(ctx, id) })
	}
	switch path {
	case "/sys/version":
		return get(r, func() (any, error) { return wire.Version{Version: a.o.Version}, nil })
	case "/status":
		return get(r, func() (any, error) { return a.handleStatus(r) })
	case "/enclave/target-info":
		return get(r, func() (any, error) {
			return inTurn(r.Context(), calls, func(ctx context.Context) (any, error) { return a.handleTargetInfo(ctx) })
		})
	case "/enclave/attest":
		return a.post(r, calls, func(context.Context) (any, error) { return a.handleAttest(r) })
	case "/certificate/issue":
		return a.post(r, calls, func(ctx context.Context) (any, error) { return a.handleIssue(ctx, r) })
	}
	return nil, fail(http.StatusNotFound, "NOT_FOUND", "no such call: %s %s", clip(r.Method), clip(r.URL.Path))
}

// trimVersion removes up to two leading /v1 and doubled slashes from a path.
func trimVersion(path string) string {
	for strings.HasPrefix(path, "//") {
		path = path[1:]
	}
	for range 2 {
		rest, ok := strings.CutPrefix(path, "/v1/")
		if !ok {
			break
		}
		path = "/" + strings.TrimLeft(rest, "/")
	}
	return path
}

func get(r *http.Request, f func() (any, error)) (any, error) {
	if r.Method != http.MethodGet {
		return nil, fail(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "%s: wanted GET", clip(r.URL.Path))
	}
	return f()
}

func (a *Agent) post(r *http.Request, calls chan struct{}, f func(context.Context) (any, error)) (any, error) {
	if r.Method != http.MethodPost {
		return nil, fail(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "%s: wanted POST", clip(r.URL.Path))
	}
	return inTurn(r.Context(), calls, f)
}

// inTurn runs f when fewer than maxCalls others do, inside the time that clients wait.
func inTurn(ctx context.Context, calls chan struct{}, f func(context.Context) (any, error)) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, issueTimeout)
	defer cancel()
	select {
	case calls <- struct{}{}:
		defer func() { <-calls }()
		return f(ctx)
	case <-ctx.Done():
		return nil, fail(http.StatusServiceUnavailable, "BUSY", "more than %d calls are waiting for the manager; try again later", maxCalls)
	}
}

// body decodes the named members of a JSON request.
func body(r *http.Request, want map[string]*string) error {
	raw, err := io.ReadAll(r.Body)
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return fail(http.StatusRequestEntityTooLarge, "BAD_REQUEST", "request body: more than %d bytes", maxBody)
	case err != nil:
		return fail(http.StatusBadRequest, "BAD_REQUEST", "request body: %v", err)
	}
	if err := decodeObject(raw, want); err != nil {
		return fail(http.StatusBadRequest, "BAD_REQUEST", "%v", err)
	}
	return nil
}

// handleStatus answers loopback only, and only to those who name it so: a page in
// a browser on this machine must not read it through a name that points here.
func (a *Agent) handleStatus(r *http.Request) (any, error) {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if !isLoopback(host) || !remoteIsLoopback(r) {
		return nil, fail(http.StatusForbidden, "FORBIDDEN", "the status is for loopback only; run `hitoku agent status` on the node")
	}
	return a.Status(), nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func remoteIsLoopback(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	return err == nil && isLoopback(host)
}

// Status returns the state of the agent.
func (a *Agent) Status() Status { return a.status.snapshot() }

func (a *Agent) handleResult(ctx context.Context, id string) (any, error) {
	if u, err := uuid.Parse(id); err != nil || u.String() != strings.ToLower(id) {
		return nil, fail(http.StatusBadRequest, "INVALID_PATH_PARAMETER", "task id: wanted a UUID")
	}
	return a.result(ctx, strings.ToLower(id))
}

func (a *Agent) handleIssue(ctx context.Context, r *http.Request) (any, error) {
	var request string
	if err := body(r, map[string]*string{"csr": &request}); err != nil {
		return nil, err
	}
	return a.issue(ctx, request)
}

func (a *Agent) writeError(w http.ResponseWriter, r *http.Request, err error) {
	var e *apiError
	if !errors.As(err, &e) {
		e = fail(http.StatusInternalServerError, "INTERNAL_SERVER_ERROR", "%v", err)
	}
	if e.status >= 500 {
		a.o.Log.Warn("call failed", "call", r.Method+" "+clip(r.URL.Path), "code", e.body.Code, "error", e.body.Message)
	}
	writeJSON(w, e.status, e.body)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		status, raw = http.StatusInternalServerError, []byte(`{"message":"the reply could not be encoded","code":"INTERNAL_SERVER_ERROR","severity":"ERROR"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(raw) // a client that is gone is no error of ours
}
