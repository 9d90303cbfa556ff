package snp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Sizes in bytes (publ. 56860, table ATTESTATION_REPORT).
const (
	ReportSize = 0x4a0 // 1184
	SignedSize = 0x2a0 // the signature covers the bytes before it
)

// The first and last version of the report that is read.
const (
	MinVersion = 2
	MaxVersion = 5
)

// SignatureECDSAP384 is the only signature algorithm: ECDSA P-384 with SHA-384.
const SignatureECDSAP384 = 1

// ErrFormat is wrapped by the errors for bytes that hold no report of SEV-SNP.
var ErrFormat = errors.New("not a SEV-SNP attestation report")

func formatError(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrFormat, fmt.Errorf(format, args...))
}

// Report is an attestation report. Numbers are little-endian in the bytes.
type Report struct {
	Version         uint32 // 2 to 5
	GuestSVN        uint32 // of the ID block
	Policy          Policy
	FamilyID        [16]byte // of the ID block
	ImageID         [16]byte // of the ID block
	VMPL            uint32   // 0 to 3; 0xffffffff when the host asked
	SignatureAlgo   uint32
	CurrentTCB      TCBVersion
	PlatformInfo    PlatformInfo
	KeyInfo         KeyInfo
	ReportData      [64]byte // given by the guest
	Measurement     [48]byte // launch digest
	HostData        [32]byte // given by the host at launch
	IDKeyDigest     [48]byte // SHA-384 of the key that signed the ID block; zero without one
	AuthorKeyDigest [48]byte // SHA-384 of the key that certified the ID key; zero without one
	ReportID        [32]byte // of this guest
	ReportIDMA      [32]byte // of its migration agent; all ones without one
	ReportedTCB     TCBVersion
	Family          uint8    // CPUID, versions 3 and later
	Model           uint8    // CPUID, versions 3 and later
	Stepping        uint8    // CPUID, versions 3 and later
	ChipID          [64]byte // zero when the host masks it
	CommittedTCB    TCBVersion
	Current         Firmware
	Committed       Firmware
	LaunchTCB       TCBVersion // CurrentTCB when the guest was launched or imported
	LaunchMit       uint64     // mitigations verified at launch, version 5
	CurrentMit      uint64     // mitigations verified now, version 5
	Signature       Signature
}

// Firmware is a version of the SEV firmware.
type Firmware struct{ Build, Minor, Major uint8 }

func (f Firmware) String() string { return fmt.Sprintf("%d.%d.%d", f.Major, f.Minor, f.Build) }

// Signature is r and s, each 72 bytes little-endian.
type Signature struct{ R, S [72]byte }

// ParseReport reads the report at the start of raw and ignores what follows it.
// It refuses every reserved bit that is not as the manual says for the version.
func ParseReport(raw []byte) (*Report, error) {
	r, err := parseReport(raw)
	if err != nil {
		return nil, err
	}
	if err := checkReserved(raw, r); err != nil {
		return nil, formatError("%w", err)
	}
	return r, nil
}

// parseReport reads the members without judging reserved bits.
func parseReport(raw []byte) (*Report, error) {
	if len(raw) < ReportSize {
		return nil, formatError("%d bytes, wanted at least %d", len(raw), ReportSize)
	}
	r := new(Report)
	if r.Version = binary.LittleEndian.Uint32(raw); r.Version < MinVersion || r.Version > MaxVersion {
		return nil, formatError("version %d, wanted %d to %d", r.Version, MinVersion, MaxVersion)
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(raw[at:]) }
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(raw[at:]) }
	r.GuestSVN = u32(0x04)
	r.Policy = Policy(u64(0x08))
	copy(r.FamilyID[:], raw[0x10:])
	copy(r.ImageID[:], raw[0x20:])
	r.VMPL = u32(0x30)
	r.SignatureAlgo = u32(0x34)
	r.CurrentTCB = TCBVersion(u64(0x38))
	r.PlatformInfo = PlatformInfo(u64(0x40))
	r.KeyInfo = KeyInfo(u32(0x48))
	copy(r.ReportData[:], raw[0x50:])
	copy(r.Measurement[:], raw[0x90:])
	copy(r.HostData[:], raw[0xc0:])
	copy(r.IDKeyDigest[:], raw[0xe0:])
	copy(r.AuthorKeyDigest[:], raw[0x110:])
	copy(r.ReportID[:], raw[0x140:])
	copy(r.ReportIDMA[:], raw[0x160:])
	r.ReportedTCB = TCBVersion(u64(0x180))
	if r.Version >= 3 {
		r.Family, r.Model, r.Stepping = raw[0x188], raw[0x189], raw[0x18a]
	}
	copy(r.ChipID[:], raw[0x1a0:])
	r.CommittedTCB = TCBVersion(u64(0x1e0))
	r.Current = Firmware{raw[0x1e8], raw[0x1e9], raw[0x1ea]}
	r.Committed = Firmware{raw[0x1ec], raw[0x1ed], raw[0x1ee]}
	r.LaunchTCB = TCBVersion(u64(0x1f0))
	if r.Version >= 5 {
		r.LaunchMit, r.CurrentMit = u64(0x1f8), u64(0x200)
	}
	copy(r.Signature.R[:], raw[SignedSize:])
	copy(r.Signature.S[:], raw[SignedSize+72:])
	return r, nil
}

