package guest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/enclave"
)

// fakeTEE makes evidence with a key of its own: a signature over the report data.
type fakeTEE struct {
	key  *ecdsa.PrivateKey
	fail func() error // asked before each piece of evidence; may be nil
}

func newFakeTEE(t testing.TB) *fakeTEE { return &fakeTEE{key: newECKey(t)} }

func (f *fakeTEE) Measure(context.Context, []byte, []byte) error { return nil }
func (f *fakeTEE) Close() error                                  { return nil }

func (f *fakeTEE) Evidence(_ context.Context, b *attest.Binding) ([]byte, error) {
	if f.fail != nil {
		if err := f.fail(); err != nil {
			return nil, err
		}
	}
	data := b.ReportData()
	digest := sha256.Sum256(data[:])
	return ecdsa.SignASN1(rand.Reader, f.key, digest[:])
}

// Report returns 432 bytes that hold the target's first byte and the report data.
func (f *fakeTEE) Report(_ context.Context, target []byte, b *attest.Binding) ([]byte, error) {
	if len(target) != 512 {
		return nil, fmt.Errorf("target of %d bytes", len(target))
	}
	report, data := make([]byte, 432), b.ReportData()
	report[0] = target[0]
	copy(report[320:], data[:])
	return report, nil
}

func (f *fakeTEE) SealKey(_ context.Context, r enclave.SealRequest) ([]byte, error) {
	if r.BySigner || r.SVN != 0 {
		return nil, errors.New("seal_policy: not bound to the measurement")
	}
	return r.KeyID[:], nil
}

func (f *fakeTEE) VerifyReport(_ context.Context, report []byte) error {
	if len(report) != 432 || report[0] != 5 {
		return errors.New("report_mac: made for another program")
	}
	return nil
}

func (f *fakeTEE) verify(b *attest.Binding, quote []byte) error {
	data := b.ReportData()
	digest := sha256.Sum256(data[:])
	if !ecdsa.VerifyASN1(&f.key.PublicKey, digest[:], quote) {
		return errors.New("evidence does not verify")
	}
	return nil
}

func newECKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

// fakeCA is an account root with one zone CA under it.
type fakeCA struct {
	rootKey, zoneKey *ecdsa.PrivateKey
	root, zone       *x509.Certificate
}

func newFakeCA(t testing.TB, name string, now time.Time) *fakeCA {
	t.Helper()
	ca := &fakeCA{rootKey: newECKey(t), zoneKey: newECKey(t)}
	template := func(cn string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: cn}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(10000 * time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
	}
	ca.root = ca.sign(t, template(name+" root"), template(name+" root"), &ca.rootKey.PublicKey, ca.rootKey)
	ca.zone = ca.sign(t, template(name+" zone"), ca.root, &ca.zoneKey.PublicKey, ca.rootKey)
	return ca
}

func (ca *fakeCA) sign(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	must(t, err)
	c, err := x509.ParseCertificate(der)
	must(t, err)
	return c
}

func (ca *fakeCA) rootHash() string {
	h := attest.SPKIHash(ca.root.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(h[:])
}

// leafTemplate is what an honest manager issues.
func leafTemplate(names []string, now time.Time) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: now.Add(-time.Minute), NotAfter: now.Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage:        []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{attest.OIDAttestedAppEKU},
	}
}

// fakeAgent is a node agent with its manager behind it: it hands out nonces once
// and judges every request as the rules of S1 and S5 ask.
type fakeAgent struct {
	t     testing.TB
	ca    *fakeCA
	clock Clock
	*httptest.Server
	verify func(b *attest.Binding, quote []byte) error

	mu     sync.Mutex
	nonces map[string]bool
	issued int
	// The behaviours of a table's case; each may be nil.
	target func() (int, any)                                  // instead of target-info
	issue  func(r *x509.CertificateRequest) (int, any)        // instead of issuing
	result func(task string) (int, any)                       // instead of the task's state
	evil   func(template *x509.Certificate, reply *evilReply) // changes what an honest manager would issue
}

// evilReply is what an evil manager can bend.
type evilReply struct {
	public      crypto.PublicKey
	issuer      *fakeCA
	root        *x509.Certificate
	certificate func(leaf, zone *x509.Certificate) string
}

