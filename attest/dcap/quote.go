package dcap

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// Sizes in bytes, and limits on outside input.
const (
	HeaderSize = 48
	// MinQuoteSize is the smallest quote of version 3: header, report, and signature data with neither
	// authentication data nor certification data.
	MinQuoteSize = HeaderSize + ReportBodySize + 4 + minSignatureData
	// MaxQuoteSize limits what ParseQuote looks at.
	MaxQuoteSize = 64 << 10

	minSignatureData = 64 + 64 + ReportBodySize + 64 + 2 + 2 + 4
	maxCertData      = 32 << 10
)

// Values of the header's fields.
const (
	Version3 = 3
	// KeyTypeECDSAP256 is the attestation key type "ECDSA-256 with the P-256 curve".
	KeyTypeECDSAP256 = 2
)

// IntelQEVendorID is the vendor id of Intel's quoting enclave, 939a7233f79c4ca9940a0db3957f0607.
func IntelQEVendorID() [16]byte {
	return [16]byte{0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07}
}

// CertType is the certification data type of a quote: how it names the PCK
// certificate of its platform.
type CertType uint16

// Certification data types (SGX ECDSA quote library reference, table A.9).
const (
	CertPPIDPlain        CertType = 1 // PPID in plain text, CPUSVN, PCESVN, PCEID
	CertPPIDRSA2048      CertType = 2 // PPID encrypted with RSA-2048-OAEP, CPUSVN, PCESVN, PCEID
	CertPPIDRSA3072      CertType = 3 // PPID encrypted with RSA-3072-OAEP, CPUSVN, PCESVN, PCEID
	CertPCKLeaf          CertType = 4 // PCK certificate alone, PEM
	CertPCKChain         CertType = 5 // PCK certificate, PCK CA and root, PEM
	CertQEReport         CertType = 6 // only inside quotes of versions 4 and 5
	CertPlatformManifest CertType = 7 // platform manifest
)

// Header is the first 48 bytes of a quote. Integers are little-endian in bytes.
type Header struct {
	Version    uint16
	KeyType    uint16
	Reserved   uint32 // the TEE type in later versions; zero here
	QESVN      uint16
	PCESVN     uint16
	QEVendorID [16]byte
	UserData   [20]byte // the first 16 bytes are the quoting enclave's id of the platform
}

// Quote is an SGX ECDSA quote of version 3 (SGX ECDSA quote library reference,
// appendix A.4).
type Quote struct {
	Header Header
	Report ReportBody
	// Signature is r || s of the attestation key over header and report, 32 big-endian bytes each.
	Signature [64]byte
	// AttestationKey is x || y of the public P-256 key, 32 big-endian bytes each.
	AttestationKey [64]byte
	// QEReport is the quoting enclave's report; its report data hold SHA-256(AttestationKey || AuthData).
	QEReport ReportBody
	// QEReportSignature is r || s of the PCK key over QEReport.
	QEReportSignature [64]byte
	AuthData          []byte // at most 65535 bytes
	CertType          CertType
	CertData          []byte
	// Trailing counts the bytes found after the quote. Buffers of fixed size make them; nothing signs
	// or reads them, and Marshal leaves them out.
	Trailing int
}

// ErrFormat is wrapped by every error about bytes that are not a quote.
var ErrFormat = errors.New("not an SGX quote of version 3")

func formatError(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, a...))
}

// ParseQuote reads an SGX ECDSA quote of version 3. Bytes after its end are
// counted, not read. The quote keeps no reference to b.
func ParseQuote(b []byte) (*Quote, error) {
	if len(b) < MinQuoteSize {
		return nil, formatError("%d bytes, at least %d needed", len(b), MinQuoteSize)
	}
	if len(b) > MaxQuoteSize {
		return nil, formatError("%d bytes, at most %d allowed", len(b), MaxQuoteSize)
	}
	le := binary.LittleEndian
	q := new(Quote)
	h := &q.Header
	h.Version, h.KeyType, h.Reserved = le.Uint16(b), le.Uint16(b[2:]), le.Uint32(b[4:])
	h.QESVN, h.PCESVN = le.Uint16(b[8:]), le.Uint16(b[10:])
	copy(h.QEVendorID[:], b[12:])
	copy(h.UserData[:], b[28:])
	switch {
	case h.Version != Version3:
		return nil, formatError("version %d, wanted 3", h.Version)
	case h.KeyType != KeyTypeECDSAP256:
		return nil, formatError("attestation key type %d, wanted 2 (ECDSA P-256)", h.KeyType)
	case h.Reserved != 0:
		return nil, formatError("reserved field of the header is %#x, wanted 0", h.Reserved)
	case h.QEVendorID != IntelQEVendorID():
		return nil, formatError("quoting enclave vendor %x is not known", h.QEVendorID)
	}
	q.Report.read(b[HeaderSize:])

	const at = HeaderSize + ReportBodySize
	n := uint64(le.Uint32(b[at:]))
	rest := b[at+4:]
	if n > uint64(len(rest)) {
		return nil, formatError("signature data claims %d bytes, %d are there", n, len(rest))
	}
	q.Trailing = len(rest) - int(n)
	if err := q.readSignatureData(rest[:n]); err != nil {
		return nil, err
	}
	return q, nil
}

