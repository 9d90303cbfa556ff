package tpm

import (
	"encoding/binary"
	"errors"
	"fmt"

	"hitoku.dev/attest/eventlog"
)

// Identifiers of the TPM 2.0 library specification, part 2.
const (
	magicGenerated = 0xff544347 // TPM_GENERATED_VALUE, section 6.2
	tagQuote       = 0x8018     // TPM_ST_ATTEST_QUOTE, section 6.9

	algRSA    = 0x0001
	algSHA1   = 0x0004
	algNull   = 0x0010
	algRSASSA = 0x0014
	algRSAPSS = 0x0016
	algECDSA  = 0x0018
	algECDAA  = 0x001a
	algECC    = 0x0023
)

// MaxAttest is the longest attestation structure that is read, in bytes.
const MaxAttest = 4096

// reader reads big-endian numbers. After the first failure everything is zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err == nil && n > len(r.b) {
		r.err = fmt.Errorf("ends early: %d bytes wanted, %d left", n, len(r.b))
	}
	if r.err != nil {
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// sized reads a TPM2B: a length of two bytes and as many bytes.
func (r *reader) sized() []byte { return r.take(int(r.u16())) }

func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%d bytes after the end", len(r.b))
	}
	return r.err
}

// Attest is a TPMS_ATTEST of a quote (part 2, section 10.12.12).
type Attest struct {
	QualifiedSigner []byte // name of the key in its hierarchy
	ExtraData       []byte // the nonce, at most 64 bytes
	// Clock is in milliseconds of operation. It and the counters are obscured unless the key
	// belongs to the endorsement hierarchy (part 1, section 36.7); they can be compared, not read.
	Clock        uint64
	ResetCount   uint32
	RestartCount uint32
	Safe         bool   // the clock did not go back
	Firmware     uint64 // version in the maker's own form
	Selection    []Selection
	PCRDigest    []byte
}

// Selection names PCRs of one bank.
type Selection struct {
	Bank eventlog.Alg
	Mask uint32 // bit i is PCR i
}

// ParseAttest reads a TPMS_ATTEST completely. It refuses everything but a quote
// that the TPM made itself.
func ParseAttest(raw []byte) (*Attest, error) {
	if len(raw) > MaxAttest {
		return nil, fmt.Errorf("TPM quote: %d bytes, at most %d allowed", len(raw), MaxAttest)
	}
	r := reader{b: raw}
	magic, tag := r.u32(), r.u16()
	switch {
	case r.err != nil:
		return nil, fmt.Errorf("TPM quote: %w", r.err)
	case magic != magicGenerated:
		return nil, fmt.Errorf("TPM quote: magic %#08x, wanted %#08x (TPM_GENERATED_VALUE)", magic, uint32(magicGenerated))
	case tag != tagQuote:
		return nil, fmt.Errorf("TPM quote: structure tag %#04x, wanted %#04x (quote)", tag, tagQuote)
	}
	a := &Attest{QualifiedSigner: r.sized(), ExtraData: r.sized(), Clock: r.u64(), ResetCount: r.u32(), RestartCount: r.u32()}
	safe := r.u8()
	a.Safe, a.Firmware = safe == 1, r.u64()
	err := a.readSelection(&r)
	a.PCRDigest = r.sized()
	switch {
	case r.end() != nil:
		err = r.err
	case safe > 1:
		err = fmt.Errorf("TPMI_YES_NO is %d", safe)
	case len(a.ExtraData) > 64 || len(a.PCRDigest) > 64 || len(a.QualifiedSigner) > 68:
		err = errors.New("a digest or name that is longer than any hash")
	}
	if err != nil {
		return nil, fmt.Errorf("TPM quote: %w", err)
	}
	return a, nil
}

// readSelection reads TPML_PCR_SELECTION (part 2, section 10.9.7).
func (a *Attest) readSelection(r *reader) error {
	n := r.u32()
	if n > 8 {
		return fmt.Errorf("%d PCR selections, at most 8", n)
	}
	for range n {
		s := Selection{Bank: eventlog.Alg(r.u16())}
		size := r.u8()
		if size == 0 || size > 4 {
			return fmt.Errorf("a PCR selection of %d bytes, wanted 1 to 4", size)
		}
		for i, b := range r.take(int(size)) {
			s.Mask |= uint32(b) << (8 * i)
		}
		for _, other := range a.Selection {
			if other.Bank == s.Bank {
				return fmt.Errorf("the bank %v is selected twice", s.Bank)
			}
		}
		a.Selection = append(a.Selection, s)
	}
	return nil
}
