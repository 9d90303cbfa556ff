package agent

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"

	"hitoku.dev/attest"
	"hitoku.dev/internal/csr"
	"hitoku.dev/internal/wire"
)

// attestationSimulated is the attestation type of a simulated platform at prepare.
const attestationSimulated = "SIMULATED"

// enrolment is one attempt to enrol: a key, and what the manager said about it.
type enrolment struct {
	prepared wire.NodePrepared
	root     *x509.Certificate
	key      *ecdsa.PrivateKey
}

// enrol asks the manager to enrol this node and stores the answer: a certificate,
// or the task to wait for.
func (a *Agent) enrol(ctx context.Context) error {
	if !a.o.Now().Before(a.token.Expires) {
		return fmt.Errorf("agent: the join token expired at %s; make a new one with `hitoku node token`", a.token.Expires.Format("2006-01-02 15:04:05 UTC"))
	}
	c := newJoinClient(a.manager, a.token)
	defer c.close()
	e, err := a.prepare(ctx, c)
	if err != nil {
		return err
	}
	quote, request, err := a.evidence(ctx, e.prepared.Nonce, e.root, e.key)
	if err != nil {
		return err
	}
	var res wire.TaskResult
	err = c.call(ctx, http.MethodPost, "/v1/nodes", wire.NodeProvision{
		Name: a.o.Name, Description: a.o.Description, IPAddress: a.address(), SysInfo: sysInfo(), SGXVersion: sgxVersion,
		AttestationRequest: &wire.AttestationRequest{IASQuote: quote, CSR: request, AttestationType: "DCAP"},
	}, &res)
	if err != nil {
		return err
	}
	return a.enrolled(e, &res)
}

// sgxVersion is what the agent reports as its platform software.
const sgxVersion = "simulated"

func (a *Agent) prepare(ctx context.Context, c *managerClient) (*enrolment, error) {
	spki, err := x509.MarshalPKIXPublicKey(a.o.Platform.PCKPublic())
	if err != nil {
		return nil, fmt.Errorf("agent: platform key: %w", err)
	}
	var e enrolment
	err = c.call(ctx, http.MethodPost, "/v1/nodes/prepare", wire.NodePrepare{
		AttestationType: attestationSimulated, PlatformPublicKey: spki, PlatformID: a.o.Platform.ID(),
	}, &e.prepared)
	if err != nil {
		return nil, err
	}
	p := &e.prepared
	if e.root, err = parseRoot([]byte(p.AccountRoot)); err != nil {
		return nil, fmt.Errorf("agent: reply to prepare: %w", err)
	}
	if got := attest.SPKIHash(e.root.RawSubjectPublicKeyInfo); got != a.token.AccountRoot {
		return nil, fmt.Errorf("agent: %w: it names account root sha256:%x, the join token wants sha256:%x", errIdentity, got, a.token.AccountRoot)
	}
	if len(p.Nonce) != attest.NonceSize {
		return nil, fmt.Errorf("agent: reply to prepare: the nonce has %d bytes, wanted %d", len(p.Nonce), attest.NonceSize)
	}
	if host, ok := strings.CutPrefix(p.ManagerSNI, p.AccountID+"."); p.AccountID == "" || !ok || host == "" {
		return nil, fmt.Errorf("agent: reply to prepare: manager name %q, wanted the account id %q, a dot and the manager's host", p.ManagerSNI, p.AccountID)
	}
	if err := a.o.Platform.InstallPCK([]byte(p.PCKChain)); err != nil {
		return nil, fmt.Errorf("agent: PCK certificate from the manager: %w", err)
	}
	if e.key, err = ecdsa.GenerateKey(elliptic.P256(), a.o.Rand); err != nil {
		return nil, err
	}
	return &e, nil
}

