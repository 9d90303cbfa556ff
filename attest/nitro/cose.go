package nitro

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"hitoku.dev/attest/internal/p384"
)

const (
	// MaxSize is the longest input that is read, in bytes.
	MaxSize = 24 << 10
	// maxPayload is the longest attestation document, in bytes (section 3.1).
	maxPayload = 16384
	// tagSign1 is the CBOR tag that a COSE_Sign1 object may carry (RFC 9052, section 4.2).
	tagSign1 = 18
)

// protectedES384 is {1: -35}: the algorithm is ECDSA with SHA-384 (RFC 9053, section 2.1).
const protectedES384 = "\xa1\x01\x38\x22"

// ErrFormat is wrapped by every error about bytes that are no attestation document.
var ErrFormat = errors.New("no Nitro attestation document")

// sign1 is a COSE_Sign1 object.
type sign1 struct {
	_           struct{} `cbor:",toarray"`
	Protected   []byte
	Unprotected map[int]cbor.RawMessage
	Payload     []byte
	Signature   []byte
}

// strict is how everything but the payload's own map is decoded. Limits stand before
// every allocation.
func strict() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		MaxNestedLevels:  4,
		MaxArrayElements: 16,
		MaxMapPairs:      32,
		UTF8:             cbor.UTF8RejectInvalid,
		IntDec:           cbor.IntDecConvertNone,
	}.DecMode()
	if err != nil {
		panic(err) // constant options
	}
	return mode
}

// parseSign1 reads the object. It has one encoding: with or without its tag, every
// length in its shortest form, no unprotected header.
func parseSign1(dec cbor.DecMode, raw []byte) (*sign1, error) {
	if len(raw) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", ErrFormat, len(raw), MaxSize)
	}
	body, tagged := bytes.CutPrefix(raw, []byte{0xc0 | tagSign1})
	if len(body) == 0 || body[0] != 0x84 {
		return nil, fmt.Errorf("%w: wanted a COSE_Sign1 array of four", ErrFormat)
	}
	var s sign1
	if err := dec.Unmarshal(body, &s); err != nil {
		return nil, fmt.Errorf("%w: COSE_Sign1: %w", ErrFormat, err)
	}
	switch {
	case string(s.Protected) != protectedES384:
		return nil, fmt.Errorf("%w: protected header %x, wanted %x (algorithm ES384)", ErrFormat, s.Protected, protectedES384)
	case s.Unprotected == nil || len(s.Unprotected) != 0:
		return nil, fmt.Errorf("%w: an unprotected header, wanted an empty one", ErrFormat)
	case len(s.Payload) == 0 || len(s.Payload) > maxPayload:
		return nil, fmt.Errorf("%w: a payload of %d bytes, wanted 1 to %d", ErrFormat, len(s.Payload), maxPayload)
	case len(s.Signature) != p384.SignatureSize:
		return nil, fmt.Errorf("%w: a signature of %d bytes, wanted %d", ErrFormat, len(s.Signature), p384.SignatureSize)
	}
	if !bytes.Equal(s.marshal(tagged), raw) {
		return nil, fmt.Errorf("%w: the COSE_Sign1 object is not in its shortest encoding", ErrFormat)
	}
	return &s, nil
}

// marshal encodes the object in its one form.
func (s *sign1) marshal(tagged bool) []byte {
	out := make([]byte, 0, len(s.Payload)+128)
	if tagged {
		out = append(out, 0xc0|tagSign1)
	}
	out = append(out, 0x84)
	out = appendBytes(out, s.Protected)
	out = append(out, 0xa0)
	out = appendBytes(out, s.Payload)
	return appendBytes(out, s.Signature)
}

// signed returns the Sig_structure that the signature covers (RFC 9052, section 4.4):
// ["Signature1", protected header, no external data, payload].
func (s *sign1) signed() []byte {
	out := make([]byte, 0, len(s.Payload)+32)
	out = append(out, "\x84\x6aSignature1"...)
	out = appendBytes(out, s.Protected)
	out = append(out, 0x40)
	return appendBytes(out, s.Payload)
}

// appendBytes encodes a byte string of fewer than 65536 bytes.
func appendBytes(out, b []byte) []byte {
	switch n := len(b); {
	case n < 24:
		out = append(out, 0x40|byte(n))
	case n < 256:
		out = append(out, 0x58, byte(n))
	default:
		out = append(out, 0x59, byte(n>>8), byte(n))
	}
	return append(out, b...)
}
