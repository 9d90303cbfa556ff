package dcap

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest"
)

type evidenceCase struct {
	ID                   string    `json:"id"`
	Quote                string    `json:"quote"`
	TCBInfo              string    `json:"tcb_info"`
	TCBInfoChain         string    `json:"tcb_info_chain"`
	EnclaveIdentity      string    `json:"enclave_identity"`
	EnclaveIdentityChain string    `json:"enclave_identity_chain"`
	PCKCRL               string    `json:"pck_crl"`
	RootCACRL            string    `json:"root_ca_crl"`
	VerifyAt             time.Time `json:"verify_at"`
	ValidFrom            time.Time `json:"valid_from"`
	ValidUntil           time.Time `json:"valid_until"`
	Complete             bool      `json:"complete"`
	Observed             struct {
		PlatformTCB     string    `json:"platform_tcb"`
		PlatformTCBDate time.Time `json:"platform_tcb_date"`
		Advisories      []string  `json:"advisories"`
		TDXModule       string    `json:"tdx_module"`
		QE              string    `json:"qe"`
		Overall         string    `json:"overall"`
		Debug           bool      `json:"debug"`
	} `json:"observed"`
}

func evidenceCases(t testing.TB, dir string) []evidenceCase {
	t.Helper()
	var index struct {
		Cases []evidenceCase `json:"cases"`
	}
	if err := json.Unmarshal(readEvidence(t, dir, "intel-cases.json"), &index); err != nil {
		t.Fatal(err)
	}
	if len(index.Cases) < 87 {
		t.Fatalf("%d cases in the index, wanted 87", len(index.Cases))
	}
	return index.Cases
}

func (c *evidenceCase) collateral(t testing.TB, dir string) *Collateral {
	read := func(name string) []byte {
		if name == "" {
			return nil
		}
		return readEvidence(t, dir, name)
	}
	return &Collateral{
		TCBInfo: read(c.TCBInfo), TCBInfoChain: read(c.TCBInfoChain),
		QEIdentity: read(c.EnclaveIdentity), QEIdentityChain: read(c.EnclaveIdentityChain),
		PCKCRL: read(c.PCKCRL), RootCRL: read(c.RootCACRL),
	}
}

func failedNames(rules []attest.Rule) []string {
	var out []string
	for _, r := range rules {
		if !r.OK {
			out = append(out, r.Name)
		}
	}
	return out
}

// TestRealQuotes wants of each case the outcome that the index records.
func TestRealQuotes(t *testing.T) {
	t.Parallel()
	dir := evidenceDir(t)
	for _, tc := range evidenceCases(t, dir) {
		t.Run(tc.ID, func(t *testing.T) {
			t.Parallel()
			raw := readEvidence(t, dir, tc.Quote)
			if !Recognise(raw) {
				t.Error("not recognised")
			}
			v := NewVerifier(IntelRoot(), tc.collateral(t, dir), false)
			r, err := v.Verify(raw, tc.VerifyAt)
			if err != nil {
				t.Fatal(err)
			}
			got, want := r.Claims.TCB, tc.Observed
			if want.PlatformTCB == "no-match" {
				want.PlatformTCB = NotSupported
			}
			if strings.HasPrefix(want.TDXModule, "version 0") {
				want.TDXModule = ""
			}
			if got.Overall != want.Overall || got.Platform != want.PlatformTCB || got.Module != want.TDXModule || got.QE != want.QE || !slices.Equal(got.Advisories, want.Advisories) {
				t.Errorf("TCB %+v, wanted %+v", got, want)
			}
			if r.Claims.Debug != want.Debug || !r.Claims.TCBDate.Equal(want.PlatformTCBDate) {
				t.Errorf("debug %v, TCB date %v, wanted %v, %v", r.Claims.Debug, r.Claims.TCBDate, want.Debug, want.PlatformTCBDate)
			}
			if r.Claims.TEE == attest.TDX != strings.HasPrefix(tc.Quote, "tdx/") {
				t.Errorf("TEE %s", r.Claims.TEE)
			}
			var missing []string
			if tc.PCKCRL == "" {
				missing = append(missing, "pck_revocation")
			}
			if tc.RootCACRL == "" {
				missing = append(missing, "root_crl")
			}
			if tc.EnclaveIdentity == "" {
				missing = append(missing, "qe_identity_signature", "qe_identity_current", "qe_identity")
			}
			if tc.EnclaveIdentity == "" || want.Overall == NotSupported {
				missing = append(missing, "tcb_level")
			}
			if failed := failedNames(r.Rules); !slices.Equal(failed, missing) {
				t.Errorf("failed rules %v, wanted %v: %+v", failed, missing, r.Rules)
			}
			if r.OK() != (tc.Complete && want.Overall != NotSupported) {
				t.Errorf("OK %v, but complete is %v and the status %s", r.OK(), tc.Complete, want.Overall)
			}
			for _, at := range []time.Time{tc.ValidFrom.Add(-time.Second), tc.ValidUntil.Add(time.Second)} {
				r, err := v.Verify(raw, at)
				if err != nil {
					t.Fatal(err)
				}
				if r.OK() || len(failedNames(r.Rules)) <= len(missing) && tc.Complete {
					t.Errorf("nothing refused at %v, outside the window", at)
				}
			}
		})
	}
}