// evidence makes the quote of this node over key, and the request that carries it.
func (a *Agent) evidence(ctx context.Context, nonce []byte, root *x509.Certificate, key *ecdsa.PrivateKey) (quote []byte, request string, err error) {
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, "", err
	}
	b := &attest.Binding{
		Purpose: attest.PurposeNode, Subject: attest.SPKIHash(spki), Nonce: bytes.Clone(nonce),
		AccountRoot: attest.SPKIHash(root.RawSubjectPublicKeyInfo),
	}
	binding, err := b.MarshalDER()
	if err != nil {
		return nil, "", err
	}
	if quote, err = a.o.Platform.NodeEvidence(ctx, b); err != nil {
		return nil, "", fmt.Errorf("agent: evidence of this node: %w", err)
	}
	der, err := csr.Create(a.o.Rand, csr.Template{CommonName: a.o.Name, Attributes: []csr.Attribute{
		{OID: attest.OIDBinding, Value: binding}, {OID: attest.OIDQuote, Value: quote},
	}}, key)
	if err != nil {
		return nil, "", fmt.Errorf("agent: %w", err)
	}
	return quote, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), nil
}

// enrolled stores what the manager answered to an enrolment.
func (a *Agent) enrolled(e *enrolment, res *wire.TaskResult) error {
	der, err := x509.MarshalPKCS8PrivateKey(e.key)
	if err != nil {
		return err
	}
	n := &node{
		Schema: nodeSchema, Manager: a.manager.String(), ManagerSNI: e.prepared.ManagerSNI,
		AccountID: e.prepared.AccountID, ZoneID: e.prepared.ZoneID, NodeID: res.NodeID,
		AccountRoot: e.prepared.AccountRoot, Certificate: res.Certificate,
		Key: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	}
	if n.NodeID == "" {
		return errors.New("agent: reply to the enrolment: no node id in it")
	}
	if n.Certificate == "" {
		if err := stillOpen(res); err != nil {
			return err
		}
		n.PendingTask = res.TaskID
	}
	if err := n.complete(); err != nil {
		return fmt.Errorf("agent: reply to the enrolment: %w", err)
	}
	if err := n.save(a.o.DataDir); err != nil {
		return err
	}
	return a.adopt(n)
}

// deniedError says that people or rules refused the enrolment.
type deniedError struct {
	status, reason string
	rules          []wire.Rule
}

func (e *deniedError) Error() string {
	s := "agent: enrolment of this node is " + e.status
	if e.reason != "" {
		s += ": " + e.reason
	}
	for _, r := range e.rules {
		if !r.OK {
			s += fmt.Sprintf("; %s: wanted %s, seen %s", r.Name, r.Wanted, r.Seen)
		}
	}
	return s
}

// stillOpen returns an error unless res stands for a task that waits.
func stillOpen(res *wire.TaskResult) error {
	status := ""
	if res.TaskStatus != nil {
		status = res.TaskStatus.Status
	}
	switch status {
	case "INPROGRESS", "PENDING_WHITELIST":
		if res.TaskID == "" {
			return errors.New("agent: reply to the enrolment: neither a certificate nor a task id")
		}
		return nil
	case "DENIED", "FAILED":
		return &deniedError{status, res.Reason, res.Rules}
	default:
		return fmt.Errorf("agent: reply to the enrolment: no certificate, and status %q", status)
	}
}

func sysInfo() *wire.SysInfo {
	return &wire.SysInfo{NumCPUCores: int32(runtime.NumCPU()), TotalMemory: totalMemory()}
}

// totalMemory is the machine's memory in bytes, 0 when unknown.
func totalMemory() int64 {
	raw, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// address is the local address that faces the manager. No packet is sent for it.
func (a *Agent) address() string {
	host := a.manager.Host
	if a.manager.Port() == "" {
		host = net.JoinHostPort(a.manager.Hostname(), "443")
	}
	c, err := net.Dial("udp", host)
	if err != nil {
		return "127.0.0.1"
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).IP.String()
}
