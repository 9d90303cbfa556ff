package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"hitoku.dev/attest"
	"hitoku.dev/enclave/simtee/client"
	"hitoku.dev/internal/jointoken"
	"hitoku.dev/internal/wire"
)

// fakeManager behaves like a manager towards agents: it makes real certificates,
// checks nonces, bindings and client certificates, and can be told to refuse.
type fakeManager struct {
	t         *testing.T
	srv       *http.Server
	addr      string
	accountID string
	rootKey   *ecdsa.PrivateKey
	root      *x509.Certificate
	zoneKey   *ecdsa.PrivateKey
	zone      *x509.Certificate
	bootKey   *ecdsa.PrivateKey

	mu          sync.Mutex
	nonces      map[string]attest.Purpose
	tokens      map[[32]byte]int // secret → uses left, -1 for any
	nodes       map[string]bool  // node id → active
	tasks       map[string]*wire.TaskResult
	needTask    bool                                      // enrolment makes a NODE_ATTESTATION task
	nodeLife    time.Duration                             // of node certificates
	refresh     int64                                     // seconds
	app         func(*x509.CertificateRequest) (int, any) // POST /v1/certificates
	reports     int
	renewals    int
	enrolments  int
	nonceCalls  int
	lastRequest *x509.CertificateRequest
}

func newFakeManager(t *testing.T) *fakeManager {
	t.Helper()
	m := &fakeManager{
		t: t, accountID: uuid.NewString(), nonces: map[string]attest.Purpose{}, tokens: map[[32]byte]int{},
		nodes: map[string]bool{}, tasks: map[string]*wire.TaskResult{}, nodeLife: time.Hour, refresh: 1,
	}
	m.rootKey, m.root = m.makeCA("Account Root", nil, nil)
	m.zoneKey, m.zone = m.makeCA("Zone", m.rootKey, m.root)
	m.bootKey = newKey(t)
	m.start("127.0.0.1:0")
	t.Cleanup(func() { m.stop() })
	return m
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (m *fakeManager) makeCA(name string, parentKey *ecdsa.PrivateKey, parent *x509.Certificate) (*ecdsa.PrivateKey, *x509.Certificate) {
	key := newKey(m.t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if parent == nil {
		parent, parentKey = tmpl, key
	}
	return key, m.sign(tmpl, parent, &key.PublicKey, parentKey)
}

func (m *fakeManager) sign(tmpl, parent *x509.Certificate, pub *ecdsa.PublicKey, key *ecdsa.PrivateKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, key)
	if err != nil {
		m.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		m.t.Fatal(err)
	}
	return c
}

func (m *fakeManager) leaf(cn string, dns []string, pub *ecdsa.PublicKey, oid asn1.ObjectIdentifier, life time.Duration) *x509.Certificate {
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: cn}, DNSNames: dns,
		NotBefore: time.Now().Add(-time.Second), NotAfter: time.Now().Add(life), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if oid != nil {
		tmpl.UnknownExtKeyUsage = []asn1.ObjectIdentifier{oid}
	}
	return m.sign(tmpl, m.zone, pub, m.zoneKey)
}

func (m *fakeManager) sni() string { return m.accountID + ".manager.test" }

func (m *fakeManager) start(addr string) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		m.t.Fatal(err)
	}
	m.addr = l.Addr().String()
	boot := m.leaf("boot", []string{"boot.test"}, &m.bootKey.PublicKey, nil, time.Hour)
	named := m.leaf("manager", []string{m.sni()}, &m.bootKey.PublicKey, nil, time.Hour)
	m.srv = &http.Server{
		Handler: m.handler(), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		TLSConfig: &tls.Config{
			ClientAuth: tls.RequestClientCert,
			GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
				leaf := boot
				if h.ServerName == m.sni() {
					leaf = named
				}
				return &tls.Certificate{Certificate: [][]byte{leaf.Raw, m.zone.Raw}, PrivateKey: m.bootKey}, nil
			},
		},
	}
	go m.srv.ServeTLS(l, "", "")
}

func (m *fakeManager) stop() { m.srv.Close() }