// TestRealBadQuotes refuses what its origin made bad, and what names no PCK chain.
func TestRealBadQuotes(t *testing.T) {
	t.Parallel()
	dir := evidenceDir(t)
	good := evidenceCases(t, dir)
	var c *Collateral
	var at time.Time
	for _, tc := range good {
		if tc.Complete && strings.Contains(tc.Quote, "mobilecoin") {
			c, at = tc.collateral(t, dir), tc.VerifyAt
		}
	}
	for file, want := range map[string][]string{
		"v3_oe_sgx_report_bad.bin":               {"pck_chain"},
		"v3_oe_sgx_cert_rsa_bad.bin":             {"pck_chain", "root_trusted"},
		"v3_oe_sgx_cert_ec_bad.bin":              {"pck_chain", "qe_report_signature"},
		"v3_fortanix_quote_raw_tcb.bin":          {"pck_chain", "root_trusted", "qe_report_signature"},
		"v3_oasis_quote_v3_ecdsa_p256_eppid.bin": {"pck_chain", "root_trusted", "qe_report_signature"},
	} {
		r, err := Verify(readEvidence(t, dir, "sgx/quotes/"+file), Options{Root: IntelRoot(), Collateral: c, At: at})
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		failed := failedNames(r.Rules)
		for _, w := range want {
			if !slices.Contains(failed, w) {
				t.Errorf("%s: failed %v, wanted among them %s", file, failed, w)
			}
		}
		if slices.Contains(failed, "quote_signature") {
			t.Errorf("%s: its own signature is good", file)
		}
	}
}

// TestIntelSampleSets verifies Intel's own samples under their test roots. The
// one of TDX is refused: its certification data of type 5 is DER instead of PEM,
// its TCB info has component SVNs above 255, which no platform can have, and no
// TDX module identities although the quote names a module version, and its QE has
// another MRSIGNER than the QE identity.
func TestIntelSampleSets(t *testing.T) {
	t.Parallel()
	dir := evidenceDir(t)
	at := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		failed []string
		tcb    string
	}{
		"sgx": {nil, UpToDate},
		"tdx": {[]string{
			"root_trusted", "pck_chain", "pck_revocation", "root_crl", "tcb_info_signature", "tcb_info_current", "tcb_info_match", "tdx_module",
			"qe_identity", "qe_report_signature", "tcb_level",
		}, ""},
	} {
		read := func(file string) []byte { return readEvidence(t, dir, name+"/synthetic/intel-qvl/"+file) }
		block, _ := pem.Decode(read("trustedRootCaCert.pem"))
		root, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		c := &Collateral{
			TCBInfo: read("tcbInfo.json"), TCBInfoChain: read("tcbSignChain.pem"), QEIdentity: read("qeIdentity.json"), QEIdentityChain: read("tcbSignChain.pem"),
			PCKCRL: read("intermediateCaCrl.der"), RootCRL: read("rootCaCrl.der"), PCKChain: append(read("pckCert.pem"), read("pckSignChain.pem")...),
		}
		r, err := Verify(read("quote.dat"), Options{Root: root, Collateral: c, At: at})
		if err != nil {
			t.Fatal(err)
		}
		if failed := failedNames(r.Rules); !slices.Equal(failed, tc.failed) || r.Claims.TCB.Overall != tc.tcb {
			t.Errorf("%s: TCB %+v, failed %+v", name, r.Claims.TCB, (&attest.Verdict{Rules: r.Rules}).Failed())
		}
		r, err = Verify(read("quote.dat"), Options{Root: IntelRoot(), Collateral: c, At: at})
		if err != nil || !slices.Contains(failedNames(r.Rules), "root_trusted") {
			t.Errorf("%s: Intel's test root was taken for Intel's root: %v", name, err)
		}
	}
}

// TestFlipRealQuotes changes every byte of every real quote that is accepted,
// and cuts it at every length. What follows the quote's end is not signed. The
// bytes of the PCK chain, whose every change costs three certificates, take their
// turn in one quote of each version.
func TestFlipRealQuotes(t *testing.T) {
	t.Parallel()
	dir := evidenceDir(t)
	seen, formats := make(map[string]bool), make(map[string]bool)
	for _, tc := range evidenceCases(t, dir) {
		if !tc.Complete || seen[tc.Quote] {
			continue
		}
		raw := readEvidence(t, dir, tc.Quote)
		v := NewVerifier(IntelRoot(), tc.collateral(t, dir), false)
		if r, err := v.Verify(raw, tc.VerifyAt); err != nil || !r.OK() {
			continue // not supported, see TestRealQuotes
		}
		seen[tc.Quote] = true
		q, err := ParseQuote(raw)
		if err != nil {
			t.Fatal(err)
		}
		raw = raw[:len(raw)-q.Trailing]
		flips := raw
		if formats[q.Format()] {
			flips = raw[:len(raw)-len(q.CertData)]
		}
		formats[q.Format()] = true
		t.Run(tc.Quote, func(t *testing.T) {
			t.Parallel()
			flipAll(flips, func(i int, flipped []byte) {
				if r, err := v.Verify(append(flipped, raw[len(flips):]...), tc.VerifyAt); err == nil && r.OK() {
					t.Errorf("byte %d changed from %#02x to %#02x, accepted", i, raw[i], flipped[i])
				}
			})
			for n := range raw {
				if _, err := v.Verify(raw[:n:n], tc.VerifyAt); err == nil {
					t.Errorf("read at %d of %d bytes", n, len(raw))
				}
			}
		})
	}
	if len(seen) < 20 {
		t.Errorf("%d quotes, wanted more", len(seen))
	}
}
