package agent

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/atls"
	"hitoku.dev/enclave/simtee/client"
	"hitoku.dev/internal/wire"
)

const (
	// reportSize is the length of an SGX REPORT in bytes (Intel SDM volume 3D, table 36-21).
	reportSize = 432
	// attestationLife is that of an attestation certificate: as long as a nonce is good.
	attestationLife = 10 * time.Minute
)

// handleAttest is the call by which a program has its local REPORT exchanged: the
// quoting enclave checks the report's MAC and answers with a quote of the same
// body, in a certificate for the program's key, and with a report of its own for
// the program over that certificate.
//
// The report must be over a stated binding (security decision S1), whose DER form
// is the extra member "binding" of the request; the published form, the hash of
// the key alone, is fresh for ever and refused. The node's key signs the
// certificate. It names its usage, is no TLS certificate, leads no chain, and gives
// nobody anything at the manager, which wants the quote (S3).
func (a *Agent) handleAttest(r *http.Request) (any, error) {
	var encoded, request, stated string
	if err := body(r, map[string]*string{"report": &encoded, "attestation_csr": &request, "binding": &stated}); err != nil {
		return nil, err
	}
	if encoded == "" {
		return nil, fail(http.StatusBadRequest, "FEATURE_NOT_SUPPORTED", "no report given, as SEV-SNP and TDX guests do; this node simulates SGX only")
	}
	report, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(report) != reportSize {
		return nil, fail(http.StatusBadRequest, "BAD_REQUEST", "report: wanted %d bytes in standard base64", reportSize)
	}
	parsed, err := parseRequest(request)
	if err != nil {
		return nil, err
	}
	if err := parsed.CheckSignature(); err != nil {
		return nil, fail(http.StatusBadRequest, "BAD_REQUEST", "attestation_csr: %v", err)
	}
	n, _, err := a.enrolledOr()
	if err != nil {
		return nil, err
	}
	quote, refusal := a.o.Platform.QuoteReport(report)
	rules := []wire.Rule{{Name: "report_mac", Wanted: "a MAC of this machine's CPU for its quoting enclave", Seen: fmt.Sprintf("%x", report[416:432]), OK: refusal == nil}}
	if refused := (*client.RefusedError)(nil); errors.As(refusal, &refused) {
		rules[0] = wire.Rule{Name: refused.Rule, Wanted: refused.Wanted, Seen: refused.Seen, Advice: refused.Advice}
	} else if refusal != nil {
		return nil, fmt.Errorf("quoting enclave: %w", refusal)
	}
	binding, more := judgeBinding(stated, report[320:384], parsed, n)
	if err := refuseBy(append(rules, more...)); err != nil {
		return nil, err
	}
	return a.exchange(n, parsed, report, quote, binding)
}

// judgeBinding returns the DER form of the stated binding, and the rules on what it
// says: it must be what the report is over, for this key and this account.
func judgeBinding(stated string, data []byte, request *x509.CertificateRequest, n *node) ([]byte, []wire.Rule) {
	der, err := base64.StdEncoding.Strict().DecodeString(stated)
	var b *attest.Binding
	if err == nil {
		b, err = attest.ParseBinding(der)
	}
	if err != nil {
		return nil, []wire.Rule{{
			Name: "binding", Wanted: "member \"binding\": what the report is over, DER in standard base64", Seen: err.Error(),
			Advice: "send the binding that came with the report; a report over the hash of a key alone is refused, as it would be good for ever",
		}}
	}
	want := b.ReportData()
	key := attest.SPKIHash(request.RawSubjectPublicKeyInfo)
	rule := func(name string, wanted, seen []byte) wire.Rule {
		return wire.Rule{Name: name, Wanted: fmt.Sprintf("%x", wanted), Seen: fmt.Sprintf("%x", seen), OK: string(wanted) == string(seen)}
	}
	return der, []wire.Rule{
		rule("report_data", want[:], data),
		rule("binding_subject", key[:], b.Subject[:]),
		rule("account_root", n.accountRootHash[:], b.AccountRoot[:]),
	}
}

// refuseBy returns the reply that names every rule when one does not hold.
func refuseBy(rules []wire.Rule) error {
	out := fail(http.StatusForbidden, "ATTESTATION_REQUIRED", "the quoting enclave refuses the report")
	out.body.Rules = rules
	failed := false
	for _, rule := range rules {
		if !rule.OK {
			failed = true
			out.body.Message += fmt.Sprintf("; %s: wanted %s, seen %s", rule.Name, rule.Wanted, rule.Seen)
			if rule.Advice != "" {
				out.body.Message += "; " + rule.Advice
			}
		}
	}
	if !failed {
		return nil
	}
	return out
}

// exchange makes the reply: certificate with quote, and the report over it.
func (a *Agent) exchange(n *node, request *x509.CertificateRequest, report, quote, binding []byte) (*AttestReply, error) {
	evidence, err := atls.MarshalExtension(atls.Message{Evidence: quote, Binding: binding})
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(a.o.Rand, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := a.o.Now()
	end := now.Add(attestationLife)
	if n.leaf.NotAfter.Before(end) {
		end = n.leaf.NotAfter
	}
	der, err := x509.CreateCertificate(a.o.Rand, &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)), Subject: pkix.Name{CommonName: "local attestation of a program"},
		NotBefore: now.Add(-time.Minute), NotAfter: end, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{attest.OIDLocalAttestationEKU},
		ExtraExtensions:    []pkix.Extension{evidence},
	}, n.leaf, request.PublicKey, n.key)
	if err != nil {
		return nil, fmt.Errorf("attestation certificate: %w", err)
	}
	answer, err := a.o.Platform.AnswerReport(report, sha256.Sum256(der))
	if err != nil {
		return nil, fmt.Errorf("quoting enclave: %w", err)
	}
	encode := func(der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return &AttestReply{AttestationCertificate: encode(der), NodeCertificate: encode(n.leaf.Raw), FQPEReport: answer}, nil
}
