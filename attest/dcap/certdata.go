package dcap

import (
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"hitoku.dev/attest"
)

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
	CertQEReport         CertType = 6 // QE report and what follows it, in versions 4 and 5
	CertPlatformManifest CertType = 7 // platform manifest
)

// The authorities that issue PCK certificates, in the words of Intel's service.
const (
	CAProcessor = "processor" // platforms of one package
	CAPlatform  = "platform"  // platforms of several packages
)

// PCK is what a quote says about the PCK certificate of its platform: the
// certificate, or what identifies it. Nothing of it is verified; it serves to
// choose or to fetch collateral.
type PCK struct {
	TEE attest.TEE // SGX or TDX: which TCB info and which identity the quote needs

	// Chain holds the certificates of types 4 and 5, the PCK certificate first; nil in types 1 to 3.
	Chain []*x509.Certificate
	// Extension is read from the PCK certificate, and FMSPC from there: 12 lower-case hexadecimal digits.
	Extension *PCKExtension
	FMSPC     string
	CA        string // CAProcessor or CAPlatform; empty when the certificate does not say

	// What types 1 to 3 give instead, enough to ask Intel's service or a PCCS for the certificate.
	PPID          []byte // 16 bytes, in type 1 alone
	EncryptedPPID []byte // 256 bytes in type 2, 384 bytes in type 3
	CPUSVN        [16]byte
	PCESVN        uint16
	PCEID         *[2]byte // big-endian, as in the PCK certificate; nil when the quote leaves it out
	QEID          [16]byte // the quoting enclave's id of the platform, from the header
}

// PCK reads the certification data of the quote.
func (q *Quote) PCK() (*PCK, error) {
	p := &PCK{TEE: q.TEE()}
	copy(p.QEID[:], q.Header.UserData[:])
	switch q.CertType {
	case CertPCKLeaf, CertPCKChain:
		chain, err := parseChain(q.CertData)
		if err != nil {
			return nil, fmt.Errorf("certification data of the quote: %w", err)
		}
		p.Chain, p.CA = chain, PCKCA(chain[0])
		if p.Extension, err = PCKExtensionOf(chain[0]); err != nil {
			return nil, err
		}
		p.FMSPC = hex.EncodeToString(p.Extension.FMSPC[:])
		return p, nil
	case CertPPIDPlain, CertPPIDRSA2048, CertPPIDRSA3072:
		return p, p.readPPID(q.CertType, q.CertData)
	}
	return nil, fmt.Errorf("certification data type %d is not supported", q.CertType)
}

// PCKCA says which authority issued a PCK certificate, by the name of its
// issuer: [CAProcessor], [CAPlatform], or nothing when the name tells neither.
func PCKCA(leaf *x509.Certificate) string {
	switch cn := leaf.Issuer.CommonName; {
	case strings.Contains(cn, "PCK Processor CA"):
		return CAProcessor
	case strings.Contains(cn, "PCK Platform CA"):
		return CAPlatform
	}
	return ""
}

// readPPID reads PPID, CPUSVN (16 bytes), PCESVN (2) and PCEID (2); Intel's own
// samples leave the last one out.
func (p *PCK) readPPID(kind CertType, d []byte) error {
	n := 16
	switch kind {
	case CertPPIDRSA2048:
		n = 256
	case CertPPIDRSA3072:
		n = 384
	}
	if len(d) != n+20 && len(d) != n+18 {
		return fmt.Errorf("certification data of type %d has %d bytes, wanted %d", kind, len(d), n+20)
	}
	if kind == CertPPIDPlain {
		p.PPID = d[:n:n]
	} else {
		p.EncryptedPPID = d[:n:n]
	}
	copy(p.CPUSVN[:], d[n:])
	p.PCESVN = binary.LittleEndian.Uint16(d[n+16:])
	if len(d) == n+20 {
		p.PCEID = &[2]byte{d[n+19], d[n+18]}
	}
	return nil
}