func (m *fakeManager) url() string { return "https://" + m.addr }

// token makes a join token that works uses times (-1: any number).
func (m *fakeManager) token(uses int, change func(*jointoken.Token)) string {
	tk := &jointoken.Token{Expires: time.Now().Add(time.Hour), Uses: 1}
	rand.Read(tk.ID[:])
	rand.Read(tk.Secret[:])
	spki, _ := x509.MarshalPKIXPublicKey(&m.bootKey.PublicKey)
	tk.ManagerKey = sha256.Sum256(spki)
	tk.AccountRoot = sha256.Sum256(m.root.RawSubjectPublicKeyInfo)
	if change != nil {
		change(tk)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tokens[tk.Secret] = uses
	return tk.Format()
}

func pemOf(certs ...*x509.Certificate) string {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return string(out)
}

type replyError struct {
	status        int
	code, message string
}

func (m *fakeManager) handler() http.Handler {
	mux := http.NewServeMux()
	route := func(pattern string, f func(r *http.Request) (any, *replyError)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			m.mu.Lock()
			defer m.mu.Unlock()
			out, e := f(r)
			w.Header().Set("Content-Type", "application/json")
			if e != nil {
				w.WriteHeader(e.status)
				out = wire.Error{Message: e.message, Code: e.code, Severity: "ERROR"}
			}
			json.NewEncoder(w).Encode(out)
		})
	}
	route("POST /v1/nodes/prepare", m.prepare)
	route("POST /v1/nodes", m.provision)
	route("POST /v1/node/status", func(r *http.Request) (any, *replyError) {
		if e := m.agentAuth(r); e != nil {
			return nil, e
		}
		m.reports++
		return wire.NodeStatusReply{NodeRefreshInterval: m.refresh, NodeRenewalThreshold: 50}, nil
	})
	route("POST /v1/nodes/{id}/nonces", func(r *http.Request) (any, *replyError) {
		if e := m.agentAuth(r); e != nil {
			return nil, e
		}
		var in wire.NonceRequest
		json.NewDecoder(r.Body).Decode(&in)
		m.nonceCalls++
		out := wire.NonceReply{Nonce: m.nonce(attest.Purpose(in.Purpose))}
		for range in.Count - 1 {
			out.More = append(out.More, m.nonce(attest.Purpose(in.Purpose)))
		}
		return out, nil
	})
	route("POST /v1/nodes/{id}/certificate", func(r *http.Request) (any, *replyError) {
		if e := m.agentAuth(r); e != nil {
			return nil, e
		}
		var in wire.CertificateRequest
		json.NewDecoder(r.Body).Decode(&in)
		c, e := m.nodeCertificate(in.CSR, r.PathValue("id"))
		if e != nil {
			return nil, e
		}
		m.renewals++
		return wire.TaskResult{Certificate: c}, nil
	})
	route("GET /v1/tasks/status/{id}", func(r *http.Request) (any, *replyError) {
		if task, ok := m.tasks[r.PathValue("id")]; ok {
			return task, nil
		}
		return nil, &replyError{404, "NOT_FOUND", "no such task"}
	})
	mux.HandleFunc("POST /v1/certificates", func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		defer m.mu.Unlock()
		var in wire.CertificateRequest
		json.NewDecoder(r.Body).Decode(&in)
		status, out := 200, any(nil)
		if e := m.agentAuth(r); e != nil {
			status, out = e.status, wire.Error{Message: e.message, Code: e.code, Severity: "ERROR"}
		} else if req, e := parseCSR(in.CSR); e != nil {
			status, out = e.status, wire.Error{Message: e.message, Code: e.code, Severity: "ERROR"}
		} else {
			m.lastRequest = req
			status, out = m.app(req)
		}
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(out)
	})
	return mux
}

func (m *fakeManager) nonce(p attest.Purpose) []byte {
	n := make([]byte, 32)
	rand.Read(n)
	m.nonces[string(n)] = p
	return n
}

