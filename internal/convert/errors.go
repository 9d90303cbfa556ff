package convert

import (
	"errors"
	"fmt"
)

// ErrorKind is the cause of an Error, stable for programs.
type ErrorKind string

// The causes that are not those of reading and writing images (see image.Error).
const (
	KindRequest   ErrorKind = "request"   // the request contradicts itself or lacks something
	KindNoEntry   ErrorKind = "no_entry"  // neither entry point nor command
	KindConverted ErrorKind = "converted" // the input is a confidential image already
	KindPlain     ErrorKind = "plain"     // wanted a confidential image, got another
	KindLayer     ErrorKind = "layer"     // a layer's tar is damaged, hostile or not for Linux
	KindLimit     ErrorKind = "limit"     // a layer exceeds a limit
	KindImage     ErrorKind = "image"     // the configuration asks for what cannot be resolved
	KindGuest     ErrorKind = "guest"     // the guest program cannot be used
	KindRuntime   ErrorKind = "runtime"   // Gramine's files cannot be used
	KindEnclave   ErrorKind = "enclave"   // the image cannot become an enclave as it is asked for
	KindSign      ErrorKind = "sign"      // the signer failed
	KindCache     ErrorKind = "cache"     // the cache folder cannot be used
	KindMismatch  ErrorKind = "mismatch"  // manifest, signature and layers of a confidential image disagree
)

// Error says what was refused and why. Errors of reading and writing images are
// *image.Error and pass through as they are.
type Error struct {
	Kind   ErrorKind
	Image  string // the image it is about; may be empty
	Err    error
	Advice string // what to do next; may be empty
}

func (e *Error) Error() string {
	s := e.Err.Error()
	if e.Image != "" {
		s = e.Image + ": " + s
	}
	if e.Advice != "" {
		s += "\n  " + e.Advice
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

func fail(kind ErrorKind, format string, args ...any) *Error {
	return &Error{Kind: kind, Err: fmt.Errorf(format, args...)}
}

func (e *Error) advise(format string, args ...any) *Error {
	e.Advice = fmt.Sprintf(format, args...)
	return e
}

// about names the image in an error of this package that does not name one yet.
func about(img string, err error) error {
	var e *Error
	if errors.As(err, &e) && e.Image == "" {
		e.Image = img
	}
	return err
}

// KindOf is the kind of an error of this package, or "".
func KindOf(err error) ErrorKind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}
