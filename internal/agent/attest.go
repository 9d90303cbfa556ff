package agent

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"

	"hitoku.dev/internal/wire"
)

// reportSize is the length of an SGX REPORT in bytes (Intel SDM volume 3D, table 38-21).
const reportSize = 432

// handleAttest is the call by which an SGX enclave has its local REPORT exchanged
// for a certificate of the quoting enclave. The report's MAC is made with a key
// that only the CPU knows. The simulated CPU gives REPORTs to nobody: a workload
// gets its evidence on the simulated TEE's socket, bound to a nonce and a purpose
// (security decisions S1 and S9). So whatever arrives here is checked as far as it
// can be, every failure is named, and the MAC is always among them.
func (a *Agent) handleAttest(r *http.Request) (any, error) {
	var encoded, request string
	if err := body(r, map[string]*string{"report": &encoded, "attestation_csr": &request}); err != nil {
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
	want := sha256.Sum256(parsed.RawSubjectPublicKeyInfo)
	data := report[320:384]
	out := fail(http.StatusForbidden, "ATTESTATION_REQUIRED", "the quoting enclave refuses the report")
	out.body.Rules = []wire.Rule{
		{
			Name: "report_data", Wanted: fmt.Sprintf("SHA-256 of the request's key %x and 32 zero bytes", want), Seen: fmt.Sprintf("%x", data),
			OK: string(data) == string(append(want[:], make([]byte, 32)...)),
		},
		{
			Name: "report_mac", Wanted: "a MAC of this machine's CPU", Seen: fmt.Sprintf("%x", report[416:432]),
			Advice: "the simulated TEE gives no local reports; convert the image with `hitoku convert`, whose guest takes its evidence from the socket in " + containerTEEDir,
		},
	}
	for _, rule := range out.body.Rules {
		if !rule.OK {
			out.body.Message += fmt.Sprintf("; %s: wanted %s, seen %s", rule.Name, rule.Wanted, rule.Seen)
		}
	}
	out.body.Message += "; " + out.body.Rules[1].Advice
	return nil, out
}
