package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

// silentAfter is how many report intervals a node may miss before it counts as stopped.
const silentAfter = 3

// nodeSubject is what the approver of a platform must see. What the machine says of itself is
// not in it, since it may say something else tomorrow.
func nodeSubject(n *store.Node) subject {
	return subject{
		"account_id": n.AccountID, "zone_id": n.ZoneID, "node_id": n.ID, "platform_id": n.PlatformID, "platform_key": n.Platform,
		"attestation_type": n.AttestationType,
	}
}

// decideNode carries out a decision on a platform. An approved machine gets nothing yet: it
// comes back with fresh evidence (ruling 20).
func (m *Manager) decideNode(ctx context.Context, tx *store.Tx, t *store.Task, approved bool) error {
	if approved {
		return nil
	}
	n, err := tx.Nodes().Get(ctx, t.AccountID, t.NodeID)
	if err != nil {
		return err
	}
	n.Status, n.StatusUpdatedAt = store.NodeFailed, m.now()
	return tx.Nodes().Update(ctx, n)
}

// NodeFilter narrows a list of nodes; empty members do not.
type NodeFilter struct {
	Name, Description, SGXVersion string // parts
	AttestationType, Status       string
}

// Nodes lists the nodes of the selected account.
func (m *Manager) Nodes(ctx context.Context, a Actor, l ListOptions, f NodeFilter) (*wire.List[wire.Node], error) {
	if err := a.may(store.Reader); err != nil {
		return nil, err
	}
	q, err := l.query(columns{"name": "name", "created_at": "created_at", "status": "status", "status_updated_at": "status_updated_at", "description": "description", "node_id": "id"},
		columns{"node_id": "id", "name": "name", "attestation_type": "attestation_type"}, "name", "description", "ipaddress", "platform_id")
	if err != nil {
		return nil, err
	}
	like(&q, columns{"name": f.Name, "description": f.Description, "sgx_version": f.SGXVersion})
	if f.AttestationType != "" {
		q.Where = append(q.Where, store.Is("attestation_type", f.AttestationType))
	}
	var out *wire.List[wire.Node]
	err = m.view(ctx, func(tx *store.Tx) error {
		q := q
		if f.Status != "" {
			c, err := m.withStatus(ctx, tx, a.AccountID, f.Status)
			if err != nil {
				return err
			}
			q.Where = append(q.Where[:len(q.Where):len(q.Where)], c)
		}
		p, err := tx.Nodes().List(ctx, a.AccountID, q)
		if err != nil {
			return err
		}
		out, err = page(q, p, func(n *store.Node) (wire.Node, error) { return m.nodeInfo(ctx, tx, n) })
		return err
	})
	return out, err
}