// Marshal writes the report, reserved bytes zero.
func (r *Report) Marshal() []byte {
	raw := make([]byte, ReportSize)
	put32 := func(at int, v uint32) { binary.LittleEndian.PutUint32(raw[at:], v) }
	put64 := func(at int, v uint64) { binary.LittleEndian.PutUint64(raw[at:], v) }
	put32(0, r.Version)
	put32(0x04, r.GuestSVN)
	put64(0x08, uint64(r.Policy))
	copy(raw[0x10:], r.FamilyID[:])
	copy(raw[0x20:], r.ImageID[:])
	put32(0x30, r.VMPL)
	put32(0x34, r.SignatureAlgo)
	put64(0x38, uint64(r.CurrentTCB))
	put64(0x40, uint64(r.PlatformInfo))
	put32(0x48, uint32(r.KeyInfo))
	copy(raw[0x50:], r.ReportData[:])
	copy(raw[0x90:], r.Measurement[:])
	copy(raw[0xc0:], r.HostData[:])
	copy(raw[0xe0:], r.IDKeyDigest[:])
	copy(raw[0x110:], r.AuthorKeyDigest[:])
	copy(raw[0x140:], r.ReportID[:])
	copy(raw[0x160:], r.ReportIDMA[:])
	put64(0x180, uint64(r.ReportedTCB))
	raw[0x188], raw[0x189], raw[0x18a] = r.Family, r.Model, r.Stepping
	copy(raw[0x1a0:], r.ChipID[:])
	put64(0x1e0, uint64(r.CommittedTCB))
	copy(raw[0x1e8:], []byte{r.Current.Build, r.Current.Minor, r.Current.Major})
	copy(raw[0x1ec:], []byte{r.Committed.Build, r.Committed.Minor, r.Committed.Major})
	put64(0x1f0, uint64(r.LaunchTCB))
	put64(0x1f8, r.LaunchMit)
	put64(0x200, r.CurrentMit)
	copy(raw[SignedSize:], r.Signature.R[:])
	copy(raw[SignedSize+72:], r.Signature.S[:])
	return raw
}

// Product names the processor from the report's CPUID; "" in version 2, which has none.
func (r *Report) Product() Product { return ProductOf(r.Family, r.Model) }

// ranges that are reserved in every version.
var everReserved = [...][2]int{{0x4c, 0x50}, {0x18b, 0x1a0}, {0x1eb, 0x1ec}, {0x1ef, 0x1f0}, {0x208, SignedSize}, {SignedSize + 144, ReportSize}}

// checkReserved judges what the manual fixes for the report's version.
func checkReserved(raw []byte, r *Report) error {
	var err error
	zero := func(from, to int) {
		if !allZero(raw[from:to]) {
			err = join(err, fmt.Errorf("reserved bytes %#x to %#x are not zero", from, to-1))
		}
	}
	for _, at := range everReserved {
		zero(at[0], at[1])
	}
	if r.Version < 3 {
		zero(0x188, 0x18b)
	}
	if r.Version < 5 {
		zero(0x1f8, 0x208)
	}
	// The numbers are 48 bytes long; the manual zero-extends them to 72.
	zero(SignedSize+48, SignedSize+72)
	zero(SignedSize+72+48, SignedSize+144)
	err = join(err, r.Policy.check(r.Version))
	err = join(err, r.PlatformInfo.check(r.Version))
	err = join(err, r.KeyInfo.check())
	if r.Version >= 3 {
		p := r.Product()
		if p == "" {
			err = join(err, fmt.Errorf("CPUID family %#x, model %#x is no product with SEV-SNP that is known", r.Family, r.Model))
		} else {
			err = join(err, r.checkTCBReserved(p))
		}
	}
	return err
}

// checkTCBReserved judges the reserved bytes of the four TCB versions.
func (r *Report) checkTCBReserved(p Product) error {
	if t := (r.CurrentTCB | r.ReportedTCB | r.CommittedTCB | r.LaunchTCB).reserved(p); t != 0 {
		return fmt.Errorf("reserved bytes of a TCB version of %s are not zero: %v", p, t)
	}
	return nil
}

func allZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }
