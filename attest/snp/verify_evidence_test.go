package snp_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/snp"
)

func failed(r *attest.Result) string {
	var out []string
	for _, rule := range r.Rules {
		if !rule.OK {
			out = append(out, rule.Name)
		}
	}
	return strings.Join(out, " ")
}

func TestRealReports(t *testing.T) {
	t.Parallel()
	dir := evidenceDir(t)
	for _, tc := range realReports(t, dir) {
		t.Run(tc.File, func(t *testing.T) {
			t.Parallel()
			v := snp.NewVerifier(snp.Options{Collateral: &snp.Collateral{Certs: [][]byte{tc.cert}}})
			r, err := v.Verify(tc.raw, tc.at)
			if err != nil {
				t.Fatal(err)
			}
			if !r.OK() {
				t.Fatalf("refused: %+v", r.Rules)
			}
			c := r.Claims
			if got := fmt.Sprint(c.Debug); got != tc.Debug {
				t.Errorf("debug %s, wanted %s", got, tc.Debug)
			}
			if got := "0x" + c.Measurements["reported_tcb"]; got != tc.ReportedTCB {
				t.Errorf("reported TCB %s, wanted %s", got, tc.ReportedTCB)
			}
			if got := strings.ToUpper(c.Facts["signing_key"]); got != tc.Signer {
				t.Errorf("signed by %s, wanted %s", got, tc.Signer)
			}
			if masked := strings.Contains(tc.File, "aws"); masked != (c.PlatformID == "") {
				t.Errorf("platform id %q", c.PlatformID)
			}
			if !strings.Contains(tc.File, strings.ToLower(c.Facts["product"])) {
				t.Errorf("product %q", c.Facts["product"])
			}

			from, to, _ := strings.Cut(tc.CertValid, "..")
			for _, day := range []struct {
				text string
				add  time.Duration
			}{{from, -time.Second}, {to, 24 * time.Hour}} {
				at, err := time.Parse(time.DateOnly, day.text)
				if err != nil {
					t.Fatal(err)
				}
				r, err := v.Verify(tc.raw, at.Add(day.add))
				if err != nil || failed(r) != "vcek_chain" {
					t.Errorf("at %v: failed %q, %v", at.Add(day.add), failed(r), err)
				}
			}
			without, err := snp.Verify(tc.raw, snp.Options{At: tc.at})
			if err != nil || !strings.Contains(failed(without), "vcek_chain") {
				t.Errorf("without a certificate: %v", err)
			}
		})
	}
}

// TestRealFlips changes every byte of a real report of each product and key, and
// some bytes of the others, which differ in nothing but their numbers.
func TestRealFlips(t *testing.T) {
	t.Parallel()
	dir := evidenceDir(t)
	for _, tc := range realReports(t, dir) {
		t.Run(tc.File, func(t *testing.T) {
			t.Parallel()
			v := snp.NewVerifier(snp.Options{Collateral: &snp.Collateral{Certs: [][]byte{tc.cert}}})
			every := 16
			if strings.Contains(tc.File, "genoa") || strings.Contains(tc.File, "vlek") || strings.Contains(tc.File, "dstack") {
				every = 1
			}
			flipAll(tc.raw, func(i int, flipped []byte) {
				if i%every != 0 {
					return
				}
				if r, err := v.Verify(flipped, tc.at); err == nil && r.OK() {
					t.Errorf("byte %d of the report changed, accepted", i)
				}
			})
			for n := 0; n < len(tc.raw); n += 7 {
				if _, err := v.Verify(tc.raw[:n], tc.at); err == nil {
					t.Errorf("accepted at %d bytes", n)
				}
			}
		})
	}
}

