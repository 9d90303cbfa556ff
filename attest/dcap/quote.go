package dcap

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"hitoku.dev/attest"
)

// Formats of evidence, as they stand in claims and verdicts.
const (
	FormatSGX3 = "sgx-quote-v3"
	FormatSGX4 = "sgx-quote-v4"
	FormatSGX5 = "sgx-quote-v5"
	FormatTDX4 = "tdx-quote-v4"
	FormatTDX5 = "tdx-quote-v5"
)

// Sizes in bytes, and limits on outside input.
const (
	HeaderSize = 48
	// MinQuoteSize is the smallest quote: one of version 3 with neither authentication data nor
	// certification data.
	MinQuoteSize = HeaderSize + ReportBodySize + 4 + 64 + 64 + minQEPart
	// MaxQuoteSize limits what ParseQuote looks at.
	MaxQuoteSize = 64 << 10

	descriptorSize = 2 + 4 // of the body, in version 5
	minQEPart      = ReportBodySize + 64 + 2 + certHeader
	certHeader     = 2 + 4
	maxCertData    = 16 << 10
)

// Values of the header's fields.
const (
	Version3 = 3
	Version4 = 4
	Version5 = 5
	// KeyTypeECDSAP256 is the attestation key type "ECDSA-256 with the P-256 curve".
	KeyTypeECDSAP256 = 2

	TEETypeSGX = 0
	TEETypeTDX = 0x81
)

// Types of the body in quotes of version 5.
const (
	bodySGX   = 1
	bodyTDX10 = 2
	bodyTDX15 = 3
)

// IntelQEVendorID is the vendor id of Intel's quoting enclave, 939a7233f79c4ca9940a0db3957f0607.
func IntelQEVendorID() [16]byte {
	return [16]byte{0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07}
}

// Header is the first 48 bytes of a quote. Integers are little-endian in bytes.
type Header struct {
	Version    uint16
	KeyType    uint16
	TEEType    uint32 // one of the constants above; reserved, and zero, in version 3
	QESVN      uint16 // reserved in versions 4 and 5
	PCESVN     uint16 // reserved in versions 4 and 5
	QEVendorID [16]byte
	UserData   [20]byte // the first 16 bytes are the quoting enclave's id of the platform
}

// Quote is an ECDSA quote: of SGX in version 3 (SGX ECDSA quote library
// reference, appendix A.4), of SGX or TDX in versions 4 and 5 (TDX DCAP quoting
// library API, appendix A.3 and A.4).
type Quote struct {
	Header Header
	// TD is the body of a TDX quote, and nil in a quote of SGX. A body of TDX 1.5 needs version 5.
	TD *TDReport
	// Report is the body of an SGX quote, and not used where TD is set.
	Report ReportBody
	// Signature is r || s of the attestation key over the signed bytes, 32 big-endian bytes each.
	Signature [64]byte
	// AttestationKey is x || y of the public P-256 key, 32 big-endian bytes each.
	AttestationKey [64]byte
	// QEReport is the quoting enclave's report; its report data hold SHA-256(AttestationKey || AuthData).
	QEReport ReportBody
	// QEReportSignature is r || s of the PCK key over QEReport.
	QEReportSignature [64]byte
	AuthData          []byte // at most 65535 bytes
	// CertType and CertData name the PCK certificate. In versions 4 and 5 they are those inside
	// the certification data of type 6.
	CertType CertType
	CertData []byte
	// Trailing counts the bytes found after the quote. Buffers of fixed size make them; nothing signs
	// or reads them, and Marshal leaves them out.
	Trailing int
}

// ErrFormat is wrapped by every error about bytes that are not a quote.
var ErrFormat = errors.New("not an SGX or TDX quote")

func formatError(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, a...))
}

// Recognise reports whether raw begins like a quote that [Verify] would try: a
// known version, TEE, key type and vendor. It reads the header alone.
func Recognise(raw []byte) bool {
	if len(raw) < MinQuoteSize || len(raw) > MaxQuoteSize {
		return false
	}
	var h Header
	h.read(raw)
	return h.check() == nil
}

// TEE returns [attest.SGX] or [attest.TDX].
func (q *Quote) TEE() attest.TEE {
	if q.TD != nil {
		return attest.TDX
	}
	return attest.SGX
}

// Format returns the name of the quote's format, one of the constants above.
func (q *Quote) Format() string {
	switch {
	case q.TD != nil && q.Header.Version == Version5:
		return FormatTDX5
	case q.TD != nil:
		return FormatTDX4
	case q.Header.Version == Version5:
		return FormatSGX5
	case q.Header.Version == Version4:
		return FormatSGX4
	}
	return FormatSGX3
}

