package collateral

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"hitoku.dev/attest/dcap"
)

// Names of the headers in which the service sends the issuers of its answer, as
// percent-encoded PEM: today's and those of its earlier versions (PCS API, version 4 and 3).
func issuerHeaders(k Kind) []string {
	switch k {
	case SGXTCBInfo, TDXTCBInfo:
		return []string{"TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"}
	case QEIdentity, TDQEIdentity, QVEIdentity, QAEIdentity:
		return []string{"SGX-Enclave-Identity-Issuer-Chain", "Enclave-Identity-Issuer-Chain"}
	case SGXEvaluationNumbers, TDXEvaluationNumbers:
		return []string{"TCB-Evaluation-Data-Numbers-Issuer-Chain"}
	case PCKCRL:
		return []string{"SGX-PCK-CRL-Issuer-Chain", "PCK-CRL-Issuer-Chain"}
	case PCKCertificate:
		return []string{"SGX-PCK-Certificate-Issuer-Chain", "PCS-Certificate-Issuer-Chain"}
	}
	return nil
}

// issuerChain reads the one issuer chain of an answer. Two headers that differ are refused.
func issuerChain(h http.Header, k Kind) ([][]byte, error) {
	var found string
	for _, name := range issuerHeaders(k) {
		for _, value := range h.Values(name) {
			if found != "" && value != found {
				return nil, errors.New("two issuer chains that differ in the headers of the answer")
			}
			found = value
		}
	}
	if found == "" {
		return nil, fmt.Errorf("no header %s in the answer", issuerHeaders(k)[0])
	}
	return parseIssuerHeader(found)
}

// parseIssuerHeader reads percent-encoded PEM certificates and nothing else.
func parseIssuerHeader(value string) ([][]byte, error) {
	if len(value) > maxHeader {
		return nil, fmt.Errorf("issuer chain of %d bytes, at most %d allowed", len(value), maxHeader)
	}
	text, err := url.PathUnescape(value)
	if err != nil {
		return nil, errors.New("the issuer chain is not percent-encoded")
	}
	var out [][]byte
	for rest := bytes.TrimSpace([]byte(text)); len(rest) > 0; {
		if !bytes.HasPrefix(rest, []byte("-----BEGIN CERTIFICATE-----")) || len(out) == maxChainCerts {
			return nil, fmt.Errorf("the issuer chain is not 1 to %d certificates in PEM", maxChainCerts)
		}
		block, after := pem.Decode(rest)
		if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
			return nil, errors.New("the issuer chain is not in PEM")
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return nil, fmt.Errorf("issuer chain: certificate %d: %w", len(out)+1, err)
		}
		out = append(out, block.Bytes)
		rest = bytes.TrimSpace(after)
	}
	if len(out) == 0 {
		return nil, errors.New("the issuer chain is empty")
	}
	return out, nil
}

// intel is the base address of Intel's service, or of the caching service in its place.
func (c *Client) intel() string {
	if c.o.PCCS != "" {
		return c.o.PCCS
	}
	return c.o.PCS
}

// Signed asks for a signed JSON document: subject is the FMSPC (12 hexadecimal
// digits) of TCB infos and empty otherwise, as is the choice for kinds that have
// evaluation numbers. An answer about something else is an error.
func (c *Client) Signed(ctx context.Context, kind Kind, subject string, as Choice) (*Document, error) {
	paths := map[Kind]string{
		SGXTCBInfo: "sgx/certification/v4/tcb", TDXTCBInfo: "tdx/certification/v4/tcb",
		QEIdentity: "sgx/certification/v4/qe/identity", TDQEIdentity: "tdx/certification/v4/qe/identity",
		QVEIdentity: "sgx/certification/v4/qve/identity", QAEIdentity: "sgx/certification/v4/qae/identity",
		SGXEvaluationNumbers: "sgx/certification/v4/tcbevaluationdatanumbers", TDXEvaluationNumbers: "tdx/certification/v4/tcbevaluationdatanumbers",
	}
	query := url.Values{}
	if kind == SGXTCBInfo || kind == TDXTCBInfo {
		query.Set("fmspc", strings.ToUpper(subject))
	}
	if kind.numbered() {
		fill(&as, Standard)
		if n := as.number(); n != 0 {
			query.Set("tcbEvaluationDataNumber", strconv.Itoa(n))
		} else {
			query.Set("update", string(as))
		}
	} else {
		as = ""
	}
	r, err := newRequest(c.intel(), paths[kind], query)
	if err != nil {
		return nil, err
	}
	a, err := c.do(ctx, r)
	if err != nil {
		return nil, err
	}
	d := signedDocument(bytes.TrimSpace(a.body))
	if d == nil || d.Kind != kind || d.Subject != strings.ToLower(subject) {
		return nil, r.failed(0, answeredOther(d, kind, subject))
	}
	if n := as.number(); n != 0 && d.Evaluation != n {
		return nil, r.failed(0, fmt.Errorf("asked for evaluation number %d, answered %d", n, d.Evaluation))
	}
	if d.Chain, err = issuerChain(a.header, kind); err != nil {
		return nil, r.failed(0, err)
	}
	d.Choice = as
	return d, nil
}

func answeredOther(d *Document, kind Kind, subject string) error {
	asked := strings.TrimSpace(string(kind) + " " + subject)
	if d == nil {
		return fmt.Errorf("asked for %s, answered something else", asked)
	}
	return fmt.Errorf("asked for %s, answered %s", asked, strings.TrimSpace(string(d.Kind)+" "+d.Subject))
}

