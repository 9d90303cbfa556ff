package tpm

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"

	"hitoku.dev/attest/eventlog"
)

// Limits of a piece of evidence.
const (
	MaxEvidence = 1 << 20 // in any container, in bytes
	maxQuotes   = 4
	maxCerts    = 8
)

// Quote is what one TPM2_Quote gave, with the register values that belong to it.
type Quote struct {
	Attest    []byte // TPMS_ATTEST
	Signature []byte // TPMT_SIGNATURE; Azure's agents give the bare RSA signature instead
	PCRs      PCRs
	bare      bool // Signature is RSASSA with SHA-256 and has no header
}

// Evidence is what any of the containers holds.
type Evidence struct {
	// AKPublic is the attestation key as TPMT_PUBLIC; nil where only the bare key is there.
	AKPublic      []byte
	AKKey         crypto.PublicKey // *rsa.PublicKey or *ecdsa.PublicKey, when AKPublic is nil
	AKCert        []byte           // DER
	Intermediates [][]byte         // DER
	Quotes        []Quote
	EventLog      []byte
	// Azure is set for confidential machines of Azure.
	Azure *Azure

	unread []string // parts of the container that say nothing that was signed
}

// Azure is the part of the evidence of a confidential machine that hardware signed.
type Azure struct {
	HCL     *HCLReport
	VCEK    []byte // DER, for SEV-SNP
	TDQuote []byte // for TDX
}

// container is one form in which evidence comes.
type container int

const (
	unknown container = iota
	protobuf
	trusteeJSON
	azureJSON
	hclReport
)

func containerOf(raw []byte) container {
	switch {
	case isHCL(raw):
		return hclReport
	case looksLikeAttestation(raw):
		return protobuf
	}
	text := bytes.TrimLeft(raw, " \t\r\n")
	if len(text) == 0 || text[0] != '{' {
		return unknown
	}
	// Only the names are looked for here; the decoder decides.
	has := func(name string) bool { return bytes.Contains(text, []byte(`"`+name+`"`)) }
	switch {
	case has("message") && has("pcrs") && (has("hcl_report") || has("report")):
		return azureJSON
	case has("message") && has("pcrs") && has("ak_public"):
		return trusteeJSON
	}
	return unknown
}

// Recognise reports whether Verify would try raw. It looks at little of it.
func Recognise(raw []byte) bool {
	return len(raw) <= MaxEvidence && containerOf(raw) != unknown
}

// Parse reads evidence in any container. The result refers to raw.
func Parse(raw []byte) (*Evidence, error) {
	if len(raw) > MaxEvidence {
		return nil, fmt.Errorf("TPM evidence: %d bytes, at most %d allowed", len(raw), MaxEvidence)
	}
	var e *Evidence
	var err error
	switch containerOf(raw) {
	case protobuf:
		e, err = parseAttestation(raw)
	case trusteeJSON, azureJSON:
		e, err = parseJSON(raw)
	case hclReport:
		e = &Evidence{Azure: &Azure{}}
		e.Azure.HCL, err = ParseHCL(raw)
	default:
		return nil, errors.New("TPM evidence: neither go-tpm-tools' protobuf nor JSON with a TPM quote nor an HCL report")
	}
	if err != nil {
		return nil, err
	}
	if len(e.Quotes) == 0 && e.Azure == nil {
		return nil, errors.New("TPM evidence: it has no quote")
	}
	if len(e.EventLog) > 0 && !eventlog.Recognise(e.EventLog) {
		e.unread = append(e.unread, "event_log: its format is not known")
	}
	return e, nil
}