// ParseQuote reads an ECDSA quote of version 3, 4 or 5. Bytes after its end are
// counted, not read. The quote keeps no reference to b.
func ParseQuote(b []byte) (*Quote, error) {
	q, err := parseQuote(b)
	if err != nil {
		return nil, err
	}
	q.AuthData, q.CertData = bytes.Clone(q.AuthData), bytes.Clone(q.CertData)
	return q, nil
}

// parseQuote reads a quote whose AuthData and CertData point into b.
func parseQuote(b []byte) (*Quote, error) {
	if len(b) < MinQuoteSize {
		return nil, formatError("%d bytes, at least %d needed", len(b), MinQuoteSize)
	}
	if len(b) > MaxQuoteSize {
		return nil, formatError("%d bytes, at most %d allowed", len(b), MaxQuoteSize)
	}
	q := new(Quote)
	q.Header.read(b)
	if err := q.Header.check(); err != nil {
		return nil, err
	}
	rest, err := q.readBody(b[HeaderSize:])
	if err != nil {
		return nil, err
	}
	if len(rest) < 4 {
		return nil, formatError("it ends before its signature data")
	}
	n := uint64(binary.LittleEndian.Uint32(rest))
	rest = rest[4:]
	if n > uint64(len(rest)) {
		return nil, formatError("signature data claims %d bytes, %d are there", n, len(rest))
	}
	q.Trailing = len(rest) - int(n)
	if err := q.readSignatureData(rest[:n]); err != nil {
		return nil, err
	}
	return q, nil
}

// read fills h from b, which has at least HeaderSize bytes.
func (h *Header) read(b []byte) {
	le := binary.LittleEndian
	h.Version, h.KeyType, h.TEEType = le.Uint16(b), le.Uint16(b[2:]), le.Uint32(b[4:])
	h.QESVN, h.PCESVN = le.Uint16(b[8:]), le.Uint16(b[10:])
	copy(h.QEVendorID[:], b[12:])
	copy(h.UserData[:], b[28:])
}

func (h *Header) check() error {
	switch {
	case h.Version < Version3 || h.Version > Version5:
		return formatError("version %d, wanted 3, 4 or 5", h.Version)
	case h.KeyType != KeyTypeECDSAP256:
		return formatError("attestation key type %d, wanted 2 (ECDSA P-256)", h.KeyType)
	case h.Version == Version3 && h.TEEType != 0:
		return formatError("reserved field of the header is %#x, wanted 0", h.TEEType)
	case h.TEEType != TEETypeSGX && h.TEEType != TEETypeTDX:
		return formatError("TEE type %#x, wanted 0 (SGX) or 0x81 (TDX)", h.TEEType)
	case h.QEVendorID != IntelQEVendorID():
		return formatError("quoting enclave vendor %x is not known", h.QEVendorID)
	}
	return nil
}

// readBody reads the body, in version 5 with its descriptor, and returns what follows.
func (q *Quote) readBody(b []byte) (rest []byte, err error) {
	kind, size := uint16(bodySGX), ReportBodySize
	if q.Header.TEEType == TEETypeTDX {
		kind, size = bodyTDX10, TDReportSize
	}
	if q.Header.Version == Version5 {
		le := binary.LittleEndian
		if le.Uint16(b) == bodyTDX15 && kind == bodyTDX10 {
			kind, size = bodyTDX15, TDReport15Size
		}
		if le.Uint16(b) != kind || le.Uint32(b[2:]) != uint32(size) {
			return nil, formatError("body of type %d with %d bytes does not belong to TEE type %#x", le.Uint16(b), le.Uint32(b[2:]), q.Header.TEEType)
		}
		b = b[descriptorSize:]
	}
	if len(b) < size {
		return nil, formatError("the body has %d bytes, wanted %d", len(b), size)
	}
	if kind == bodySGX {
		q.Report.read(b)
	} else {
		q.TD = new(TDReport)
		q.TD.read(b[:size])
	}
	return b[size:], nil
}

