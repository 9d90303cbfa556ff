package ear

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// tokenType is the typ of the header (RFC 9782).
const tokenType = "eat+jwt"

// clockSkew is how far ahead of the reader's clock a token may have been made.
const clockSkew = time.Minute

// algorithm returns the one algorithm that a public key may be used with.
func algorithm(key crypto.PublicKey) (jose.SignatureAlgorithm, error) {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return jose.ES256, nil
		case elliptic.P384():
			return jose.ES384, nil
		}
	case ed25519.PublicKey:
		return jose.EdDSA, nil
	}
	return "", errors.New("wanted a key of ECDSA on P-256 or P-384, or Ed25519")
}

// Sign returns the result as a JSON web token in compact form. The key is an
// *ecdsa.PrivateKey on P-256 (ES256) or P-384 (ES384), or an ed25519.PrivateKey (EdDSA).
func (r *Result) Sign(key crypto.Signer) (string, error) {
	if err := r.check(); err != nil {
		return "", fmt.Errorf("attestation result: %w", err)
	}
	alg, err := algorithm(key.Public())
	if err != nil {
		return "", fmt.Errorf("attestation result: %w", err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithType(tokenType))
	if err != nil {
		return "", fmt.Errorf("attestation result: %w", err)
	}
	payload, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("attestation result: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("attestation result: %w", err)
	}
	return signed.CompactSerialize()
}

// ErrExpired is returned for a token whose time is over.
var ErrExpired = errors.New("the attestation result has expired")

// Verify reads a token that was signed by the private half of key and may be used
// at the given time. White space around it is ignored.
func Verify(token []byte, key crypto.PublicKey, at time.Time) (*Result, error) {
	alg, err := algorithm(key)
	if err != nil {
		return nil, fmt.Errorf("attestation result: %w", err)
	}
	text, err := canonical(token)
	if err != nil {
		return nil, fmt.Errorf("attestation result: %w", err)
	}
	signed, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{alg})
	if err != nil {
		return nil, fmt.Errorf("attestation result: wanted a token signed with %s: %w", alg, err)
	}
	payload, err := signed.Verify(key)
	if err != nil {
		return nil, fmt.Errorf("attestation result: %w", err)
	}
	r, err := decode(payload)
	if err != nil {
		return nil, fmt.Errorf("attestation result: %w", err)
	}
	switch {
	case at.Add(clockSkew).Unix() < r.IssuedAt:
		return r, fmt.Errorf("attestation result: made at %s, which is not yet", r.Time().Format(time.RFC3339))
	case r.Expires != 0 && at.Unix() >= r.Expires:
		return r, fmt.Errorf("%w at %s", ErrExpired, time.Unix(r.Expires, 0).UTC().Format(time.RFC3339))
	}
	return r, nil
}

// canonical wants three parts in the one base64url form without padding, and a
// header in which no member stands twice.
func canonical(token []byte) (string, error) {
	token = bytes.TrimSpace(token)
	if len(token) > maxToken {
		return "", fmt.Errorf("%d bytes, at most %d allowed", len(token), maxToken)
	}
	parts := bytes.Split(token, []byte("."))
	if len(parts) != 3 {
		return "", fmt.Errorf("%d parts, wanted the three of a signed token", len(parts))
	}
	for i, part := range parts {
		plain := make([]byte, base64.RawURLEncoding.DecodedLen(len(part)))
		n, err := base64.RawURLEncoding.Strict().Decode(plain, part)
		if err != nil || n == 0 || bytes.ContainsAny(part, "\r\n") {
			return "", fmt.Errorf("part %d is no base64url without padding", i+1)
		}
		if i == 0 {
			if err := unique(plain[:n]); err != nil {
				return "", fmt.Errorf("header: %w", err)
			}
		}
	}
	return string(token), nil
}

// Recognise reports whether raw looks like a token of this kind: three parts of
// which the second names the profile. Nothing of it is verified.
func Recognise(raw []byte) bool {
	raw = bytes.TrimSpace(raw)
	if len(raw) > maxToken || !bytes.HasPrefix(raw, []byte("ey")) || bytes.Count(raw, []byte(".")) != 2 {
		return false
	}
	payload, err := base64.RawURLEncoding.DecodeString(string(bytes.Split(raw, []byte("."))[1]))
	if err != nil {
		return false
	}
	var peek struct {
		Profile string          `json:"eat_profile"`
		Submods json.RawMessage `json:"submods"`
	}
	return json.Unmarshal(payload, &peek) == nil && (peek.Profile == Profile || peek.Submods != nil)
}
