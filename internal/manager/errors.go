package manager

import (
	"context"
	"errors"
	"fmt"

	"hitoku.dev/attest"
	"hitoku.dev/internal/manager/store"
)

// Kind is the class of an [Error], without the words of any protocol.
type Kind int

// The kinds of errors.
const (
	Internal        Kind = iota // the manager failed, or its database was tampered with
	Invalid                     // the request is wrong, or collides with what is there
	Unauthenticated             // who calls is not known
	Forbidden                   // who calls may not do that, or the quota is used up
	NotFound                    // no such object in this account
	Conflict                    // it changed in the meantime: read again, decide again
	Limited                     // too many attempts
	Refused                     // rules refused it; see Rules
	Unsupported                 // this manager does not do that
)

// Codes of the published interface.
const (
	CodeBadRequest     = "BAD_REQUEST"
	CodeInvalidName    = "INVALID_NAME"
	CodeInvalidValue   = "INVALID_VALUE"
	CodeUnauthorized   = "UNAUTHORIZED"
	CodeNoAccount      = "NO_ACCOUNT_SELECTED"
	CodeNotFound       = "NOT_FOUND"
	CodeUnique         = "UNIQUE_VIOLATION"
	CodeInvalidState   = "INVALID_STATE"
	CodeUserExists     = "USER_ALREADY_EXISTS"
	CodeForbidden      = "FORBIDDEN"
	CodeAuthFailed     = "AUTH_FAILED"
	CodeInvalidSession = "INVALID_SESSION"
	CodeSessionExpired = "SESSION_EXPIRED"
	CodeQuota          = "QUOTA_EXCEEDED"
	CodeUserPending    = "USER_ACCOUNT_PENDING"
	CodeInternal       = "INTERNAL_SERVER_ERROR"
	CodeMissing        = "MISSING_REQUIRED_PARAMETER"
	CodeConflict       = "CONFLICT"
	CodeNotEnrolled    = "NODE_NOT_ENROLLED"
	CodeAttestation    = "ATTESTATION_REQUIRED"
	CodeCertParse      = "CERT_PARSE_ERROR"
	CodeNotSupported   = "FEATURE_NOT_SUPPORTED"
)

// Error is what every method of a Manager fails with.
type Error struct {
	Kind    Kind
	Code    string
	Message string        // for the caller; of internal errors it says little
	Rules   []attest.Rule // what refused, for Kind Refused
	Cause   error         // for the log
}

func (e *Error) Error() string { return e.Message }
func (e *Error) Unwrap() error { return e.Cause }

func newError(k Kind, code, format string, args ...any) *Error {
	return &Error{Kind: k, Code: code, Message: fmt.Sprintf(format, args...)}
}

func invalid(code, format string, args ...any) *Error {
	return newError(Invalid, code, format, args...)
}

func forbidden(format string, args ...any) *Error {
	return newError(Forbidden, CodeForbidden, format, args...)
}

func notFound(what, id string) *Error {
	return newError(NotFound, CodeNotFound, "%s %s is not in this account", what, id)
}

// fail turns the store's errors into those of this package.
func (m *Manager) fail(err error) error {
	var e *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	e = &Error{Kind: Internal, Code: CodeInternal, Cause: err}
	switch {
	case errors.Is(err, store.ErrTampered), errors.Is(err, store.ErrRolledBack):
		e.Message = err.Error()
	case errors.Is(err, store.ErrNotFound):
		e.Kind, e.Code, e.Message = NotFound, CodeNotFound, err.Error()
	case errors.Is(err, store.ErrStale):
		e.Kind, e.Code, e.Message = Conflict, CodeConflict, err.Error()
	case errors.Is(err, store.ErrExists):
		e.Kind, e.Code, e.Message = Invalid, CodeUnique, "an object with this name exists already"
	case errors.Is(err, store.ErrReference):
		e.Kind, e.Code, e.Message = Invalid, CodeInvalidState, "another object needs this one, or one that this needs is gone"
	default:
		e.Message = "the manager failed; its log says why"
	}
	if e.Kind == Internal {
		m.opts.Log.Error("internal error", "error", err)
	}
	return e
}
