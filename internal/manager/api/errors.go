package api

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"hitoku.dev/internal/wire"
)

// replyError is an error as it goes to the client: {message, code, severity}.
// It implements huma.StatusError.
type replyError struct {
	status int
	body   wire.Error
}

func (e *replyError) Error() string                { return e.body.Message }
func (e *replyError) GetStatus() int               { return e.status }
func (e *replyError) MarshalJSON() ([]byte, error) { return json.Marshal(e.body) }

func newReplyError(status int, code, message string) *replyError {
	severity := "ERROR"
	if status >= http.StatusInternalServerError {
		severity = "CRITICAL"
	}
	return &replyError{status: status, body: wire.Error{Message: message, Code: code, Severity: severity}}
}

// huma makes its own errors with this variable; nothing else of it is set globally.
func init() { huma.NewError = frameworkError }

// frameworkError gives huma's own errors (a body that does not decode, a
// parameter of the wrong form) the published shape and codes.
func frameworkError(status int, message string, details ...error) huma.StatusError {
	code := "BAD_REQUEST"
	parts := []string{message}
	for _, d := range details {
		if d == nil {
			continue
		}
		text := d.Error()
		if detailer, ok := d.(huma.ErrorDetailer); ok {
			detail := detailer.ErrorDetail()
			text = detail.Message
			if detail.Location != "" {
				text = detail.Location + ": " + text
				switch {
				case strings.HasPrefix(detail.Location, "body"):
					code = "INVALID_BODY_PARAMETER"
				case strings.HasPrefix(detail.Location, "query"):
					code = "INVALID_QUERY_PARAMETER"
				case strings.HasPrefix(detail.Location, "path"):
					code = "INVALID_PATH_PARAMETER"
				}
			}
		}
		parts = append(parts, text)
	}
	switch status {
	case http.StatusUnprocessableEntity:
		status = http.StatusBadRequest
	case http.StatusRequestEntityTooLarge:
		code = "REQUEST_PAYLOAD_TOO_LARGE"
	case http.StatusInternalServerError:
		code = "INTERNAL_SERVER_ERROR"
	case http.StatusNotFound:
		code = "NOT_FOUND"
	}
	return newReplyError(status, code, strings.Join(parts, ": "))
}

func writeReply(w http.ResponseWriter, e *replyError) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(e.status)
	_ = json.NewEncoder(w).Encode(e.body)
}
