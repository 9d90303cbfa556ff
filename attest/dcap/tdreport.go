package dcap

import (
	"encoding/binary"
	"fmt"
)

// Lengths of a TD report body in bytes.
const (
	TDReportSize   = 584 // TDX 1.0
	TDReport15Size = 648 // TDX 1.5
)

// Bits of TDATTRIBUTES (Intel TDX module ABI reference, "ATTRIBUTES"). Each of
// the lowest eight puts the TD under debug: it must not be trusted.
const (
	TDDebug         = 1 << 0
	TDUnderDebug    = 0xff
	TDLASS          = 1 << 27 // linear address space separation
	TDSEPTVEDisable = 1 << 28 // no #VE where the host takes a page away
	TDMigratable    = 1 << 29
	TDPKS           = 1 << 30 // supervisor protection keys
	TDKeyLocker     = 1 << 31
	TDTPA           = 1 << 62 // the TD is a provisioning agent
	TDPerfmon       = 1 << 63 // the TD may use performance counters
)

// TDReport is the part of a TD's report that a quote carries (Intel TDX DCAP
// quoting library API, appendix A.3, "TD Quote Body"). Integers are
// little-endian in bytes.
type TDReport struct {
	TEETCBSVN      [16]byte // of the TDX module that the TD was launched under, and the platform
	MRSEAM         [48]byte // measurement of that TDX module
	MRSignerSEAM   [48]byte // zero for Intel's modules
	SEAMAttributes uint64
	TDAttributes   uint64
	XFAM           uint64
	MRTD           [48]byte // measurement of the TD's first memory
	MRConfigID     [48]byte
	MROwner        [48]byte
	MROwnerConfig  [48]byte
	RTMR           [4][48]byte
	ReportData     [64]byte

	// TDX15 says that the body is of TDX 1.5 and has the members below; quotes of version 5 alone can.
	TDX15       bool
	TEETCBSVN2  [16]byte // of the TDX module that runs now
	MRServiceTD [48]byte // hash over the service TDs bound to this one
}

// Debug reports whether the TD can be read with a debugger or is under another
// kind of debug.
func (r *TDReport) Debug() bool { return r.TDAttributes&TDUnderDebug != 0 }

// ParseTDReport reads the body of a TD report, 584 bytes for TDX 1.0 or 648 for TDX 1.5.
func ParseTDReport(b []byte) (*TDReport, error) {
	if len(b) != TDReportSize && len(b) != TDReport15Size {
		return nil, fmt.Errorf("TD report body: %d bytes, wanted %d or %d", len(b), TDReportSize, TDReport15Size)
	}
	r := new(TDReport)
	r.read(b)
	return r, nil
}

// read fills r from b, which has TDReportSize or TDReport15Size bytes.
func (r *TDReport) read(b []byte) {
	le := binary.LittleEndian
	copy(r.TEETCBSVN[:], b)
	copy(r.MRSEAM[:], b[16:])
	copy(r.MRSignerSEAM[:], b[64:])
	r.SEAMAttributes = le.Uint64(b[112:])
	r.TDAttributes = le.Uint64(b[120:])
	r.XFAM = le.Uint64(b[128:])
	copy(r.MRTD[:], b[136:])
	copy(r.MRConfigID[:], b[184:])
	copy(r.MROwner[:], b[232:])
	copy(r.MROwnerConfig[:], b[280:])
	for i := range r.RTMR {
		copy(r.RTMR[i][:], b[328+48*i:])
	}
	copy(r.ReportData[:], b[520:])
	if r.TDX15 = len(b) == TDReport15Size; r.TDX15 {
		copy(r.TEETCBSVN2[:], b[584:])
		copy(r.MRServiceTD[:], b[600:])
	}
}

// Bytes returns the body in its binary form, TDReportSize or TDReport15Size bytes.
func (r *TDReport) Bytes() []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, TDReport15Size)
	b = append(b, r.TEETCBSVN[:]...)
	b = append(b, r.MRSEAM[:]...)
	b = append(b, r.MRSignerSEAM[:]...)
	b = le.AppendUint64(b, r.SEAMAttributes)
	b = le.AppendUint64(b, r.TDAttributes)
	b = le.AppendUint64(b, r.XFAM)
	b = append(b, r.MRTD[:]...)
	b = append(b, r.MRConfigID[:]...)
	b = append(b, r.MROwner[:]...)
	b = append(b, r.MROwnerConfig[:]...)
	for i := range r.RTMR {
		b = append(b, r.RTMR[i][:]...)
	}
	b = append(b, r.ReportData[:]...)
	if r.TDX15 {
		b = append(b, r.TEETCBSVN2[:]...)
		b = append(b, r.MRServiceTD[:]...)
	}
	return b
}