func (m *fakeManager) joinAuth(r *http.Request, use bool) *replyError {
	tk, err := jointoken.Parse(r.Header.Get("Authorization")[len("Bearer "):])
	if err != nil {
		return &replyError{401, "UNAUTHORIZED", err.Error()}
	}
	left, ok := m.tokens[tk.Secret]
	if !ok || left == 0 {
		return &replyError{401, "UNAUTHORIZED", "join token is not valid (any more)"}
	}
	if use && left > 0 {
		m.tokens[tk.Secret] = left - 1
	}
	return nil
}

func (m *fakeManager) agentAuth(r *http.Request) *replyError {
	if r.TLS.ServerName != m.sni() || len(r.TLS.PeerCertificates) == 0 {
		return &replyError{401, "UNAUTHORIZED", "no node certificate, or another name asked for"}
	}
	c := r.TLS.PeerCertificates[0]
	if err := c.CheckSignatureFrom(m.zone); err != nil {
		return &replyError{401, "UNAUTHORIZED", err.Error()}
	}
	if !m.nodes[c.Subject.CommonName] {
		return &replyError{403, "NODE_NOT_ENROLLED", "node " + c.Subject.CommonName + " is deactivated"}
	}
	return nil
}

func (m *fakeManager) prepare(r *http.Request) (any, *replyError) {
	if e := m.joinAuth(r, false); e != nil {
		return nil, e
	}
	var in wire.NodePrepare
	json.NewDecoder(r.Body).Decode(&in)
	if _, err := x509.ParsePKIXPublicKey(in.PlatformPublicKey); err != nil || in.AttestationType != "SIMULATED" {
		return nil, &replyError{400, "BAD_REQUEST", "platform"}
	}
	return wire.NodePrepared{
		Nonce: m.nonce(attest.PurposeNode), AccountID: m.accountID, ZoneID: uuid.NewString(),
		AccountRoot: pemOf(m.root), PCKChain: "chain for " + in.PlatformID, ManagerSNI: m.sni(),
	}, nil
}

func (m *fakeManager) provision(r *http.Request) (any, *replyError) {
	if e := m.joinAuth(r, true); e != nil {
		return nil, e
	}
	m.enrolments++
	var in wire.NodeProvision
	json.NewDecoder(r.Body).Decode(&in)
	id := uuid.NewString()
	cert, e := m.nodeCertificate(in.AttestationRequest.CSR, id)
	if e != nil {
		return nil, e
	}
	if m.needTask {
		res := &wire.TaskResult{TaskID: uuid.NewString(), NodeID: id, TaskType: "NODE_ATTESTATION", TaskStatus: &wire.TaskStatus{Status: "INPROGRESS"}}
		m.tasks[res.TaskID] = res
		return res, nil
	}
	m.nodes[id] = true
	return wire.TaskResult{NodeID: id, TaskStatus: &wire.TaskStatus{Status: "SUCCESS"}, Certificate: cert}, nil
}

func parseCSR(text string) (*x509.CertificateRequest, *replyError) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, &replyError{400, "BAD_REQUEST", "csr"}
	}
	req, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = req.CheckSignature()
	}
	if err != nil {
		return nil, &replyError{400, "CERT_PARSE_ERROR", err.Error()}
	}
	return req, nil
}

// attributes returns the OCTET STRING attributes of a request.
func attributes(req *x509.CertificateRequest) map[string][]byte {
	var info struct {
		Version            int
		Subject, PublicKey asn1.RawValue
		Attributes         []struct {
			OID    asn1.ObjectIdentifier
			Values []asn1.RawValue `asn1:"set"`
		} `asn1:"tag:0,set"`
	}
	asn1.Unmarshal(req.RawTBSCertificateRequest, &info)
	out := map[string][]byte{}
	for _, a := range info.Attributes {
		var v []byte
		if _, err := asn1.Unmarshal(a.Values[0].FullBytes, &v); err == nil {
			out[a.OID.String()] = v
		}
	}
	return out
}

