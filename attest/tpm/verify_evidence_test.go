package tpm

import (
	"crypto"
	"encoding/hex"
	"encoding/pem"
	"slices"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/attest/eventlog"
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

// flipTPM changes every byte of every quote and signature.
func flipTPM(t *testing.T, raw []byte, o Options) {
	e, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	for n := range e.Quotes {
		for what, data := range map[string]*[]byte{"attest": &e.Quotes[n].Attest, "signature": &e.Quotes[n].Signature} {
			good := *data
			flipAll(good, func(i int, flipped []byte) {
				*data = flipped
				if r, err := VerifyEvidence(e, o); err == nil && r.OK() {
					t.Errorf("byte %d of %s %d changed, accepted", i, what, n)
				}
			})
			*data = good
		}
	}
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
			flipTPM(t, raw, Options{At: day(2025, 6, 1), Keys: []crypto.PublicKey{keyOf(t, raw)}})
			r, err = Verify(raw, Options{At: day(2025, 6, 1)})
			if err != nil || !slices.Contains(failedNames(r.Rules), "ak_trusted") {
				t.Errorf("accepted a key that nobody vouches for: %v", err)
			}
		})
	}
}

// intelCollateral reads what the evidence's index names for the TD quote of Azure.
func intelCollateral(t *testing.T) *dcap.Collateral {
	t.Helper()
	read := func(name string) []byte { return readEvidence(t, "intel-collateral/"+name) }
	chain := read("chains/tcb_signing_2025-2032.pem")
	return &dcap.Collateral{
		TCBInfo: read("tcb_info/tdx_00806F050000_2025-09-29_eval17.json"), TCBInfoChain: chain,
		QEIdentity: read("enclave_identity/td_qe_2025-10-13_eval17.json"), QEIdentityChain: chain,
		PCKCRL: read("crl/pck_platform_ca_2025-10-13.der"), RootCRL: read("crl/root_ca_2025-03-20.der"),
	}
}

func TestEvidenceAzure(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		file, format string
		at           time.Time
	}{
		{"az-snp-vtpm/evidence-v0.json", FormatAzureSNP, day(2025, 6, 1)},
		{"az-snp-vtpm/evidence-v2.json", FormatAzureSNP, day(2025, 6, 1)},
		{"az-snp-vtpm/evidence-genoa.json", FormatAzureSNP, day(2025, 6, 1)},
		{"az-tdx-vtpm/evidence-v0.json", FormatAzureTDX, day(2025, 10, 21)},
	} {
		t.Run(tc.file, func(t *testing.T) {
			t.Parallel()
			raw := readEvidence(t, "azure-vtpm/"+tc.file)
			if !Recognise(raw) {
				t.Error("not recognised")
			}
			o := Options{At: tc.at, Intel: dcap.Options{Collateral: intelCollateral(t)}}
			r, err := Verify(raw, o)
			if err != nil {
				t.Fatal(err)
			}
			if failed := failedNames(r.Rules); len(failed) > 0 || r.Claims.Format != tc.format || len(r.Claims.Measurements["pcr23"]) != 64 || len(r.Claims.Nonce) == 0 {
				t.Errorf("%v\n%+v", failed, r)
			}
			flipSigned(t, raw, o)
		})
	}
}

// flipSigned changes what is signed or chained in the vTPM's part of Azure's
// evidence, byte by byte. attest/snp and attest/dcap do it for the hardware's part.
func flipSigned(t *testing.T, raw []byte, o Options) {
	e, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	_, hardware := o.hardware(e.Azure)
	verify := func(what string, i int) {
		c := &check{o: &o, used: make(PCRs), ak: e.readKey()}
		c.quotes(e)
		if failedNames(c.rules) == nil && reportData(e.Azure.HCL, hardware).OK {
			t.Errorf("byte %d of %s changed, accepted", i, what)
		}
	}
	for what, data := range map[string]*[]byte{"the quote": &e.Quotes[0].Attest, "the signature": &e.Quotes[0].Signature, "the runtime data": &e.Azure.HCL.RuntimeData} {
		good := *data
		flipAll(good, func(i int, flipped []byte) {
			*data = flipped
			verify(what, i)
		})
		*data = good
	}
	for n := range numPCRs {
		bank := e.Quotes[0].PCRs[eventlog.SHA256]
		good := bank[n]
		flipAll(good, func(i int, flipped []byte) {
			bank[n] = flipped
			verify("a register", i)
		})
		bank[n] = good
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