func (q *Quote) readSignatureData(s []byte) error {
	if len(s) < 64+64+minQEPart {
		return formatError("signature data has %d bytes, at least %d needed", len(s), 64+64+minQEPart)
	}
	copy(q.Signature[:], s)
	copy(q.AttestationKey[:], s[64:])
	s = s[128:]
	if q.Header.Version > Version3 {
		kind, data, err := readCertData(s)
		switch {
		case err != nil:
			return err
		case kind != CertQEReport:
			return formatError("certification data type %d, wanted 6 in version %d", kind, q.Header.Version)
		case len(data) < minQEPart:
			return formatError("certification data of type 6 has %d bytes, at least %d needed", len(data), minQEPart)
		}
		s = data
	}
	q.QEReport.read(s)
	copy(q.QEReportSignature[:], s[ReportBodySize:])
	s = s[ReportBodySize+64:]

	authLen := int(binary.LittleEndian.Uint16(s))
	s = s[2:]
	if len(s) < authLen+certHeader {
		return formatError("authentication data claims %d bytes, %d are there", authLen, max(len(s)-certHeader, 0))
	}
	q.AuthData = s[:authLen:authLen]
	kind, data, err := readCertData(s[authLen:])
	if err != nil {
		return err
	}
	if len(data) > maxCertData {
		return formatError("certification data has %d bytes, at most %d allowed", len(data), maxCertData)
	}
	q.CertType, q.CertData = kind, data
	return nil
}

// readCertData reads certification data, which must fill s; s has at least certHeader bytes.
func readCertData(s []byte) (CertType, []byte, error) {
	n, data := uint64(binary.LittleEndian.Uint32(s[2:])), s[certHeader:]
	if n != uint64(len(data)) {
		return 0, nil, formatError("certification data claims %d bytes, %d are there", n, len(data))
	}
	return CertType(binary.LittleEndian.Uint16(s)), data, nil
}

// signedSize is the number of bytes that the attestation key signs.
func (q *Quote) signedSize() int {
	n := HeaderSize + ReportBodySize
	if q.TD != nil {
		if n = HeaderSize + TDReportSize; q.TD.TDX15 {
			n = HeaderSize + TDReport15Size
		}
	}
	if q.Header.Version == Version5 {
		n += descriptorSize
	}
	return n
}

// SignedBytes returns what the attestation key signs: header and body, in
// version 5 with the descriptor between them.
func (q *Quote) SignedBytes() []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, q.signedSize())
	h := &q.Header
	b = le.AppendUint16(b, h.Version)
	b = le.AppendUint16(b, h.KeyType)
	b = le.AppendUint32(b, h.TEEType)
	b = le.AppendUint16(b, h.QESVN)
	b = le.AppendUint16(b, h.PCESVN)
	b = append(b, h.QEVendorID[:]...)
	b = append(b, h.UserData[:]...)

	var body []byte
	kind := uint16(bodySGX)
	if q.TD == nil {
		report := q.Report.Bytes()
		body = report[:]
	} else {
		body = q.TD.Bytes()
		if kind = bodyTDX10; q.TD.TDX15 {
			kind = bodyTDX15
		}
	}
	if h.Version == Version5 {
		b = le.AppendUint16(b, kind)
		b = le.AppendUint32(b, uint32(len(body)))
	}
	return append(b, body...)
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

// Marshal returns the quote in its binary form, without trailing bytes. Header
// and body must belong to each other.
func (q *Quote) Marshal() ([]byte, error) {
	if err := q.Header.check(); err != nil {
		return nil, err
	}
	switch {
	case (q.Header.TEEType == TEETypeTDX) != (q.TD != nil):
		return nil, fmt.Errorf("quote: TEE type %#x does not belong to a body of %s", q.Header.TEEType, q.TEE())
	case q.TD != nil && q.TD.TDX15 && q.Header.Version != Version5:
		return nil, fmt.Errorf("quote: a body of TDX 1.5 in version %d, wanted 5", q.Header.Version)
	case len(q.AuthData) > 0xffff:
		return nil, fmt.Errorf("quote: %d bytes of authentication data, at most 65535 allowed", len(q.AuthData))
	case len(q.CertData) > maxCertData:
		return nil, fmt.Errorf("quote: %d bytes of certification data, at most %d allowed", len(q.CertData), maxCertData)
	}
	le := binary.LittleEndian
	qe := q.QEReport.Bytes()
	inner := minQEPart + len(q.AuthData) + len(q.CertData)
	outer := 64 + 64 + inner
	if q.Header.Version > Version3 {
		outer += certHeader
	}
	b := append(make([]byte, 0, q.signedSize()+4+outer), q.SignedBytes()...)
	b = le.AppendUint32(b, uint32(outer))
	b = append(b, q.Signature[:]...)
	b = append(b, q.AttestationKey[:]...)
	if q.Header.Version > Version3 {
		b = le.AppendUint16(b, uint16(CertQEReport))
		b = le.AppendUint32(b, uint32(inner))
	}
	b = append(b, qe[:]...)
	b = append(b, q.QEReportSignature[:]...)
	b = le.AppendUint16(b, uint16(len(q.AuthData)))
	b = append(b, q.AuthData...)
	b = le.AppendUint16(b, uint16(q.CertType))
	b = le.AppendUint32(b, uint32(len(q.CertData)))
	return append(b, q.CertData...), nil
}