// PCKCRL asks for the revocation list of the processor or platform CA.
func (c *Client) PCKCRL(ctx context.Context, ca string) (*Document, error) {
	r, err := newRequest(c.intel(), "sgx/certification/v4/pckcrl", url.Values{"ca": {ca}, "encoding": {"der"}})
	if err != nil {
		return nil, err
	}
	a, err := c.do(ctx, r)
	if err != nil {
		return nil, err
	}
	d, err := crlAnswer(a.body, PCKCRL, ca)
	if err == nil {
		d.Chain, err = issuerChain(a.header, PCKCRL)
	}
	if err != nil {
		return nil, r.failed(0, err)
	}
	return d, nil
}

// RootCRL asks for the revocation list of the Intel root.
func (c *Client) RootCRL(ctx context.Context) (*Document, error) {
	base, path := c.o.RootCRL, ""
	if c.o.PCCS != "" {
		base, path = c.o.PCCS, "sgx/certification/v4/rootcacrl"
	}
	r, err := newRequest(base, path, nil)
	if err != nil {
		return nil, err
	}
	a, err := c.do(ctx, r)
	if err != nil {
		return nil, err
	}
	d, err := crlAnswer(a.body, RootCRL, "")
	if err != nil {
		return nil, r.failed(0, err)
	}
	return d, nil
}

// crlAnswer reads a list in DER, PEM or hexadecimal: services differ.
func crlAnswer(raw []byte, kind Kind, subject string) (*Document, error) {
	der, text := raw, bytes.TrimSpace(raw)
	if block, _ := pem.Decode(text); block != nil && block.Type == "X509 CRL" {
		der = block.Bytes
	} else if plain, err := hex.DecodeString(string(text)); err == nil && len(plain) > 0 {
		der = plain
	}
	d, err := crlDocument(der)
	if err != nil {
		return nil, fmt.Errorf("the answer is no revocation list: %w", err)
	}
	if d.Kind != kind || d.Subject != subject {
		return nil, answeredOther(d, kind, subject)
	}
	return d, nil
}

// PCKCertificate asks for the PCK certificate of a platform that a quote names by
// its encrypted PPID. Intel's service may want a subscription key, and a caching
// service knows its own platforms only.
func (c *Client) PCKCertificate(ctx context.Context, p *dcap.PCK) (*Document, error) {
	if len(p.EncryptedPPID) == 0 {
		return nil, errors.New("the quote holds no encrypted PPID, by which PCK certificates are asked for")
	}
	if len(p.EncryptedPPID) != 384 {
		return nil, errors.New("the quote's PPID is encrypted with RSA-2048, which Intel's service does not take")
	}
	query := url.Values{
		"encrypted_ppid": {hex.EncodeToString(p.EncryptedPPID)}, "cpusvn": {hex.EncodeToString(p.CPUSVN[:])},
		// Both numbers go as their little-endian bytes.
		"pcesvn": {fmt.Sprintf("%02x%02x", byte(p.PCESVN), byte(p.PCESVN>>8))}, "pceid": {pceID(p)},
	}
	if c.o.PCCS != "" {
		query.Set("qeid", hex.EncodeToString(p.QEID[:]))
	}
	r, err := newRequest(c.intel(), "sgx/certification/v4/pckcert", query)
	if err != nil {
		return nil, err
	}
	if c.o.PCCS == "" && c.o.SubscriptionKey != "" {
		r.header.Set("Ocp-Apim-Subscription-Key", c.o.SubscriptionKey)
	}
	a, err := c.do(ctx, r)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(bytes.TrimSpace(a.body))
	if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, r.failed(0, errors.New("the answer is not one PEM certificate"))
	}
	d, err := newDocument(PCKCertificate, block.Bytes)
	if err == nil {
		d.Chain, err = issuerChain(a.header, PCKCertificate)
	}
	if err != nil {
		return nil, r.failed(0, err)
	}
	return d, nil
}

// pceID is the PCE's id in little-endian; all PCEs so far have 0, and some quotes leave it out.
func pceID(p *dcap.PCK) string {
	if p.PCEID == nil {
		return "0000"
	}
	return hex.EncodeToString([]byte{p.PCEID[1], p.PCEID[0]})
}

// PCKCertificates asks for every PCK certificate of a platform, one for each TCB
// level; the caller takes the one that signed, see [Bundle.DCAP].
func (c *Client) PCKCertificates(ctx context.Context, p *dcap.PCK) ([]*Document, error) {
	query := url.Values{"encrypted_ppid": {hex.EncodeToString(p.EncryptedPPID)}, "pceid": {pceID(p)}}
	r, err := newRequest(c.o.PCS, "sgx/certification/v4/pckcerts", query)
	if err != nil {
		return nil, err
	}
	r.limit = maxFile
	if c.o.SubscriptionKey != "" {
		r.header.Set("Ocp-Apim-Subscription-Key", c.o.SubscriptionKey)
	}
	a, err := c.do(ctx, r)
	if err != nil {
		return nil, err
	}
	chain, err := issuerChain(a.header, PCKCertificate)
	if err != nil {
		return nil, r.failed(0, err)
	}
	b := new(Bundle)
	text := bytes.TrimSpace(a.body)
	if len(text) == 0 || !b.addPCKCertificates(text) {
		return nil, r.failed(0, errors.New("the answer holds no PCK certificate"))
	}
	docs := b.of(PCKCertificate, "")
	for _, d := range docs {
		d.Chain = chain
	}
	return docs, nil
}
