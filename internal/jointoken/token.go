// Package jointoken reads and writes join tokens: what an operator carries from
// the manager to a machine so that its node agent can enrol (security decision S20).
//
// A token names its issuer twice: by the SHA-256 of the key that the manager's
// TLS certificate holds, which the agent checks at first contact, and by the
// SHA-256 of the account root's key, under which everything afterwards is
// verified. A token has exactly one spelling; Parse refuses all others.
//
// A token is a secret. String and LogValue show its id only; Format gives the
// whole text and is for handing it to a person.
//
// What it does not promise: a well-formed token says nothing about being valid.
// Expiry, uses and the secret are the manager's to judge.
package jointoken

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"
)

// Prefix begins every token, so that scanners for leaked secrets can find one.
const Prefix = "hkt1_"

const (
	idSize     = 16
	secretSize = 32
	hashSize   = sha256.Size
	rawSize    = idSize + secretSize + hashSize + 8 + 4 + hashSize // 124
)

// TextSize is the length of a token's text in bytes.
const TextSize = len(Prefix) + (rawSize*8+5)/6

// ErrMalformed is wrapped by every error of Parse.
var ErrMalformed = errors.New("join token is malformed")

// Token is a join token.
type Token struct {
	ID     [idSize]byte
	Secret [secretSize]byte
	// ManagerKey is the SHA-256 of the DER SubjectPublicKeyInfo in the manager's TLS leaf
	// certificate. It pins the first contact only.
	ManagerKey [hashSize]byte
	// Expires is in whole seconds UTC.
	Expires time.Time
	// Uses is how many nodes the token may enrol, 0 for any number until it expires.
	Uses uint32
	// AccountRoot is the SHA-256 of the account root's DER SubjectPublicKeyInfo.
	AccountRoot [hashSize]byte
}

// Format returns the token's text:
//
//	"hkt1_" ‖ base64url(id 16 ‖ secret 32 ‖ manager key 32 ‖ expiry, unix seconds, u64 BE ‖ uses u32 BE ‖ account root 32)
//
// without padding.
func (t *Token) Format() string {
	raw := make([]byte, 0, rawSize)
	raw = append(raw, t.ID[:]...)
	raw = append(raw, t.Secret[:]...)
	raw = append(raw, t.ManagerKey[:]...)
	raw = binary.BigEndian.AppendUint64(raw, uint64(max(t.Expires.Unix(), 0)))
	raw = binary.BigEndian.AppendUint32(raw, t.Uses)
	raw = append(raw, t.AccountRoot[:]...)
	return Prefix + base64.RawURLEncoding.EncodeToString(raw)
}

// Parse reads the form that Format writes, and no other. Errors never repeat the token.
func Parse(text string) (*Token, error) {
	body, ok := strings.CutPrefix(text, Prefix)
	if !ok {
		return nil, fmt.Errorf("%w: wanted text that begins with %q; copy it whole from `hitoku node token`", ErrMalformed, Prefix)
	}
	if len(text) != TextSize {
		return nil, fmt.Errorf("%w: wanted %d characters, seen %d; copy it whole from `hitoku node token`", ErrMalformed, TextSize, len(text))
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(body)
	// DecodeString skips line breaks, so the length is checked again.
	if err != nil || len(raw) != rawSize {
		return nil, fmt.Errorf("%w: not base64url; copy it whole from `hitoku node token`", ErrMalformed)
	}
	t := new(Token)
	raw = raw[copy(t.ID[:], raw):]
	raw = raw[copy(t.Secret[:], raw):]
	raw = raw[copy(t.ManagerKey[:], raw):]
	expires := binary.BigEndian.Uint64(raw)
	t.Uses = binary.BigEndian.Uint32(raw[8:])
	copy(t.AccountRoot[:], raw[12:])
	if expires > math.MaxUint32<<8 { // about the year 36800; keeps time arithmetic far from overflow
		return nil, fmt.Errorf("%w: expiry is out of range", ErrMalformed)
	}
	t.Expires = time.Unix(int64(expires), 0).UTC()
	return t, nil
}

// String shows the id only.
func (t Token) String() string { return Prefix + hex.EncodeToString(t.ID[:]) + "…" }

// GoString keeps the secret out of %#v.
func (t Token) GoString() string { return t.String() }

// LogValue keeps the secret out of logs.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }
