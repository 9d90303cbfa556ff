package manager

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/internal/manager/ca"
	"hitoku.dev/internal/manager/issue"
	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

// newCertificate begins the row of a request that was decided upon.
func newCertificate(kind string, n *store.Node, req *issue.Request, e *attest.Result, d *issue.Decision, now time.Time) *store.Certificate {
	c := &e.Claims
	row := &store.Certificate{
		AccountID: n.AccountID, ZoneID: n.ZoneID, Kind: kind, Status: store.CertificatePending, NodeID: n.ID, KeyHash: hex.EncodeToString(req.SPKIHash[:]),
		Subject: req.CommonName, CSR: ca.EncodeRequestPEM(req.DER), CreatedAt: now,
		Details: store.CertificateDetails{
			MREnclave: hex.EncodeToString(c.Measurement), MRSigner: hex.EncodeToString(c.Signer), ISVProdID: int(c.ProdID), ISVSVN: int(c.SVN),
			CPUSVN: hex.EncodeToString(c.CPUSVN), QuoteStatus: c.TCB.Overall, PlatformID: c.PlatformID, Freshness: d.Freshness, Debug: c.Debug,
			Simulated: c.Simulated, Reason: d.Reason,
		},
	}
	if d.Outcome != issue.Issue { // the rules of an issued one all held
		row.Details.Rules, _ = json.Marshal(d.Rules) // strings and booleans cannot fail
	}
	if req.Binding != nil {
		row.Details.ConfigID = hex.EncodeToString(req.Binding.ConfigID)
	}
	return row
}

// sign issues a leaf and stores it. The caller audits.
func (m *Manager) sign(ctx context.Context, tx *store.Tx, leaf ca.Leaf, row *store.Certificate) error {
	authority, at, err := m.zoneAuthority(ctx, tx.Shared(), row.AccountID, row.ZoneID)
	if err != nil {
		return err
	}
	leaf.RevocationList = m.listURL(at.ID)
	cert, err := authority.Issue(m.opts.Rand, m.now(), leaf)
	if err != nil {
		return err
	}
	if row.ID, err = m.newID(); err != nil {
		return err
	}
	row.Status, row.AuthorityID, row.Serial, row.Certificate = store.CertificateIssued, at.ID, serialText(cert), ca.EncodePEM(cert, authority.Certificate)
	row.NotBefore, row.NotAfter, row.Details.Issuer = cert.NotBefore, cert.NotAfter, cert.Issuer.String()
	if row.Subject == "" || row.Kind == store.CertificateNode {
		row.Subject = cert.Subject.CommonName
	}
	return tx.Certificates().Insert(ctx, row)
}

// issued is the reply that carries a certificate.
func (m *Manager) issued(root *store.Authority, row *store.Certificate, kind string) *wire.TaskResult {
	now := m.now().Unix()
	return &wire.TaskResult{
		CertificateID: row.ID, NodeID: row.NodeID, BuildID: row.BuildID, TaskType: kind, Certificate: row.Certificate, AccountRoot: root.Certificate,
		TaskStatus: &wire.TaskStatus{CreatedAt: now, StatusUpdatedAt: now, Status: store.TaskSuccess},
	}
}

// keyUsed reports whether a certificate over the request's key was ever issued in the account.
func keyUsed(ctx context.Context, tx *store.Tx, account string, req *issue.Request) (bool, error) {
	rows, err := tx.Certificates().Find(ctx, account, store.Is("key_hash", hex.EncodeToString(req.SPKIHash[:])),
		store.OneOf("status", store.CertificateIssued, store.CertificateRevoked))
	return len(rows) > 0, err
}

// issueAccount is the form in which a decision reads an account.
func (m *Manager) issueAccount(a *store.Account, rootRow *store.Authority) (issue.Account, error) {
	root, err := m.open(rootRow)
	if err != nil {
		return issue.Account{}, err
	}
	return issue.Account{
		ID: a.ID, TestOnly: a.TestOnly, RootSPKI: root.SPKIHash(), BareBinding: a.Options.AcceptBareBinding,
		TCBStatuses: acceptedStatuses(a), MinTCBEvaluation: a.Options.MinTCBEvaluation,
	}, nil
}

// revokeCertificates revokes every certificate in force that the conditions select. The caller
// audits. The revocation list says so at once; a workload that runs keeps what it holds until
// its certificate ends (ruling 23).
func (m *Manager) revokeCertificates(ctx context.Context, tx *store.Tx, account, reason string, where ...store.Condition) error {
	now := m.now()
	rows, err := tx.Certificates().Find(ctx, account, append(where, store.Is("status", store.CertificateIssued), store.Condition{Column: "not_after", Op: store.After, Values: []any{now.UnixMicro()}})...)
	if err != nil {
		return err
	}
	for _, row := range rows {
		row.Status, row.RevokedAt, row.Details.Reason = store.CertificateRevoked, now, "revoked: "+reason
		if err := tx.Certificates().Update(ctx, row); err != nil {
			return err
		}
	}
	return nil
}

