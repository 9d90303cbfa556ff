package sgx

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

const (
	// SigstructSize is the length of a SIGSTRUCT in bytes.
	SigstructSize = 1808
	// KeySize is the length in bytes of modulus, signature, Q1 and Q2: RSA-3072.
	KeySize = 384
	// Exponent is the only public exponent that EINIT takes.
	Exponent = 3
	// VendorIntel marks enclaves of Intel; others have vendor 0.
	VendorIntel = 0x8086
)

// Offsets of the fields, in bytes.
const (
	atVendor      = 16
	atDate        = 20
	atHeader2     = 24
	atSWDefined   = 40
	atReserved1   = 44
	atModulus     = 128
	atExponent    = 512
	atSignature   = 516
	atMisc        = 900
	atReserved2   = 910
	atFamilyID    = 912
	atAttributes  = 928
	atMask        = 944
	atEnclaveHash = 960
	atReserved3   = 992
	atExtProdID   = 1008
	atProdID      = 1024
	atSVN         = 1026
	atReserved4   = 1028
	atQ1          = 1040
	atQ2          = 1424
)

var (
	header1 = [16]byte{0x06, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 0x01, 0, 0, 0, 0, 0}
	header2 = [16]byte{0x01, 0x01, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 0x01, 0, 0, 0}
)

// Attributes are the two halves of an enclave's ATTRIBUTES.
type Attributes struct {
	Flags uint64
	XFRM  uint64
}

// String is the 16 bytes as the hardware has them, FLAGS and XFRM little-endian, in hexadecimal.
func (a Attributes) String() string {
	return fmt.Sprintf("%016x%016x", bits.ReverseBytes64(a.Flags), bits.ReverseBytes64(a.XFRM))
}

// FlagDebug is the bit of Attributes.Flags that lets a debugger into an enclave.
const FlagDebug = 1 << 1

// Sigstruct is an enclave's signature structure. Modulus, Signature, Q1 and Q2
// are little-endian numbers of 384 bytes, as the hardware reads them.
type Sigstruct struct {
	Vendor         uint32 // 0 or VendorIntel
	Date           uint32 // yyyymmdd in decimal, 20260101 for 1 January 2026
	SWDefined      uint32
	Modulus        [KeySize]byte
	Exponent       uint32
	Signature      [KeySize]byte
	MiscSelect     uint32
	MiscMask       uint32
	CETAttributes  byte
	CETMask        byte
	ISVFamilyID    [16]byte
	Attributes     Attributes
	AttributesMask Attributes // bits that EINIT compares
	EnclaveHash    [32]byte   // the measurement that is signed
	ISVExtProdID   [16]byte
	ISVProdID      uint16
	ISVSVN         uint16
	Q1             [KeySize]byte
	Q2             [KeySize]byte
}

// ErrFormat is wrapped by every error about bytes that are not a SIGSTRUCT.
var ErrFormat = errors.New("not a SIGSTRUCT")

func formatError(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, a...))
}

// Parse reads a SIGSTRUCT: exactly 1808 bytes, both headers right, vendor and
// date plausible, reserved bytes zero. It does not check the signature; see
// [Sigstruct.Verify].
func Parse(b []byte) (*Sigstruct, error) {
	if len(b) != SigstructSize {
		return nil, formatError("%d bytes, wanted %d", len(b), SigstructSize)
	}
	if !bytes.Equal(b[:16], header1[:]) || !bytes.Equal(b[atHeader2:atHeader2+16], header2[:]) {
		return nil, formatError("a header is wrong")
	}
	for _, r := range [][2]int{{atReserved1, atModulus}, {atReserved2, atFamilyID}, {atReserved3, atExtProdID}, {atReserved4, atQ1}} {
		for i := r[0]; i < r[1]; i++ {
			if b[i] != 0 {
				return nil, formatError("reserved byte %d is %#02x, wanted 0", i, b[i])
			}
		}
	}
	le := binary.LittleEndian
	s := &Sigstruct{
		Vendor:         le.Uint32(b[atVendor:]),
		SWDefined:      le.Uint32(b[atSWDefined:]),
		Exponent:       le.Uint32(b[atExponent:]),
		MiscSelect:     le.Uint32(b[atMisc:]),
		MiscMask:       le.Uint32(b[atMisc+4:]),
		CETAttributes:  b[atMisc+8],
		CETMask:        b[atMisc+9],
		Attributes:     readAttributes(b[atAttributes:]),
		AttributesMask: readAttributes(b[atMask:]),
		ISVProdID:      le.Uint16(b[atProdID:]),
		ISVSVN:         le.Uint16(b[atSVN:]),
	}
	if s.Vendor != 0 && s.Vendor != VendorIntel {
		return nil, formatError("vendor %#x, wanted 0 or 0x8086", s.Vendor)
	}
	date, err := fromBCD(le.Uint32(b[atDate:]))
	if err != nil {
		return nil, err
	}
	s.Date = date
	if s.Exponent != Exponent {
		return nil, formatError("exponent %d, wanted 3", s.Exponent)
	}
	copy(s.Modulus[:], b[atModulus:])
	copy(s.Signature[:], b[atSignature:])
	copy(s.ISVFamilyID[:], b[atFamilyID:])
	copy(s.EnclaveHash[:], b[atEnclaveHash:])
	copy(s.ISVExtProdID[:], b[atExtProdID:])
	copy(s.Q1[:], b[atQ1:])
	copy(s.Q2[:], b[atQ2:])
	return s, nil
}