// Node returns one node.
func (m *Manager) Node(ctx context.Context, a Actor, id string) (*wire.Node, error) {
	if err := a.may(store.Reader); err != nil {
		return nil, err
	}
	var w wire.Node
	err := m.view(ctx, func(tx *store.Tx) error {
		n, err := tx.Nodes().Get(ctx, a.AccountID, id)
		if err == nil {
			w, err = m.nodeInfo(ctx, tx, n)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &w, nil
}

func (m *Manager) nodeInfo(ctx context.Context, tx *store.Tx, n *store.Node) (wire.Node, error) {
	w := wire.Node{
		NodeID: n.ID, Name: n.Name, Description: n.Description, AcctID: n.AccountID, ZoneID: n.ZoneID, IPAddress: n.IPAddress, Labels: n.Labels,
		Platform: n.PlatformID, AttestationType: n.AttestationType, SGXInfo: wire.SGXInfo{Version: n.SGXVersion}, Apps: []wire.AppNodeInfo{},
	}
	if !n.AttestedAt.IsZero() {
		w.AttestedAt = n.AttestedAt.Unix()
	}
	if err := errors.Join(decode(n.SysInfo, &w.SysInfo), decode(n.ErrorReport, &w.ErrorReport)); err != nil {
		return w, fmt.Errorf("node %s: %w", n.ID, err)
	}
	if n.CertificateID != "" {
		c, err := tx.Certificates().Get(ctx, n.AccountID, n.CertificateID)
		if err != nil {
			return w, err
		}
		w.Certificate = c.Certificate
	}
	var err error
	if w.Status, err = m.nodeStatus(ctx, tx, n); err != nil {
		return w, err
	}
	deployments, err := tx.Deployments().Find(ctx, n.AccountID, store.Is("node_id", n.ID))
	if err != nil {
		return w, err
	}
	for _, d := range deployments {
		info, err := deploymentInfo(ctx, tx, d)
		if err != nil {
			return w, err
		}
		w.Apps = append(w.Apps, info)
	}
	return w, nil
}

// withStatus finds nodes by the status that is shown, which follows from the last contact.
func (m *Manager) withStatus(ctx context.Context, tx *store.Tx, account, status string) (store.Condition, error) {
	switch status {
	case store.NodeRunning, store.NodeStopped:
	case store.NodeFailed, store.NodeDeactivated, store.NodeInProgress, store.NodeProvisioned:
		return store.Is("status", status), nil
	default:
		return store.Condition{}, invalid(CodeInvalidValue, "status %q is not a node's", clip(status))
	}
	nodes, err := tx.Nodes().Find(ctx, account, store.OneOf("status", store.NodeRunning, store.NodeStopped))
	if err != nil {
		return store.Condition{}, err
	}
	var ids []string
	for _, n := range nodes {
		s, err := m.nodeStatus(ctx, tx, n)
		if err != nil {
			return store.Condition{}, err
		}
		if s.Status == status {
			ids = append(ids, n.ID)
		}
	}
	return store.OneOf("id", ids...), nil
}

// nodeStatus says how a node stands and when it was last heard of; one that is silent, or says
// that it stops, counts as stopped.
func (m *Manager) nodeStatus(ctx context.Context, tx *store.Tx, n *store.Node) (wire.NodeStatus, error) {
	w := wire.NodeStatus{Status: n.Status, CreatedAt: n.CreatedAt.Unix(), StatusUpdatedAt: n.StatusUpdatedAt.Unix()}
	last, stopped := n.AttestedAt, false
	c, err := tx.NodeContacts().Get(ctx, n.AccountID, n.ID)
	switch {
	case err == nil:
		last, stopped = c.LastSeenAt, c.ReportedStatus == store.NodeStopped
		w.LastSeenAt, w.LastSeenVersion = c.LastSeenAt.Unix(), c.LastSeenVersion
	case !errors.Is(err, store.ErrNotFound):
		return w, err
	}
	if n.Status != store.NodeRunning {
		return w, nil
	}
	zone, err := tx.Zones().Get(ctx, n.AccountID, n.ZoneID)
	if err == nil && (stopped || m.now().Sub(last) > silentAfter*time.Duration(zone.RefreshInterval)*time.Second) {
		w.Status = store.NodeStopped
	}
	return w, err
}

func decode[T any](raw json.RawMessage, to *T) error {
	if len(raw) == 0 {
		return nil
	}
	return json.Unmarshal(raw, to)
}

// UpdateNode changes a node's labels by the RFC 6902 subset: paths "/labels/KEY", and
// "/description" or "/name" to replace.
func (m *Manager) UpdateNode(ctx context.Context, a Actor, id string, r wire.NodeUpdate) (*wire.Node, error) {
	if err := a.may(store.Writer); err != nil {
		return nil, err
	}
	var w wire.Node
	err := m.update(ctx, func(tx *store.Tx) error {
		n, err := tx.Nodes().Get(ctx, a.AccountID, id)
		if err != nil {
			return err
		}
		if err := changeNode(n, r.Patch); err != nil {
			return err
		}
		if err := tx.Nodes().Update(ctx, n); err != nil {
			return err
		}
		if w, err = m.nodeInfo(ctx, tx, n); err != nil {
			return err
		}
		return tx.Audit(ctx, nodeEvent(a, n, "NODE_UPDATED", a.Name+" changed the node "+n.Name))
	})
	if err != nil {
		return nil, err
	}
	return &w, nil
}

func changeNode(n *store.Node, ops []wire.PatchOp) error {
	if len(ops) == 0 {
		return invalid(CodeBadRequest, "nothing to change was given")
	}
	var labels []wire.PatchOp
	for _, op := range ops {
		value, isText := op.Value.(string)
		switch key, isLabel := strings.CutPrefix(op.Path, "/labels/"); {
		case isLabel:
			op.Path = "/" + key
			labels = append(labels, op)
		case op.Path == "/labels" && op.Op == "remove":
			n.Labels = map[string]string{}
		case op.Path == "/labels":
			all, err := textMap(op.Value)
			if err != nil {
				return err
			}
			n.Labels = all
		case op.Path == "/name" && op.Op == "replace" && isText:
			name, err := checkName("a node", value)
			if err != nil {
				return err
			}
			n.Name = name
		case op.Path == "/description" && op.Op != "remove" && isText:
			if err := checkText("description", value, 1000); err != nil {
				return err
			}
			n.Description = value
		default:
			return invalid(CodeInvalidValue, "patch: wanted /labels/KEY, /labels, /name or /description with a text, seen %s of %q", clip(op.Op), clip(op.Path))
		}
	}
	var err error
	n.Labels, err = patchMap("labels", n.Labels, labels)
	return err
}

func textMap(v any) (map[string]string, error) {
	raw, ok := v.(map[string]any)
	if !ok {
		return nil, invalid(CodeInvalidValue, "labels: wanted an object of texts")
	}
	out := map[string]string{}
	for k, x := range raw {
		s, ok := x.(string)
		if !ok {
			return nil, invalid(CodeInvalidValue, "labels: the value of %q is not a text", clip(k))
		}
		out[k] = s
	}
	return out, checkLabels("labels", out)
}

func nodeEvent(a Actor, n *store.Node, code, description string) *store.Event {
	e := a.event(code, "NODE_STATUS", description)
	e.ZoneID, e.NodeID, e.NodeName = n.ZoneID, n.ID, n.Name
	return e
}

// NodeLabels counts the labels of all nodes of the selected account.
func (m *Manager) NodeLabels(ctx context.Context, a Actor) ([]LabelCount, error) {
	if err := a.may(store.Reader); err != nil {
		return nil, err
	}
	var all []map[string]string
	err := m.view(ctx, func(tx *store.Tx) error {
		nodes, err := tx.Nodes().Find(ctx, a.AccountID)
		all = all[:0]
		for _, n := range nodes {
			all = append(all, n.Labels)
		}
		return err
	})
	return countLabels(all), err
}

// DeactivateNode ends a node: its certificate and those of the applications on it are revoked,
// and it enrols again only with a join token made afterwards.
func (m *Manager) DeactivateNode(ctx context.Context, a Actor, id string) error {
	if err := a.may(store.Writer); err != nil {
		return err
	}
	return m.update(ctx, func(tx *store.Tx) error {
		n, err := tx.Nodes().Get(ctx, a.AccountID, id)
		if err != nil {
			return err
		}
		if n.Status == store.NodeDeactivated {
			return nil
		}
		n.Status, n.StatusUpdatedAt = store.NodeDeactivated, m.now()
		if err := tx.Nodes().Update(ctx, n); err != nil {
			return err
		}
		if err := m.revokeCertificates(ctx, tx, a.AccountID, "the node was deactivated", store.Is("node_id", id)); err != nil {
			return err
		}
		if err := m.closeTasks(ctx, tx, a.AccountID, "node_id", id, "the node was deactivated"); err != nil {
			return err
		}
		deployments, err := tx.Deployments().Find(ctx, a.AccountID, store.Is("node_id", id))
		if err != nil {
			return err
		}
		for _, d := range deployments {
			d.Status, d.StatusUpdatedAt = store.AppUnknown, m.now()
			if err := tx.PutDeployment(ctx, d); err != nil {
				return err
			}
		}
		e := nodeEvent(a, n, "NODE_DEACTIVATED", a.Name+" deactivated the node "+n.Name)
		e.Severity = "WARNING"
		return tx.Audit(ctx, e)
	})
}

// ReportNodeStatus notes what a node says of itself, and tells it how often to say so and when
// to renew its certificate.
func (m *Manager) ReportNodeStatus(ctx context.Context, p Peer, r wire.NodeStatusRequest) (*wire.NodeStatusReply, error) {
	err := errors.Join(checkText("name", r.Name, 200), checkText("description", r.Description, 1000), checkText("ipaddress", r.IPAddress, 255),
		checkText("sgx_version", r.SGXVersion, 100), checkText("version", r.Version, 100), checkText("status", r.Status, 32))
	if err != nil {
		return nil, m.fail(err)
	}
	var w wire.NodeStatusReply
	err = m.update(ctx, func(tx *store.Tx) error {
		n, err := tx.Nodes().Get(ctx, p.AccountID, p.NodeID)
		if err != nil {
			return err
		}
		zone, err := tx.Zones().Get(ctx, p.AccountID, n.ZoneID)
		if err != nil {
			return err
		}
		w = wire.NodeStatusReply{NodeRefreshInterval: zone.RefreshInterval, NodeRenewalThreshold: zone.RenewalThreshold}
		now := m.now()
		contact := &store.NodeContact{AccountID: p.AccountID, NodeID: n.ID, LastSeenAt: now, LastSeenVersion: r.Version, ReportedStatus: r.Status}
		if err := tx.PutContact(ctx, contact); err != nil {
			return err
		}
		if err := reportApps(ctx, tx, n, r.Apps, now); err != nil {
			return err
		}
		if n.IPAddress == r.IPAddress && n.SGXVersion == r.SGXVersion {
			return nil
		}
		n.IPAddress, n.SGXVersion = r.IPAddress, r.SGXVersion
		if err := tx.Nodes().Update(ctx, n); err != nil {
			return err
		}
		a := Actor{AccountID: p.AccountID, Name: n.Name, System: true}
		return tx.Audit(ctx, nodeEvent(a, n, "NODE_MOVED", "Node "+n.Name+" reports the address "+n.IPAddress+", platform software "+n.SGXVersion))
	})
	if err != nil {
		return nil, err
	}
	return &w, nil
}

// reportApps notes the state of applications that this node has certificates for.
func reportApps(ctx context.Context, tx *store.Tx, n *store.Node, apps []wire.NodeAppStatus, now time.Time) error {
	if len(apps) == 0 {
		return nil
	}
	deployments, err := tx.Deployments().Find(ctx, n.AccountID, store.Is("node_id", n.ID))
	if err != nil {
		return err
	}
	for _, d := range deployments {
		for _, app := range apps {
			if d.CertificateID != app.CertificateID || d.Status == app.Status || app.Status != store.AppRunning && app.Status != store.AppStopped {
				continue
			}
			d.Status, d.StatusUpdatedAt = app.Status, now
			if err := tx.PutDeployment(ctx, d); err != nil {
				return err
			}
		}
	}
	return nil
}