func (m *fakeManager) nodeCertificate(csrText, id string) (string, *replyError) {
	req, e := parseCSR(csrText)
	if e != nil {
		return "", e
	}
	attrs := attributes(req)
	b, err := attest.ParseBinding(attrs[attest.OIDBinding.String()])
	if err != nil {
		return "", &replyError{400, "BAD_REQUEST", err.Error()}
	}
	purpose, known := m.nonces[string(b.Nonce)]
	delete(m.nonces, string(b.Nonce))
	data := b.ReportData()
	switch {
	case !known || purpose != attest.PurposeNode || b.Purpose != attest.PurposeNode:
		return "", &replyError{403, "FORBIDDEN", "nonce: wanted a fresh one for purpose node"}
	case b.Subject != sha256.Sum256(req.RawSubjectPublicKeyInfo):
		return "", &replyError{403, "FORBIDDEN", "subject"}
	case b.AccountRoot != sha256.Sum256(m.root.RawSubjectPublicKeyInfo):
		return "", &replyError{403, "FORBIDDEN", "account root"}
	case string(attrs[attest.OIDQuote.String()]) != "quote over "+string(data[:]):
		return "", &replyError{403, "FORBIDDEN", "evidence"}
	}
	return pemOf(m.leaf(id, nil, req.PublicKey.(*ecdsa.PublicKey), attest.OIDNodeEKU, m.nodeLife), m.zone), nil
}

// fakePlatform stands where the simulated TEE's platform does, for tests that are
// about the agent and not about quotes.
type fakePlatform struct {
	key   *ecdsa.PrivateKey
	chain []byte
}

func (p *fakePlatform) ID() string                  { return "00112233445566778899aabbccddeeff" }
func (p *fakePlatform) PCKPublic() *ecdsa.PublicKey { return &p.key.PublicKey }
func (p *fakePlatform) InstallPCK(c []byte) error   { p.chain = c; return nil }
func (p *fakePlatform) TargetInfo() []byte          { return make([]byte, 512) }
func (p *fakePlatform) QuoteReport(report []byte) ([]byte, error) {
	return nil, &client.RefusedError{Rule: "report_mac", Wanted: "a report of this machine", Seen: "none"}
}
func (p *fakePlatform) AnswerReport(report []byte, _ [32]byte) ([]byte, error) {
	return p.QuoteReport(report)
}
func (p *fakePlatform) NodeEvidence(_ context.Context, b *attest.Binding) ([]byte, error) {
	data := b.ReportData()
	return append([]byte("quote over "), data[:]...), nil
}

// options returns those of an agent of m with a new data folder.
func (m *fakeManager) options(t *testing.T) Options {
	t.Helper()
	o := newFakeOptions(t)
	o.Manager = m.url()
	return o
}

// newFakeOptions has a platform that stands for the simulated TEE's.
func newFakeOptions(t *testing.T) Options {
	t.Helper()
	return Options{
		DataDir: t.TempDir(), Listen: []string{"127.0.0.1:0"}, Name: "node-1", Version: "1.2.3",
		Platform: &fakePlatform{key: newKey(t)}, Log: slog.New(slog.NewTextHandler(testWriter{t}, nil)), Now: time.Now, Rand: rand.Reader,
		BackoffMin: 10 * time.Millisecond, BackoffMax: 50 * time.Millisecond,
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Helper()
	w.t.Logf("%s", p)
	return len(p), nil
}

var _ io.Writer = testWriter{}

// run starts an agent and returns it, its base address, and what stops it and waits.
func run(t *testing.T, o Options) (a *Agent, base string, stop func() error) {
	t.Helper()
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		err := a.Run(ctx)
		if err != nil {
			t.Logf("agent ends: %v", err)
		}
		done <- err
	}()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { stop() })
	eventually(t, "the agent listens", func() bool { return len(a.Status().Listen) > 0 })
	return a, "http://" + a.Status().Listen[0], stop
}

func ready(t *testing.T, a *Agent) {
	t.Helper()
	select {
	case <-a.Ready():
	case <-time.After(20 * time.Second):
		t.Fatalf("the agent has no certificate; it waits for: %s", a.Status().WaitingFor)
	}
}

// eventually polls for a condition; the deadline is generous because it is only
// reached by a failure.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("waited in vain until %s", what)
}
