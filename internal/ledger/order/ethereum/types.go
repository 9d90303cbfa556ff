package ethereum

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/sha3"
)

// Address is an account's or contract's address.
type Address [20]byte

// Hash is a Keccak-256 or a 32-byte word.
type Hash [32]byte

func (a Address) String() string { return "0x" + hex.EncodeToString(a[:]) }

func (h Hash) String() string { return "0x" + hex.EncodeToString(h[:]) }

// ParseAddress reads 40 hexadecimal digits with or without 0x, in any case. The checksum of mixed
// case (EIP-55) is held to, so that a mistyped address is refused.
func ParseAddress(s string) (Address, error) {
	var a Address
	digits := strings.TrimPrefix(s, "0x")
	if b, err := hex.DecodeString(digits); err != nil || len(b) != len(a) {
		return a, fmt.Errorf("ethereum: %q is no address; 0x and 40 hexadecimal digits wanted", s)
	} else {
		copy(a[:], b)
	}
	if digits != strings.ToLower(digits) && digits != strings.ToUpper(digits) && digits != a.Checksummed()[2:] {
		return a, fmt.Errorf("ethereum: the checksum of address %s is wrong; is a letter mistyped?", s)
	}
	return a, nil
}

// Checksummed is the address in the mixed case of EIP-55.
func (a Address) Checksummed() string {
	b := []byte(hex.EncodeToString(a[:]))
	sum := hex.EncodeToString(keccakBytes(b))
	for i := range b {
		if b[i] >= 'a' && sum[i] >= '8' {
			b[i] -= 'a' - 'A'
		}
	}
	return "0x" + string(b)
}

func keccak(parts ...[]byte) (h Hash) {
	k := sha3.NewLegacyKeccak256()
	for _, p := range parts {
		_, _ = k.Write(p)
	}
	k.Sum(h[:0])
	return h
}

func keccakBytes(b []byte) []byte { h := keccak(b); return h[:] }

var errHex = errors.New("not hexadecimal with 0x")

// parseHex reads "0x…" of a size in bytes; size −1 takes any.
func parseHex(s string, size int) ([]byte, error) {
	digits, ok := strings.CutPrefix(s, "0x")
	if !ok {
		return nil, errHex
	}
	b, err := hex.DecodeString(digits)
	if err != nil || (size >= 0 && len(b) != size) {
		return nil, errHex
	}
	return b, nil
}

// parseQuantity reads a number of JSON-RPC: 0x, no leading zeros, at most 64 bits.
func parseQuantity(s string) (uint64, error) {
	digits, ok := strings.CutPrefix(s, "0x")
	if !ok || digits == "" || strings.HasPrefix(digits, "+") || (digits[0] == '0' && digits != "0") {
		return 0, errHex
	}
	n, err := strconv.ParseUint(digits, 16, 64)
	if err != nil {
		return 0, errHex
	}
	return n, nil
}

// parseBig reads a number of at most 32 bytes as its minimal big-endian bytes.
func parseBig(s string) ([]byte, error) {
	digits, ok := strings.CutPrefix(s, "0x")
	if !ok || digits == "" || len(digits) > 64 || (digits[0] == '0' && digits != "0") {
		return nil, errHex
	}
	if digits == "0" {
		return []byte{}, nil
	}
	if len(digits)%2 == 1 {
		digits = "0" + digits
	}
	b, err := hex.DecodeString(digits)
	if err != nil {
		return nil, errHex
	}
	return b, nil
}

func quantity(n uint64) string { return "0x" + strconv.FormatUint(n, 16) }

func hexBytes(b []byte) string { return "0x" + hex.EncodeToString(b) }
