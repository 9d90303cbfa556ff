package manager

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/collateral"
	"hitoku.dev/attest/collateral/collateraltest"
	"hitoku.dev/attest/dcap"
)

func TestHardwareCollateral(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	maker := collateraltest.New(t, now)
	server := maker.Serve()
	client, err := collateral.NewClient(server.Options())
	if err != nil {
		t.Fatal(err)
	}
	newSource := func(c *collateral.Client) *collateral.Source {
		return collateral.NewSource(collateral.Options{Intel: maker.Root(), Client: c, Now: maker.Now})
	}
	source := newSource(client)
	quote := maker.Platform("00906ed50000", dcap.CAPlatform).Quote(attest.SGX)
	other := maker.Platform("00606a000000", dcap.CAPlatform).Quote(attest.TDX)

	judge := func(s CollateralSource, quote []byte) (string, *dcap.Collateral) {
		m := &Manager{opts: Options{Collateral: s, Now: maker.Now}}
		result, c := m.hardwareVerifier().judge(t.Context(), quote, maker.Now())
		var failed []string
		for _, r := range result.Rules {
			if !r.OK {
				failed = append(failed, r.Name)
				if r.Advice == "" || strings.Contains(r.Seen, "\n") {
					t.Errorf("rule without advice, or of several lines: %+v", r)
				}
			}
		}
		return strings.Join(failed, " "), c
	}
	const none = "tcb_info_signature tcb_info_current tcb_info_match qe_identity_signature qe_identity_current qe_identity tcb_level"
	if failed, c := judge(source, quote); failed != "" || c == nil || len(c.TCBInfo) == 0 {
		t.Errorf("failed %s, collateral %v", failed, c != nil)
	}
	if failed, _ := judge(nil, quote); !strings.HasPrefix(failed, "root_trusted") || !strings.Contains(failed, none) {
		t.Errorf("without a source: failed %s", failed)
	}
	if failed, _ := judge(newSource(nil), quote); failed != "pck_revocation root_crl "+none+" collateral" {
		t.Errorf("without network and cache: failed %s", failed)
	}
	if failed, _ := judge(source, []byte("no quote")); failed != "quote_format" {
		t.Errorf("no quote: failed %s", failed)
	}
	server.Fail(2, http.StatusNotFound, "", "")
	if failed, _ := judge(source, other); !strings.HasSuffix(failed, "collateral") || !strings.Contains(failed, "tcb_level") {
		t.Errorf("the service has nothing: failed %s", failed)
	}
	// Half a year later the service is gone: what is at hand is stale, and refused.
	maker.SetNow(now.AddDate(0, 6, 0))
	server.Close()
	if failed, _ := judge(source, quote); failed != "pck_revocation root_crl tcb_info_current qe_identity_current collateral" {
		t.Errorf("stale: failed %s", failed)
	}
}
