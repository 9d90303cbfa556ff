package verify_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/cmw"
	"hitoku.dev/attest/collateral"
	"hitoku.dev/attest/ear"
	"hitoku.dev/attest/policy"
	"hitoku.dev/attest/policy/policyfile"
	"hitoku.dev/attest/snp"
	"hitoku.dev/attest/snp/snptest"
	"hitoku.dev/internal/verify"
	"hitoku.dev/internal/verify/verifytest"
)

// amd is a made-up AMD with one report of its.
type amd struct {
	*snptest.World
	report *snp.Report
	raw    []byte
}

func newAMD(t *testing.T) *amd {
	t.Helper()
	w := snptest.New(t, verifytest.Now)
	r := w.Report(snp.Milan, 3)
	return &amd{w, r, w.Sign(r)}
}

// options judge a file under the made-up AMD's root, its certificates in a folder.
func (a *amd) options(t *testing.T, target string) verify.Options {
	t.Helper()
	bundle := new(collateral.Bundle)
	for _, cert := range a.Collateral(a.report).Certs {
		bundle.Add(cert)
	}
	return verify.Options{Target: target, Root: a.Line(snp.Milan).ARK.Cert, Collateral: bundle, At: verifytest.Now.Add(time.Minute)}
}

func TestSNPReport(t *testing.T) {
	t.Parallel()
	a := newAMD(t)
	o := a.options(t, write(t, "report.bin", a.raw))
	if r := run(t, o); !r.Accepted() || r.Verdict.Format != snp.FormatReport {
		t.Fatalf("failed %+v", r.Verdict.Failed())
	}
	o.Nonce = a.report.ReportData[:16]
	if r := run(t, o); !r.Accepted() {
		t.Errorf("nonce: failed %v", failed(r))
	}
	o.Nonce = make([]byte, 32)
	if r := run(t, o); !slices.Equal(failed(r), []string{"nonce"}) {
		t.Errorf("another nonce: failed %v", failed(r))
	}
	o.Nonce, o.Root = nil, nil
	if r := run(t, o); !slices.Contains(failed(r), "root_trusted") {
		t.Errorf("AMD's own root: failed %v", failed(r))
	}
	// A log that replays to nothing is no reason to accept.
	o = a.options(t, o.Target)
	o.EventLog = write(t, "log", []byte("no log"))
	if r := run(t, o); !slices.Equal(failed(r), []string{"event_log_replay"}) {
		t.Errorf("event log: failed %v", failed(r))
	}
	o.EventLog = filepath.Join(t.TempDir(), "none")
	if _, err := verify.Run(t.Context(), o); err == nil {
		t.Error("an event log that is not there was overlooked")
	}
}

// TestSNPAmongOthers judges a report with a folder that serves other makers and many machines too.
func TestSNPAmongOthers(t *testing.T) {
	t.Parallel()
	a := newAMD(t)
	o := a.options(t, write(t, "report.bin", a.raw))
	o.Collateral.Add(a.Line(snp.Milan).CRL(verifytest.Now))
	w := verifytest.New(t)
	o.Collateral.Add(w.Collateral().PCKCRL)
	for i := range 70 {
		other := *a.report
		other.ChipID[1] = byte(i)
		o.Collateral.Add(a.Leaf(&other).Cert.Raw)
	}
	if r := run(t, o); !r.Accepted() {
		t.Errorf("failed %+v", r.Verdict.Failed())
	}
}

// TestWith joins further evidence to that of the TEE.
func TestWith(t *testing.T) {
	t.Parallel()
	a := newAMD(t)
	second := *a.report
	second.Measurement[0] ^= 1
	o := a.options(t, write(t, "report.bin", a.raw))
	o.With = []string{write(t, "other.hex", []byte(hex.EncodeToString(a.Sign(&second))))}
	r := run(t, o)
	if !r.Accepted() || len(r.Claims.Devices) != 1 || !slices.ContainsFunc(r.Verdict.Rules, func(x attest.Rule) bool { return x.Name == "device_1_root_trusted" && x.OK }) {
		t.Errorf("failed %v, %d devices", failed(r), len(r.Claims.Devices))
	}
	if !slices.ContainsFunc(r.Verdict.NotChecked, func(s string) bool { return strings.HasPrefix(s, "device_1_binding:") }) {
		t.Errorf("not checked %q", r.Verdict.NotChecked)
	}
	o.Nonce = a.report.ReportData[:16]
	if r := run(t, o); !r.Accepted() {
		t.Errorf("one nonce: failed %v", failed(r))
	}
	second.ReportData[0] ^= 1
	o.With = []string{write(t, "other.bin", a.Sign(&second))}
	if r := run(t, o); !slices.Equal(failed(r), []string{"device_1_nonce"}) {
		t.Errorf("another nonce: failed %v", failed(r))
	}
	raw := a.Sign(&second)
	raw[0x90] ^= 1
	o.Nonce, o.With = nil, []string{write(t, "false.bin", raw)}
	if r := run(t, o); !slices.Equal(failed(r), []string{"device_1_report_signature"}) {
		t.Errorf("a false device: failed %v", failed(r))
	}
	o.With = []string{write(t, "text", []byte("hello"))}
	if _, err := verify.Run(t.Context(), o); err == nil {
		t.Error("a text was taken for a device")
	}
}

