package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/atls"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/enclave/simtee"
	"hitoku.dev/enclave/simtee/authority"
	"hitoku.dev/measure/sgx"
)

// certified is a simulated platform that has its PCK certificate already, since the
// fake manager gives it none and knows a fake platform's evidence only.
type certified struct{ *simtee.Platform }

func (certified) InstallPCK([]byte) error { return nil }
func (certified) NodeEvidence(ctx context.Context, b *attest.Binding) ([]byte, error) {
	return (&fakePlatform{}).NodeEvidence(ctx, b)
}

func newCertified(t *testing.T, a *authority.Authority) certified {
	t.Helper()
	p, err := simtee.NewPlatform(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := a.IssuePCK(p.PCKPublic(), p.PPID(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.InstallPCK(chain); err != nil {
		t.Fatal(err)
	}
	return certified{p}
}

// program makes this process a measured program of a platform.
func program(t *testing.T, p certified) *simtee.Client {
	t.Helper()
	dir, err := os.MkdirTemp("", "tee-") // socket paths are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		simtee.NewServer(p.Platform, simtee.ServerOptions{UserNamespace: simtee.UserNamespaceOwn}).Serve(ctx, dir)
		close(done)
	}()
	t.Cleanup(func() { cancel(); <-done })
	socket := filepath.Join(dir, simtee.SocketName)
	eventually(t, "the simulated TEE listens", func() bool { _, err := os.Stat(socket); return err == nil })
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(self)
	manifest := []byte(`{"guest":"` + hex.EncodeToString(digest[:]) + `"}`)
	key, err := sgx.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := sgx.Sign(t.Context(), sgx.Params{EnclaveHash: sha256.Sum256(manifest), ISVProdID: 1, ISVSVN: 1}, sgx.KeySigner{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	c, err := simtee.Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Measure(t.Context(), manifest, s.Marshal()); err != nil {
		t.Fatal(err)
	}
	return c
}

func certificateOf(t *testing.T, text any) *x509.Certificate {
	t.Helper()
	block, rest := pem.Decode([]byte(text.(string)))
	if block == nil || len(rest) != 0 {
		t.Fatalf("no single PEM block: %v", text)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLocalReportIsExchanged(t *testing.T) {
	t.Parallel()
	simulated, err := authority.New(rand.Reader, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	here, elsewhere := newCertified(t, simulated), newCertified(t, simulated)
	m := newFakeManager(t)
	o := m.options(t)
	o.JoinToken, o.Platform = m.token(1, nil), here
	a, base, _ := run(t, o)
	ready(t, a)
	tee, foreign := program(t, here), program(t, elsewhere)

	_, info := get1(t, base, "/v1/enclave/target-info")
	target, _ := base64.StdEncoding.DecodeString(info["targetInfo"].(string))
	nonce, _ := base64.StdEncoding.DecodeString(info["nonce"].(string))
	request, parsed := csrPEM(t, "a.test")
	statement := func(edit func(*attest.Binding)) (*attest.Binding, []byte) {
		b := &attest.Binding{
			Purpose: attest.PurposeApp, Subject: attest.SPKIHash(parsed.RawSubjectPublicKeyInfo), Nonce: nonce, AccountRoot: attest.SPKIHash(m.root.RawSubjectPublicKeyInfo),
		}
		if edit != nil {
			edit(b)
		}
		der, err := b.MarshalDER()
		if err != nil {
			t.Fatal(err)
		}
		return b, der
	}
	report := func(c *simtee.Client, target []byte, b *attest.Binding) []byte {
		t.Helper()
		r, err := c.Report(t.Context(), target, b)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	ask := func(report, binding []byte) (int, map[string]any) {
		t.Helper()
		return post1(t, base, "/v1/enclave/attest", jsonOf(map[string]any{"report": report, "attestation_csr": request, "binding": binding}))
	}

	b, der := statement(nil)
	good := report(tee, target, b)
	status, got := ask(good, der)
	if status != 200 || len(got) != 3 {
		t.Fatalf("%d %v", status, got)
	}
	leaf, node := certificateOf(t, got["attestation_certificate"]), certificateOf(t, got["node_certificate"])
	if err := node.CheckSignatureFrom(m.zone); err != nil || node.IsCA {
		t.Errorf("node certificate: %v", err)
	}
	if err := node.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature); err != nil {
		t.Errorf("attestation certificate: %v", err)
	}
	if !bytes.Equal(leaf.RawSubjectPublicKeyInfo, parsed.RawSubjectPublicKeyInfo) || leaf.IsCA || len(leaf.ExtKeyUsage) != 0 || len(leaf.DNSNames) != 0 || leaf.NotAfter.After(node.NotAfter) {
		t.Errorf("attestation certificate %+v", leaf)
	}
	carried, err := atls.FromCertificate(leaf)
	if err != nil || !bytes.Equal(carried.Binding, der) {
		t.Fatalf("%v", err)
	}
	collateral, err := simulated.Collateral(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	verdict, err := dcap.Verify(carried.Evidence, dcap.Options{Root: simulated.Root(), Collateral: collateral, At: time.Now(), Simulated: true})
	if err != nil || !verdict.OK() {
		t.Fatalf("quote: %+v, %v", verdict, err)
	}
	if data := b.ReportData(); !bytes.Equal(verdict.Claims.ReportData, data[:]) || verdict.Claims.PlatformID != here.ID() {
		t.Errorf("claims %+v", verdict.Claims)
	}
	answer, _ := base64.StdEncoding.DecodeString(got["fqpe_report"].(string))
	if err := tee.VerifyReport(t.Context(), answer); err != nil {
		t.Errorf("the program refuses the answer: %v", err)
	}
	if sum := sha256.Sum256(leaf.Raw); !bytes.Equal(answer[320:384], append(sum[:], make([]byte, 32)...)) {
		t.Errorf("answer over %x", answer[320:384])
	}
	if err := foreign.VerifyReport(t.Context(), answer); err == nil {
		t.Error("a program of another machine accepts the answer")
	}

	changed := bytes.Clone(good)
	changed[320] ^= 1
	_, otherDER := statement(func(b *attest.Binding) { b.Nonce = make([]byte, 32) })
	otherKey, otherKeyDER := statement(func(b *attest.Binding) { b.Subject[0] ^= 1 })
	otherAccount, otherAccountDER := statement(func(b *attest.Binding) { b.AccountRoot[0] ^= 1 })
	for name, c := range map[string]struct {
		report, binding []byte
		rule            string
	}{
		"changed":                 {changed, der, "report_mac"},
		"of another machine":      {report(foreign, elsewhere.TargetInfo(), b), der, "report_mac"},
		"for another program":     {report(tee, make([]byte, 512), b), der, "report_mac"},
		"over another binding":    {good, otherDER, "report_data"},
		"over another key":        {report(tee, target, otherKey), otherKeyDER, "binding_subject"},
		"for another account":     {report(tee, target, otherAccount), otherAccountDER, "account_root"},
		"without binding":         {good, nil, "binding"},
		"with a binding cut off":  {good, der[:len(der)-1], "binding"},
		"made of the last answer": {answer, der, "report_mac"},
	} {
		status, got := ask(c.report, c.binding)
		if status != 403 || !strings.Contains(got["message"].(string), "; "+c.rule+": wanted") || got["attestation_certificate"] != nil {
			t.Errorf("report %s: %d %v, wanted rule %s", name, status, got, c.rule)
		}
	}
	if status, got := ask(good, der); status != 200 {
		t.Errorf("the honest report afterwards: %d %v", status, got)
	}
}
