package dcap

import (
	"encoding/json"
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
		QE              string    `json:"qe"`
		Overall         string    `json:"overall"`
		Debug           bool      `json:"debug"`
	} `json:"observed"`
}

func sgxCases(t testing.TB, dir string) []evidenceCase {
	t.Helper()
	var index struct {
		Cases []evidenceCase `json:"cases"`
	}
	if err := json.Unmarshal(readEvidence(t, dir, "intel-cases.json"), &index); err != nil {
		t.Fatal(err)
	}
	var out []evidenceCase
	for _, c := range index.Cases {
		if strings.HasPrefix(c.Quote, "sgx/quotes/v3_") {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		t.Fatal("no SGX cases in the index")
	}
	return out
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

func TestRealSGXQuotes(t *testing.T) {
	t.Parallel()
	dir := evidenceDir(t)
	for _, tc := range sgxCases(t, dir) {
		t.Run(tc.ID, func(t *testing.T) {
			t.Parallel()
			raw := readEvidence(t, dir, tc.Quote)
			v := NewVerifier(IntelRoot(), tc.collateral(t, dir), false)
			r, err := v.Verify(raw, tc.VerifyAt)
			if err != nil {
				t.Fatal(err)
			}
			got, want := r.Claims.TCB, tc.Observed
			if got.Overall != want.Overall || got.Platform != want.PlatformTCB || got.QE != want.QE || !slices.Equal(got.Advisories, want.Advisories) {
				t.Errorf("TCB %+v, wanted %+v", got, want)
			}
			if r.Claims.Debug != want.Debug || !r.Claims.TCBDate.Equal(want.PlatformTCBDate) {
				t.Errorf("debug %v, TCB date %v, wanted %v, %v", r.Claims.Debug, r.Claims.TCBDate, want.Debug, want.PlatformTCBDate)
			}
			var missing []string
			if tc.PCKCRL == "" {
				missing = append(missing, "pck_revocation")
			}
			if tc.RootCACRL == "" {
				missing = append(missing, "root_crl")
			}
			if tc.EnclaveIdentity == "" {
				missing = append(missing, "qe_identity_signature", "qe_identity_current", "qe_identity", "tcb_level")
			}
			if failed := failedNames(r.Rules); !slices.Equal(failed, missing) {
				t.Errorf("failed rules %v, wanted %v: %+v", failed, missing, r.Rules)
			}
			if r.OK() != tc.Complete {
				t.Errorf("OK %v, but complete is %v", r.OK(), tc.Complete)
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
