package image

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Side tells whether reading or writing failed.
type Side string

const (
	Pull Side = "pull"
	Push Side = "push"
)

// ErrorKind is the cause of an Error, stable for programs.
type ErrorKind string

const (
	ErrReference   ErrorKind = "reference"    // the reference cannot be parsed or used here
	ErrAuth        ErrorKind = "unauthorized" // credentials missing or wrong
	ErrDenied      ErrorKind = "denied"       // credentials are right, but may not do this
	ErrCredentials ErrorKind = "credentials"  // the credential store cannot be read
	ErrNoTag       ErrorKind = "no_tag"       // repository, folder, file or engine has no such image
	ErrNoName      ErrorKind = "no_name"      // there is no such repository, folder or file
	ErrNetwork     ErrorKind = "network"      // host unknown, refused, unreachable, timed out
	ErrTLS         ErrorKind = "tls"          // certificate not trusted, or one side speaks plain HTTP
	ErrPlainHTTP   ErrorKind = "plain_http"   // plain HTTP without leave
	ErrPlatform    ErrorKind = "platform"     // nothing for the wanted platform
	ErrDigest      ErrorKind = "digest"       // content differs from its digest
	ErrTruncated   ErrorKind = "truncated"    // content ends early
	ErrTooLarge    ErrorKind = "too_large"    // a manifest, index or configuration above its limit
	ErrUnsupported ErrorKind = "unsupported"  // a form that this package refuses: schema 1, foreign layers …
	ErrInvalid     ErrorKind = "invalid"      // malformed manifest, configuration, archive or layer
	ErrBusy        ErrorKind = "busy"         // 429 or 5xx that retries did not cure
	ErrEngine      ErrorKind = "engine"       // Docker Engine not reachable or refusing
	ErrStorage     ErrorKind = "storage"      // local files cannot be read or written
	ErrCanceled    ErrorKind = "canceled"     // the context ended
	ErrOther       ErrorKind = "other"
)

// Error names the image, the side and the cause. Err is the detail; for
// ErrCanceled it unwraps to the context's error.
type Error struct {
	Image string
	Side  Side
	Kind  ErrorKind
	Err   error
	// Advice says what to do next; empty where nothing is known to help.
	Advice string
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: ", e.Side, e.Image)
	if s := kindText[e.Kind]; s != "" {
		b.WriteString(s)
		b.WriteString(": ")
	}
	b.WriteString(e.Err.Error())
	if e.Advice != "" {
		b.WriteString("\n  ")
		b.WriteString(e.Advice)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

var kindText = map[ErrorKind]string{
	ErrReference:   "reference",
	ErrAuth:        "wrong or missing credentials",
	ErrDenied:      "access denied",
	ErrCredentials: "credential store",
	ErrNoTag:       "no such image",
	ErrNoName:      "not found",
	ErrNetwork:     "cannot reach it",
	ErrTLS:         "TLS",
	ErrPlainHTTP:   "plain HTTP refused",
	ErrPlatform:    "wrong platform",
	ErrDigest:      "digest mismatch",
	ErrTruncated:   "truncated",
	ErrTooLarge:    "too large",
	ErrUnsupported: "not supported",
	ErrInvalid:     "invalid",
	ErrBusy:        "the registry keeps failing",
	ErrEngine:      "Docker Engine",
	ErrStorage:     "files",
	ErrCanceled:    "stopped",
}

func advice(kind ErrorKind, side Side) string {
	switch kind {
	case ErrAuth:
		return "give --username and --password-stdin, or log in with docker login"
	case ErrDenied:
		if side == Push {
			return "ask for the right to push to this repository, or choose another output"
		}
		return "ask for the right to pull from this repository; some registries say this for a name that does not exist"
	case ErrCredentials:
		return "check config.json and its credHelpers, or give --username and --password-stdin"
	case ErrNoTag:
		return "check the tag"
	case ErrNoName:
		return "check the name"
	case ErrNetwork:
		return "check host name, port, network and proxy"
	case ErrTLS:
		return "give the registry's CA with --registry-ca FILE, or --insecure if it speaks plain HTTP"
	case ErrPlainHTTP:
		return "give --insecure if you accept that anybody on the way can read and change the image"
	case ErrPlatform:
		return "choose an image that has the wanted platform, or another --platform"
	case ErrDigest, ErrTruncated:
		return "the stored image is damaged or was changed: push or save it again"
	case ErrBusy:
		return "try again later"
	case ErrEngine:
		return "check that Docker Engine runs and that DOCKER_HOST is right"
	}
	return ""
}

// failure is an error with a kind that does not know its image yet.
type failure struct {
	kind ErrorKind
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func failf(kind ErrorKind, format string, args ...any) error {
	return &failure{kind: kind, err: fmt.Errorf(format, args...)}
}

// wrapError gives err image, side and kind; an *Error passes as it is, so that a
// pull error met while pushing still says pull.
func wrapError(ctx context.Context, ref Ref, side Side, err error) error {
	if err == nil {
		return nil
	}
	var done *Error
	if errors.As(err, &done) {
		return done
	}
	kind := classify(err)
	if cause := context.Cause(ctx); ctx.Err() != nil {
		kind, err = ErrCanceled, cause
		if !errors.Is(cause, ctx.Err()) {
			err = fmt.Errorf("%w: %w", ctx.Err(), cause)
		}
	}
	e := &Error{Image: ref.String(), Side: side, Kind: kind, Err: err, Advice: advice(kind, side)}
	if ref.kind == KindEngine && kind == ErrNoTag {
		e.Advice = "docker image ls shows what the engine has; a registry's image needs no docker-daemon: in front"
	}
	return e
}
