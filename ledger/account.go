package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// Schemes by which an account says that a command is its own.
const (
	SchemeNone    uint8 = 0 // nothing: the account is claimed
	SchemeEd25519 uint8 = 1 // key 32 bytes
	SchemeP256    uint8 = 2 // key 33 bytes, compressed SEC1 point
)

const protocol = "hitoku-ledger/1"

// AccountID names an account. Its text and JSON form is 64 lower-case hexadecimal digits; in JSON a list
// of 20 numbers is read too, as the account that [SchemeNone] claims by these bytes.
type AccountID [32]byte

// AccountOf is the account of a public key: SHA-256 over lv("hitoku-ledger/1") ‖ lv("ACCOUNT") ‖
// lv(scheme, one byte) ‖ lv(key), lv being a u32 big-endian length before the bytes. For SchemeNone key is
// the 20-byte id that is claimed, and the account is 12 zero bytes and the id.
func AccountOf(scheme uint8, key []byte) (AccountID, error) {
	want := map[uint8]int{SchemeNone: 20, SchemeEd25519: 32, SchemeP256: 33}
	size, known := want[scheme]
	if !known {
		return AccountID{}, fmt.Errorf("ledger: account: scheme %d is unknown, want 0 (none), 1 (Ed25519) or 2 (P-256)", scheme)
	}
	if len(key) != size {
		return AccountID{}, fmt.Errorf("ledger: account: key has %d bytes, want %d for scheme %d", len(key), size, scheme)
	}
	if scheme == SchemeNone {
		return claimed([20]byte(key)), nil
	}
	b := appendLV(nil, []byte(protocol))
	b = appendLV(b, []byte("ACCOUNT"))
	b = appendLV(b, []byte{scheme})
	return sha256.Sum256(appendLV(b, key)), nil
}

// ParseAccountID reads the text form.
func ParseAccountID(s string) (AccountID, error) {
	var id AccountID
	if len(s) != 2*len(id) {
		return id, fmt.Errorf("ledger: account id has %d characters, want 64 lower-case hexadecimal digits", len(s))
	}
	if err := fromHex(id[:], s); err != nil {
		return id, fmt.Errorf("ledger: account id: %w", err)
	}
	return id, nil
}

// String is the text form.
func (a AccountID) String() string { return hex.EncodeToString(a[:]) }

// MarshalText gives the text form.
func (a AccountID) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads the text form.
func (a *AccountID) UnmarshalText(b []byte) (err error) {
	*a, err = ParseAccountID(string(b))
	return err
}

func claimed(id [20]byte) (a AccountID) {
	copy(a[12:], id[:])
	return a
}

// claimable says whether SchemeNone can name the account.
func (a AccountID) claimable() bool { return [12]byte(a[:12]) == [12]byte{} }

func appendLV(b, x []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(x))), x...)
}

// fromHex fills out from exactly 2·len(out) lower-case digits.
func fromHex(out []byte, s string) error {
	for i := range s {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return fmt.Errorf("character %d is not a lower-case hexadecimal digit", i)
		}
	}
	_, err := hex.Decode(out, []byte(s))
	return err
}