// TestRealFalseCertificates refuses certificates that only look like AMD's, each with a report of its own.
func TestRealFalseCertificates(t *testing.T) {
	t.Parallel()
	dir := evidenceDir(t)
	reports := realReports(t, dir)
	at := time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)
	for _, name := range []string{"test-vcek-invalid-legacy.der", "test-vcek-invalid-new.der"} {
		der := readEvidence(t, dir, "snp/negative/"+name)
		raw := append([]byte(nil), reports[0].raw...)
		table, err := snp.MarshalCertTable([]snp.CertEntry{{Kind: snp.CertVCEK, Data: der}})
		if err != nil {
			t.Fatal(err)
		}
		r, err := snp.Verify(append(raw, table...), snp.Options{At: at})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"root_trusted", "vcek_chain", "vcek_chip_id", "vcek_tcb", "report_signature"} {
			if !strings.Contains(failed(r), want) {
				t.Errorf("%s: failed %s, wanted among them %s", name, failed(r), want)
			}
		}
	}
	// The certificate of another chip, of the same product, is refused too.
	for i, tc := range reports {
		other := reports[(i+1)%len(reports)]
		r, err := snp.Verify(tc.raw, snp.Options{At: tc.at, Collateral: &snp.Collateral{Certs: [][]byte{other.cert}}})
		if err != nil || r.OK() {
			t.Errorf("%s accepted with the certificate of %s", tc.File, other.File)
		}
	}
}

func TestRealRoots(t *testing.T) {
	t.Parallel()
	dir := evidenceDir(t)
	pinned := snp.AMDRoots()
	for i, p := range snp.Products() {
		low := strings.ToLower(string(p))
		vcek := "ask_ark_" + low + ".pem"
		if p == snp.Turin {
			vcek = "ask_ark_turin_vcek.pem"
		}
		for _, name := range []string{vcek, "ask_ark_" + low + "_vlek.pem"} {
			certs := parsePEM(t, readEvidence(t, dir, "snp/amd-roots/"+name))
			if len(certs) != 2 || !certs[1].Equal(pinned[i]) {
				t.Errorf("%s: its root is not the pinned one of %s", name, p)
			}
		}
	}
}

// TestRealTurinCertificate reads the only real certificate of a Turin; there is no report for it.
func TestRealTurinCertificate(t *testing.T) {
	t.Parallel()
	dir := evidenceDir(t)
	cert := parseDER(t, readEvidence(t, dir, "snp/vcek_turin.der"))
	e, err := snp.ParseEndorsement(cert)
	if err != nil {
		t.Fatal(err)
	}
	want := snp.TCBParts{Microcode: 9}
	if e.Product != snp.Turin || len(e.HWID) != 8 || e.StructVersion != 1 || e.TCB.Parts(snp.Turin) != want {
		t.Errorf("read %+v", e)
	}
	certs := parsePEM(t, readEvidence(t, dir, "snp/amd-roots/ask_ark_turin_vcek.pem"))
	if err := cert.CheckSignatureFrom(certs[0]); err != nil {
		t.Error(err)
	}
}

// TestRealContainers puts real reports into each container.
func TestRealContainers(t *testing.T) {
	t.Parallel()
	dir := evidenceDir(t)
	for _, tc := range realReports(t, dir) {
		cert := certDER(t, tc.cert)
		kind := snp.CertVCEK
		if tc.Signer == "VLEK" {
			kind = snp.CertVLEK
		}
		table, err := snp.MarshalCertTable([]snp.CertEntry{{Kind: kind, Data: cert}})
		if err != nil {
			t.Fatal(err)
		}
		tsm, err := json.Marshal(map[string]any{"provider": "sev_guest", "outblob": tc.raw, "auxblob": table, "generation": 3})
		if err != nil {
			t.Fatal(err)
		}
		for name, raw := range map[string][]byte{
			"extended": append(append([]byte(nil), tc.raw...), table...),
			"tsm":      tsm,
			"trustee":  trusteeJSON(t, tc.raw, kind, cert),
		} {
			r, err := snp.Verify(raw, snp.Options{At: tc.at})
			if err != nil || !r.OK() || !snp.Recognise(raw) {
				t.Errorf("%s as %s: %v %+v", tc.File, name, err, r)
			}
		}
	}
}
