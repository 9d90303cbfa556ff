package verify_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/collateral"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/internal/verify"
	"hitoku.dev/internal/verify/verifytest"
)

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func options(w *verifytest.World, target string) verify.Options {
	return verify.Options{
		Target: target, Root: w.Account.Certificate, SimulatedRoot: w.Authority.Root(), At: verifytest.Now.Add(time.Minute),
		Dial: (&net.Dialer{}).DialContext,
	}
}

func serve(t *testing.T, cert tls.Certificate) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { c.(*tls.Conn).HandshakeContext(context.Background()); c.Close() }()
		}
	}()
	return "https://" + l.Addr().String()
}

func run(t *testing.T, o verify.Options) *verify.Report {
	t.Helper()
	r, err := verify.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func failed(r *verify.Report) []string {
	var names []string
	for _, rule := range r.Verdict.Failed() {
		names = append(names, rule.Name)
	}
	return names
}

func TestServer(t *testing.T) {
	t.Parallel()
	w := verifytest.New(t)
	target := serve(t, w.Certificate())
	r := run(t, options(w, target))
	if !r.Accepted() || r.Kind != verify.KindServer || len(r.Chain) != 3 {
		t.Fatalf("failed %v", failed(r))
	}
	if !slices.ContainsFunc(r.Verdict.NotChecked, func(s string) bool { return strings.HasPrefix(s, "name: ") }) {
		t.Errorf("the name of an address without one was not noted: %q", r.Verdict.NotChecked)
	}
	o := options(w, target)
	o.Name, o.Policy.Measurements = verifytest.Name, [][]byte{w.Measurement[:]}
	o.Nonce = append([]byte{7}, make([]byte, 31)...)
	if r := run(t, o); !r.Accepted() || slices.ContainsFunc(r.Verdict.NotChecked, func(s string) bool { return strings.HasPrefix(s, "nonce") }) {
		t.Errorf("failed %v, not checked %q", failed(r), r.Verdict.NotChecked)
	}
	o.Nonce = make([]byte, 32)
	if r := run(t, o); !slices.Equal(failed(r), []string{"nonce"}) {
		t.Errorf("another nonce: failed %v", failed(r))
	}
	o = options(w, target)
	o.SimulatedRoot = nil
	if r := run(t, o); r.Accepted() || !slices.Contains(failed(r), "root_trusted") {
		t.Error("simulated evidence was accepted without its root")
	}
	o = options(w, strings.Replace(target, "127.0.0.1", "localhost", 1))
	if r := run(t, o); !slices.Equal(failed(r), []string{"certificate_name"}) {
		t.Errorf("host of the address: failed %v", failed(r))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := verify.Run(t.Context(), options(w, "https://"+l.Addr().String())); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("no server: %v", err)
	}
}

func TestImage(t *testing.T) {
	t.Parallel()
	w := verifytest.New(t)
	o := options(w, write(t, "chain.pem", verifytest.PEM(w.Chain()...)))
	o.Image = "example.com/web:1"
	measurement := hex.EncodeToString(w.Measurement[:])
	o.Measure = func(context.Context, string) (string, error) { return measurement, nil }
	if r := run(t, o); !r.Accepted() || r.ImageMeasurement != measurement || r.Kind != verify.KindCertificate {
		t.Errorf("failed %v", failed(r))
	}
	o.Policy.Measurements = [][]byte{{1}}
	if _, err := verify.Run(t.Context(), o); err == nil {
		t.Error("two measurements that disagree were taken")
	}
	o.Policy.Measurements = nil
	o.Measure = func(context.Context, string) (string, error) { return strings.Repeat("00", 32), nil }
	if r := run(t, o); !slices.Equal(failed(r), []string{"measurement"}) {
		t.Errorf("another image: failed %v", failed(r))
	}
	o.Measure = func(context.Context, string) (string, error) { return "", errors.New("no such tag") }
	if _, err := verify.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "no such tag") {
		t.Errorf("image that cannot be measured: %v", err)
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	w := verifytest.New(t)
	data := [64]byte{1, 2, 3, 4, 5, 6, 7, 8, 9}
	file := write(t, "quote.bin", w.Quote(data))
	whole, err := json.Marshal(w.Collateral())
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := collateral.Load(write(t, "collateral.json", whole))
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		edit   func(o *verify.Options)
		failed []string
	}{
		"honest":              {},
		"report data":         {edit: func(o *verify.Options) { o.Policy.ReportData = data[:] }},
		"other report data":   {edit: func(o *verify.Options) { o.Policy.ReportData = make([]byte, 64) }, failed: []string{"report_data"}},
		"nonce":               {edit: func(o *verify.Options) { o.Nonce = data[:8] }},
		"other nonce":         {edit: func(o *verify.Options) { o.Nonce = data[1:9] }, failed: []string{"nonce"}},
		"later":               {edit: func(o *verify.Options) { o.At = o.At.AddDate(0, 0, 31) }, failed: []string{"pck_revocation", "root_crl", "tcb_info_current", "qe_identity_current"}},
		"root named as maker": {edit: func(o *verify.Options) { o.SimulatedRoot, o.Root = nil, w.Authority.Root() }, failed: []string{"root_trusted"}},
		"no quote":            {edit: func(o *verify.Options) { o.Target = "-"; o.Stdin = strings.NewReader("hello") }, failed: []string{"quote_format"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(w, file)
			o.Collateral = bundle
			if tc.edit != nil {
				tc.edit(&o)
			}
			if r := run(t, o); !slices.Equal(failed(r), tc.failed) || r.Accepted() != (tc.failed == nil) {
				t.Errorf("failed %v, wanted %v", failed(r), tc.failed)
			}
		})
	}
	o := options(w, file)
	if r := run(t, o); r.Accepted() || !slices.ContainsFunc(r.Verdict.NotChecked, func(s string) bool { return strings.HasPrefix(s, "collateral:") }) {
		t.Error("accepted without collateral")
	}
}

