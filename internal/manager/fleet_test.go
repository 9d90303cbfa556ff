package manager

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"hitoku.dev/attest"
	"hitoku.dev/internal/jointoken"
	"hitoku.dev/internal/manager/ca"
	"hitoku.dev/internal/manager/issue/issuetest"
	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

// machine is a simulated machine with its node agent's state.
type machine struct {
	*issuetest.Machine
	w        *world
	number   byte
	prepared *wire.NodePrepared
	node     string
	peer     Peer
	chain    []*x509.Certificate // node certificate, zone CA
}

// message is evidence in a certificate request, as it is sent and may be sent again.
type message struct {
	key     *ecdsa.PrivateKey
	binding attest.Binding
	quote   []byte
	csr     string
}

func testKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// zone is the account's default zone.
func (w *world) zone() string {
	w.t.Helper()
	zones, err := w.m.Zones(w.t.Context(), w.admin)
	w.must(err)
	return zones[0].ZoneID
}

func (w *world) joinToken() string {
	w.t.Helper()
	token, err := w.m.ZoneToken(w.t.Context(), w.admin, w.zone())
	w.must(err)
	return token.Token
}

// newMachine makes a machine that has only made first contact.
func (w *world) newMachine(number byte, token string) *machine {
	w.t.Helper()
	m := &machine{Machine: issuetest.NewMachine(w.t, number), w: w, number: number}
	w.must(m.prepare(token))
	return m
}

func (m *machine) prepare(token string) error {
	spki, err := x509.MarshalPKIXPublicKey(m.PCK.Public())
	m.w.must(err)
	p, err := m.w.m.PrepareNode(m.w.t.Context(), token, wire.NodePrepare{AttestationType: attestationSimulated, PlatformID: m.ID(), PlatformPublicKey: spki})
	if err == nil {
		m.prepared, m.Chain = p, []byte(p.PCKChain)
	}
	return err
}

// root is the SHA-256 of the key of the account root that the machine was told.
func (m *machine) root() [32]byte {
	certs, err := ca.ParsePEM(m.prepared.AccountRoot)
	m.w.must(err)
	return attest.SPKIHash(certs[0].RawSubjectPublicKeyInfo)
}

// message makes evidence of identity id for a purpose, over a new key.
func (m *machine) message(id issuetest.Identity, purpose attest.Purpose, nonce []byte, names ...string) *message {
	m.w.t.Helper()
	msg := &message{key: testKey(m.w.t)}
	msg.binding = attest.Binding{Purpose: purpose, Subject: issuetest.SubjectHash(m.w.t, msg.key), Nonce: nonce, AccountRoot: m.root()}
	m.seal(msg, id, names...)
	return msg
}

// seal makes evidence and request of a message anew.
func (m *machine) seal(msg *message, id issuetest.Identity, names ...string) {
	m.w.t.Helper()
	quote, binding := m.Evidence(m.w.t, id, &msg.binding)
	common := "machine"
	if len(names) > 0 {
		common = names[0]
	}
	msg.quote, msg.csr = quote, issuetest.Request(m.w.t, msg.key, common, names, quote, binding)
}

func (m *machine) provision(token string, msg *message) (*wire.TaskResult, error) {
	return m.w.m.ProvisionNode(m.w.t.Context(), token, wire.NodeProvision{
		Name: "machine", IPAddress: "192.0.2.1", SGXVersion: "simulated", SysInfo: &wire.SysInfo{NumCPUCores: 2},
		AttestationRequest: &wire.AttestationRequest{IASQuote: msg.quote, CSR: msg.csr, AttestationType: attestationDCAP},
	})
}

// enrol makes a machine an enrolled node.
func (w *world) enrol(number byte) *machine {
	w.t.Helper()
	token := w.joinToken()
	m := w.newMachine(number, token)
	m.enrol(token)
	return m
}

func (m *machine) enrol(token string) {
	m.w.t.Helper()
	r, err := m.provision(token, m.message(issuetest.Node(), attest.PurposeNode, m.prepared.Nonce))
	m.w.must(err)
	m.adopt(r)
}

