package snp

import (
	"encoding/binary"
	"encoding/hex"
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
// in which a GUID is written (publ. 56421, MSG_REPORT_REQ; 56860 for the CRL).
func certGUID(k CertKind) (guid [16]byte, known bool) {
	text := map[CertKind]string{
		CertVCEK: "63da758de6644564adc5f4b93be8accd",
		CertVLEK: "a8074bc2a25a483eaae639c045a0b8a1",
		CertASK:  "4ab7b379bbac4fe4a02f05aef327c782",
		CertARK:  "c0b406a4a803495297433fb6014cd0ae",
		CertCRL:  "92f81bc358114d3d97ffd19f88dc67ea",
	}[k]
	n, err := hex.Decode(guid[:], []byte(text))
	return guid, err == nil && n == len(guid)
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
func ParseCertTable(raw []byte) ([]CertEntry, error) {
	if len(raw) > maxTable {
		return nil, fmt.Errorf("certificate table: %d bytes, at most %d allowed", len(raw), maxTable)
	}
	type span struct{ from, to int }
	var (
		spans   []span
		entries []CertEntry
		at      int
	)
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
	for _, k := range []CertKind{CertVCEK, CertVLEK, CertASK, CertARK, CertCRL} {
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
