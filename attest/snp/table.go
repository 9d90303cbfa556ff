package snp

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// CertKind says what an entry of the certificate table is.
type CertKind string

// Kinds of entries, and the names that JSON evidence gives them.
const (
	CertVCEK CertKind = "VCEK"
	CertVLEK CertKind = "VLEK"
	CertASK  CertKind = "ASK" // also the ASVK
	CertARK  CertKind = "ARK"
	CertCRL  CertKind = "CRL"
)

// certGUID returns the 16 bytes that stand for a kind in the table, in the order
// in which a GUID is written (publ. 56421, MSG_REPORT_REQ; the CRL's after the
// tools of the virtee project).
func certGUID(k CertKind) (guid [16]byte, known bool) {
	switch k {
	case CertVCEK: // 63da758d-e664-4564-adc5-f4b93be8accd
		return [16]byte{0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac, 0xcd}, true
	case CertVLEK: // a8074bc2-a25a-483e-aae6-39c045a0b8a1
		return [16]byte{0xa8, 0x07, 0x4b, 0xc2, 0xa2, 0x5a, 0x48, 0x3e, 0xaa, 0xe6, 0x39, 0xc0, 0x45, 0xa0, 0xb8, 0xa1}, true
	case CertASK: // 4ab7b379-bbac-4fe4-a02f-05aef327c782
		return [16]byte{0x4a, 0xb7, 0xb3, 0x79, 0xbb, 0xac, 0x4f, 0xe4, 0xa0, 0x2f, 0x05, 0xae, 0xf3, 0x27, 0xc7, 0x82}, true
	case CertARK: // c0b406a4-a803-4952-9743-3fb6014cd0ae
		return [16]byte{0xc0, 0xb4, 0x06, 0xa4, 0xa8, 0x03, 0x49, 0x52, 0x97, 0x43, 0x3f, 0xb6, 0x01, 0x4c, 0xd0, 0xae}, true
	case CertCRL: // 92f81bc3-5811-4d3d-97ff-d19f88dc67ea
		return [16]byte{0x92, 0xf8, 0x1b, 0xc3, 0x58, 0x11, 0x4d, 0x3d, 0x97, 0xff, 0xd1, 0x9f, 0x88, 0xdc, 0x67, 0xea}, true
	}
	return guid, false
}

// Limits on a certificate table, in bytes and entries.
const (
	maxTable   = 64 << 10
	maxEntries = 16
	entrySize  = 24
)

// CertEntry is one entry of the certificate table.
type CertEntry struct {
	Kind CertKind // empty for a GUID that is not known
	GUID [16]byte // set when the table is read
	Data []byte   // a certificate or CRL in DER, for the kinds that are known
}

// ParseCertTable reads the table that the host gives with an extended report
// (SNP_GET_EXT_REPORT, or auxblob of configfs-tsm): entries of GUID, offset and
// length, an entry of zeros, then the data. The data of no two entries overlap.
// What follows the last of them is ignored.
func ParseCertTable(raw []byte) ([]CertEntry, error) { return parseCertTable(raw, nil) }

// parseCertTable appends to entries, so that a caller can give the room.
func parseCertTable(raw []byte, entries []CertEntry) ([]CertEntry, error) {
	if len(raw) > maxTable {
		return nil, fmt.Errorf("certificate table: %d bytes, at most %d allowed", len(raw), maxTable)
	}
	type span struct{ from, to int }
	var buf [maxEntries]span
	spans := buf[:0]
	at := 0
	for ; ; at += entrySize {
		if len(raw)-at < entrySize {
			return nil, errors.New("certificate table: no entry of zeros at its end")
		}
		entry := raw[at : at+entrySize]
		if allZero(entry) {
			at += entrySize
			break
		}
		if len(entries) == maxEntries {
			return nil, fmt.Errorf("certificate table: more than %d entries", maxEntries)
		}
		offset, length := binary.LittleEndian.Uint32(entry[16:]), binary.LittleEndian.Uint32(entry[20:])
		if length == 0 || uint64(offset)+uint64(length) > uint64(len(raw)) {
			return nil, fmt.Errorf("certificate table: entry %d has %d bytes at %d of %d", len(entries)+1, length, offset, len(raw))
		}
		s := span{int(offset), int(offset) + int(length)}
		for _, o := range spans {
			if s.from < o.to && o.from < s.to {
				return nil, fmt.Errorf("certificate table: entry %d overlaps another", len(entries)+1)
			}
		}
		spans = append(spans, s)
		e := CertEntry{GUID: [16]byte(entry[:16]), Data: raw[s.from:s.to]}
		e.Kind = kindOf(e.GUID)
		entries = append(entries, e)
	}
	for i, s := range spans {
		if s.from < at {
			return nil, fmt.Errorf("certificate table: the data of entry %d lie inside the table", i+1)
		}
	}
	return entries, nil
}

func kindOf(guid [16]byte) CertKind {
	for _, k := range [...]CertKind{CertVCEK, CertVLEK, CertASK, CertARK, CertCRL} {
		if g, _ := certGUID(k); g == guid {
			return k
		}
	}
	return ""
}

// MarshalCertTable writes a certificate table. An entry with a kind has that kind's GUID.
func MarshalCertTable(entries []CertEntry) ([]byte, error) {
	head := entrySize * (len(entries) + 1)
	raw := make([]byte, head)
	for i, e := range entries {
		guid := e.GUID
		if e.Kind != "" {
			var known bool
			if guid, known = certGUID(e.Kind); !known {
				return nil, fmt.Errorf("certificate table: kind %q is not known", e.Kind)
			}
		}
		entry := raw[i*entrySize:]
		copy(entry, guid[:])
		binary.LittleEndian.PutUint32(entry[16:], uint32(len(raw)))
		binary.LittleEndian.PutUint32(entry[20:], uint32(len(e.Data)))
		raw = append(raw, e.Data...)
	}
	if len(raw) > maxTable || len(entries) > maxEntries {
		return nil, fmt.Errorf("certificate table: %d entries in %d bytes, at most %d in %d allowed", len(entries), len(raw), maxEntries, maxTable)
	}
	return raw, nil
}
