package snp

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// MaxEvidence is the length in bytes of the longest evidence that is read.
const MaxEvidence = 128 << 10

// Evidence is a report with what travelled beside it, none of it verified.
type Evidence struct {
	Report *Report
	Raw    []byte   // the report's 1184 bytes
	Certs  [][]byte // DER or PEM
	CRLs   [][]byte // DER

	carried  []byte // the bytes that Certs and CRLs were cut out of
	form     string // the container, for people
	note     string // what was ignored, for people
	reserved error  // reserved bits that are not as they should be
}

// Containers, for people.
const (
	formBare     = "a bare report"
	formExtended = "a report with its certificate table"
	formTSM      = "the JSON form of configfs-tsm"
	formTrustee  = "trustee's JSON evidence"
)

// Recognise reports whether raw looks like evidence that [Verify] reads. It is
// cheap, allocates nothing and verifies nothing.
func Recognise(raw []byte) bool {
	if len(raw) > MaxEvidence {
		return false
	}
	if looksLikeReport(raw) || isResponse(raw) {
		return true
	}
	return isTrustee(raw) || isTSM(raw)
}

func looksLikeReport(raw []byte) bool {
	if len(raw) < ReportSize {
		return false
	}
	version := binary.LittleEndian.Uint32(raw)
	algo := binary.LittleEndian.Uint32(raw[0x34:])
	key := KeyInfo(binary.LittleEndian.Uint32(raw[0x48:]))
	return version >= MinVersion && version <= MaxVersion &&
		(algo == SignatureECDSAP384 || algo == 0 && key.SigningKey() == None) &&
		allZero(raw[0x4c:0x50]) && raw[0x0a]&2 != 0 // the policy bit that is always one
}

// responseHeader is the length of what goes before a report in MSG_REPORT_RSP: status, size, zeros.
const responseHeader = 0x20

// isResponse recognises the firmware's MSG_REPORT_RSP, as /dev/sev-guest hands it out.
func isResponse(raw []byte) bool {
	return len(raw) >= responseHeader+ReportSize && allZero(raw[:4]) && binary.LittleEndian.Uint32(raw[4:]) == ReportSize &&
		allZero(raw[8:responseHeader]) && looksLikeReport(raw[responseHeader:])
}

// isTrustee and isTSM look for the names of members, not for where they stand.
func isTrustee(raw []byte) bool {
	return isObject(raw) && bytes.Contains(raw, []byte(`"attestation_report"`))
}

func isTSM(raw []byte) bool {
	return isObject(raw) && bytes.Contains(raw, []byte(`"outblob"`)) && bytes.Contains(raw, []byte(`"sev_guest"`))
}

func isObject(raw []byte) bool {
	text := bytes.TrimLeft(raw, " \t\r\n")
	return len(text) > 0 && text[0] == '{'
}

// Read takes evidence out of its container and verifies nothing. Containers are: a
// bare report; one followed by the certificate table (the extended report, and
// configfs-tsm's outblob with auxblob behind it); the firmware's MSG_REPORT_RSP; a
// JSON object with provider "sev_guest" and base64 members outblob and auxblob;
// and trustee's JSON object with attestation_report and cert_chain. Bytes after a
// report that are no table are ignored. The error wraps [ErrFormat].
func Read(raw []byte) (*Evidence, error) {
	e, err := read(raw)
	if err != nil {
		return nil, err
	}
	if e.reserved != nil {
		return nil, formatError("%w", e.reserved)
	}
	return e, nil
}

// read is Read, but keeps reserved bits for a rule.
func read(raw []byte) (*Evidence, error) {
	switch {
	case len(raw) > MaxEvidence:
		return nil, formatError("%d bytes, at most %d allowed", len(raw), MaxEvidence)
	case isResponse(raw):
		return readReport(raw[responseHeader:])
	case isTrustee(raw):
		return readTrustee(raw)
	case isTSM(raw):
		return readTSM(raw)
	}
	return readReport(raw)
}

func readReport(raw []byte) (*Evidence, error) {
	report, err := parseReport(raw)
	if err != nil {
		return nil, err
	}
	e := &Evidence{Report: report, Raw: raw[:ReportSize], form: formBare, reserved: checkReserved(raw[:ReportSize], report)}
	if rest := raw[ReportSize:]; len(rest) > 0 {
		e.readTable(rest)
	}
	return e, nil
}

// readTable reads the bytes after a report. What is no table is ignored: some
// devices hand out a whole page.
func (e *Evidence) readTable(rest []byte) {
	if allZero(rest) {
		e.note = fmt.Sprintf("%d zero bytes after its end ignored", len(rest))
		return
	}
	var buf [maxEntries]CertEntry
	entries, err := parseCertTable(rest, buf[:0])
	if err != nil {
		e.note = fmt.Sprintf("%d bytes after its end ignored (%v)", len(rest), err)
		return
	}
	e.form, e.carried = formExtended, rest
	e.Certs = make([][]byte, 0, len(entries))
	unknown := 0
	for i := range entries {
		if !e.add(entries[i].Kind, entries[i].Data) {
			unknown++
		}
	}
	if unknown > 0 {
		e.note = fmt.Sprintf("%d entries of unknown kind ignored", unknown)
	}
}

// add takes an entry of a certificate table, if its kind is known.
func (e *Evidence) add(kind CertKind, data []byte) bool {
	switch kind {
	case CertVCEK, CertVLEK, CertASK, CertARK:
		e.Certs = append(e.Certs, data)
	case CertCRL:
		e.CRLs = append(e.CRLs, data)
	default:
		return false
	}
	return true
}
