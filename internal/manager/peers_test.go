package manager

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/internal/manager/ca"
	"hitoku.dev/internal/manager/issue/issuetest"
	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

func TestOnlyNodesAreNodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, _, _ := w.web()
	m := w.enrol(1)
	app, err := m.issue(m.message(id, attest.PurposeAppTLS, m.nonce(attest.PurposeAppTLS), "web.example"))
	w.must(err)
	appChain, err := ca.ParsePEM(app.Certificate)
	w.must(err)
	key := testKey(t)
	// forged is signed with another key than a zone authority's, or copies what one signed.
	forged := func(change func(*x509.Certificate)) []*x509.Certificate {
		c := &x509.Certificate{
			SerialNumber: m.chain[0].SerialNumber, Subject: m.chain[0].Subject, NotBefore: m.chain[0].NotBefore, NotAfter: m.chain[0].NotAfter,
			URIs: m.chain[0].URIs, UnknownExtKeyUsage: m.chain[0].UnknownExtKeyUsage,
		}
		change(c)
		der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
		w.must(err)
		cert, err := x509.ParseCertificate(der)
		w.must(err)
		return []*x509.Certificate{cert, m.chain[1]}
	}
	for name, chain := range map[string][]*x509.Certificate{
		"none":                       nil,
		"zone authority":             m.chain[1:],
		"application":                appChain,
		"own signature, same serial": forged(func(*x509.Certificate) {}),
		"other serial":               forged(func(c *x509.Certificate) { c.SerialNumber = big.NewInt(1) }),
		"other account": forged(func(c *x509.Certificate) {
			c.URIs = []*url.URL{ca.NodeID(ca.TrustDomain(store.AccountActive, "x"), "z", "n")}
		}),
		"no id":                        forged(func(c *x509.Certificate) { c.URIs = nil }),
		"no extended key usage of its": forged(func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil }),
		"ended":                        forged(func(c *x509.Certificate) { c.NotAfter = w.clock.Now().Add(-time.Second) }),
	} {
		if _, err := w.m.AuthenticateNode(t.Context(), chain); outcome(nil, err) != CodeNotEnrolled {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.m.AuthenticateNode(t.Context(), m.chain[:1]); err != nil {
		t.Errorf("the node's own: %v", err)
	}
	w.clock.Advance(ca.NodeLifetime + time.Minute)
	if _, err := w.m.AuthenticateNode(t.Context(), m.chain); outcome(nil, err) != CodeNotEnrolled {
		t.Errorf("the node's own after its end: %v", err)
	}
}

func TestServerCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	name := ca.TrustDomain(w.account, "manager.example")
	cert, err := w.m.ServerCertificate(ctx, name)
	w.must(err)
	root, err := w.m.AccountRoot(ctx, w.admin, w.account)
	w.must(err)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(root.Certificate)) {
		t.Fatal("no root")
	}
	if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: w.clock.Now()}); err != nil {
		t.Error(err)
	}
	if !cert.PrivateKey.(*ecdsa.PrivateKey).PublicKey.Equal(cert.Leaf.PublicKey) {
		t.Error("certificate without its key")
	}
	again, err := w.m.ServerCertificate(ctx, name)
	w.must(err)
	if again != cert {
		t.Error("a new certificate for each handshake")
	}
	w.clock.Advance(ca.ServerLifetime/2 + time.Minute)
	fresh, err := w.m.ServerCertificate(ctx, name)
	w.must(err)
	if fresh == cert || !fresh.Leaf.NotAfter.After(cert.Leaf.NotAfter) {
		t.Error("not renewed at half its life")
	}
	for _, other := range []string{"", "manager.example", "nodes.manager.example", w.account, w.account + ".other.example", "x" + name} {
		if cert, err := w.m.ServerCertificate(ctx, other); cert != nil || err != nil {
			t.Errorf("%q: %v, %v", other, cert, err)
		}
	}
	if _, err := w.m.ServerCertificate(ctx, ca.TrustDomain("11111111-2222-4333-8444-555555555555", "manager.example")); outcome(nil, err) != CodeNotFound {
		t.Errorf("account that is not there: %v", err)
	}
}

func TestRevocationList(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	id, _, build := w.web()
	m := w.enrol(1)
	app, err := m.issue(m.message(id, attest.PurposeAppTLS, m.nonce(attest.PurposeAppTLS), "web.example"))
	w.must(err)
	chain, err := ca.ParsePEM(app.Certificate)
	w.must(err)
	read := func() *x509.RevocationList {
		t.Helper()
		der, err := w.m.RevocationList(ctx, w.zone())
		w.must(err)
		list, err := x509.ParseRevocationList(der)
		w.must(err)
		if err := list.CheckSignatureFrom(chain[1]); err != nil {
			t.Error(err)
		}
		return list
	}
	first := read()
	if len(first.RevokedCertificateEntries) != 0 {
		t.Errorf("%d entries before anything was revoked", len(first.RevokedCertificateEntries))
	}
	w.clock.Advance(time.Minute)
	if again := read(); again.Number.Cmp(first.Number) != 0 {
		t.Error("signed again without a reason")
	}
	_, err = w.m.WithdrawBuild(ctx, w.admin, build.BuildID)
	w.must(err)
	second := read()
	if e := second.RevokedCertificateEntries; len(e) != 1 || e[0].SerialNumber.Cmp(chain[0].SerialNumber) != 0 || second.Number.Cmp(first.Number) <= 0 {
		t.Errorf("after the withdrawal: %d entries, number %v after %v", len(e), second.Number, first.Number)
	}
	c, err := w.m.Certificate(ctx, w.admin, app.CertificateID)
	w.must(err)
	if c.Status != store.CertificateRevoked {
		t.Errorf("certificate is %s", c.Status)
	}
	w.must(w.m.DeactivateNode(ctx, w.admin, m.node))
	if e := read().RevokedCertificateEntries; len(e) != 2 {
		t.Errorf("after the deactivation: %d entries", len(e))
	}
	w.clock.Advance(ca.ListLifetime)
	if late := read(); !late.NextUpdate.After(w.clock.Now()) || len(late.RevokedCertificateEntries) != 1 {
		t.Errorf("a day later: until %s, %d entries; the application's certificate has ended", late.NextUpdate, len(late.RevokedCertificateEntries))
	}
	if _, err := w.m.RevocationList(ctx, "nowhere"); outcome(nil, err) != CodeNotFound {
		t.Errorf("zone that is not there: %v", err)
	}
}

func TestNodeLife(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	m := w.enrol(1)
	status := func() string {
		t.Helper()
		n, err := w.m.Node(ctx, w.admin, m.node)
		w.must(err)
		page, err := w.m.Nodes(ctx, w.admin, ListOptions{}, NodeFilter{Status: n.Status.Status})
		w.must(err)
		if len(page.Items) != 1 {
			t.Errorf("%d nodes are %s", len(page.Items), n.Status.Status)
		}
		return n.Status.Status
	}
	report := func(r wire.NodeStatusRequest) {
		t.Helper()
		reply, err := w.m.ReportNodeStatus(ctx, m.peer, r)
		w.must(err)
		if reply.NodeRefreshInterval != defaultRefreshInterval || reply.NodeRenewalThreshold != defaultRenewal {
			t.Errorf("reply %+v", reply)
		}
	}
	for _, step := range []struct {
		act  func()
		want string
	}{
		{func() {}, store.NodeRunning},
		{func() { w.clock.Advance((silentAfter*defaultRefreshInterval + 1) * time.Second) }, store.NodeStopped},
		{func() { report(wire.NodeStatusRequest{Name: "machine", IPAddress: "192.0.2.9", Version: "1"}) }, store.NodeRunning},
		{func() { report(wire.NodeStatusRequest{IPAddress: "192.0.2.9", Status: store.NodeStopped}) }, store.NodeStopped},
		{func() { report(wire.NodeStatusRequest{IPAddress: "192.0.2.9", Status: store.NodeRunning}) }, store.NodeRunning},
		{func() { w.must(w.m.DeactivateNode(ctx, w.admin, m.node)) }, store.NodeDeactivated},
	} {
		step.act()
		if got := status(); got != step.want {
			t.Errorf("%s, wanted %s", got, step.want)
		}
	}
	n, err := w.m.Node(ctx, w.admin, m.node)
	w.must(err)
	if n.IPAddress != "192.0.2.9" {
		t.Errorf("address %s", n.IPAddress)
	}
	// A join token made afterwards admits the machine again, as another node.
	token, err := w.m.CreateJoinToken(ctx, w.admin, w.zone(), wire.JoinTokenRequest{})
	w.must(err)
	w.clock.Advance(time.Second)
	old := m.node
	w.must(m.prepare(token.Token))
	if got := outcome(m.provision(token.Token, m.message(issuetest.Node(), attest.PurposeNode, m.prepared.Nonce))); got != "platform_admitted" {
		t.Errorf("a token made in the same instant as the deactivation: %s", got)
	}
	w.clock.Advance(time.Second)
	token, err = w.m.CreateJoinToken(ctx, w.admin, w.zone(), wire.JoinTokenRequest{})
	w.must(err)
	w.must(m.prepare(token.Token))
	m.enrol(token.Token)
	if m.node == old {
		t.Error("the id of a deactivated node was used again")
	}
	// The token was for one node.
	other := &machine{Machine: issuetest.NewMachine(t, 5), w: w}
	if got := outcome(nil, other.prepare(token.Token)); got != CodeUnauthorized {
		t.Errorf("a single-use token is used again: %s", got)
	}
}

