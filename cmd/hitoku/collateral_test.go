package main

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"hitoku.dev/attest"
	"hitoku.dev/attest/collateral/collateraltest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/attest/snp"
	"hitoku.dev/attest/snp/snptest"
)

// startMakers is the scripts' command "makers": it starts a made-up Intel and AMD
// with their services until the test ends, sets $PCCS to them, and writes their
// roots, intel.pem and amd.pem, and evidence: sgx.bin, tdx.bin, ppid.bin (a quote of
// SGX without its PCK chain) and snp.bin. Each argument "fail" refuses one request.
func startMakers(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, _ bool, args []string) {
		w := collateraltest.New(t, time.Now())
		server := w.Serve()
		for range strings.Count(strings.Join(args, " "), "fail") {
			server.Fail(1, http.StatusNotFound, "", "")
		}
		p := w.Platform("00906ed50000", dcap.CAPlatform)
		for name, raw := range map[string][]byte{
			"intel.pem": snptest.PEM(w.Root()), "amd.pem": snptest.PEM(w.AMD.Line(snp.Milan).ARK.Cert),
			"sgx.bin": p.Quote(attest.SGX), "tdx.bin": p.Quote(attest.TDX), "ppid.bin": p.QuoteByPPID(),
			"snp.bin": w.AMD.Sign(w.AMD.Report(snp.Milan, 3)),
		} {
			ts.Check(os.WriteFile(ts.MkAbs(name), raw, 0o600))
		}
		ts.Setenv("PCCS", server.URL)
	}
}