// adopt takes a node certificate into use.
func (m *machine) adopt(r *wire.TaskResult) {
	m.w.t.Helper()
	var err error
	m.node = r.NodeID
	m.chain, err = ca.ParsePEM(r.Certificate)
	m.w.must(err)
	m.peer, err = m.w.m.AuthenticateNode(m.w.t.Context(), m.chain)
	m.w.must(err)
}

func (m *machine) nonce(purpose attest.Purpose) []byte {
	m.w.t.Helper()
	r, err := m.w.m.NewNonce(m.w.t.Context(), m.peer, wire.NonceRequest{Purpose: string(purpose)})
	m.w.must(err)
	return r.Nonce
}

// issue sends a workload's request the way the node agent does: the certificate first.
func (m *machine) issue(msg *message) (*wire.TaskResult, error) {
	peer, err := m.w.m.AuthenticateNode(m.w.t.Context(), m.chain)
	if err != nil {
		return nil, err
	}
	return m.w.m.IssueCertificate(m.w.t.Context(), peer, wire.CertificateRequest{CSR: msg.csr, NodeID: peer.NodeID})
}

func (m *machine) renew(msg *message) (*wire.TaskResult, error) {
	peer, err := m.w.m.AuthenticateNode(m.w.t.Context(), m.chain)
	if err != nil {
		return nil, err
	}
	return m.w.m.RenewNodeCertificate(m.w.t.Context(), peer, wire.CertificateRequest{CSR: msg.csr, NodeID: peer.NodeID})
}

// outcome is what became of a request: "issued", "pending", or the rules that refused it. A
// refusal before any rule is the error's code.
func outcome(r *wire.TaskResult, err error) string {
	var e *Error
	var failed []string
	switch {
	case errors.As(err, &e) && len(e.Rules) > 0:
		for _, rule := range e.Rules {
			if !rule.OK {
				failed = append(failed, rule.Name)
			}
		}
	case errors.As(err, &e):
		return e.Code
	case err != nil:
		return err.Error()
	case r.Certificate != "":
		return "issued"
	case r.TaskStatus.Status == store.TaskInProgress:
		return "pending"
	default:
		for _, rule := range r.Rules {
			if !rule.OK {
				failed = append(failed, rule.Name)
			}
		}
	}
	slices.Sort(failed)
	return strings.Join(failed, " ")
}

// web is the identity of an approved build with one approved name.
func (w *world) web() (issuetest.Identity, *wire.App, *wire.Build) {
	w.t.Helper()
	app := w.app("web", "web.example")
	w.must(w.approve(w.admin, app.PendingTaskID))
	b := w.build(app, 1)
	w.must(w.approve(w.admin, b.PendingTaskID))
	return identity(w.t, 1), app, b
}

// identity is what runs build n of buildOf.
func identity(t testing.TB, n int) issuetest.Identity {
	t.Helper()
	var id issuetest.Identity
	for to, text := range map[*[32]byte]string{&id.Measurement: measurement(n), &id.Signer: measurement(0)} {
		raw, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		copy(to[:], raw)
	}
	id.ProdID, id.SVN = 1, 2
	return id
}

