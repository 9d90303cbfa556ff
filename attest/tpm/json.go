package tpm

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strconv"

	"hitoku.dev/attest/eventlog"
)

const (
	maxJSON    = 128 << 10
	maxMembers = 32
)

// object calls yield with every member of a JSON object and its value. Names are
// compared exactly; one that comes twice is refused.
func object(raw []byte, yield func(name string, value json.RawMessage) error) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return errors.New("not a JSON object")
	}
	seen := make(map[string]bool)
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		if seen[name] || len(seen) == maxMembers {
			return fmt.Errorf("member %q comes twice, or there are more than %d", name, maxMembers)
		}
		seen[name] = true
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return fmt.Errorf("member %q: %w", name, err)
		}
		if err := yield(name, value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if _, err := dec.Token(); err != nil {
		return err
	}
	if len(bytes.TrimSpace(raw[dec.InputOffset():])) > 0 {
		return errors.New("bytes after the object")
	}
	return nil
}

// octets reads bytes as agents write them: an array of numbers, or a string of
// hexadecimal or base64 as decode says.
func octets(value json.RawMessage, limit int, decode func(string) ([]byte, error)) ([]byte, error) {
	if len(value) > 0 && value[0] == '[' {
		return numbers(value, limit)
	}
	if len(value) > 6*limit+2 { // no encoding needs more text
		return nil, fmt.Errorf("%d bytes of text, too many for %d bytes", len(value), limit)
	}
	var s string
	if err := json.Unmarshal(value, &s); err != nil {
		return nil, errors.New("neither a string nor an array of numbers")
	}
	b, err := decode(s)
	if err == nil && len(b) > limit {
		err = fmt.Errorf("%d bytes, at most %d allowed", len(b), limit)
	}
	return b, err
}

// numbers reads an array of numbers from 0 to 255. The JSON decoder has checked its form.
func numbers(value json.RawMessage, limit int) ([]byte, error) {
	inner := bytes.TrimSpace(value[1 : len(value)-1])
	if len(inner) == 0 {
		return nil, nil
	}
	n := bytes.Count(inner, []byte(",")) + 1
	if n > limit {
		return nil, fmt.Errorf("%d numbers, at most %d allowed", n, limit)
	}
	out := make([]byte, 0, n)
	for part := range bytes.SplitSeq(inner, []byte(",")) {
		x, err := strconv.ParseUint(string(bytes.TrimSpace(part)), 10, 8)
		if err != nil {
			return nil, fmt.Errorf("%.16q is no number from 0 to 255", part)
		}
		out = append(out, byte(x))
	}
	return out, nil
}

func decodeBase64(s string) ([]byte, error) { return base64.StdEncoding.Strict().DecodeString(s) }

// decodeAnyBase64 reads standard or URL base64, padded or not: agents differ.
func decodeAnyBase64(s string) ([]byte, error) {
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.RawURLEncoding} {
		if b, err := enc.Strict().DecodeString(s); err == nil {
			return b, nil
		}
	}
	return nil, errors.New("not base64")
}

// decodeCert reads a certificate in PEM or base64 DER and returns its DER.
func decodeCert(s string) ([]byte, error) {
	if block, rest := pem.Decode([]byte(s)); block != nil {
		if block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
			return nil, errors.New("PEM that is not one certificate")
		}
		return block.Bytes, nil
	}
	return decodeAnyBase64(s)
}