// Certificate returns a request and what became of it.
func (m *Manager) Certificate(ctx context.Context, a Actor, id string) (*wire.Certificate, error) {
	row, err := m.certificate(ctx, a, func(tx *store.Tx) (*store.Certificate, error) { return tx.Certificates().Get(ctx, a.AccountID, id) })
	if err != nil {
		return nil, err
	}
	return m.certificateInfo(row), nil
}

// NodeCertificate returns the present certificate of a node.
func (m *Manager) NodeCertificate(ctx context.Context, a Actor, node string) (*wire.Certificate, error) {
	row, err := m.certificate(ctx, a, func(tx *store.Tx) (*store.Certificate, error) { return nodeCertificate(ctx, tx, a.AccountID, node) })
	if err != nil {
		return nil, err
	}
	return m.certificateInfo(row), nil
}

// NodeCertificateDetails is the same for people.
func (m *Manager) NodeCertificateDetails(ctx context.Context, a Actor, node string) (*wire.CertificateDetails, error) {
	row, err := m.certificate(ctx, a, func(tx *store.Tx) (*store.Certificate, error) { return nodeCertificate(ctx, tx, a.AccountID, node) })
	if err != nil {
		return nil, err
	}
	return certificateDetails(row), nil
}

// AppNodeCertificate returns the newest certificate that an application got on a node.
func (m *Manager) AppNodeCertificate(ctx context.Context, a Actor, app, node string) (*wire.Certificate, error) {
	row, err := m.certificate(ctx, a, func(tx *store.Tx) (*store.Certificate, error) { return appCertificate(ctx, tx, a.AccountID, app, node) })
	if err != nil {
		return nil, err
	}
	return m.certificateInfo(row), nil
}

// AppNodeCertificateDetails is the same for people.
func (m *Manager) AppNodeCertificateDetails(ctx context.Context, a Actor, app, node string) (*wire.CertificateDetails, error) {
	row, err := m.certificate(ctx, a, func(tx *store.Tx) (*store.Certificate, error) { return appCertificate(ctx, tx, a.AccountID, app, node) })
	if err != nil {
		return nil, err
	}
	return certificateDetails(row), nil
}

func (m *Manager) certificate(ctx context.Context, a Actor, find func(*store.Tx) (*store.Certificate, error)) (*store.Certificate, error) {
	if err := a.may(store.Reader); err != nil {
		return nil, err
	}
	var row *store.Certificate
	err := m.view(ctx, func(tx *store.Tx) (err error) { row, err = find(tx); return err })
	return row, err
}

func nodeCertificate(ctx context.Context, tx *store.Tx, account, node string) (*store.Certificate, error) {
	n, err := tx.Nodes().Get(ctx, account, node)
	if err != nil {
		return nil, err
	}
	if n.CertificateID == "" {
		return nil, newError(NotFound, CodeNotFound, "node %s has no certificate yet", n.Name)
	}
	return tx.Certificates().Get(ctx, account, n.CertificateID)
}

func appCertificate(ctx context.Context, tx *store.Tx, account, app, node string) (*store.Certificate, error) {
	if _, err := tx.Apps().Get(ctx, account, app); err != nil {
		return nil, err
	}
	if _, err := tx.Nodes().Get(ctx, account, node); err != nil {
		return nil, err
	}
	page, err := tx.Certificates().List(ctx, account, store.Query{
		Where: []store.Condition{store.Is("app_id", app), store.Is("node_id", node), store.Is("kind", store.CertificateApp), store.OneOf("status", store.CertificateIssued, store.CertificateRevoked)},
		Sort:  []store.Order{{Column: "created_at", Descending: true}}, Limit: 1,
	})
	if err != nil {
		return nil, err
	}
	if len(page.Items) == 0 {
		return nil, newError(NotFound, CodeNotFound, "application %s has no certificate on node %s", app, node)
	}
	return page.Items[0], nil
}

func (m *Manager) certificateInfo(row *store.Certificate) *wire.Certificate {
	status := row.Status
	if status == store.CertificateIssued && !m.now().Before(row.NotAfter) {
		status = store.CertificateExpired
	}
	return &wire.Certificate{CertificateID: row.ID, Status: status, CSR: row.CSR, Certificate: row.Certificate, NodeID: row.NodeID, AppID: row.AppID, BuildID: row.BuildID}
}

func certificateDetails(row *store.Certificate) *wire.CertificateDetails {
	d := &row.Details
	return &wire.CertificateDetails{
		EnclaveInfo: &wire.EnclaveInfo{MREnclave: d.MREnclave, MRSigner: d.MRSigner, ISVProdID: int32(d.ISVProdID), ISVSVN: int32(d.ISVSVN)},
		SubjectName: row.Subject, IssuerName: d.Issuer, ValidFrom: row.NotBefore.Unix(), ValidUntil: row.NotAfter.Unix(), CPUSVN: d.CPUSVN, IASQuoteStatus: d.QuoteStatus,
	}
}

// serialText is a serial number as the store has it.
func serialText(c *x509.Certificate) string { return fmt.Sprintf("%032x", c.SerialNumber) }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