func newFakeAgent(t testing.TB, tee *fakeTEE, clock Clock) *fakeAgent {
	t.Helper()
	a := &fakeAgent{t: t, ca: newFakeCA(t, "account", clock.Now()), verify: tee.verify, clock: clock, nonces: map[string]bool{}}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

func newServer(h http.Handler) *http.Server { return &http.Server{Handler: h} }

func (a *fakeAgent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	status, reply := a.route(r)
	a.mu.Unlock()
	w.WriteHeader(status)
	if text, ok := reply.(string); ok {
		w.Write([]byte(text))
		return
	}
	json.NewEncoder(w).Encode(reply)
}

func (a *fakeAgent) route(r *http.Request) (int, any) {
	switch task, isResult := strings.CutPrefix(r.URL.Path, "/v1/certificate/result/"); {
	case r.Method == http.MethodGet && r.URL.Path == "/v1/enclave/target-info":
		if a.target != nil {
			if status, reply := a.target(); status != 0 {
				return status, reply
			}
		}
		nonce := make([]byte, attest.NonceSize)
		rand.Read(nonce)
		a.nonces[string(nonce)] = true
		return 200, map[string]any{"targetInfo": make([]byte, 512), "nonce": nonce, "account_root": pemOf(a.ca.root)}
	case r.Method == http.MethodPost && isResult && a.result != nil:
		return a.result(task)
	case r.Method == http.MethodPost && r.URL.Path == "/v1/certificate/issue":
		return a.judge(r)
	}
	return 404, map[string]string{"code": "NOT_FOUND", "message": "no such call"}
}

func (a *fakeAgent) judge(r *http.Request) (int, any) {
	var body struct{ CSR string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return 400, map[string]string{"message": err.Error(), "code": "BAD_REQUEST"}
	}
	request, err := a.check(body.CSR)
	if err != nil {
		return 200, map[string]any{
			"task_status": "DENIED", "reason": err.Error(),
			"rules": []attest.Rule{{Name: "evidence", Wanted: "evidence that verifies", Seen: err.Error()}},
		}
	}
	if a.issue != nil {
		if status, reply := a.issue(request); status != 0 {
			return status, reply
		}
	}
	a.issued++
	template := leafTemplate(request.DNSNames, a.clock.Now())
	e := &evilReply{
		public: request.PublicKey, issuer: a.ca, root: a.ca.root,
		certificate: func(leaf, zone *x509.Certificate) string { return pemOf(leaf, zone) },
	}
	if a.evil != nil {
		a.evil(template, e)
	}
	leaf := a.ca.sign(a.t, template, e.issuer.zone, e.public, e.issuer.zoneKey)
	return 200, map[string]any{"task_id": "5f0c0000-0000-0000-0000-000000000001", "task_status": "SUCCESS", "certificate": e.certificate(leaf, e.issuer.zone), "account_root": pemOf(e.root)}
}

// check is what the manager's rules ask of a request.
func (a *fakeAgent) check(text string) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("no PEM")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	if err := request.CheckSignature(); err != nil {
		return nil, err
	}
	quote, bindingDER, err := evidenceIn(request)
	if err != nil {
		return nil, err
	}
	b, err := attest.ParseBinding(bindingDER)
	if err != nil {
		return nil, err
	}
	if err := a.verify(b, quote); err != nil {
		return nil, err
	}
	switch {
	case b.Purpose != attest.PurposeAppTLS:
		return nil, fmt.Errorf("purpose %s", b.Purpose)
	case b.Subject != attest.SPKIHash(request.RawSubjectPublicKeyInfo):
		return nil, errors.New("evidence for another key")
	case hex.EncodeToString(b.AccountRoot[:]) != a.ca.rootHash():
		return nil, errors.New("evidence for another account")
	case !a.nonces[string(b.Nonce)]:
		return nil, errors.New("nonce is not fresh")
	}
	delete(a.nonces, string(b.Nonce))
	return request, nil
}

// evidenceIn reads the two OCTET STRING attributes.
func evidenceIn(request *x509.CertificateRequest) (quote, binding []byte, err error) {
	var info struct {
		Version            int
		Subject, PublicKey asn1.RawValue
		Attributes         []struct {
			OID    asn1.ObjectIdentifier
			Values []asn1.RawValue `asn1:"set"`
		} `asn1:"tag:0,set"`
	}
	if _, err := asn1.Unmarshal(request.RawTBSCertificateRequest, &info); err != nil {
		return nil, nil, err
	}
	for _, x := range info.Attributes {
		switch {
		case x.OID.Equal(attest.OIDQuote):
			_, err = asn1.Unmarshal(x.Values[0].FullBytes, &quote)
		case x.OID.Equal(attest.OIDBinding):
			_, err = asn1.Unmarshal(x.Values[0].FullBytes, &binding)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return quote, binding, nil
}

func pemOf(chain ...*x509.Certificate) string { return string(encodePEM(chain)) }

// fakeClock passes time at once.
type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func newFakeClock() *fakeClock {
	return &fakeClock{now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) Wait(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
	return ctx.Err()
}

// lines collects a log.
type logLines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
