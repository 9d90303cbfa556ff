package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"hitoku.dev/internal/ledger/replica"
)

// Codes of errors, as the member "code" gives them.
const (
	CodeBadRequest  = "bad_request"        // 400: not what the route takes
	CodeSignature   = "unauthorized"       // 401: an administrative call is not signed as it should be
	CodeForbidden   = "forbidden"          // 403: the key may not do this
	CodeNotFound    = "not_found"          // 404
	CodeMethod      = "method_not_allowed" // 405
	CodeRequestKey  = "request_key"        // 409: sealed to a key that is not there any more; fetch it again
	CodeConflict    = "conflict"           // 409: not in the present state
	CodeTooLarge    = "too_large"          // 413
	CodeMediaType   = "media_type"         // 415
	CodeRateLimited = "rate_limited"       // 429, with Retry-After
	CodeInternal    = "internal"           // 500
	CodeNotRunning  = "not_running"        // 503: no member yet, or without state
	CodeBusy        = "busy"               // 503: as much as it may hold, with Retry-After
	CodeHalted      = "halted"             // 503: for good
)

// Error is a failure as it goes to the caller: {"message", "code"}.
type Error struct {
	Status  int    `json:"-"`
	Code    string `json:"code" doc:"a word for programs"`
	Message string `json:"message" doc:"what is wrong, and what to do next"`
}

func (e *Error) Error() string { return e.Message }

// Fail makes an error for the caller.
func Fail(status int, code, format string, a ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, a...)}
}

// errorOf turns an error of the domain into one for the caller. What is not known
// here stays in the log.
func errorOf(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, replica.ErrHalted):
		return Fail(http.StatusServiceUnavailable, CodeHalted, "the node has halted; GET /api/v1/health says why")
	case errors.Is(err, replica.ErrNotRunning):
		return Fail(http.StatusServiceUnavailable, CodeNotRunning, "the node is not running yet; GET /api/v1/health says what it waits for")
	case errors.Is(err, replica.ErrBusy):
		return Fail(http.StatusServiceUnavailable, CodeBusy, "the node holds as many commands or replies as it may, by number or bytes; try again later, or at another node")
	case errors.Is(err, replica.ErrRequestKey):
		return Fail(http.StatusConflict, CodeRequestKey, "the request is sealed to a key that this node does not have any more; fetch /api/v1/enclave_encryption_key again")
	case errors.Is(err, replica.ErrRequest):
		return Fail(http.StatusBadRequest, CodeBadRequest, "the request cannot be opened: it is malformed, of another kind, expired, or sealed for another node or ledger")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Fail(http.StatusServiceUnavailable, CodeBusy, "the request was given up")
	}
	return Fail(http.StatusInternalServerError, CodeInternal, "the node failed; its log says why")
}

// WriteError answers with an error.
func WriteError(w http.ResponseWriter, e *Error) {
	w.Header().Set("Content-Type", "application/json")
	if (e.Status == http.StatusTooManyRequests || e.Code == CodeBusy) && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(e.Status)
	_ = json.NewEncoder(w).Encode(e) // who has gone learns nothing
}
