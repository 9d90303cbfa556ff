package manager

import (
	"context"
	"errors"

	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

// deploymentInfo describes a build on a node. Rows that are gone are left out.
func deploymentInfo(ctx context.Context, tx *store.Tx, d *store.Deployment) (wire.AppNodeInfo, error) {
	w := wire.AppNodeInfo{
		CreatedAt: d.CreatedAt.Unix(), NodeID: d.NodeID,
		Status: &wire.AppStatus{Status: d.Status, StatusUpdatedAt: d.StatusUpdatedAt.Unix(), AttestedAt: d.AttestedAt.Unix()},
	}
	if n, err := tx.Nodes().Get(ctx, d.AccountID, d.NodeID); err == nil {
		w.NodeName = n.Name
	} else if !errors.Is(err, store.ErrNotFound) {
		return w, err
	}
	if c, err := tx.Certificates().Get(ctx, d.AccountID, d.CertificateID); err == nil {
		w.Certificate = wire.Certificate{CertificateID: c.ID, Status: c.Status, CSR: c.CSR, Certificate: c.Certificate, NodeID: c.NodeID, AppID: c.AppID, BuildID: c.BuildID}
		w.IsDebug = c.Details.Debug
	} else if !errors.Is(err, store.ErrNotFound) {
		return w, err
	}
	b, err := tx.Builds().Get(ctx, d.AccountID, d.BuildID)
	if err == nil {
		app, aerr := tx.Apps().Get(ctx, d.AccountID, b.AppID)
		if aerr != nil {
			return w, aerr
		}
		info, berr := buildRecord(app, b)
		w.BuildInfo = &info
		return w, berr
	}
	if !errors.Is(err, store.ErrNotFound) {
		return w, err
	}
	return w, nil
}

// Deployments lists the nodes where a build runs or ran.
func (m *Manager) Deployments(ctx context.Context, a Actor, build string, l ListOptions, status string) (*wire.List[wire.AppNodeInfo], error) {
	if err := a.may(store.Reader); err != nil {
		return nil, err
	}
	q, err := l.query(columns{"created_at": "created_at", "status": "status"}, columns{"status": "status"})
	if err != nil {
		return nil, err
	}
	q.Where = append(q.Where, store.Is("build_id", build))
	if status != "" {
		q.Where = append(q.Where, store.Is("status", status))
	}
	var out *wire.List[wire.AppNodeInfo]
	err = m.view(ctx, func(tx *store.Tx) error {
		if _, err := tx.Builds().Get(ctx, a.AccountID, build); err != nil {
			return err
		}
		p, err := tx.Deployments().List(ctx, a.AccountID, q)
		if err != nil {
			return err
		}
		out, err = page(q, p, func(d *store.Deployment) (wire.AppNodeInfo, error) { return deploymentInfo(ctx, tx, d) })
		return err
	})
	return out, err
}