func (q *Quote) readSignatureData(s []byte) error {
	le := binary.LittleEndian
	if len(s) < minSignatureData {
		return formatError("signature data has %d bytes, at least %d needed", len(s), minSignatureData)
	}
	copy(q.Signature[:], s)
	copy(q.AttestationKey[:], s[64:])
	q.QEReport.read(s[128:])
	copy(q.QEReportSignature[:], s[128+ReportBodySize:])
	s = s[192+ReportBodySize:]

	authLen := int(le.Uint16(s))
	s = s[2:]
	if len(s) < authLen+6 {
		return formatError("authentication data claims %d bytes, %d are there", authLen, max(len(s)-6, 0))
	}
	q.AuthData = bytes.Clone(s[:authLen])
	s = s[authLen:]

	q.CertType = CertType(le.Uint16(s))
	certLen := uint64(le.Uint32(s[2:]))
	s = s[6:]
	switch {
	case certLen > maxCertData:
		return formatError("certification data claims %d bytes, at most %d allowed", certLen, maxCertData)
	case certLen != uint64(len(s)):
		return formatError("certification data claims %d bytes, %d are there", certLen, len(s))
	}
	q.CertData = bytes.Clone(s)
	return nil
}

// SignedBytes returns what the attestation key signs: header and report, 432 bytes.
func (q *Quote) SignedBytes() [HeaderSize + ReportBodySize]byte {
	var b [HeaderSize + ReportBodySize]byte
	le := binary.LittleEndian
	h := &q.Header
	le.PutUint16(b[0:], h.Version)
	le.PutUint16(b[2:], h.KeyType)
	le.PutUint32(b[4:], h.Reserved)
	le.PutUint16(b[8:], h.QESVN)
	le.PutUint16(b[10:], h.PCESVN)
	copy(b[12:], h.QEVendorID[:])
	copy(b[28:], h.UserData[:])
	r := q.Report.Bytes()
	copy(b[HeaderSize:], r[:])
	return b
}

// QEReportData returns what the quoting enclave's report data must be:
// SHA-256(AttestationKey || AuthData) followed by 32 zero bytes.
func (q *Quote) QEReportData() [64]byte {
	h := sha256.New()
	h.Write(q.AttestationKey[:])
	h.Write(q.AuthData)
	var out [64]byte
	h.Sum(out[:0])
	return out
}

// Marshal returns the quote in its binary form, without trailing bytes.
func (q *Quote) Marshal() ([]byte, error) {
	if len(q.AuthData) > 0xffff {
		return nil, fmt.Errorf("quote: %d bytes of authentication data, at most 65535 allowed", len(q.AuthData))
	}
	if len(q.CertData) > maxCertData {
		return nil, fmt.Errorf("quote: %d bytes of certification data, at most %d allowed", len(q.CertData), maxCertData)
	}
	signed, qe := q.SignedBytes(), q.QEReport.Bytes()
	n := minSignatureData + len(q.AuthData) + len(q.CertData)
	le := binary.LittleEndian
	b := make([]byte, 0, len(signed)+4+n)
	b = append(b, signed[:]...)
	b = le.AppendUint32(b, uint32(n))
	b = append(b, q.Signature[:]...)
	b = append(b, q.AttestationKey[:]...)
	b = append(b, qe[:]...)
	b = append(b, q.QEReportSignature[:]...)
	b = le.AppendUint16(b, uint16(len(q.AuthData)))
	b = append(b, q.AuthData...)
	b = le.AppendUint16(b, uint16(q.CertType))
	b = le.AppendUint32(b, uint32(len(q.CertData)))
	return append(b, q.CertData...), nil
}
