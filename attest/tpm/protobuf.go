package tpm

import (
	"errors"
	"fmt"

	"hitoku.dev/attest/eventlog"
)

// field is one field of a protobuf message: a number, or bytes.
type field struct {
	number int
	varint uint64
	bytes  []byte
	isNum  bool
}

const maxFields = 256 // of one message

// fields reads a protobuf message whose fields are varints and bytes, which is all
// that the messages here have. Varints must be as short as they can be.
func fields(msg []byte, yield func(field) error) error {
	for n := 0; len(msg) > 0; n++ {
		if n == maxFields {
			return fmt.Errorf("more than %d fields", maxFields)
		}
		tag, rest, err := varint(msg)
		if err != nil {
			return err
		}
		if tag>>3 == 0 || tag>>3 > 1<<20 {
			return fmt.Errorf("field number %d", tag>>3)
		}
		f := field{number: int(tag >> 3)}
		switch tag & 7 {
		case 0:
			f.isNum = true
			f.varint, msg, err = varint(rest)
		case 2:
			var size uint64
			if size, rest, err = varint(rest); err == nil && size > uint64(len(rest)) {
				err = fmt.Errorf("field %d ends early: %d bytes announced, %d left", f.number, size, len(rest))
			}
			if err == nil {
				f.bytes, msg = rest[:size:size], rest[size:]
			}
		default:
			err = fmt.Errorf("field %d has wire type %d", f.number, tag&7)
		}
		if err == nil {
			err = yield(f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func varint(b []byte) (uint64, []byte, error) {
	var v uint64
	for i := range min(len(b), 10) {
		c := b[i]
		if i == 9 && c > 1 {
			break
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			if c == 0 && i > 0 {
				return 0, nil, errors.New("a varint that is longer than it must be")
			}
			return v, b[i+1:], nil
		}
	}
	return 0, nil, errors.New("a varint that does not end")
}

// Fields of go-tpm-tools' messages (proto/attest/attest.proto, proto/tpm/tpm.proto).
const (
	fieldAKPub         = 1
	fieldQuotes        = 2
	fieldEventLog      = 3
	fieldInstanceInfo  = 4
	fieldAKCert        = 5
	fieldIntermediates = 6
)

// looksLikeAttestation reads the first field: an attestation key, as its writers put it first.
func looksLikeAttestation(raw []byte) bool {
	if len(raw) < 8 || raw[0] != fieldAKPub<<3|2 {
		return false
	}
	size, rest, err := varint(raw[1:])
	return err == nil && size <= maxPublic && size <= uint64(len(rest)) && size > 8 &&
		rest[0] == 0 && (rest[1] == algRSA || rest[1] == algECC)
}

// parseAttestation reads go-tpm-tools' Attestation. Unknown fields are left alone
// and named, fields that may come once only are refused the second time.
func parseAttestation(raw []byte) (*Evidence, error) {
	e := &Evidence{}
	seen := make(map[int]bool)
	err := fields(raw, func(f field) error {
		if f.number != fieldQuotes && f.number != fieldIntermediates && seen[f.number] {
			return fmt.Errorf("field %d twice", f.number)
		}
		seen[f.number] = true
		if f.isNum && f.number <= fieldIntermediates {
			return fmt.Errorf("field %d is a number", f.number)
		}
		switch f.number {
		case fieldAKPub:
			e.AKPublic = f.bytes
		case fieldQuotes:
			if len(e.Quotes) == maxQuotes {
				return fmt.Errorf("more than %d quotes", maxQuotes)
			}
			q, err := parseProtoQuote(f.bytes)
			if err != nil {
				return fmt.Errorf("quote %d: %w", len(e.Quotes)+1, err)
			}
			e.Quotes = append(e.Quotes, q)
		case fieldEventLog:
			e.EventLog = f.bytes
		case fieldInstanceInfo:
			e.unread = append(e.unread, "instance_info: it is not signed")
		case fieldAKCert:
			e.AKCert = f.bytes
		case fieldIntermediates:
			if len(e.Intermediates) == maxCerts {
				return fmt.Errorf("more than %d intermediate certificates", maxCerts)
			}
			e.Intermediates = append(e.Intermediates, f.bytes)
		default:
			if len(e.unread) < 8 {
				e.unread = append(e.unread, fmt.Sprintf("field %d of the attestation is not read", f.number))
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("TPM attestation (protobuf): %w", err)
	}
	return e, nil
}

// parseProtoQuote reads tpm.Quote{bytes quote = 1; bytes raw_sig = 2; PCRs pcrs = 3}.
func parseProtoQuote(raw []byte) (q Quote, err error) {
	seen := make(map[int]bool)
	err = fields(raw, func(f field) error {
		if f.isNum || f.number > 3 || seen[f.number] {
			return fmt.Errorf("field %d, unknown or twice", f.number)
		}
		seen[f.number] = true
		switch f.number {
		case 1:
			q.Attest = f.bytes
		case 2:
			q.Signature = f.bytes
		default:
			q.PCRs, err = parseProtoPCRs(f.bytes)
			return err
		}
		return nil
	})
	return q, err
}

// parseProtoPCRs reads tpm.PCRs{HashAlgo hash = 1; map<uint32, bytes> pcrs = 2}.
func parseProtoPCRs(raw []byte) (PCRs, error) {
	bank, out := eventlog.Alg(0), make(PCRs)
	err := fields(raw, func(f field) error {
		switch {
		case f.number == 1 && f.isNum && bank == 0 && f.varint > 0 && f.varint <= 0xffff:
			bank = eventlog.Alg(f.varint)
			return nil
		case f.number == 2 && !f.isNum && bank != 0:
			i, value, err := parseMapEntry(f.bytes)
			if err != nil {
				return err
			}
			return out.set(bank, i, value)
		}
		return fmt.Errorf("field %d of the PCRs, unknown or out of order", f.number)
	})
	return out, err
}

// parseMapEntry reads an entry of map<uint32, bytes>: key = 1, value = 2; a zero key may be left out.
func parseMapEntry(raw []byte) (key int, value []byte, err error) {
	seen := make(map[int]bool)
	err = fields(raw, func(f field) error {
		if seen[f.number] {
			return fmt.Errorf("field %d twice", f.number)
		}
		seen[f.number] = true
		switch {
		case f.number == 1 && f.isNum && f.varint < numPCRs:
			key = int(f.varint)
		case f.number == 2 && !f.isNum:
			value = f.bytes
		default:
			return fmt.Errorf("field %d of a PCR", f.number)
		}
		return nil
	})
	return key, value, err
}
