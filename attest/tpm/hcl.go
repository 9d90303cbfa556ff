package tpm

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
)

// Layout of the HCL report in NV index 0x01400001 of Azure's virtual TPM: a header
// of 32 bytes, a hardware report area of 1184 bytes, the runtime data.
const (
	hclMagic        = "HCLA"
	hclHeader       = 32
	hclHardware     = 1184 // an SNP report has this size; a TDREPORT fills 1024 of it
	hclRuntime      = 20   // header of the runtime data
	tdReportSize    = 1024
	maxHCL          = 16 << 10
	reportTypeSNP   = 2
	reportTypeTDX   = 4
	hashSHA256      = 1
	reportDataSize  = 64
	tdReportDataOff = 128
	snpReportOff    = 0x50
)

// HCLReport is the report that Azure's paravisor puts into the virtual TPM.
type HCLReport struct {
	// Type of the hardware report: 2 is SEV-SNP, 4 is TDX.
	Type uint32
	// Hardware is the SNP report (1184 bytes) or the TDREPORT (1024 bytes), which only the
	// machine itself could check.
	Hardware []byte
	// RuntimeData is the JSON text whose hash is the hardware's report data.
	RuntimeData []byte
	// AK is the key HCLAkPub of the runtime data.
	AK crypto.PublicKey
	// Trailing is the number of bytes after the runtime data; the NV index is larger.
	Trailing int
}

func isHCL(raw []byte) bool { return len(raw) >= hclHeader && string(raw[:4]) == hclMagic }

// ParseHCL reads an HCL report.
func ParseHCL(raw []byte) (*HCLReport, error) {
	if !isHCL(raw) {
		return nil, fmt.Errorf("HCL report: it does not begin with %s", hclMagic)
	}
	if len(raw) > maxHCL || len(raw) < hclHeader+hclHardware+hclRuntime {
		return nil, fmt.Errorf("HCL report: %d bytes, wanted %d to %d", len(raw), hclHeader+hclHardware+hclRuntime, maxHCL)
	}
	word := func(off int) uint32 { return binary.LittleEndian.Uint32(raw[off:]) }
	rt := hclHeader + hclHardware
	h := &HCLReport{Type: word(rt + 8)}
	if hash := word(rt + 12); hash != hashSHA256 {
		return nil, fmt.Errorf("HCL report: hash type %d of the runtime data, known is %d (SHA-256)", hash, hashSHA256)
	}
	size := word(rt + 16)
	rest := raw[rt+hclRuntime:]
	if uint64(size) > uint64(len(rest)) {
		return nil, fmt.Errorf("HCL report: %d bytes of runtime data announced, %d left", size, len(rest))
	}
	h.RuntimeData, h.Trailing = rest[:size:size], len(rest)-int(size)
	switch area := raw[hclHeader:rt]; h.Type {
	case reportTypeSNP:
		h.Hardware = area
	case reportTypeTDX:
		h.Hardware = area[:tdReportSize]
	default:
		return nil, fmt.Errorf("HCL report: hardware report of type %d, known are %d (SEV-SNP) and %d (TDX)", h.Type, reportTypeSNP, reportTypeTDX)
	}
	var err error
	if h.AK, err = attestationKeyOf(h.RuntimeData); err != nil {
		return nil, fmt.Errorf("HCL report: runtime data: %w", err)
	}
	return h, nil
}

// ReportData is what the hardware must have signed: SHA-256 of the runtime data, then zeros.
func (h *HCLReport) ReportData() []byte {
	sum := sha256.Sum256(h.RuntimeData)
	return append(sum[:], make([]byte, reportDataSize-len(sum))...)
}

// hardwareReportData is the report data that the report in the HCL report has.
func (h *HCLReport) hardwareReportData() []byte {
	off := snpReportOff
	if h.Type == reportTypeTDX {
		off = tdReportDataOff
	}
	return h.Hardware[off : off+reportDataSize]
}

// attestationKeyOf finds the one key with kid HCLAkPub (a JWK of RSA, RFC 7518 section 6.3).
func attestationKeyOf(runtime []byte) (crypto.PublicKey, error) {
	var keys []json.RawMessage
	err := object(runtime, func(name string, value json.RawMessage) error {
		if name != "keys" {
			return nil
		}
		return json.Unmarshal(value, &keys)
	})
	if err != nil {
		return nil, err
	}
	if len(keys) > 16 {
		return nil, fmt.Errorf("%d keys, at most 16 allowed", len(keys))
	}
	var found crypto.PublicKey
	for _, raw := range keys {
		key, ak, err := parseJWK(raw)
		if err != nil {
			return nil, err
		}
		if !ak {
			continue
		}
		if found != nil {
			return nil, errors.New("two keys HCLAkPub")
		}
		found = key
	}
	if found == nil {
		return nil, errors.New("no key HCLAkPub")
	}
	return found, nil
}

func parseJWK(raw json.RawMessage) (key crypto.PublicKey, ak bool, err error) {
	text := make(map[string]string)
	err = object(raw, func(name string, value json.RawMessage) error {
		var s string
		if json.Unmarshal(value, &s) == nil {
			text[name] = s
		}
		return nil
	})
	if err != nil || text["kid"] != "HCLAkPub" {
		return nil, false, err
	}
	n, err := base64.RawURLEncoding.Strict().DecodeString(text["n"])
	if err != nil || len(n) > 512 {
		return nil, true, errors.New("HCLAkPub: n is not a modulus in base64url")
	}
	e, err := base64.RawURLEncoding.Strict().DecodeString(text["e"])
	if err != nil || len(e) == 0 || len(e) > 4 {
		return nil, true, errors.New("HCLAkPub: e is not an exponent in base64url")
	}
	if text["kty"] != "RSA" || bytes.HasPrefix(e, []byte{0}) {
		return nil, true, fmt.Errorf("HCLAkPub: kty %q, wanted RSA", text["kty"])
	}
	exponent := 0
	for _, b := range e {
		exponent = exponent<<8 | int(b)
	}
	rsaKey := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: exponent}
	return rsaKey, true, checkKey(rsaKey)
}