// TestPolicyFile: what the file does not name is refused, and the suggestion mends that.
func TestPolicyFile(t *testing.T) {
	t.Parallel()
	a := newAMD(t)
	o := a.options(t, write(t, "report.bin", a.raw))
	p, err := policyfile.Parse([]byte("version: 1\nplatforms: [" + hex.EncodeToString(a.report.ChipID[:]) + "]\n"))
	if err != nil {
		t.Fatal(err)
	}
	o.Policy = *p
	r := run(t, o)
	if !slices.Equal(failed(r), []string{"format", "measurement"}) {
		t.Errorf("failed %v", failed(r))
	}
	text, err := r.SuggestedPolicy()
	if err != nil {
		t.Fatal(err)
	}
	if p, err = policyfile.Parse(text); err != nil {
		t.Fatal(err)
	}
	o.Policy = *p
	if r := run(t, o); !r.Accepted() {
		t.Errorf("with the suggested policy: failed %v\n%s", failed(r), text)
	}
	raw := slices.Clone(a.raw)
	raw[0x90] ^= 1
	o.Target = write(t, "false.bin", raw)
	if _, err := run(t, o).SuggestedPolicy(); err == nil || !strings.Contains(err.Error(), "report_signature") {
		t.Errorf("a policy for a false report: %v", err)
	}
	// Simulated evidence needs the root and the file's word.
	w := verifytest.New(t)
	bundle := new(collateral.Bundle)
	whole, err := json.Marshal(w.Collateral())
	if err != nil || !bundle.Add(whole) {
		t.Fatal(err)
	}
	o = options(w, write(t, "quote.bin", w.Quote([64]byte{1})))
	o.Collateral, o.Policy = bundle, policy.Policy{Closed: true, TEEs: []attest.TEE{attest.SGX}, AnyMeasurement: true, TCBStatuses: []string{"UpToDate"}}
	if r := run(t, o); !slices.Equal(failed(r), []string{"evidence_kind"}) {
		t.Errorf("simulated: failed %v", failed(r))
	}
	o.Policy.AllowSimulated = true
	if r := run(t, o); !r.Accepted() {
		t.Errorf("simulated: failed %v", failed(r))
	}
	o.Target = write(t, "chain.pem", verifytest.PEM(w.Chain()...))
	if r := run(t, o); !r.Accepted() {
		t.Errorf("certificate: failed %v", failed(r))
	}
	o.Policy.AllowSimulated, o.Policy.TEEs = false, []attest.TEE{attest.TDX}
	r = run(t, o)
	if !slices.Equal(failed(r), []string{"evidence_kind", "tee"}) {
		t.Errorf("certificate: failed %v", failed(r))
	}
	text, err = r.SuggestedPolicy()
	if err != nil || !strings.Contains(string(text), "simulated: true") {
		t.Errorf("%v\n%s", err, text)
	}
	o.Nonce = make([]byte, 32)
	if _, err := run(t, o).SuggestedPolicy(); err == nil || !strings.Contains(err.Error(), "nonce") {
		t.Errorf("a policy for a stale nonce: %v", err)
	}
}