func readAttributes(b []byte) Attributes {
	return Attributes{Flags: binary.LittleEndian.Uint64(b), XFRM: binary.LittleEndian.Uint64(b[8:])}
}

// Marshal returns the 1808 bytes of s.
func (s *Sigstruct) Marshal() []byte {
	b := make([]byte, SigstructSize)
	le := binary.LittleEndian
	copy(b, header1[:])
	le.PutUint32(b[atVendor:], s.Vendor)
	le.PutUint32(b[atDate:], toBCD(s.Date))
	copy(b[atHeader2:], header2[:])
	le.PutUint32(b[atSWDefined:], s.SWDefined)
	copy(b[atModulus:], s.Modulus[:])
	le.PutUint32(b[atExponent:], s.Exponent)
	copy(b[atSignature:], s.Signature[:])
	le.PutUint32(b[atMisc:], s.MiscSelect)
	le.PutUint32(b[atMisc+4:], s.MiscMask)
	b[atMisc+8], b[atMisc+9] = s.CETAttributes, s.CETMask
	copy(b[atFamilyID:], s.ISVFamilyID[:])
	for _, a := range []struct {
		at int
		Attributes
	}{{atAttributes, s.Attributes}, {atMask, s.AttributesMask}} {
		le.PutUint64(b[a.at:], a.Flags)
		le.PutUint64(b[a.at+8:], a.XFRM)
	}
	copy(b[atEnclaveHash:], s.EnclaveHash[:])
	copy(b[atExtProdID:], s.ISVExtProdID[:])
	le.PutUint16(b[atProdID:], s.ISVProdID)
	le.PutUint16(b[atSVN:], s.ISVSVN)
	copy(b[atQ1:], s.Q1[:])
	copy(b[atQ2:], s.Q2[:])
	return b
}

// SignedBytes returns what the signature covers: bytes 0 to 127 and 900 to 1027.
func (s *Sigstruct) SignedBytes() []byte {
	b := s.Marshal()
	return append(b[:atModulus:atModulus], b[atMisc:atReserved4]...)
}

// MRSigner returns the identity of the key that signed s.
func (s *Sigstruct) MRSigner() [32]byte { return MRSigner(s.Modulus) }

// MRSigner returns the SHA-256 of a little-endian modulus: the identity of an
// enclave's author.
func MRSigner(modulus [KeySize]byte) [32]byte { return sha256.Sum256(modulus[:]) }

// toBCD turns 20260101 into 0x20260101.
func toBCD(date uint32) uint32 {
	var out uint32
	for shift := 0; date > 0 && shift < 32; shift += 4 {
		out |= (date % 10) << shift
		date /= 10
	}
	return out
}

func fromBCD(v uint32) (uint32, error) {
	var out uint32
	for shift := 28; shift >= 0; shift -= 4 {
		d := v >> shift & 0xf
		if d > 9 {
			return 0, formatError("date %#08x is not in binary-coded decimal", v)
		}
		out = out*10 + d
	}
	return out, nil
}
