package tpm

import (
	"crypto"
	"encoding/hex"
	"encoding/pem"
	"slices"
	"testing"
	"time"

	"hitoku.dev/attest"
)

func failedNames(rules []attest.Rule) (out []string) {
	for _, r := range rules {
		if !r.OK {
			out = append(out, r.Name)
		}
	}
	return out
}

func keyOf(t testing.TB, raw []byte) crypto.PublicKey {
	t.Helper()
	e, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	k := e.readKey()
	if k.err != nil {
		t.Fatal(k.err)
	}
	return k.key
}

func day(year int, month time.Month, day int) time.Time {
	return time.Date(year, month, day, 12, 0, 0, 0, time.UTC)
}

func TestEvidenceTPM(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		file, nonce string
		facts       map[string]string
	}{
		{"tpm/trustee_tpm_evidence.json", "a04182b506878d4f29b91ee606a71a0d3361ccf1b22db20c98adcaa537bea393ef0e41a18b3569ab678f1497fbc5c12000000000000000000000000000000000", nil},
		{"tpm/gce/gce-cos-85-no-nonce.pb", "", map[string]string{"secure_boot": "enabled", "gce_technology": "sev", "firmware_version": "GCE Virtual Firmware v1"}},
		{"tpm/gce/gce-cos-85-nonce9009.pb", "9009", map[string]string{"secure_boot": "enabled", "uefi_separators": "complete", "exit_boot_services": "succeeded"}},
	} {
		t.Run(tc.file, func(t *testing.T) {
			t.Parallel()
			raw := readEvidence(t, tc.file)
			if !Recognise(raw) {
				t.Error("not recognised")
			}
			r, err := Verify(raw, Options{At: day(2025, 6, 1), Keys: []crypto.PublicKey{keyOf(t, raw)}})
			if err != nil || !r.OK() {
				t.Fatalf("%v %v", err, r)
			}
			if got := hex.EncodeToString(r.Claims.Nonce); got != tc.nonce {
				t.Errorf("nonce %s", got)
			}
			for name, want := range tc.facts {
				if r.Claims.Facts[name] != want {
					t.Errorf("%s is %q, wanted %q", name, r.Claims.Facts[name], want)
				}
			}
			r, err = Verify(raw, Options{At: day(2025, 6, 1)})
			if err != nil || !slices.Contains(failedNames(r.Rules), "ak_trusted") {
				t.Errorf("accepted a key that nobody vouches for: %v", err)
			}
		})
	}
}

func TestEvidenceAzure(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ file, format string }{
		{"az-snp-vtpm/evidence-v0.json", FormatAzureSNP}, {"az-snp-vtpm/evidence-v2.json", FormatAzureSNP},
		{"az-snp-vtpm/evidence-genoa.json", FormatAzureSNP}, {"az-tdx-vtpm/evidence-v0.json", FormatAzureTDX},
	} {
		t.Run(tc.file, func(t *testing.T) {
			t.Parallel()
			raw := readEvidence(t, "azure-vtpm/"+tc.file)
			if !Recognise(raw) {
				t.Error("not recognised")
			}
			r, err := Verify(raw, Options{At: day(2025, 6, 1)})
			if err != nil {
				t.Fatal(err)
			}
			failed := failedNames(r.Rules)
			if tc.format == FormatAzureTDX { // no TCB info of its FMSPC is among the evidence
				failed = slices.DeleteFunc(failed, func(name string) bool {
					return slices.Contains([]string{"pck_revocation", "root_crl", "tcb_info_signature", "tcb_info_current", "tcb_info_match", "tdx_module", "qe_identity_signature", "qe_identity_current", "qe_identity", "tcb_level"}, name)
				})
			}
			if len(failed) > 0 || r.Claims.Format != tc.format || len(r.Claims.Measurements["pcr23"]) != 64 || len(r.Claims.Nonce) == 0 {
				t.Errorf("%v\n%+v", failed, r)
			}
				})
	}
}

func TestEvidenceHCL(t *testing.T) {
	t.Parallel()
	for name, format := range map[string]uint32{"az-snp-vtpm": reportTypeSNP, "az-tdx-vtpm": reportTypeTDX} {
		h, err := ParseHCL(readEvidence(t, "azure-vtpm/"+name+"/hcl-report.bin"))
		if err != nil || h.Type != format || string(h.ReportData()) != string(h.hardwareReportData()) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEvidenceGCECertificates(t *testing.T) {
	t.Parallel()
	for name, zone := range map[string]string{"pca_tpm_ecc_sign_cert": "us-central1-a", "uca_tpm_rsa_sign_cert": "us-central1-a", "uca_tpm_ecc_enc_cert": "us-central1-a"} {
		block, _ := pem.Decode(readEvidence(t, "tpm/gce/certificates/"+name+".pem"))
		c, err := parseCert(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if info := instanceInfo(c); info["gce_zone"] != zone || info["gce_instance_id"] == "" {
			t.Errorf("%s: %v", name, info)
		}
	}
}
