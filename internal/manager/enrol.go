package manager

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"hitoku.dev/attest"
	"hitoku.dev/enclave/simtee/authority"
	"hitoku.dev/internal/manager/ca"
	"hitoku.dev/internal/manager/issue"
	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

// nodeActive reports whether a node may act: INPROGRESS ones wait for a person, and
// FAILED and DEACTIVATED ones were refused.
func nodeActive(n *store.Node) bool {
	switch n.Status {
	case store.NodeRunning, store.NodeProvisioned, store.NodeStopped:
		return true
	}
	return false
}

// ProvisionNode enrols a machine that comes with a join token and evidence over its key. In a
// test-only account it gets its certificate at once; elsewhere a person approves the platform
// first, and the machine comes back with fresh evidence. Evidence that fails never enrols
// (ruling 20): the error says which rules refused it.
func (m *Manager) ProvisionNode(ctx context.Context, token string, r wire.NodeProvision) (*wire.TaskResult, error) {
	name, err := checkNode(&r)
	if err != nil {
		return nil, err
	}
	req, err := provisionRequest(&r)
	if err != nil {
		return nil, m.fail(err)
	}
	// The nonce is answered by this request, whatever comes of it. What it was handed out for
	// says which root the evidence must lead to, before anything of the evidence is read.
	var account *store.Account
	var nonce *store.Nonce
	err = m.update(ctx, func(tx *store.Tx) error {
		t, err := m.joinToken(ctx, tx, token)
		if err != nil {
			return err
		}
		if account, err = tx.Accounts().Get(ctx, t.AccountID); err != nil {
			return err
		}
		nonce, err = m.takeNonce(ctx, tx, t.AccountID, req.Binding)
		return err
	})
	if err != nil {
		return nil, err
	}
	m.spend(nonce)
	attestation := attestationDCAP
	if nonce != nil {
		attestation = preparationOf(nonce.Subject).attestation
	} else if account.TestOnly {
		attestation = attestationSimulated // refused anyway; so that the other rules say something
	}
	var v *verifier
	err = m.view(ctx, func(tx *store.Tx) (err error) { v, err = m.verifierFor(ctx, tx, account, attestation); return err })
	if err == nil {
		err = m.mayIssue(ctx)
	}
	if err != nil {
		return nil, err
	}
	result, _ := v.judge(ctx, req.Quote, m.now())
	var out *wire.TaskResult
	var refused error
	err = m.update(ctx, func(tx *store.Tx) error {
		out, refused = nil, nil // it may run again
		e := &enrolment{m: m, req: req, result: result, name: name, asked: &r, attestation: attestation}
		s, err := e.load(ctx, tx, token, nonce)
		if err != nil {
			return err
		}
		d := issue.DecideNode(req, result, s)
		switch d.Outcome {
		case issue.Issue:
			out, err = e.enrol(ctx, tx, d)
		case issue.Pending:
			out, err = e.wait(ctx, tx, d)
		default:
			refused = refusal("enrolment of node "+name, d.Failed()...)
			err = e.audit(ctx, tx, "NODE_ATTESTATION_FAILED", "WARNING", "Enrolment of node "+name+" refused: "+d.Reason, d.Rules)
		}
		return err
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

func checkNode(r *wire.NodeProvision) (string, error) {
	name, err := checkName("a node", r.Name)
	if err != nil {
		return "", err
	}
	return name, errors.Join(checkText("description", r.Description, 1000), checkText("ipaddress", r.IPAddress, 255), checkText("sgx_version", r.SGXVersion, 100))
}

func provisionRequest(r *wire.NodeProvision) (*issue.Request, error) {
	a := r.AttestationRequest
	if a == nil || a.CSR == "" {
		return nil, newError(Refused, CodeAttestation, "attestation_request with a certificate request and evidence is needed; a node without attestation is not enrolled")
	}
	req, err := issue.ParseRequest(a.CSR)
	if err != nil {
		return nil, requestError(err)
	}
	if len(a.IASQuote) > 0 && !bytes.Equal(a.IASQuote, req.Quote) {
		return nil, refusal("enrolment", attest.Rule{Name: "one_evidence", Wanted: "the same quote in ias_quote and in the certificate request", Seen: "two quotes", Advice: "send one piece of evidence"})
	}
	return req, nil
}

// requestError gives the error of a request that could not be read its rules.
func requestError(err error) error {
	var refused *attest.RefusedError
	if errors.As(err, &refused) {
		return &Error{Kind: Refused, Code: CodeCertParse, Message: err.Error(), Rules: refused.Rules}
	}
	return err
}

// mayIssue refuses while the audit log does not reach its checkpoint: the database is then not
// the one that approvals were given in (security decision S18), and cannot be written to.
func (m *Manager) mayIssue(ctx context.Context) error {
	err := m.store.Trusted(ctx)
	if err == nil {
		return nil
	}
	m.opts.Log.Error("no certificate is issued", "error", err)
	return refusal("certificate", attest.Rule{Name: "audit_log", Wanted: "an audit log that reaches its checkpoint", Seen: err.Error(), Advice: "an administrator of the manager must look"})
}

// enrolment is one enrolment inside its transaction.
type enrolment struct {
	m           *Manager
	req         *issue.Request
	result      *attest.Result
	name        string
	asked       *wire.NodeProvision
	attestation string

	token   *store.JoinToken
	account *store.Account
	root    *store.Authority // the account root
	zone    *store.Zone
	node    *store.Node // of this platform; nil for a new one
	task    *store.Task // its open or approved task
	id      string      // of the node
	former  string      // id of a deactivated node of this platform
}

// load reads the snapshot for the decision.
func (e *enrolment) load(ctx context.Context, tx *store.Tx, token string, nonce *store.Nonce) (s *issue.NodeState, err error) {
	m := e.m
	if e.token, err = m.joinToken(ctx, tx, token); err != nil {
		return nil, err
	}
	if e.account, err = tx.Accounts().Get(ctx, e.token.AccountID); err != nil {
		return nil, err
	}
	if e.zone, err = tx.Zones().Get(ctx, e.account.ID, e.token.ZoneID); err != nil {
		return nil, err
	}
	s = &issue.NodeState{
		At: m.now(), ZoneID: e.zone.ID, Nonce: issueNonce(nonce, e.req.Binding), Measurements: nodeMeasurements(e.attestation),
		TrustDomain: ca.TrustDomain(e.account.ID, m.opts.Host),
		Token: &issue.JoinToken{
			Known: true, State: "token " + e.token.ID, Expires: e.token.ExpiresAt, UsesLimit: e.token.UsesLimit, Uses: e.token.Uses, Created: e.token.CreatedAt,
		},
	}
	if e.root, err = authorityRow(ctx, tx, e.account.ID, store.AuthorityRoot, "", store.AuthorityCurrent); err != nil {
		return nil, err
	}
	if s.Account, err = m.issueAccount(e.account, e.root); err != nil {
		return nil, err
	}
	if s.KeyUsed, err = keyUsed(ctx, tx, e.account.ID, e.req); err != nil {
		return nil, err
	}
	if s.Known, err = e.known(ctx, tx); err != nil {
		return nil, err
	}
	if e.id == "" {
		if e.id, err = m.newID(); err != nil {
			return nil, err
		}
	}
	s.NodeID = e.id
	if e.task != nil {
		s.TaskID = e.task.ID
		s.Approved = e.task.Status == store.TaskSuccess
	}
	return s, nil
}

// known finds the node that this platform is, or was, in the account.
func (e *enrolment) known(ctx context.Context, tx *store.Tx) (*issue.EnrolledNode, error) {
	if e.result.Claims.PlatformID == "" {
		return nil, nil
	}
	nodes, err := tx.Nodes().Find(ctx, e.account.ID, store.Is("platform_id", e.result.Claims.PlatformID))
	if err != nil || len(nodes) == 0 {
		return nil, err
	}
	present := func(n *store.Node) bool { return nodeActive(n) || n.Status == store.NodeInProgress }
	last := nodes[len(nodes)-1]
	if i := slices.IndexFunc(nodes, present); i >= 0 {
		last = nodes[i]
	}
	k := &issue.EnrolledNode{ID: last.ID, State: last.Status, Active: nodeActive(last), PlatformID: last.PlatformID, PlatformKey: last.Platform, ZoneID: last.ZoneID}
	if !present(last) {
		k.Deactivated, e.former = last.StatusUpdatedAt, last.ID
		return k, nil
	}
	e.node, e.id = last, last.ID
	tasks, err := tx.Tasks().Find(ctx, e.account.ID, store.Is("entity_id", last.ID), store.Is("type", store.TaskNodeAttestation))
	for _, t := range tasks {
		if t.Status == store.TaskInProgress || t.Status == store.TaskSuccess && e.approves(t) {
			e.task = t
		}
	}
	return k, err
}

// approves reports whether an approved task was about this platform as it is now.
func (e *enrolment) approves(t *store.Task) bool {
	_, digest, err := nodeSubject(e.node).digest()
	return err == nil && digest == t.Digest
}

// row fills a node's row from the verified evidence and from what the agent says of itself.
func (e *enrolment) row(status string) (*store.Node, error) {
	now := e.m.now()
	n := e.node
	if n == nil {
		n = &store.Node{ID: e.id, AccountID: e.account.ID, ZoneID: e.zone.ID, CreatedAt: now, Labels: map[string]string{}}
	}
	info, err := json.Marshal(e.asked.SysInfo)
	if err != nil {
		return nil, err
	}
	report, err := json.Marshal(e.asked.ErrorReport)
	if err != nil {
		return nil, err
	}
	if n.Status != status {
		n.Status, n.StatusUpdatedAt = status, now
	}
	n.Name, n.Description, n.IPAddress, n.SGXVersion = e.name, e.asked.Description, e.asked.IPAddress, e.asked.SGXVersion
	n.SysInfo, n.ErrorReport, n.AttestationType, n.JoinTokenID = info, report, e.attestation, e.token.ID
	n.PlatformID = e.result.Claims.PlatformID
	if e.result.Claims.Simulated {
		n.Platform = issue.PlatformKey(e.req.Quote)
	}
	return n, nil
}

func (e *enrolment) put(ctx context.Context, tx *store.Tx, n *store.Node) error {
	if e.node == nil {
		return tx.Nodes().Insert(ctx, n)
	}
	return tx.Nodes().Update(ctx, n)
}

// enrol gives the node its certificate. Earlier ones of the same machine end.
func (e *enrolment) enrol(ctx context.Context, tx *store.Tx, d *issue.Decision) (*wire.TaskResult, error) {
	n, err := e.row(store.NodeRunning)
	if err != nil {
		return nil, err
	}
	if e.node != nil {
		if err := e.m.revokeCertificates(ctx, tx, e.account.ID, "the node enrolled again", store.Is("node_id", n.ID), store.Is("kind", store.CertificateNode)); err != nil {
			return nil, err
		}
	}
	row := newCertificate(store.CertificateNode, n, e.req, e.result, d, e.m.now())
	if err := e.m.sign(ctx, tx, d.Leaf, row); err != nil {
		return nil, err
	}
	n.CertificateID, n.AttestedAt = row.ID, e.m.now()
	if err := e.put(ctx, tx, n); err != nil {
		return nil, err
	}
	if err := useJoinToken(ctx, tx, e.token); err != nil {
		return nil, err
	}
	what := "Node " + n.Name + " enrolled, platform " + n.PlatformID
	if e.former != "" {
		what += ", which was node " + e.former + " until it was deactivated"
	}
	if err := e.audit(ctx, tx, "NODE_ENROLLED", "INFO", what, d.Rules); err != nil {
		return nil, err
	}
	return e.m.issued(e.root, row, store.TaskNodeAttestation), nil
}

// wait stores the node and its task. Nothing of this request is issued later.
func (e *enrolment) wait(ctx context.Context, tx *store.Tx, d *issue.Decision) (*wire.TaskResult, error) {
	n, err := e.row(store.NodeInProgress)
	if err != nil {
		return nil, err
	}
	if e.task != nil {
		if e.task.Subject, e.task.Digest, err = nodeSubject(n).digest(); err != nil {
			return nil, err
		}
		if err := tx.Tasks().Update(ctx, e.task); err != nil {
			return nil, err
		}
	} else {
		a := Actor{AccountID: e.account.ID, Name: n.Name, System: true}
		if e.task, err = e.m.newTask(store.TaskNodeAttestation, a, n.ID, "Node attestation for node: "+n.Name, nodeSubject(n)); err != nil {
			return nil, err
		}
		e.task.NodeID = n.ID
		if err := tx.Tasks().Insert(ctx, e.task); err != nil {
			return nil, err
		}
	}
	if err := e.put(ctx, tx, n); err != nil {
		return nil, err
	}
	if err := e.audit(ctx, tx, "NODE_PENDING", "INFO", "Node "+n.Name+" waits for an approval of platform "+n.PlatformID+", task "+e.task.ID, d.Rules); err != nil {
		return nil, err
	}
	out := taskResult(e.task)
	out.NodeID, out.Reason = n.ID, "node "+n.Name+" waits for task "+e.task.ID
	return out, nil
}

func (e *enrolment) audit(ctx context.Context, tx *store.Tx, code, severity, description string, rules []attest.Rule) error {
	ev := &store.Event{
		AccountID: e.account.ID, ZoneID: e.zone.ID, Severity: severity, Code: code, ActionType: "NODE_ATTESTATION", ActorType: "SYSTEM",
		Description: description, NodeID: e.id, NodeName: e.name,
	}
	var err error
	if ev.Details, err = json.Marshal(map[string]any{"join_token": e.token.ID, "failed": failedRules(rules)}); err != nil {
		return fmt.Errorf("audit event: %w", err)
	}
	return tx.Audit(ctx, ev)
}

// nodeMeasurements are the reference values of the node agents that this release knows.
func nodeMeasurements(attestation string) [][]byte {
	if attestation == attestationSimulated {
		return [][]byte{authority.NodeMeasurement[:]}
	}
	return nil
}
