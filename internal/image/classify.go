package image

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// classify finds the kind of an error that came up from any library.
func classify(err error) ErrorKind {
	// A registry on a private address is tried by https and then by http: that the
	// second was refused is told only where the first gives no reason.
	var f *failure
	if errors.As(err, &f) && f.kind != ErrPlainHTTP {
		return f.kind
	}
	if errors.Is(err, context.Canceled) {
		return ErrCanceled
	}
	if kind := classifyRegistry(err); kind != "" && kind != ErrOther {
		return kind
	}
	if classifyTLS(err) {
		return ErrTLS
	}
	var (
		dns *net.DNSError
		op  *net.OpError
		ne  net.Error
	)
	if errors.As(err, &dns) || errors.As(err, &op) || errors.As(err, &ne) && ne.Timeout() || errors.Is(err, syscall.ECONNRESET) {
		return ErrNetwork
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTruncated
	}
	var pe *fs.PathError
	if errors.As(err, &pe) || errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOSPC) {
		return ErrStorage
	}
	// These two come from go-containerregistry without a type.
	switch text := err.Error(); {
	case strings.Contains(text, "does not match requested digest"):
		return ErrDigest
	case strings.Contains(text, "error getting credentials"):
		return ErrCredentials
	}
	if f != nil {
		return f.kind
	}
	return ErrOther
}

// classifyRegistry reads the codes of the OCI distribution specification, and
// the status where a reply (to HEAD, say) has no body.
func classifyRegistry(err error) ErrorKind {
	var te *transport.Error
	if !errors.As(err, &te) {
		return ""
	}
	for _, d := range te.Errors {
		switch d.Code {
		case transport.UnauthorizedErrorCode:
			return ErrAuth
		case transport.DeniedErrorCode:
			if te.StatusCode == http.StatusUnauthorized {
				return ErrAuth
			}
			return ErrDenied
		case transport.ManifestUnknownErrorCode:
			return ErrNoTag
		case transport.NameUnknownErrorCode:
			return ErrNoName
		case transport.BlobUnknownErrorCode, transport.ManifestBlobUnknownErrorCode:
			return ErrInvalid
		case transport.DigestInvalidErrorCode:
			return ErrDigest
		case transport.TooManyRequestsErrorCode:
			return ErrBusy
		}
	}
	switch s := te.StatusCode; {
	case s == http.StatusUnauthorized:
		return ErrAuth
	case s == http.StatusForbidden:
		return ErrDenied
	case s == http.StatusNotFound:
		return ErrNoTag
	case s == http.StatusRequestEntityTooLarge:
		return ErrTooLarge
	case s == http.StatusTooManyRequests || s >= 500:
		return ErrBusy
	}
	return ErrOther
}

func classifyTLS(err error) bool {
	var (
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
		host    x509.HostnameError
		verify  *tls.CertificateVerificationError
		record  tls.RecordHeaderError
		alert   tls.AlertError
	)
	return errors.As(err, &unknown) || errors.As(err, &invalid) || errors.As(err, &host) ||
		errors.As(err, &verify) || errors.As(err, &record) || errors.As(err, &alert) ||
		errors.Is(err, http.ErrSchemeMismatch) ||
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}