// TestResult signs a verdict, and judges the token.
func TestResult(t *testing.T) {
	t.Parallel()
	a := newAMD(t)
	path := filepath.Join(t.TempDir(), "key.pem")
	key, err := ear.LoadOrCreateKey(path, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o := a.options(t, write(t, "report.bin", a.raw))
	o.Nonce = a.report.ReportData[:16]
	o.Policy.Measurements = [][]byte{a.report.Measurement[:]}
	good, err := run(t, o).EAR(key, "test", "sha256:00")
	if err != nil {
		t.Fatal(err)
	}
	o.Policy.Measurements = [][]byte{{1}}
	refused, err := run(t, o).EAR(key, "test")
	if err != nil {
		t.Fatal(err)
	}
	dot := strings.LastIndex(good, ".") + 1
	changed := good[:dot] + map[bool]string{true: "B", false: "A"}[good[dot] == 'A'] + good[dot+1:]
	judge := func(token string, edit func(o *verify.Options)) *verify.Report {
		o := verify.Options{Target: write(t, "token", []byte(token+"\n")), ResultKey: key.Public(), At: verifytest.Now.Add(2 * time.Minute)}
		if edit != nil {
			edit(&o)
		}
		return run(t, o)
	}
	measured := func(context.Context, string) (string, error) { return hex.EncodeToString(a.report.Measurement[:]), nil }
	cases := map[string]struct {
		token  string
		edit   func(o *verify.Options)
		failed []string
	}{
		"affirming":       {token: good},
		"nonce":           {token: good, edit: func(o *verify.Options) { o.Nonce = a.report.ReportData[:16] }},
		"another nonce":   {token: good, edit: func(o *verify.Options) { o.Nonce = make([]byte, 16) }, failed: []string{"nonce"}},
		"contraindicated": {token: refused, failed: []string{"result_status"}},
		"no key":          {token: good, edit: func(o *verify.Options) { o.ResultKey = nil }, failed: []string{"root_trusted"}},
		"expired":         {token: good, edit: func(o *verify.Options) { o.At = o.At.Add(2 * time.Hour) }, failed: []string{"result_signature"}},
		"not yet":         {token: good, edit: func(o *verify.Options) { o.At = o.At.Add(-time.Hour) }, failed: []string{"result_signature"}},
		"changed":         {token: changed, failed: []string{"result_signature"}},
		"measurement":     {token: good, edit: func(o *verify.Options) { o.Policy.Measurements = [][]byte{a.report.Measurement[:]} }, failed: []string{"policy"}},
		"signer":          {token: good, edit: func(o *verify.Options) { o.Policy.Signers = [][]byte{{1}} }, failed: []string{"policy"}},
		"report data":     {token: good, edit: func(o *verify.Options) { o.Policy.ReportData = []byte{1} }, failed: []string{"policy"}},
		"image":           {token: good, edit: func(o *verify.Options) { o.Image, o.Measure = "image", measured }, failed: []string{"policy"}},
		"event log":       {token: good, edit: func(o *verify.Options) { o.EventLog = "none" }, failed: []string{"policy"}},
		"devices":         {token: good, edit: func(o *verify.Options) { o.With = []string{"none"} }, failed: []string{"policy"}},
		"name":            {token: good, edit: func(o *verify.Options) { o.Name = "web.example.com" }, failed: []string{"policy"}},
		"with a policy":   {token: good, edit: func(o *verify.Options) { o.Policy.Closed = true }, failed: []string{"policy"}},
	}
	for name, tc := range cases {
		r := judge(tc.token, tc.edit)
		if !slices.Equal(failed(r), tc.failed) || r.Kind != verify.KindResult || r.Verdict.Format != verify.FormatEAR {
			t.Errorf("%s: failed %v, kind %s", name, failed(r), r.Kind)
		}
		if _, err := json.Marshal(r); err != nil {
			t.Error(err)
		}
	}
}

// TestForeignCertificate reads evidence that another program wrapped into a certificate.
func TestForeignCertificate(t *testing.T) {
	t.Parallel()
	a := newAMD(t)
	w := verifytest.New(t)
	for name, make := range map[string]func(m *cmw.Message) (pkix.Extension, error){
		"JSON": (*cmw.Message).JSONExtension, "CBOR": (*cmw.Message).CBORExtension,
	} {
		e, err := make(&cmw.Message{Record: &cmw.Record{Type: "application/vnd.amd.sev-snp", Value: a.raw, Indicator: cmw.Evidence}})
		if err != nil {
			t.Fatal(err)
		}
		w.EditExtensions = func([]pkix.Extension) []pkix.Extension { return []pkix.Extension{e} }
		leaf := w.Chain()[0]
		o := a.options(t, write(t, "leaf.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})))
		o.Root = nil
		r := run(t, o)
		if !slices.Contains(failed(r), "root_trusted") || r.Verdict.Format != snp.FormatReport || r.Kind != verify.KindCertificate {
			t.Errorf("%s: failed %v, format %s", name, failed(r), r.Verdict.Format)
		}
		if !slices.ContainsFunc(r.Verdict.NotChecked, func(s string) bool { return strings.HasPrefix(s, "certificate:") }) {
			t.Errorf("%s: not checked %q", name, r.Verdict.NotChecked)
		}
		// Where a name or a zone is wanted, evidence that nothing ties to the certificate is not enough.
		for _, edit := range []func(o *verify.Options){func(o *verify.Options) { o.Name = "web.example.com" }, func(o *verify.Options) { o.Zone = w.Zone.Certificate }} {
			o := o
			if edit(&o); !slices.Contains(failed(run(t, o)), "evidence_extension") {
				t.Errorf("%s: a name or zone was passed over", name)
			}
		}
		// With an account root it must be a certificate of that account.
		o.Root = w.Account.Certificate
		if r := run(t, o); !slices.Contains(failed(r), "evidence_extension") {
			t.Errorf("%s: failed %v", name, failed(r))
		}
	}
	o := options(w, write(t, "chain.pem", verifytest.PEM([]*x509.Certificate{w.Zone.Certificate}...)))
	o.With = []string{"none"}
	if r := run(t, o); !slices.Contains(failed(r), "further_evidence") {
		t.Errorf("failed %v", failed(r))
	}
}
