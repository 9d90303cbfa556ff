package manager

import (
	"context"
	"encoding/json"
	"fmt"

	"hitoku.dev/attest"
	"hitoku.dev/internal/manager/ca"
	"hitoku.dev/internal/manager/issue"
	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

// RenewNodeCertificate gives an enrolled node a certificate over a new key, on fresh evidence
// of the same platform. The present one stays good until it ends, in case the reply is lost.
func (m *Manager) RenewNodeCertificate(ctx context.Context, p Peer, r wire.CertificateRequest) (*wire.TaskResult, error) {
	if r.NodeID != "" && r.NodeID != p.NodeID {
		return nil, notFound("node", clip(r.NodeID))
	}
	req, err := issue.ParseRequest(r.CSR)
	if err != nil {
		return nil, m.fail(requestError(err))
	}
	var account *store.Account
	var root *store.Authority
	var node *store.Node
	var v *verifier
	err = m.view(ctx, func(tx *store.Tx) (err error) {
		if account, err = activeAccount(ctx, tx, p.AccountID); err != nil {
			return err
		}
		if node, err = tx.Nodes().Get(ctx, p.AccountID, p.NodeID); err != nil {
			return err
		}
		if root, err = authorityRow(ctx, tx, p.AccountID, store.AuthorityRoot, "", store.AuthorityCurrent); err != nil {
			return err
		}
		v, err = m.verifierFor(ctx, tx, account, node.AttestationType)
		return err
	})
	if err != nil {
		return nil, err
	}
	result, _ := v.judge(ctx, req.Quote, m.now())
	if err := m.mayIssue(ctx); err != nil {
		return nil, err
	}
	var out *wire.TaskResult
	var nonce *store.Nonce
	var refused error
	err = m.update(ctx, func(tx *store.Tx) error {
		out, refused = nil, nil // it may run again
		// The evidence was verified outside of the transaction: meanwhile the account may have been
		// deactivated, or changed what it accepts.
		if account, err = activeAccount(ctx, tx, p.AccountID); err != nil {
			return err
		}
		if root, err = authorityRow(ctx, tx, p.AccountID, store.AuthorityRoot, "", store.AuthorityCurrent); err != nil {
			return err
		}
		if nonce, err = m.answerNonce(ctx, tx, p, attest.PurposeNode, req.Binding); err != nil {
			return err
		}
		if node, err = tx.Nodes().Get(ctx, p.AccountID, p.NodeID); err != nil {
			return err
		}
		zone, err := tx.Zones().Get(ctx, p.AccountID, node.ZoneID)
		if err != nil {
			return err
		}
		s := &issue.NodeState{
			At: m.now(), TrustDomain: ca.TrustDomain(p.AccountID, m.opts.Host), ZoneID: node.ZoneID, NodeID: node.ID, Nonce: issueNonce(nonce, req.Binding),
			Measurements: nodeMeasurements(node.AttestationType),
			Known:        &issue.EnrolledNode{ID: node.ID, Active: nodeActive(node), State: node.Status, PlatformID: node.PlatformID, PlatformKey: node.Platform, ZoneID: node.ZoneID},
		}
		if s.Account, err = m.issueAccount(account, root); err != nil {
			return err
		}
		if s.KeyUsed, err = keyUsed(ctx, tx, p.AccountID, req); err != nil {
			return err
		}
		d := issue.DecideNode(req, result, s)
		e := &store.Event{
			AccountID: account.ID, ZoneID: zone.ID, Severity: "INFO", Code: "NODE_RENEWED", ActionType: "NODE_ATTESTATION", ActorType: "SYSTEM",
			NodeID: node.ID, NodeName: node.Name, Description: "Certificate of node " + node.Name + " renewed",
		}
		if e.Details, err = json.Marshal(map[string]any{"failed": failedRules(d.Rules)}); err != nil {
			return fmt.Errorf("audit event: %w", err)
		}
		if d.Outcome != issue.Issue {
			refused = refusal("certificate of node "+node.Name, d.Failed()...)
			e.Severity, e.Code, e.Description = "WARNING", "NODE_ATTESTATION_FAILED", "Renewal of the certificate of node "+node.Name+" refused: "+d.Reason
			return tx.Audit(ctx, e)
		}
		row := newCertificate(store.CertificateNode, node, req, result, d, m.now())
		if err := m.sign(ctx, tx, d.Leaf, row); err != nil {
			return err
		}
		node.CertificateID, node.AttestedAt = row.ID, m.now()
		if err := tx.Nodes().Update(ctx, node); err != nil {
			return err
		}
		if err := tx.Audit(ctx, e); err != nil {
			return err
		}
		out = m.issued(root, row, store.TaskNodeAttestation)
		return nil
	})
	if err == nil {
		m.spend(nonce)
		err = refused
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}
