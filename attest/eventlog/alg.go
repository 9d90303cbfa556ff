package eventlog

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
)

// Alg is a hash algorithm by its TPM identifier (TCG Algorithm Registry, table 3).
type Alg uint16

// The algorithms that can be replayed.
const (
	SHA1   Alg = 0x0004 // 20 bytes; gives no facts
	SHA256 Alg = 0x000b // 32 bytes
	SHA384 Alg = 0x000c // 48 bytes
	SHA512 Alg = 0x000d // 64 bytes
)

// Size returns the length of a digest in bytes, 0 for an algorithm that cannot be replayed.
func (a Alg) Size() int {
	switch a {
	case SHA1:
		return sha1.Size
	case SHA256:
		return sha256.Size
	case SHA384:
		return sha512.Size384
	case SHA512:
		return sha512.Size
	}
	return 0
}

// New returns a hash, nil for an algorithm that cannot be replayed.
func (a Alg) New() hash.Hash {
	switch a {
	case SHA1:
		return sha1.New()
	case SHA256:
		return sha256.New()
	case SHA384:
		return sha512.New384()
	case SHA512:
		return sha512.New()
	}
	return nil
}

// String returns the name in lower case, as in "sha256".
func (a Alg) String() string {
	switch a {
	case SHA1:
		return "sha1"
	case SHA256:
		return "sha256"
	case SHA384:
		return "sha384"
	case SHA512:
		return "sha512"
	}
	return fmt.Sprintf("algorithm %#04x", uint16(a))
}

func (a Alg) sum(data []byte) []byte {
	h := a.New()
	h.Write(data)
	return h.Sum(nil)
}
