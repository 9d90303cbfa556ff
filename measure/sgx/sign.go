package sgx

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// DefaultDate is the date in a SIGSTRUCT where nobody names one, so that two
// conversions agree.
const DefaultDate = 20260101

// Date returns the calendar day of t in UTC as yyyymmdd, for [Params].
func Date(t time.Time) uint32 {
	y, m, d := t.UTC().Date()
	return uint32(y*10000 + int(m)*100 + d)
}

// ParseDate reads "2026-01-31" or "20260131".
func ParseDate(s string) (uint32, error) {
	for _, layout := range []string{"2006-01-02", "20060102"} {
		if t, err := time.Parse(layout, s); err == nil {
			return Date(t), nil
		}
	}
	return 0, fmt.Errorf("date %q: wanted YYYY-MM-DD", s)
}

// Params are what an author signs.
type Params struct {
	EnclaveHash [32]byte // the measurement
	ISVProdID   uint16
	ISVSVN      uint16
	Date        uint32 // yyyymmdd; 0 means DefaultDate
	NoDate      bool   // the date is 0000-00-00; Date is not used
	// Attributes and AttributesMask: where all four numbers are zero, DefaultAttributes is taken for
	// both, with every bit compared, so that a debug launch is refused by EINIT.
	Attributes     Attributes
	AttributesMask Attributes
	MiscSelect     uint32
	MiscMask       uint32
}

// DefaultAttributes is a 64-bit enclave without debug, with x87 and SSE state.
func DefaultAttributes() Attributes { return Attributes{Flags: 1 << 2, XFRM: 3} }

// Sign makes a SIGSTRUCT over p, verified before it is returned.
func Sign(ctx context.Context, p Params, signer Signer) (*Sigstruct, error) {
	pub := signer.Public()
	if err := CheckPublicKey(pub); err != nil {
		return nil, err
	}
	s := &Sigstruct{
		Date:           p.Date,
		Exponent:       Exponent,
		MiscSelect:     p.MiscSelect,
		MiscMask:       p.MiscMask,
		Attributes:     p.Attributes,
		AttributesMask: p.AttributesMask,
		EnclaveHash:    p.EnclaveHash,
		ISVProdID:      p.ISVProdID,
		ISVSVN:         p.ISVSVN,
	}
	switch {
	case p.NoDate:
		s.Date = 0
	case s.Date == 0:
		s.Date = DefaultDate
	}
	if s.Date > 99991231 {
		return nil, fmt.Errorf("sign: date %d: wanted yyyymmdd", s.Date)
	}
	if (p.Attributes == Attributes{} && p.AttributesMask == Attributes{}) {
		s.Attributes = DefaultAttributes()
		s.AttributesMask = Attributes{Flags: ^uint64(0), XFRM: ^uint64(0)}
	}
	putLittleEndian(&s.Modulus, pub.N)

	sig, err := signer.SignPKCS1v15SHA256(ctx, s.SignedBytes())
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	if len(sig) != KeySize {
		return nil, fmt.Errorf("sign: the signer returned %d bytes, wanted %d (big-endian RSA-3072 signature)", len(sig), KeySize)
	}
	n := new(big.Int).SetBytes(sig)
	if n.Cmp(pub.N) >= 0 {
		return nil, errors.New("sign: the signer returned a number above its modulus; does the key match?")
	}
	putLittleEndian(&s.Signature, n)
	q1, q2 := quotients(n, pub.N)
	putLittleEndian(&s.Q1, q1)
	putLittleEndian(&s.Q2, q2)
	if err := s.Verify(); err != nil {
		return nil, fmt.Errorf("sign: the signer's signature does not verify, does its key match?: %w", err)
	}
	return s, nil
}

// CheckPublicKey reports why a key cannot sign enclaves: it must be RSA-3072
// with public exponent 3.
func CheckPublicKey(pub *rsa.PublicKey) error {
	switch {
	case pub == nil || pub.N == nil:
		return errors.New("enclave signing key: no public key")
	case pub.N.BitLen() != KeySize*8:
		return fmt.Errorf("enclave signing key: RSA-%d, wanted RSA-3072", pub.N.BitLen())
	case pub.E != Exponent:
		return fmt.Errorf("enclave signing key: public exponent %d, wanted 3 (`openssl genrsa -3 3072` makes such a key)", pub.E)
	}
	return nil
}

// quotients returns Q1 = sig² / m and Q2 = (sig³ − Q1·sig·m) / m, with which
// EINIT avoids divisions (Intel SDM vol. 3D, section 36.13).
func quotients(sig, m *big.Int) (q1, q2 *big.Int) {
	q1, r := new(big.Int).QuoRem(new(big.Int).Mul(sig, sig), m, new(big.Int))
	return q1, r.Quo(r.Mul(r, sig), m)
}

func putLittleEndian(out *[KeySize]byte, n *big.Int) {
	n.FillBytes(out[:])
	reverse(out[:])
}

func fromLittleEndian(b [KeySize]byte) *big.Int {
	reverse(b[:])
	return new(big.Int).SetBytes(b[:])
}

func reverse(b []byte) {
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
}