// parseJSON reads trustee's forms: {ak_public, tpm_quote}, and for Azure
// {quote, report, vcek}, {version, tpm_quote, hcl_report, vcek} and
// {tpm_quote, hcl_report, td_quote}. Unknown members are named and ignored.
func parseJSON(raw []byte) (*Evidence, error) {
	if len(raw) > maxJSON {
		return nil, fmt.Errorf("TPM evidence (JSON): %d bytes, at most %d allowed", len(raw), maxJSON)
	}
	e, az := &Evidence{}, &Azure{}
	err := object(raw, func(name string, value json.RawMessage) (err error) {
		switch name {
		case "tpm_quote", "quote":
			if len(e.Quotes) > 0 {
				return errors.New("a second quote")
			}
			var q Quote
			q, err = parseJSONQuote(value)
			e.Quotes = []Quote{q}
		case "report", "hcl_report":
			if e.Azure != nil {
				return errors.New("a second report")
			}
			e.Azure = az
			var report []byte
			if report, err = octets(value, maxHCL, decodeAnyBase64); err == nil {
				az.HCL, err = ParseHCL(report)
			}
		case "vcek":
			az.VCEK, err = octets(value, 8<<10, decodeCert)
		case "td_quote":
			az.TDQuote, err = octets(value, 64<<10, decodeAnyBase64)
		case "ak_public":
			e.AKPublic, e.AKKey, err = parseJSONKey(value)
		case "version":
		default:
			if len(e.unread) < 8 {
				e.unread = append(e.unread, fmt.Sprintf("member %q of the evidence is not read", name))
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("TPM evidence (JSON): %w", err)
	}
	if e.Azure != nil && az.TDQuote != nil && az.HCL.Type != reportTypeTDX {
		return nil, errors.New("TPM evidence (JSON): a TD quote beside an HCL report of other hardware")
	}
	if e.Azure == nil && (az.VCEK != nil || az.TDQuote != nil) {
		return nil, errors.New("TPM evidence (JSON): a hardware certificate or quote without an HCL report")
	}
	return e, nil
}

// parseJSONKey reads an attestation key in base64: SPKI, or a TPM's own form.
func parseJSONKey(value json.RawMessage) ([]byte, any, error) {
	raw, err := octets(value, maxPublic, decodeAnyBase64)
	if err != nil {
		return nil, nil, err
	}
	if _, err := ParsePublic(raw); err == nil {
		return raw, nil, nil
	}
	key, err := x509.ParsePKIXPublicKey(raw)
	if err != nil {
		return nil, nil, errors.New("neither an SPKI nor a TPMT_PUBLIC")
	}
	return nil, key, checkKey(key)
}

// parseJSONQuote reads {message, signature, pcrs}. In base64 the signature is a
// TPMT_SIGNATURE; as numbers or hexadecimal it is the bare RSA signature of az-tpm-agents.
func parseJSONQuote(raw json.RawMessage) (q Quote, err error) {
	var values [][]byte
	err = object(raw, func(name string, value json.RawMessage) (err error) {
		switch name {
		case "message":
			q.Attest, err = octets(value, MaxAttest, decodeHexOrBase64)
		case "signature":
			if q.Signature, err = octets(value, maxPublic, decodeHexOrBase64); err == nil {
				_, structured := ParseSignature(q.Signature)
				q.bare = structured != nil
			}
		case "pcrs":
			values, err = parseJSONPCRs(value)
		default:
			err = errors.New("unknown")
		}
		return err
	})
	if err != nil {
		return q, err
	}
	return q, q.setPCRs(values)
}

func decodeHexOrBase64(s string) ([]byte, error) {
	if b, err := hex.DecodeString(s); err == nil {
		return b, nil
	}
	return decodeBase64(s)
}

func parseJSONPCRs(raw json.RawMessage) (values [][]byte, err error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('[') {
		return nil, errors.New("not an array")
	}
	for dec.More() {
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, err
		}
		if len(values) == numPCRs {
			return nil, fmt.Errorf("more than %d values", numPCRs)
		}
		b, err := octets(value, 64, hex.DecodeString)
		if err != nil {
			return nil, err
		}
		values = append(values, b)
	}
	return values, nil
}

// setPCRs gives the values to the bank that the quote selects. They stand in order
// of their numbers: all 24, or as many as are selected.
func (q *Quote) setPCRs(values [][]byte) error {
	a, err := ParseAttest(q.Attest)
	if err != nil || len(a.Selection) == 0 {
		return nil // the rules say what is wrong with it
	}
	s := a.Selection[0]
	q.PCRs = make(PCRs)
	next := 0
	for i := range numPCRs {
		if len(values) != numPCRs && s.Mask&(1<<i) == 0 {
			continue
		}
		if next == len(values) {
			break
		}
		if err := q.PCRs.set(eventlog.Alg(s.Bank), i, values[next]); err != nil {
			return err
		}
		next++
	}
	if next != len(values) {
		return fmt.Errorf("%d register values do not fit the selection", len(values))
	}
	return nil
}
