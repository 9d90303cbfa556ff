package main

import (
	"context"
	"crypto/rsa"
	"fmt"
	"io"
	"strings"

	"hitoku.dev/measure/sgx"
	"hitoku.dev/measure/sgx/pkcs11"
)

// keyNames is for the help of flags that name a signing key.
const keyNames = "`FILE` (PEM, RSA-3072, exponent 3), or pkcs11:token=LABEL;object=LABEL?module-path=FILE&pin-source=file:/PATH for a key in a token"

// isToken reports whether a flag names a key in a token and not a file.
func isToken(key string) bool { return strings.HasPrefix(key, pkcs11.Scheme) }

// tokenSigner signs with the key that a PKCS #11 URI names; pub is its public key, or nil.
func tokenSigner(ctx context.Context, flag, uri string, pub *rsa.PublicKey, stderr io.Writer) (sgx.Signer, error) {
	u, err := pkcs11.Parse(uri)
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", flag, err)}
	}
	if u.PIN != "" {
		fmt.Fprintf(stderr, "warning: %s: pin-value shows in process lists and in the shell's history; use pin-source=file:/PATH\n", flag)
	}
	s, err := pkcs11.Open(ctx, u, pkcs11.Options{PublicKey: pub})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return s, nil
}
