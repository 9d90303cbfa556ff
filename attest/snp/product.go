package snp

import "fmt"

// Product is a line of processors, by the name that AMD's key distribution
// service and the certificates give it.
type Product string

// The products that have SEV-SNP and a root key of their own.
const (
	Milan Product = "Milan" // family 19h, models 00h to 0Fh
	Genoa Product = "Genoa" // family 19h, models 10h to 1Fh, and A0h to AFh (Bergamo, Siena)
	Turin Product = "Turin" // family 1Ah, models 00h to 1Fh
)

// Products returns every product line, oldest first.
func Products() []Product { return []Product{Milan, Genoa, Turin} }

// Known reports whether p is one of [Products].
func (p Product) Known() bool { return p == Milan || p == Genoa || p == Turin }

// HWIDSize is the length in bytes of the hardware id in the product's VCEK
// certificates: 8 for Turin, whose CHIP_ID is followed by zeros, else 64.
func (p Product) HWIDSize() int {
	if p == Turin {
		return 8
	}
	return 64
}

// ProductOf names the product line with a CPUID family (extended and base family
// added up) and model (extended model << 4 | model), "" for others.
func ProductOf(family, model uint8) Product {
	switch {
	case family == 0x19 && model <= 0x0f:
		return Milan
	case family == 0x19 && (model >= 0x10 && model <= 0x1f || model >= 0xa0 && model <= 0xaf):
		return Genoa
	case family == 0x1a && model <= 0x1f:
		return Turin
	}
	return ""
}

// TCBVersion is the 8 bytes TCB_VERSION as a little-endian number, the form in
// which tools print it. Which byte means what depends on the product (publ. 56860,
// table TCB_VERSION).
type TCBVersion uint64

// TCBParts are the security version numbers inside a TCBVersion.
type TCBParts struct {
	Bootloader, TEE, SNP, Microcode uint8
	FMC                             uint8 // Turin only: the first mutable code
}

// Parts takes t apart for a product.
func (t TCBVersion) Parts(p Product) TCBParts {
	if p == Turin {
		return TCBParts{FMC: uint8(t), Bootloader: uint8(t >> 8), TEE: uint8(t >> 16), SNP: uint8(t >> 24), Microcode: uint8(t >> 56)}
	}
	return TCBParts{Bootloader: uint8(t), TEE: uint8(t >> 8), SNP: uint8(t >> 48), Microcode: uint8(t >> 56)}
}

// Version puts the parts together for a product; reserved bytes are zero.
func (s TCBParts) Version(p Product) TCBVersion {
	if p == Turin {
		return TCBVersion(s.FMC) | TCBVersion(s.Bootloader)<<8 | TCBVersion(s.TEE)<<16 | TCBVersion(s.SNP)<<24 | TCBVersion(s.Microcode)<<56
	}
	return TCBVersion(s.Bootloader) | TCBVersion(s.TEE)<<8 | TCBVersion(s.SNP)<<48 | TCBVersion(s.Microcode)<<56
}

// reserved returns the reserved bits of t, which must be zero.
func (t TCBVersion) reserved(p Product) TCBVersion {
	if p == Turin {
		return t & 0x00ffffff_00000000
	}
	return t & 0x0000ffff_ffff0000
}

// atMost reports whether no part of t is above that of o. It compares byte by
// byte, which holds for every layout.
func (t TCBVersion) atMost(o TCBVersion) bool {
	for shift := 0; shift < 64; shift += 8 {
		if uint8(t>>shift) > uint8(o>>shift) {
			return false
		}
	}
	return true
}

func (t TCBVersion) String() string { return fmt.Sprintf("%#016x", uint64(t)) }

// text writes the parts for a product, for people.
func (t TCBVersion) text(p Product) string {
	s := t.Parts(p)
	out := fmt.Sprintf("bootloader %d, tee %d, snp %d, microcode %d", s.Bootloader, s.TEE, s.SNP, s.Microcode)
	if p == Turin {
		out = fmt.Sprintf("fmc %d, ", s.FMC) + out
	}
	return out
}
