package tpm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"hitoku.dev/attest/eventlog"
)

// Attributes are TPMA_OBJECT (part 2, section 8.3).
type Attributes uint32

// The attributes that matter to a key that signs quotes.
const (
	FixedTPM            Attributes = 1 << 1
	FixedParent         Attributes = 1 << 4
	SensitiveDataOrigin Attributes = 1 << 5
	Restricted          Attributes = 1 << 16
	Decrypt             Attributes = 1 << 17
	Sign                Attributes = 1 << 18
)

// AttestationKey are the attributes that an attestation key must have: made in this
// TPM, never to leave it, and signing only what the TPM made or hashed itself.
const AttestationKey = FixedTPM | FixedParent | SensitiveDataOrigin | Restricted | Sign

// String names the attributes that this package knows.
func (a Attributes) String() string {
	var out []string
	for _, x := range []struct {
		bit  Attributes
		name string
	}{
		{FixedTPM, "fixedTPM"},
		{FixedParent, "fixedParent"},
		{SensitiveDataOrigin, "sensitiveDataOrigin"},
		{Restricted, "restricted"},
		{Decrypt, "decrypt"},
		{Sign, "sign"},
	} {
		if a&x.bit != 0 {
			out = append(out, x.name)
		}
	}
	if out == nil {
		return "none"
	}
	return strings.Join(out, " ")
}

// Public is a TPMT_PUBLIC of an RSA or ECC key (part 2, section 12.2.4).
type Public struct {
	NameAlg    eventlog.Alg
	Attributes Attributes
	AuthPolicy []byte
	Scheme     uint16 // signing scheme, TPM_ALG_NULL for one that the caller chooses
	SchemeHash eventlog.Alg
	Key        crypto.PublicKey // *rsa.PublicKey or *ecdsa.PublicKey
	// Name is what the TPM calls the key: its name algorithm and the hash of its public area.
	Name []byte
}

// maxPublic bounds a public area: RSA-4096 has some 550 bytes.
const maxPublic = 1024

// ParsePublic reads a TPMT_PUBLIC, or a TPM2B_PUBLIC around it, completely.
func ParsePublic(raw []byte) (*Public, error) {
	if len(raw) > maxPublic {
		return nil, fmt.Errorf("public area: %d bytes, at most %d allowed", len(raw), maxPublic)
	}
	raw = unwrap(raw)
	r := reader{b: raw}
	kind := r.u16()
	p := &Public{NameAlg: eventlog.Alg(r.u16()), Attributes: Attributes(r.u32()), AuthPolicy: r.sized()}
	var err error
	switch kind {
	case algRSA:
		err = p.readRSA(&r)
	case algECC:
		err = p.readECC(&r)
	default:
		err = fmt.Errorf("a key of type %#04x, wanted RSA or ECC", kind)
	}
	if r.end() != nil {
		err = r.err
	}
	if err == nil && (p.NameAlg.Size() == 0 || p.NameAlg == eventlog.SHA1) {
		err = fmt.Errorf("name algorithm %v, wanted SHA-256, SHA-384 or SHA-512", p.NameAlg)
	}
	if err != nil {
		return nil, fmt.Errorf("public area: %w", err)
	}
	h := p.NameAlg.New()
	h.Write(raw)
	p.Name = h.Sum([]byte{byte(p.NameAlg >> 8), byte(p.NameAlg)})
	return p, nil
}

// unwrap takes the length of a TPM2B_PUBLIC off. A TPMT_PUBLIC begins with 0001 or
// 0023, a TPM2B with its own length, which is neither.
func unwrap(raw []byte) []byte {
	if len(raw) > 2 && int(raw[0])<<8|int(raw[1]) == len(raw)-2 {
		return raw[2:]
	}
	return raw
}

// readSymmetric skips TPMT_SYM_DEF_OBJECT.
func readSymmetric(r *reader) {
	if r.u16() != algNull {
		r.take(4) // bits, mode
	}
}

func (p *Public) readScheme(r *reader) error {
	switch p.Scheme = r.u16(); p.Scheme {
	case algNull:
	case algRSASSA, algRSAPSS, algECDSA:
		p.SchemeHash = eventlog.Alg(r.u16())
	default:
		return fmt.Errorf("signing scheme %#04x, known are RSASSA, RSAPSS and ECDSA", p.Scheme)
	}
	return nil
}

func (p *Public) readRSA(r *reader) error {
	readSymmetric(r)
	if err := p.readScheme(r); err != nil {
		return err
	}
	bits, exponent, modulus := r.u16(), r.u32(), r.sized()
	if exponent == 0 {
		exponent = 65537
	}
	if r.err != nil {
		return r.err
	}
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(exponent)}
	if key.N.BitLen() != int(bits) || len(modulus) != int(bits)/8 {
		return fmt.Errorf("an RSA modulus of %d bits, announced are %d", key.N.BitLen(), bits)
	}
	p.Key = key
	return checkKey(key)
}

func (p *Public) readECC(r *reader) error {
	readSymmetric(r)
	if err := p.readScheme(r); err != nil {
		return err
	}
	id := r.u16()
	if r.u16() != algNull { // key derivation
		r.u16()
	}
	x, y := r.sized(), r.sized()
	if r.err != nil {
		return r.err
	}
	key, err := eccKey(id, x, y)
	if err != nil {
		return err
	}
	p.Key = key
	return nil
}

// eccKey makes a key from a TPM_ECC_CURVE (part 2, section 6.4) and coordinates,
// which some TPMs give without leading zeros.
func eccKey(id uint16, x, y []byte) (*ecdsa.PublicKey, error) {
	curves := map[uint16]elliptic.Curve{3: elliptic.P256(), 4: elliptic.P384(), 5: elliptic.P521()}
	curve := curves[id]
	if curve == nil {
		return nil, fmt.Errorf("curve %#04x, known are P-256, P-384 and P-521", id)
	}
	size := (curve.Params().BitSize + 7) / 8
	if len(x) > size || len(y) > size {
		return nil, errors.New("a coordinate that is too long")
	}
	point := make([]byte, 1+2*size)
	point[0] = 4
	copy(point[1+size-len(x):], x)
	copy(point[1+2*size-len(y):], y)
	key, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil, errors.New("a point that is not on its curve")
	}
	return key, nil
}

// checkKey refuses keys that are weak or too large to work with.
func checkKey(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < 2048 || n > 4096 || k.N.Bit(0) == 0 || k.E < 3 || k.E%2 == 0 {
			return fmt.Errorf("an RSA key of %d bits, exponent %d; wanted 2048 to 4096 bits", n, k.E)
		}
		return nil
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() || k.Curve == elliptic.P521() {
			return nil
		}
	}
	return fmt.Errorf("a key of type %T, wanted RSA, P-256, P-384 or P-521", key)
}

// keyHash is SHA-256 of the SPKI, by which messages and platform ids name a key.
func keyHash(key crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	h := eventlog.SHA256.New()
	h.Write(der)
	return h.Sum(nil), nil
}
