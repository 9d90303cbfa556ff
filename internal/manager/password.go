package manager

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// PasswordParams are the costs of argon2id (RFC 9106).
type PasswordParams struct {
	Time    uint32 // passes
	Memory  uint32 // KiB
	Threads uint8
}

// DefaultPasswords is the second recommended option of RFC 9106 section 4.
var DefaultPasswords = PasswordParams{Time: 3, Memory: 64 * 1024, Threads: 4}

const (
	minPassword = 8
	maxPassword = 1024 // bytes
	saltSize    = 16
	hashSize    = 32
)

func checkPassword(p string) error {
	switch {
	case len([]rune(p)) < minPassword:
		return invalid(CodeInvalidValue, "the password has fewer than %d characters", minPassword)
	case len(p) > maxPassword:
		return invalid(CodeInvalidValue, "the password has more than %d bytes", maxPassword)
	}
	return nil
}

// hashPassword returns the PHC string of a new salt and the password.
func hashPassword(random io.Reader, p PasswordParams, password string) (string, error) {
	salt := make([]byte, saltSize)
	if _, err := io.ReadFull(random, salt); err != nil {
		return "", fmt.Errorf("salt of a password: %w", err)
	}
	key := argon2.IDKey([]byte(password), salt, p.Time, p.Memory, p.Threads, hashSize)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.Memory, p.Time, p.Threads, b64.EncodeToString(salt), b64.EncodeToString(key)), nil
}

// passwordMatches compares a password with a PHC string. Strings of another form match nothing.
func passwordMatches(phc, password string) bool {
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return false
	}
	var p PasswordParams
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.Memory, &p.Time, &p.Threads); err != nil || n != 3 ||
		p.Time == 0 || p.Time > 64 || p.Threads == 0 || p.Memory > 4<<20 {
		return false
	}
	salt, err := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	if err != nil {
		return false
	}
	want, err := base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if err != nil || len(want) != hashSize {
		return false
	}
	got := argon2.IDKey([]byte(password), salt, p.Time, p.Memory, p.Threads, hashSize)
	return subtle.ConstantTimeCompare(got, want) == 1
}

// withHashing runs fn when few enough others hash a password at the same time.
func (m *Manager) withHashing(ctx context.Context, fn func()) error {
	select {
	case m.hashing <- struct{}{}:
		defer func() { <-m.hashing }()
		fn()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *Manager) newPasswordHash(ctx context.Context, password string) (hash string, err error) {
	if err := checkPassword(password); err != nil {
		return "", err
	}
	if werr := m.withHashing(ctx, func() { hash, err = hashPassword(m.opts.Rand, m.opts.Passwords, password) }); werr != nil {
		return "", werr
	}
	return hash, err
}

// newSecret returns a token with a prefix that scanners for leaked secrets can find, and the
// hash under which it is kept. 256 random bits need no slow hash.
func (m *Manager) newSecret(prefix string) (text, hash string, err error) {
	var b [32]byte
	if _, err := io.ReadFull(m.opts.Rand, b[:]); err != nil {
		return "", "", fmt.Errorf("making a token: %w", err)
	}
	text = prefix + base64.RawURLEncoding.EncodeToString(b[:])
	return text, secretHash(text), nil
}

func secretHash(text string) string {
	h := sha256.Sum256([]byte(text))
	return hex.EncodeToString(h[:])
}
