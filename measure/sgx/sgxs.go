package sgx

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// SGXS is what an SGX stream says of its enclave.
type SGXS struct {
	MRENCLAVE  [32]byte
	Size       uint64 // of the enclave in bytes, a power of two
	SSAFrame   uint32 // pages
	Pages      uint64 // that are added
	Threads    uint64 // pages of type TCS
	Unmeasured uint64 // bytes that are loaded without being measured
}

// ErrSGXS is wrapped by every error about bytes that are not an SGX stream.
var ErrSGXS = errors.New("not an SGXS stream")

const (
	sgxsRecord = 64
	sgxsChunk  = 256
	sgxsPage   = 4096
	secinfoTCS = 1 // page type, bits 8 to 15 of SECINFO's flags
)

// MeasureSGXS reads an SGX stream (SGXS, or ESGXS with UNMEASRD records; the form that
// Fortanix EDP's tools write) and computes MRENCLAVE: SHA-256 over its records without what is
// not measured. It refuses records that no processor takes, an enclave without its size
// (UNSIZED), and bytes behind the last record; it does not notice a page that is added twice.
func MeasureSGXS(r io.Reader) (*SGXS, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	sum := sha256.New()
	s := &SGXS{}
	var rec [sgxsRecord]byte
	var chunk [sgxsChunk]byte
	page, next := uint64(0), uint64(0) // the page that was added last, and the least offset that may follow in it
	for n := 0; ; n++ {
		if _, err := io.ReadFull(in, rec[:]); err == io.EOF && n > 0 {
			break
		} else if err != nil {
			return nil, fmt.Errorf("%w: record %d: %w", ErrSGXS, n, err)
		}
		bad := func(format string, a ...any) (*SGXS, error) {
			return nil, fmt.Errorf("%w: record %d: %s", ErrSGXS, n, fmt.Sprintf(format, a...))
		}
		le := binary.LittleEndian
		tag := string(rec[:8])
		if (tag == "ECREATE\x00") != (n == 0) {
			if n == 0 && tag == "UNSIZED\x00" {
				return bad("UNSIZED: the enclave has no size yet; finish it with the tools that made it")
			}
			return bad("%q, wanted ECREATE first and only there", tag)
		}
		offset := le.Uint64(rec[8:])
		switch tag {
		case "ECREATE\x00":
			s.SSAFrame, s.Size = le.Uint32(rec[8:]), le.Uint64(rec[12:])
			if s.SSAFrame == 0 || s.Size < 2*sgxsPage || s.Size&(s.Size-1) != 0 || !zeros(rec[20:]) {
				return bad("ECREATE of %d bytes with SSA frames of %d pages, wanted a power of two from 8192, one page and zeros behind", s.Size, s.SSAFrame)
			}
		case "EADD\x00\x00\x00\x00":
			flags := le.Uint64(rec[16:])
			if offset%sgxsPage != 0 || offset >= s.Size || !zeros(rec[24:]) {
				return bad("EADD at %#x of an enclave of %#x bytes, wanted a page of it and zeros behind the flags", offset, s.Size)
			}
			page, next = offset, offset
			s.Pages++
			if flags>>8&0xff == secinfoTCS {
				s.Threads++
			}
		case "EEXTEND\x00", "UNMEASRD":
			if s.Pages == 0 || offset%sgxsChunk != 0 || offset < next || offset >= page+sgxsPage || !zeros(rec[16:]) {
				return bad("%s at %#x, wanted the next 256 bytes of the page that was added last, %#x", bytes.TrimRight(rec[:8], "\x00"), offset, page)
			}
			next = offset + sgxsChunk
			if _, err := io.ReadFull(in, chunk[:]); err != nil {
				return bad("its 256 bytes are missing")
			}
			if tag == "UNMEASRD" {
				s.Unmeasured += sgxsChunk
				continue
			}
			sum.Write(rec[:])
			sum.Write(chunk[:])
			continue
		default:
			return bad("%q, wanted EADD, EEXTEND or UNMEASRD", tag)
		}
		sum.Write(rec[:])
	}
	if s.Pages == 0 {
		return nil, fmt.Errorf("%w: an enclave without pages", ErrSGXS)
	}
	sum.Sum(s.MRENCLAVE[:0])
	return s, nil
}

func zeros(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }
