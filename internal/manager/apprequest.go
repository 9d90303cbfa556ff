package manager

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/atls"
	"hitoku.dev/internal/manager/ca"
	"hitoku.dev/internal/manager/issue"
	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

// appRequest is one request for an application's certificate inside its transaction.
type appRequest struct {
	m       *Manager
	peer    Peer
	req     *issue.Request
	result  *attest.Result
	account *store.Account
	root    *store.Authority // the account root
	node    *store.Node
	app     *store.App   // nil when the measurement is unknown
	build   *store.Build // likewise
}

// IssueCertificate judges a workload's request that came through an enrolled node. Refusals
// are replies, not errors: DENIED with every rule that failed, or the open task that the
// request waits for. A request that had to wait is never answered with a certificate later.
func (m *Manager) IssueCertificate(ctx context.Context, p Peer, r wire.CertificateRequest) (*wire.TaskResult, error) {
	if r.NodeID != "" && r.NodeID != p.NodeID {
		return nil, notFound("node", clip(r.NodeID))
	}
	home, err := m.homeOf(ctx, p)
	if err != nil {
		return nil, err
	}
	a, v := &appRequest{m: m, peer: p, account: home.account, node: home.node, root: home.root}, home.verifier
	if a.req, err = issue.ParseRequest(r.CSR); err != nil {
		return a.unreadable(ctx, err)
	}
	evidence := atls.Message{Evidence: a.req.Quote, Binding: a.req.BindingDER}
	a.result, evidence.Collateral = v.judge(ctx, a.req.Quote, m.now())
	if err := m.mayIssue(ctx); err != nil {
		return nil, err
	}
	var out *wire.TaskResult
	var nonce *store.Nonce
	err = m.update(ctx, func(tx *store.Tx) (err error) {
		if nonce, err = m.answerNonce(ctx, tx, p, attest.PurposeAppTLS, a.req.Binding); err != nil {
			return err
		}
		s, err := a.load(ctx, tx.Shared(), nonce)
		if err != nil {
			return err
		}
		d := issue.DecideApp(a.req, a.result, s)
		if d.Outcome != issue.Issue {
			if err := m.mayRecordRefusal(p); err != nil {
				return err
			}
		}
		out, err = a.answer(ctx, tx, d, evidence)
		return err
	})
	if err != nil {
		return nil, err
	}
	m.spend(nonce)
	return out, nil
}

// load reads the snapshot for the decision, which changes none of it.
func (a *appRequest) load(ctx context.Context, tx *store.Tx, nonce *store.Nonce) (s *issue.AppState, err error) {
	m, p := a.m, a.peer
	if a.account, err = activeAccount(ctx, tx, p.AccountID); err != nil {
		return nil, err
	}
	if a.node, err = tx.Nodes().Get(ctx, p.AccountID, p.NodeID); err != nil {
		return nil, err
	}
	s = &issue.AppState{
		At: m.now(), TrustDomain: ca.TrustDomain(p.AccountID, m.opts.Host), Nonce: issueNonce(nonce, a.req.Binding),
		Node: issue.Node{
			ID: a.node.ID, ZoneID: a.node.ZoneID, Active: nodeActive(a.node) && a.node.AccountID == p.AccountID, State: a.node.Status,
			PlatformID: a.node.PlatformID, PlatformKey: a.node.Platform, Labels: a.node.Labels,
		},
	}
	if s.Account, err = m.issueAccount(a.account, a.root); err != nil {
		return nil, err
	}
	if s.KeyUsed, err = keyUsed(ctx, tx, p.AccountID, a.req); err != nil {
		return nil, err
	}
	return s, a.loadBuild(ctx, tx, s)
}

func (a *appRequest) loadBuild(ctx context.Context, tx *store.Tx, s *issue.AppState) error {
	c := &a.result.Claims
	if len(c.Measurement) == 0 {
		return nil
	}
	b, err := tx.Builds().ByMeasurement(ctx, a.account.ID, hex.EncodeToString(c.Measurement))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	app, err := tx.Apps().Get(ctx, a.account.ID, b.AppID)
	if err != nil {
		return err
	}
	a.app, a.build = app, b
	if s.Build, err = issueBuild(app, b, c); err != nil {
		return err
	}
	s.App = &issue.App{
		ID: app.ID, Name: app.Name, DomainTask: app.PendingTaskID, Asked: app.AllowedDomains, Labels: app.Labels,
		Lifetime: time.Duration(a.account.Options.LeafSeconds) * time.Second,
	}
	s.App.Domains, err = approvedDomains(ctx, tx, app)
	return err
}

// issueBuild is the form in which a decision reads a build.
func issueBuild(app *store.App, b *store.Build, c *attest.Claims) (*issue.Build, error) {
	signer, err := hex.DecodeString(b.MRSigner)
	if err != nil {
		return nil, fmt.Errorf("build %s: signer: %w", b.ID, err)
	}
	_, digest, err := buildSubject(app, b).digest()
	if err != nil {
		return nil, err
	}
	out := &issue.Build{
		ID: b.ID, Whitelisted: b.Status == store.BuildWhitelisted, State: b.Status, TaskID: b.PendingTaskID, Digest: digest, Approved: b.Digest,
		Signer: signer, ProdID: uint16(b.ISVProdID), SVN: uint16(b.ISVSVN),
	}
	seen := hex.EncodeToString(c.Measurement)
	// A simulated measurement says nothing about hardware, so it is none there.
	if slices.ContainsFunc(b.Measurements, func(m store.Measurement) bool { return m.Value == seen && (c.Simulated || m.Kind != "simulated") }) {
		out.Measurement = c.Measurement
	}
	for id := range b.Configs {
		out.Configs = append(out.Configs, id)
	}
	slices.Sort(out.Configs)
	return out, nil
}

// answer carries a decision out, records it, and puts it into the words of the interface.
func (a *appRequest) answer(ctx context.Context, tx *store.Tx, d *issue.Decision, evidence atls.Message) (*wire.TaskResult, error) {
	row := newCertificate(store.CertificateApp, a.node, a.req, a.result, d, a.m.now())
	if a.app != nil {
		row.AppID, row.BuildID = a.app.ID, a.build.ID
	}
	var err error
	switch d.Outcome {
	case issue.Issue:
		if len(evidence.Binding) > 0 {
			ext, err := atls.MarshalExtension(evidence)
			if err != nil {
				return nil, err
			}
			d.Leaf.Extensions = append(d.Leaf.Extensions, ext)
		}
		err = a.m.sign(ctx, tx, d.Leaf, row)
		if err == nil {
			err = a.deployed(ctx, tx, row)
		}
	default:
		// A request that waits is not kept as one that might still be issued (ruling 20).
		row.Status, row.TaskID = store.CertificateRejected, d.TaskID
		row.ID, err = a.m.newID()
		if err == nil {
			err = tx.Certificates().Insert(ctx, row)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := a.audit(ctx, tx, row, d); err != nil {
		return nil, err
	}
	if d.Outcome == issue.Issue {
		return a.m.issued(a.root, row, store.TaskCertificate), nil
	}
	return a.m.refused(row, d), nil
}

func (a *appRequest) deployed(ctx context.Context, tx *store.Tx, row *store.Certificate) error {
	now := a.m.now()
	return tx.PutDeployment(ctx, &store.Deployment{
		AccountID: a.account.ID, ID: a.build.ID + "/" + a.node.ID, AppID: a.app.ID, BuildID: a.build.ID, NodeID: a.node.ID, CertificateID: row.ID,
		Status: store.AppRunning, StatusUpdatedAt: now, AttestedAt: now, CreatedAt: now,
	})
}

func (a *appRequest) audit(ctx context.Context, tx *store.Tx, row *store.Certificate, d *issue.Decision) error {
	e := &store.Event{
		AccountID: a.account.ID, ZoneID: a.node.ZoneID, Severity: "INFO", Code: "CERTIFICATE_" + string(d.Outcome), ActionType: "CERTIFICATE", ActorType: "APP",
		NodeID: a.node.ID, NodeName: a.node.Name, Description: "Certificate requested through node " + a.node.Name + ": " + d.Reason,
	}
	if d.Outcome == issue.Denied {
		e.Severity = "WARNING"
	}
	if a.app != nil {
		e.AppID, e.AppName = a.app.ID, a.app.Name
	}
	var err error
	e.Details, err = json.Marshal(map[string]any{"certificate_id": row.ID, "serial": row.Serial, "build_id": row.BuildID, "task_id": d.TaskID, "freshness": d.Freshness, "failed": failedRules(d.Rules)})
	if err != nil {
		return fmt.Errorf("audit event: %w", err)
	}
	return tx.Audit(ctx, e)
}

// unreadable answers a request that could not be read.
func (a *appRequest) unreadable(ctx context.Context, err error) (*wire.TaskResult, error) {
	var bad *attest.RefusedError
	if !errors.As(err, &bad) {
		return nil, a.m.fail(err)
	}
	if err := a.m.mayRecordRefusal(a.peer); err != nil {
		return nil, err
	}
	d := issue.Refused(bad.Rules)
	var out *wire.TaskResult
	err = a.m.update(ctx, func(tx *store.Tx) error {
		row := &store.Certificate{
			AccountID: a.account.ID, ZoneID: a.node.ZoneID, Kind: store.CertificateApp, Status: store.CertificateRejected, NodeID: a.node.ID, CreatedAt: a.m.now(),
		}
		var err error
		if row.ID, err = a.m.newID(); err != nil {
			return err
		}
		if row.Details.Rules, err = json.Marshal(d.Rules); err != nil {
			return err
		}
		row.Details.Reason = d.Reason
		if err := tx.Certificates().Insert(ctx, row); err != nil {
			return err
		}
		out = a.m.refused(row, d)
		return a.audit(ctx, tx, row, d)
	})
	return out, err
}

// refused is the reply to a request that gets no certificate.
func (m *Manager) refused(row *store.Certificate, d *issue.Decision) *wire.TaskResult {
	now := m.now().Unix()
	status := "DENIED"
	if d.Outcome == issue.Pending {
		status = "INPROGRESS"
	}
	out := &wire.TaskResult{
		TaskID: d.TaskID, CertificateID: row.ID, NodeID: row.NodeID, BuildID: row.BuildID, TaskType: store.TaskCertificate, Reason: d.Reason,
		TaskStatus: &wire.TaskStatus{CreatedAt: now, StatusUpdatedAt: now, Status: status},
	}
	for _, r := range d.Rules {
		out.Rules = append(out.Rules, wire.Rule(r))
	}
	return out
}

func failedRules(rules []attest.Rule) []string {
	names := []string{}
	for _, r := range rules {
		if !r.OK {
			names = append(names, r.Name+": wanted "+r.Wanted+", seen "+r.Seen)
		}
	}
	return names
}
