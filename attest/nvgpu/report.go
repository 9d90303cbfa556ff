package nvgpu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"hitoku.dev/attest/internal/p384"
)

const (
	// RequestSize is the length of the GET_MEASUREMENTS request before a response, in bytes.
	RequestSize = 37
	// MaxReport is the longest report that is read, in bytes.
	MaxReport = 16 << 10
	// NonceSize is the length of requester's and responder's nonces, in bytes.
	NonceSize = 32

	headerSize     = 8 // of the response
	maxMeasurement = 256
	maxIndex       = 0xef // higher ones have other meanings in SPDM
)

// ErrFormat is wrapped by every error about bytes that are no evidence of this kind.
var ErrFormat = errors.New("no NVIDIA device evidence")

// Measurement is one block of a report in DMTF's form.
type Measurement struct {
	Index byte   // from 1; RIM files count from 0
	Type  byte   // DMTFSpecMeasurementValueType
	Value []byte // a digest of 48 bytes, in all devices known
}

// Report is a GET_MEASUREMENTS request and the MEASUREMENTS response to it.
type Report struct {
	// Nonce is the requester's challenge, 32 bytes.
	Nonce [NonceSize]byte
	// Slot is the certificate slot that was asked for.
	Slot byte
	// ResponderNonce is the device's own, 32 bytes.
	ResponderNonce [NonceSize]byte
	// Measurements are in ascending order of their index.
	Measurements []Measurement
	// Opaque are NVIDIA's fields by type, none twice.
	Opaque map[uint16][]byte
	// Signed is the request and the response without its signature.
	Signed []byte
	// Signature is r and s, 48 bytes each, big-endian.
	Signature []byte
	// Trailing is the number of zero bytes after the report, which some tools leave there.
	Trailing int
}

// ParseReport reads a report and nothing after it but zero bytes. It keeps parts of
// raw. Its errors wrap [ErrFormat].
func ParseReport(raw []byte) (*Report, error) {
	r, rest, err := parseReport(raw)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimLeft(rest, "\x00")) > 0 || len(raw) > MaxReport {
		return nil, fmt.Errorf("%w: %d bytes after the report", ErrFormat, len(rest))
	}
	r.Trailing = len(rest)
	return r, nil
}

// parseReport reads a report at the start of raw. The report keeps parts of raw.
func parseReport(raw []byte) (*Report, []byte, error) {
	r := &Report{}
	rest, err := r.parse(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return r, rest, nil
}

func (r *Report) parse(raw []byte) ([]byte, error) {
	if len(raw) < RequestSize+headerSize {
		return nil, fmt.Errorf("%d bytes, an SPDM report has more", len(raw))
	}
	if raw[0] != 0x11 || raw[1] != 0xe0 || raw[2] != 1 || raw[3] != 0xff {
		return nil, fmt.Errorf("SPDM request %x, wanted 11e001ff: GET_MEASUREMENTS of SPDM 1.1, signed, all of them", raw[:4])
	}
	r.Nonce, r.Slot = [NonceSize]byte(raw[4:36]), raw[36]
	if r.Slot > 7 {
		return nil, fmt.Errorf("certificate slot %d, wanted 0 to 7", r.Slot)
	}
	head, rest := raw[RequestSize:RequestSize+headerSize], raw[RequestSize+headerSize:]
	if head[0] != 0x11 || head[1] != 0x60 {
		return nil, fmt.Errorf("SPDM response %x, wanted 1160: MEASUREMENTS of SPDM 1.1", head[:2])
	}
	record, rest, err := cut(rest, int(head[5])|int(head[6])<<8|int(head[7])<<16, "measurement record")
	if err != nil {
		return nil, err
	}
	if err := r.parseMeasurements(record, int(head[4])); err != nil {
		return nil, err
	}
	nonce, rest, err := cut(rest, NonceSize+2, "nonce and length of the opaque data")
	if err != nil {
		return nil, err
	}
	r.ResponderNonce = [NonceSize]byte(nonce)
	opaque, rest, err := cut(rest, int(binary.LittleEndian.Uint16(nonce[NonceSize:])), "opaque data")
	if err != nil {
		return nil, err
	}
	if err := r.parseOpaque(opaque); err != nil {
		return nil, err
	}
	r.Signature, rest, err = cut(rest, p384.SignatureSize, "signature")
	if err != nil {
		return nil, err
	}
	size := len(raw) - len(rest)
	if size > MaxReport {
		return nil, fmt.Errorf("a report of %d bytes, at most %d are read", size, MaxReport)
	}
	r.Signed = raw[:size-p384.SignatureSize]
	return rest, nil
}

// cut splits n bytes off b.
func cut(b []byte, n int, what string) (head, tail []byte, err error) {
	if n > len(b) {
		return nil, nil, fmt.Errorf("%s of %d bytes, and %d are there", what, n, len(b))
	}
	return b[:n:n], b[n:], nil
}

// parseMeasurements reads blocks in DMTF's form (DSP0274 tables 45 and 46).
func (r *Report) parseMeasurements(record []byte, count int) error {
	if count == 0 || count > maxIndex {
		return fmt.Errorf("%d measurements, wanted 1 to %d", count, maxIndex)
	}
	last := byte(0)
	for range count {
		head, rest, err := cut(record, 7, "head of a measurement")
		if err != nil {
			return err
		}
		index, size := head[0], int(binary.LittleEndian.Uint16(head[2:]))
		switch {
		case index <= last || index > maxIndex:
			return fmt.Errorf("measurement %d after %d, wanted ascending indexes up to %d", index, last, maxIndex)
		case head[1] != 1:
			return fmt.Errorf("measurement %d: specification %d, wanted 1 (DMTF)", index, head[1])
		case size != 3+int(binary.LittleEndian.Uint16(head[5:])) || size <= 3 || size > 3+maxMeasurement:
			return fmt.Errorf("measurement %d: a block of %d bytes around a value of %d", index, size, binary.LittleEndian.Uint16(head[5:]))
		}
		value, rest, err := cut(rest, size-3, "measurement")
		if err != nil {
			return err
		}
		r.Measurements = append(r.Measurements, Measurement{Index: index, Type: head[4], Value: value})
		last, record = index, rest
	}
	if len(record) > 0 {
		return fmt.Errorf("%d bytes after the last of %d measurements", len(record), count)
	}
	return nil
}

// parseOpaque reads fields of type and length, two bytes each, and data.
func (r *Report) parseOpaque(b []byte) error {
	r.Opaque = make(map[uint16][]byte)
	for len(b) > 0 {
		head, rest, err := cut(b, 4, "head of an opaque field")
		if err != nil {
			return err
		}
		kind := binary.LittleEndian.Uint16(head)
		data, rest, err := cut(rest, int(binary.LittleEndian.Uint16(head[2:])), fmt.Sprintf("opaque field %d", kind))
		if err != nil {
			return err
		}
		if _, twice := r.Opaque[kind]; twice {
			return fmt.Errorf("opaque field %d twice", kind)
		}
		if len(r.Opaque) == maxOpaque {
			return fmt.Errorf("more than %d opaque fields", maxOpaque)
		}
		r.Opaque[kind], b = data, rest
	}
	return nil
}

const maxOpaque = 64
