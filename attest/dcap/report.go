package dcap

import (
	"encoding/binary"
	"fmt"
)

// ReportBodySize is the length of an SGX report body in bytes.
const ReportBodySize = 384

// Bits of the FLAGS half of an enclave's ATTRIBUTES (Intel SDM vol. 3D, table 36-3).
const (
	FlagInit         = 1 << 0
	FlagDebug        = 1 << 1
	FlagMode64       = 1 << 2
	FlagProvisionKey = 1 << 4
	FlagTokenKey     = 1 << 5
	FlagCET          = 1 << 6
	FlagKSS          = 1 << 7
	FlagAEXNotify    = 1 << 10
)

// ReportBody is the part of an SGX REPORT that a quote carries (Intel SDM vol.
// 3D, table 36-21, without key id and MAC). Integers are little-endian in bytes.
type ReportBody struct {
	CPUSVN        [16]byte
	MiscSelect    uint32
	CETAttributes byte
	ISVExtProdID  [16]byte
	Flags         uint64 // first half of ATTRIBUTES
	XFRM          uint64 // second half of ATTRIBUTES
	MREnclave     [32]byte
	MRSigner      [32]byte
	ConfigID      [64]byte
	ISVProdID     uint16
	ISVSVN        uint16
	ConfigSVN     uint16
	ISVFamilyID   [16]byte
	ReportData    [64]byte

	reserved reservedReport
}

// reservedReport keeps the reserved bytes, so that marshalling gives back what was signed.
type reservedReport struct {
	r1 [11]byte
	r2 [32]byte
	r3 [32]byte
	r4 [42]byte
}

// Debug reports whether the enclave can be read with a debugger.
func (r *ReportBody) Debug() bool { return r.Flags&FlagDebug != 0 }

// ParseReportBody reads the 384 bytes of a report body. Reserved bytes are kept, not judged.
func ParseReportBody(b []byte) (*ReportBody, error) {
	if len(b) != ReportBodySize {
		return nil, fmt.Errorf("report body: %d bytes, wanted %d", len(b), ReportBodySize)
	}
	r := new(ReportBody)
	r.read(b)
	return r, nil
}

// read fills r from b, which has ReportBodySize bytes.
func (r *ReportBody) read(b []byte) {
	le := binary.LittleEndian
	copy(r.CPUSVN[:], b[0:])
	r.MiscSelect = le.Uint32(b[16:])
	r.CETAttributes = b[20]
	copy(r.reserved.r1[:], b[21:])
	copy(r.ISVExtProdID[:], b[32:])
	r.Flags = le.Uint64(b[48:])
	r.XFRM = le.Uint64(b[56:])
	copy(r.MREnclave[:], b[64:])
	copy(r.reserved.r2[:], b[96:])
	copy(r.MRSigner[:], b[128:])
	copy(r.reserved.r3[:], b[160:])
	copy(r.ConfigID[:], b[192:])
	r.ISVProdID = le.Uint16(b[256:])
	r.ISVSVN = le.Uint16(b[258:])
	r.ConfigSVN = le.Uint16(b[260:])
	copy(r.reserved.r4[:], b[262:])
	copy(r.ISVFamilyID[:], b[304:])
	copy(r.ReportData[:], b[320:])
}

// Bytes returns the report body in its binary form.
func (r *ReportBody) Bytes() [ReportBodySize]byte {
	var b [ReportBodySize]byte
	le := binary.LittleEndian
	copy(b[0:], r.CPUSVN[:])
	le.PutUint32(b[16:], r.MiscSelect)
	b[20] = r.CETAttributes
	copy(b[21:], r.reserved.r1[:])
	copy(b[32:], r.ISVExtProdID[:])
	le.PutUint64(b[48:], r.Flags)
	le.PutUint64(b[56:], r.XFRM)
	copy(b[64:], r.MREnclave[:])
	copy(b[96:], r.reserved.r2[:])
	copy(b[128:], r.MRSigner[:])
	copy(b[160:], r.reserved.r3[:])
	copy(b[192:], r.ConfigID[:])
	le.PutUint16(b[256:], r.ISVProdID)
	le.PutUint16(b[258:], r.ISVSVN)
	le.PutUint16(b[260:], r.ConfigSVN)
	copy(b[262:], r.reserved.r4[:])
	copy(b[304:], r.ISVFamilyID[:])
	copy(b[320:], r.ReportData[:])
	return b
}
