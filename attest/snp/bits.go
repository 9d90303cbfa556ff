package snp

import "fmt"

// Policy is the guest policy, fixed at launch (publ. 56860, table Guest Policy).
type Policy uint64

// Bits of the guest policy.
const (
	PolicySMT              Policy = 1 << 16 // the host may use SMT
	policyReservedOne      Policy = 1 << 17
	PolicyMigrateMA        Policy = 1 << 18 // a migration agent may be associated
	PolicyDebug            Policy = 1 << 19 // the host may read and write the guest
	PolicySingleSocket     Policy = 1 << 20 // runs on one socket only
	PolicyCXLAllow         Policy = 1 << 21 // CXL devices and memory are allowed
	PolicyAES256XTS        Policy = 1 << 22 // memory encryption must be AES-256-XTS
	PolicyRAPLDisable      Policy = 1 << 23 // running average power limit must be off
	PolicyCiphertextHiding Policy = 1 << 24 // ciphertext hiding must be on
	PolicyPageSwapDisable  Policy = 1 << 25 // no page move or swap, version 5
)

// Has reports whether every bit of b is set.
func (p Policy) Has(b Policy) bool { return p&b == b }

// ABIMinor is the lowest minor version of the firmware ABI that the guest accepts.
func (p Policy) ABIMinor() uint8 { return uint8(p) }

// ABIMajor is the lowest major version of the firmware ABI that the guest accepts.
func (p Policy) ABIMajor() uint8 { return uint8(p >> 8) }

// NewPolicy makes a policy from flags; the bit that must be one is set.
func NewPolicy(major, minor uint8, flags Policy) Policy {
	return Policy(major)<<8 | Policy(minor) | flags | policyReservedOne
}

func (p Policy) check(version uint32) error {
	known := Policy(1<<25 - 1)
	if version >= 5 {
		known |= PolicyPageSwapDisable
	}
	switch {
	case !p.Has(policyReservedOne):
		return fmt.Errorf("guest policy %#x: bit 17 must be one", uint64(p))
	case p&^known != 0:
		return fmt.Errorf("guest policy %#x: bits %#x are reserved in version %d", uint64(p), uint64(p&^known), version)
	}
	return nil
}

// PlatformInfo is the state of the host (publ. 56860, table PLATFORM_INFO).
type PlatformInfo uint64

// Bits of the platform info.
const (
	PlatformSMT              PlatformInfo = 1 << 0
	PlatformTSME             PlatformInfo = 1 << 1
	PlatformECC              PlatformInfo = 1 << 2
	PlatformRAPLDisabled     PlatformInfo = 1 << 3
	PlatformCiphertextHiding PlatformInfo = 1 << 4
	PlatformAliasCheck       PlatformInfo = 1 << 5 // no aliased memory addresses since reset, version 3
	PlatformTIO              PlatformInfo = 1 << 7 // SEV-TIO is on, version 5
)

// Has reports whether every bit of b is set.
func (p PlatformInfo) Has(b PlatformInfo) bool { return p&b == b }

func (p PlatformInfo) check(version uint32) error {
	known := PlatformInfo(1<<5 - 1)
	if version >= 3 {
		known |= PlatformAliasCheck
	}
	if version >= 5 {
		known |= PlatformTIO
	}
	if p&^known != 0 {
		return fmt.Errorf("platform info %#x: bits %#x are reserved in version %d", uint64(p), uint64(p&^known), version)
	}
	return nil
}

// SigningKey says which key signed a report.
type SigningKey uint8

// The values of SIGNING_KEY.
const (
	VCEK SigningKey = 0 // versioned chip endorsement key
	VLEK SigningKey = 1 // versioned loaded endorsement key
	None SigningKey = 7 // not signed
)

// String is the name of the key as in the KDS's paths: "vcek", "vlek" or "none".
func (k SigningKey) String() string {
	switch k {
	case VCEK:
		return "vcek"
	case VLEK:
		return "vlek"
	case None:
		return "none"
	}
	return fmt.Sprintf("reserved(%d)", uint8(k))
}

// KeyInfo is the 4 bytes with AUTHOR_KEY_EN, MASK_CHIP_KEY and SIGNING_KEY.
type KeyInfo uint32

// NewKeyInfo makes the word from its members.
func NewKeyInfo(key SigningKey, maskChipKey, authorKey bool) KeyInfo {
	k := KeyInfo(key) << 2
	if maskChipKey {
		k |= 2
	}
	if authorKey {
		k |= 1
	}
	return k
}

// AuthorKey reports whether AUTHOR_KEY_DIGEST holds the digest of an author key.
func (k KeyInfo) AuthorKey() bool { return k&1 != 0 }

// MaskChipKey reports whether the host forbids the use of the chip's own key.
func (k KeyInfo) MaskChipKey() bool { return k&2 != 0 }

// SigningKey returns which key signed the report.
func (k KeyInfo) SigningKey() SigningKey { return SigningKey(k >> 2 & 7) }

func (k KeyInfo) check() error {
	if s := k.SigningKey(); k>>5 != 0 || s != VCEK && s != VLEK && s != None {
		return fmt.Errorf("key information %#x has reserved bits or a reserved signing key", uint32(k))
	}
	return nil
}