func TestEnrolAndIssue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, app, build := w.web()
	m := w.enrol(1)
	if m.prepared.AccountID != w.account || m.prepared.ManagerSNI != ca.TrustDomain(w.account, "manager.example") || m.peer.NodeID != m.node || m.peer.ZoneID != w.zone() {
		t.Errorf("prepared %+v, peer %+v", m.prepared, m.peer)
	}
	root, err := ca.ParsePEM(m.prepared.AccountRoot)
	w.must(err)
	r, err := m.issue(m.message(id, attest.PurposeAppTLS, m.nonce(attest.PurposeAppTLS), "web.example"))
	if got := outcome(r, err); got != "issued" {
		t.Fatalf("%s: %+v %v", got, r, err)
	}
	chain, err := ca.ParsePEM(r.Certificate)
	w.must(err)
	roots, middle := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root[0])
	middle.AddCert(chain[1])
	if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: middle, DNSName: "web.example", CurrentTime: w.clock.Now()}); err != nil {
		t.Error(err)
	}
	if got := chain[0].URIs[0].String(); got != "spiffe://"+w.account+".manager.example/app/"+app.AppID+"/build/"+build.BuildID {
		t.Errorf("SPIFFE id %s", got)
	}
	if life := chain[0].NotAfter.Sub(w.clock.Now()); life != ca.AppLifetime {
		t.Errorf("life %s", life)
	}
	c, err := w.m.Certificate(t.Context(), w.admin, r.CertificateID)
	w.must(err)
	if c.Status != store.CertificateIssued || c.BuildID != build.BuildID || c.NodeID != m.node {
		t.Errorf("certificate %+v", c)
	}
	d, err := w.m.AppNodeCertificateDetails(t.Context(), w.admin, app.AppID, m.node)
	w.must(err)
	if d.EnclaveInfo.MREnclave != measurement(1) || d.IASQuoteStatus != "UpToDate" || d.SubjectName != "web.example" {
		t.Errorf("details %+v", d)
	}
	n, err := w.m.Node(t.Context(), w.admin, m.node)
	w.must(err)
	if n.Status.Status != store.NodeRunning || n.Platform != m.ID() || len(n.Apps) != 1 || n.Apps[0].Certificate.CertificateID != r.CertificateID {
		t.Errorf("node %+v", n)
	}
	renewed, err := m.renew(m.message(issuetest.Node(), attest.PurposeNode, m.nonce(attest.PurposeNode)))
	if got := outcome(renewed, err); got != "issued" || renewed.NodeID != m.node {
		t.Fatalf("renewal: %s %v", got, err)
	}
	m.adopt(renewed)
}

func TestRequestsWaitForTheirTask(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := w.app("web", "web.example")
	b := w.build(app, 1)
	m := w.enrol(1)
	send := func() (*wire.TaskResult, string) {
		r, err := m.issue(m.message(identity(t, 1), attest.PurposeAppTLS, m.nonce(attest.PurposeAppTLS), "web.example"))
		return r, outcome(r, err)
	}
	for _, task := range []string{b.PendingTaskID, app.PendingTaskID} {
		r, got := send()
		if got != "pending" || r.TaskID != task && task == b.PendingTaskID {
			t.Fatalf("%s on %s, wanted task %s", got, r.TaskID, task)
		}
		w.must(w.approve(w.admin, task))
		status, err := w.m.TaskStatus(t.Context(), task)
		w.must(err)
		if status.Certificate != "" {
			t.Error("a request that waited was answered with a certificate")
		}
	}
	if _, got := send(); got != "issued" {
		t.Errorf("after both approvals: %s", got)
	}
}

// TestRefusalsAreBounded: a workload on an enrolled machine cannot fill the database with
// requests that are refused, nor keep honest ones out by them.
func TestRefusalsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, _, _ := w.web()
	m := w.enrol(1)
	wrong := m.message(identity(t, 9), attest.PurposeAppTLS, m.nonce(attest.PurposeAppTLS), "web.example")
	for range refusalBurst {
		w.m.allowed("refusals "+m.node, refusalBurst, refusalsEach)
	}
	for name, msg := range map[string]*message{"unreadable": {csr: "hello"}, "unknown measurement": wrong} {
		_, err := m.issue(msg)
		var e *Error
		if !errors.As(err, &e) || e.Kind != Limited {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := outcome(m.issue(m.message(id, attest.PurposeAppTLS, m.nonce(attest.PurposeAppTLS), "web.example"))); got != "issued" {
		t.Errorf("an honest request beside many refused ones: %s", got)
	}
	w.clock.Advance(time.Second)
	if got := outcome(m.issue(wrong)); got != "known_image" {
		t.Errorf("refused a second later: %s", got)
	}
}

// TestFirstContactIsBounded: whoever holds a join token cannot have platforms certified without end
// by naming a new one each time.
func TestFirstContactIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.joinToken()
	w.newMachine(1, token)
	parsed, err := jointoken.Parse(token)
	w.must(err)
	for range platformBurst {
		w.m.allowed("platforms "+uuid.UUID(parsed.ID).String(), platformBurst, platformsEach)
	}
	m := &machine{Machine: issuetest.NewMachine(t, 2), w: w}
	var e *Error
	if err := m.prepare(token); !errors.As(err, &e) || e.Kind != Limited {
		t.Errorf("another platform: %v", err)
	}
}