// TestFolder gives the same collateral as a heap of files in every form.
func TestFolder(t *testing.T) {
	t.Parallel()
	w := verifytest.New(t)
	raw := w.Quote([64]byte{1})
	c := w.Collateral()
	dir := t.TempDir()
	for name, data := range map[string][]byte{
		"sub/tcb":        c.TCBInfo,
		"qe.json":        c.QEIdentity,
		"pck.crl":        []byte(hex.EncodeToString(c.PCKCRL)),
		"root.crl":       pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: c.RootCRL}),
		"issuer-chain":   []byte(strings.ReplaceAll(strings.ReplaceAll(string(c.TCBInfoChain), " ", "%20"), "\n", "%0A")),
		"ca.pem":         c.PCKCRLChain,
		"README":         []byte("not collateral"),
		"other-tcb.json": bytes.Replace(c.TCBInfo, []byte(strings.ToUpper(dcap.SimulatedFMSPC)), []byte("00906ED50000"), 1),
		"tdx.json":       []byte(`{"tcbInfo":{"id":"TDX","fmspc":"00e0f0514d01"},"signature":""}`),
		"qve.json":       []byte(`{"enclaveIdentity":{"id":"QVE"},"signature":""}`),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bundle, err := collateral.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	o := options(w, "-")
	o.Collateral, o.Stdin = bundle, bytes.NewReader(raw)
	if r := run(t, o); !r.Accepted() {
		t.Errorf("failed %v: %+v", failed(r), r.Verdict.Failed())
	}
	// A quote that names its PCK by PPID alone gets the chain from the folder.
	if err := os.WriteFile(filepath.Join(dir, "pck.pem"), w.PCK, 0o600); err != nil {
		t.Fatal(err)
	}
	w.EditQuote = func(q *dcap.Quote) { q.CertType, q.CertData = dcap.CertPPIDRSA3072, make([]byte, 404) }
	if o.Collateral, err = collateral.Load(dir); err != nil {
		t.Fatal(err)
	}
	o.Stdin = bytes.NewReader(w.Quote([64]byte{1}))
	if r := run(t, o); !r.Accepted() {
		t.Errorf("PPID alone: failed %v: %+v", failed(r), r.Verdict.Failed())
	}
	if _, err := collateral.Load(t.TempDir()); err == nil {
		t.Error("an empty folder was taken for collateral")
	}
	if _, err := collateral.Load(filepath.Join(dir, "README")); err == nil {
		t.Error("a text was taken for collateral")
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	w := verifytest.New(t)
	w.EditLeaf = func(c *x509.Certificate) { c.Subject.CommonName = "evil\x1b[2Jname" }
	o := options(w, write(t, "chain.pem", verifytest.PEM(w.Chain()...)))
	o.Policy.Signers = [][]byte{make([]byte, 32)}
	r := run(t, o)
	var text bytes.Buffer
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"REFUSED: 1 of", "signer", "SIMULATED", hex.EncodeToString(w.Measurement[:]), "Not checked", "UpToDate", "wanted: 0000"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in the report:\n%s", want, text.String())
		}
	}
	if strings.ContainsRune(text.String(), '\x1b') {
		t.Error("control characters of a certificate reached the terminal")
	}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var j struct {
		Format      string
		Accepted    *bool
		Rules       []attest.Rule
		TCB         map[string]any
		Debug       *bool
		Measurement string
		MRSigner    string
		ISVProdID   int      `json:"isv_prod_id"`
		NotChecked  []string `json:"not_checked"`
	}
	if err := json.Unmarshal(raw, &j); err != nil {
		t.Fatal(err)
	}
	if j.Format != dcap.FormatSGX3 || *j.Accepted || *j.Debug || len(j.Rules) == 0 || len(j.NotChecked) == 0 || j.TCB["overall"] != "UpToDate" ||
		j.TCB["advisories"] == nil || j.ISVProdID != 1 || len(j.Measurement) != 64 || len(j.MRSigner) != 64 {
		t.Errorf("%s", raw)
	}
	if err := r.Err(); err == nil || !strings.Contains(err.Error(), "signer") {
		t.Errorf("error %v", err)
	}
	// Nothing readable is still a report with every list in it.
	o = options(w, "-")
	o.Stdin = strings.NewReader("")
	raw, err = json.Marshal(run(t, o))
	if err != nil || !bytes.Contains(raw, []byte(`"not_checked":[]`)) || !bytes.Contains(raw, []byte(`"accepted":false`)) {
		t.Errorf("%s %v", raw, err)
	}
}

func TestCertificateWithoutEvidence(t *testing.T) {
	t.Parallel()
	w := verifytest.New(t)
	r := run(t, options(w, write(t, "zone.pem", verifytest.PEM(w.Zone.Certificate))))
	if r.Accepted() || !slices.Contains(failed(r), "evidence_extension") {
		t.Errorf("failed %v", failed(r))
	}
	if _, err := verify.Run(t.Context(), options(w, write(t, "key.pem", []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")))); err == nil {
		t.Error("a private key was judged")
	}
}