func TestRotationKeepsWhatWasIssued(t *testing.T) {
	t.Parallel()
	const url = "https://manager.example:9090"
	w := newWorld(t, func(o *Options) { o.URL = url })
	ctx := t.Context()
	id, _, build := w.web()
	m := w.enrol(1)
	issue := func() *x509.Certificate {
		t.Helper()
		r, err := m.issue(m.message(id, attest.PurposeAppTLS, m.nonce(attest.PurposeAppTLS), "web.example"))
		if got := outcome(r, err); got != "issued" {
			t.Fatal(got)
		}
		chain, err := ca.ParsePEM(r.Certificate)
		w.must(err)
		return chain[0]
	}
	before := issue()
	_, err := w.m.NextZoneCertificate(ctx, w.admin, w.zone())
	w.must(err)
	_, err = w.m.RotateZone(ctx, w.admin, w.zone())
	w.must(err)
	after := issue() // through a node whose certificate the former authority signed
	if string(before.AuthorityKeyId) == string(after.AuthorityKeyId) {
		t.Error("the former authority still signs")
	}
	_, err = w.m.WithdrawBuild(ctx, w.admin, build.BuildID)
	w.must(err)
	for _, leaf := range []*x509.Certificate{before, after} {
		at := strings.TrimSuffix(strings.TrimPrefix(leaf.CRLDistributionPoints[0], url+"/v1/zones/"), "/crl")
		der, err := w.m.RevocationList(ctx, at)
		w.must(err)
		list, err := x509.ParseRevocationList(der)
		w.must(err)
		if e := list.RevokedCertificateEntries; len(e) != 1 || e[0].SerialNumber.Cmp(leaf.SerialNumber) != 0 || string(list.AuthorityKeyId) != string(leaf.AuthorityKeyId) {
			t.Errorf("the list that the leaf names does not revoke it: %d entries", len(e))
		}
	}
}

func TestMachineEnrolsTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.enrol(1)
	first, chain := m.node, m.chain
	token := w.joinToken()
	w.must(m.prepare(token))
	m.enrol(token)
	if m.node != first {
		t.Error("one machine became two nodes")
	}
	if _, err := w.m.AuthenticateNode(t.Context(), chain); outcome(nil, err) != CodeNotEnrolled {
		t.Errorf("its former certificate: %v", err)
	}
	// Another machine that claims its id does not get a certificate for it.
	twin := &machine{Machine: issuetest.NewMachine(t, 1), w: w}
	if got := outcome(nil, twin.prepare(token)); got != "platform_key" {
		t.Errorf("another machine with the same id prepares: %q", got)
	}
}

func TestTwinsThatPrepareBeforeEitherEnrols(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.joinToken()
	one, twin := w.newMachine(1, token), w.newMachine(1, token)
	one.enrol(token)
	if got := outcome(twin.provision(token, twin.message(issuetest.Node(), attest.PurposeNode, twin.prepared.Nonce))); got != "platform_key" {
		t.Errorf("%q", got)
	}
}

func TestProvisionRefusesHalfRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.joinToken()
	m := w.newMachine(1, token)
	msg := m.message(issuetest.Node(), attest.PurposeNode, m.prepared.Nonce)
	for name, tt := range map[string]struct {
		r    wire.NodeProvision
		want string
	}{
		"nothing":       {wire.NodeProvision{Name: "n"}, CodeAttestation},
		"no request":    {wire.NodeProvision{Name: "n", AttestationRequest: &wire.AttestationRequest{IASQuote: msg.quote}}, CodeAttestation},
		"not a request": {wire.NodeProvision{Name: "n", AttestationRequest: &wire.AttestationRequest{CSR: "x"}}, "csr_format"},
		"two quotes":    {wire.NodeProvision{Name: "n", AttestationRequest: &wire.AttestationRequest{IASQuote: []byte("x"), CSR: msg.csr}}, "one_evidence"},
		"no name":       {wire.NodeProvision{AttestationRequest: &wire.AttestationRequest{CSR: msg.csr}}, CodeInvalidName},
	} {
		if _, err := w.m.ProvisionNode(t.Context(), token, tt.r); outcome(nil, err) != tt.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := outcome(m.provision("hkt1_x", msg)); got != CodeUnauthorized {
		t.Errorf("without a token: %s", got)
	}
	if got := outcome(m.provision(token, msg)); got != "issued" {
		t.Errorf("the honest request after all that: %s", got)
	}
}

func TestRefusedRequestsAreRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.enrol(1)
	for name, msg := range map[string]*message{
		"unreadable":          {csr: "hello"},
		"unknown measurement": m.message(identity(t, 9), attest.PurposeAppTLS, m.nonce(attest.PurposeAppTLS), "web.example"),
	} {
		r, err := m.issue(msg)
		w.must(err)
		if r.TaskStatus.Status != "DENIED" || r.Reason == "" || len(r.Rules) == 0 {
			t.Errorf("%s: %+v", name, r)
		}
		c, err := w.m.Certificate(t.Context(), w.admin, r.CertificateID)
		w.must(err)
		if c.Status != store.CertificateRejected || c.Certificate != "" {
			t.Errorf("%s: %+v", name, c)
		}
	}
	events, err := w.m.AuditEvents(t.Context(), w.admin, ListOptions{Limit: 100}, "", "", 0, 0)
	w.must(err)
	denied := 0
	for _, e := range events.Items {
		if e.ActionType == "CERTIFICATE" && e.Severity == "WARNING" {
			denied++
		}
	}
	if denied != 2 {
		t.Errorf("%d refusals in the audit log, wanted 2", denied)
	}
}
