package wire

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
)

// VerifyEd25519 checks a signature as crypto/ed25519 does: RFC 8032 section 5.1.7 without the
// cofactor, S below the group's order, R compared as bytes. Beyond that it refuses keys that
// are not canonical or of small order, under which one signature holds for many messages.
func VerifyEd25519(key [32]byte, message []byte, signature [64]byte) bool {
	return goodPoint(key) && ed25519.Verify(key[:], message, signature[:])
}

// goodPoint refuses encodings of points of small order, and those whose y is not below 2^255 − 19.
func goodPoint(key [32]byte) bool {
	key[31] &= 0x7f
	slices.Reverse(key[:]) // big-endian now
	switch y := hex.EncodeToString(key[:]); y {
	case "0000000000000000000000000000000000000000000000000000000000000000", // order 4
		"0000000000000000000000000000000000000000000000000000000000000001", // order 1
		"05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826", // order 8
		"7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7": // order 8
		return false
	default:
		// y = p − 1 has order 2; all from p on are not canonical.
		return y < "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffec"
	}
}

func recordMessage(header, body []byte) []byte {
	h := sha256.Sum256(body)
	return Name("RECORD", header, h[:])
}

// SignRecord makes a record.
func SignRecord(h Header, body []byte, sk ed25519.PrivateKey) Record {
	r := Record{Header: h, Body: body}
	copy(r.Signature[:], ed25519.Sign(sk, recordMessage(h.Encode(), body)))
	return r
}

// Verify checks the record's signature under an incarnation's key.
func (r Record) Verify(key [32]byte) bool {
	return VerifyEd25519(key, recordMessage(r.Header.Encode(), r.Body), r.Signature)
}

// Hash is H of the record's bytes.
func (r Record) Hash() Hash { return sha256.Sum256(r.Encode()) }

// Verify checks an executor's signature over a checkpoint.
func (c SignedCheckpoint) Verify(ledger Hash, key [32]byte) bool {
	return VerifyEd25519(key, CheckpointMessage(ledger, IncarnationID(key), c.Checkpoint), c.Signature)
}

// VerifyAdmins checks that at least the policy's threshold of administrators signed message.
func VerifyAdmins(p Policy, message []byte, signatures []AdminSignature) error {
	if len(signatures) < int(p.Threshold) {
		return fmt.Errorf("%d signatures of administrators, wanted %d", len(signatures), p.Threshold)
	}
	last := -1
	for _, s := range signatures {
		if int(s.Index) <= last || int(s.Index) >= len(p.Admins) {
			return fmt.Errorf("%w: administrator %d, wanted ascending ones below %d", ErrMalformed, s.Index, len(p.Admins))
		}
		last = int(s.Index)
		if !VerifyEd25519(p.Admins[s.Index], message, s.Signature) {
			return fmt.Errorf("administrator %d: %w", s.Index, ErrSignature)
		}
	}
	return nil
}

// verifyClient checks a client's signature by its scheme. The key has the scheme's length.
func verifyClient(scheme uint8, key, message, signature []byte) error {
	if scheme == SchemeNone {
		if len(signature) != 0 {
			return fmt.Errorf("%w: signature of %d bytes, wanted none with scheme 0", ErrMalformed, len(signature))
		}
		return nil
	}
	if len(signature) != 64 {
		return fmt.Errorf("%w: signature of %d bytes, wanted 64 with scheme %d", ErrMalformed, len(signature), scheme)
	}
	ok := false
	switch scheme {
	case SchemeEd25519:
		ok = VerifyEd25519([32]byte(key), message, [64]byte(signature))
	case SchemeP256:
		ok = verifyP256(key, message, signature)
	}
	if !ok {
		return ErrSignature
	}
	return nil
}

// verifyP256 checks r ‖ s over SHA-256 of the message, with s in the lower half.
func verifyP256(key, message, signature []byte) bool {
	x, y := elliptic.UnmarshalCompressed(elliptic.P256(), key)
	if x == nil {
		return false
	}
	point := append([]byte{4}, make([]byte, 64)...)
	x.FillBytes(point[1:33])
	y.FillBytes(point[33:])
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return false
	}
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	half := new(big.Int).Rsh(elliptic.P256().Params().N, 1)
	digest := sha256.Sum256(message)
	return s.Cmp(half) <= 0 && ecdsa.Verify(public, digest[:], r, s)
}

// VerifyCommand reads a signed command and checks its signature. The command is returned also
// when only the signature does not hold (ErrSignature).
func (s Signed) VerifyCommand() (Command, error) {
	c, err := ParseCommand(s.Body)
	if err != nil {
		return c, err
	}
	return c, verifyClient(c.Scheme, c.Key, Name("COMMAND", s.Body), s.Signature)
}

// VerifyQuery reads a signed query and checks its signature.
func (s Signed) VerifyQuery() (Query, error) {
	q, err := ParseQuery(s.Body)
	if err != nil {
		return q, err
	}
	return q, verifyClient(q.Scheme, q.Key, Name("QUERY", s.Body), s.Signature)
}
