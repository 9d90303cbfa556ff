package dcap

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// scratch holds what the standard library's verification makes escape to the heap.
type scratch struct {
	der   [72]byte // SEQUENCE { INTEGER r, INTEGER s }, at most 2 + 2·(2 + 33) bytes
	point [65]byte
}

// verifyRaw checks an ECDSA P-256 signature in the form r || s over SHA-256(message).
func (s *scratch) verifyRaw(key *ecdsa.PublicKey, message []byte, sig *[64]byte) bool {
	digest := sha256.Sum256(message)
	n := 2
	n += putInteger(s.der[n:], sig[:32])
	n += putInteger(s.der[n:], sig[32:])
	s.der[0], s.der[1] = 0x30, byte(n-2)
	return ecdsa.VerifyASN1(key, digest[:], s.der[:n])
}

func verifyRaw(key *ecdsa.PublicKey, message []byte, sig *[64]byte) bool {
	return new(scratch).verifyRaw(key, message, sig)
}

// putInteger writes the big-endian number b as a DER INTEGER.
func putInteger(out, b []byte) int {
	for len(b) > 1 && b[0] == 0 {
		b = b[1:]
	}
	pad := int(b[0] >> 7)
	out[0], out[1], out[2] = 0x02, byte(len(b)+pad), 0
	copy(out[2+pad:], b)
	return 2 + pad + len(b)
}

// publicKey reads x || y of a point on P-256.
func (s *scratch) publicKey(xy *[64]byte) (*ecdsa.PublicKey, error) {
	s.point[0] = 4
	copy(s.point[1:], xy[:])
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), s.point[:])
	if err != nil {
		return nil, errors.New("the attestation key is no point on P-256")
	}
	return key, nil
}

const maxSignedJSON = 128 << 10

// splitSigned takes {"<member>":body,"signature":"hex"} apart without
// re-encoding the body: the signature covers its exact bytes. Other members,
// duplicates and upper-case hexadecimal are refused.
func splitSigned(data []byte, member string) (body []byte, sig *[64]byte, err error) {
	if len(data) > maxSignedJSON {
		return nil, nil, fmt.Errorf("%d bytes, at most %d allowed", len(data), maxSignedJSON)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, nil, errors.New("not a JSON object")
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, nil, fmt.Errorf("not JSON: %w", err)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, nil, fmt.Errorf("not JSON: %w", err)
		}
		switch {
		case key == member && body == nil:
			body = value
		case key == "signature" && sig == nil:
			if sig, err = rawSignature(value); err != nil {
				return nil, nil, err
			}
		default:
			return nil, nil, fmt.Errorf("member %q is not known or is there twice", key)
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, nil, fmt.Errorf("not JSON: %w", err)
	}
	if len(bytes.Trim(data[dec.InputOffset():], " \t\r\n")) != 0 {
		return nil, nil, errors.New("bytes after the end")
	}
	if body == nil || sig == nil {
		return nil, nil, fmt.Errorf("member %q or \"signature\" is missing", member)
	}
	return body, sig, nil
}

func rawSignature(value json.RawMessage) (*[64]byte, error) {
	if len(value) != 130 || value[0] != '"' || value[129] != '"' || bytes.ContainsAny(value, "ABCDEF") {
		return nil, errors.New("the signature is not 128 lower-case hexadecimal digits")
	}
	sig := new([64]byte)
	if _, err := hex.Decode(sig[:], value[1:129]); err != nil {
		return nil, errors.New("the signature is not 128 lower-case hexadecimal digits")
	}
	return sig, nil
}
