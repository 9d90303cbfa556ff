package verify_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/collateral"
	"hitoku.dev/attest/policy"
	"hitoku.dev/internal/verify"
)

// TestRealDevicesBesideATEE joins a real switch and four real GPUs to a real report of SEV-SNP.
func TestRealDevicesBesideATEE(t *testing.T) {
	t.Parallel()
	dir := evidenceFolder(t)
	bundle := folder(t, dir, "snp/aci-milan-v2/vcek.pem")
	o := verify.Options{
		Target: filepath.Join(dir, "snp/aci-milan-v2/report.bin"), Collateral: bundle, At: time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC),
		With: []string{filepath.Join(dir, "nvidia-gpu/switch_evidence_ls10.json"), filepath.Join(dir, "nvidia-gpu/multi_gpu_hopper.json")},
	}
	r := run(t, o)
	if !r.Accepted() || len(r.Claims.Devices) != 5 {
		t.Errorf("%d devices, failed %v", len(r.Claims.Devices), failed(r))
	}
	named := func(prefix string) bool {
		return slices.ContainsFunc(r.Verdict.Rules, func(x attest.Rule) bool { return x.Name == prefix+"root_trusted" })
	}
	if !named("device_1_") || !named("device_2_") || !named("device_5_") || named("device_6_") {
		t.Errorf("%+v", r.Verdict.Rules)
	}
	o.Policy = policy.Policy{Closed: true, TEEs: []attest.TEE{attest.SEVSNP}, AnyMeasurement: true, GPUs: &policy.Devices{Min: 5}, Switches: &policy.Devices{Min: 1}}
	if r := run(t, o); !slices.Equal(failed(r), []string{"gpus"}) {
		t.Errorf("five wanted: failed %v", failed(r))
	}
	o.Policy.GPUs.Min = 4
	if r := run(t, o); !r.Accepted() {
		t.Errorf("four wanted: failed %v", failed(r))
	}
	// One device that is given twice does not count as two.
	twice := o
	twice.With = append(slices.Clone(o.With), o.With[0])
	if r := run(t, twice); !slices.Equal(failed(r), []string{"device_6_distinct"}) {
		t.Errorf("a device twice: failed %v", failed(r))
	}
	o.Nonce = make([]byte, 32)
	if r := run(t, o); !slices.Contains(failed(r), "device_1_nonce") || !slices.Contains(failed(r), "device_5_nonce") {
		t.Errorf("another nonce: failed %v", failed(r))
	}
	// Devices alone are judged for themselves.
	o = verify.Options{
		Target: filepath.Join(dir, "nvidia-gpu/multi_gpu_hopper.json"), At: o.At,
		Policy: policy.Policy{Closed: true, TEEs: []attest.TEE{attest.NVIDIAGPU}, AnyMeasurement: true},
	}
	if r := run(t, o); !r.Accepted() || len(r.Claims.Devices) != 4 {
		t.Errorf("%d devices, failed %v", len(r.Claims.Devices), failed(r))
	}
}

// TestRealReportWithItsFolder: a bare report gets its chain from the folder, and reference values are compared.
func TestRealReportWithItsFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(evidenceFolder(t), "nvidia-gpu", "local_verifier")
	o := verify.Options{
		Target: filepath.Join(dir, "hopperAttestationReport.txt"), At: time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC), Collateral: folder(t, dir, "hopperCertChain.txt"),
	}
	if r := run(t, o); !r.Accepted() {
		t.Errorf("failed %v", failed(r))
	}
	// The folder may be that of a whole site.
	a := newAMD(t)
	crowd := new(collateral.Bundle)
	for i := range 30 {
		other := *a.report
		other.ChipID[1] = byte(i)
		crowd.Add(a.Leaf(&other).Cert.Raw)
	}
	for _, cert := range o.Collateral.Certs() {
		crowd.Add(cert)
	}
	o.Collateral = crowd
	if r := run(t, o); !r.Accepted() {
		t.Errorf("with many others: failed %v", failed(r))
	}
	rim, err := os.ReadFile(filepath.Join(dir, "g520_0200_885_9600740001_PROD.swidtag")) // of another VBIOS
	if err != nil {
		t.Fatal(err)
	}
	o.RIMs = [][]byte{rim}
	r := run(t, o)
	if r.Accepted() || slices.Contains(failed(r), "root_trusted") || slices.Contains(failed(r), "report_signature") {
		t.Errorf("failed %v", failed(r))
	}
}
