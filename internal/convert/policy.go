package convert

import (
	"encoding/hex"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/attest/policy"
	"hitoku.dev/attest/policy/policyfile"
	"hitoku.dev/measure/workload"
)

// policyText is a closed policy file that accepts evidence of this image and of no other: its
// measurement, signer, product id and at least its version, on a machine that is up to date.
func policyText(r *Result) (string, error) {
	measurement, err := hex.DecodeString(r.Measurement)
	if err != nil {
		return "", err
	}
	signer, err := hex.DecodeString(r.MRSigner)
	if err != nil {
		return "", err
	}
	prodID, svn := r.ISVProdID, r.ISVSVN
	p := &policy.Policy{
		Closed: true, Formats: []string{dcap.FormatSGX3}, TEEs: []attest.TEE{attest.SGX}, Measurements: [][]byte{measurement}, Signers: [][]byte{signer},
		ProdID: &prodID, MinSVN: &svn, TCBStatuses: []string{"UpToDate"}, AllowSimulated: r.TEE == workload.TEESimulated,
		AllowDebug: r.Enclave != nil && r.Enclave.Debug,
	}
	text, err := policyfile.Marshal(p, "Accepts evidence of the image converted from "+r.Source+".")
	return string(text), err
}
