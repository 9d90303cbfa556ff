package manager

import (
	"context"
	"time"

	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

// AuditEvents lists the audit log of the selected account, the newest first
// unless sorted otherwise; for a system administrator who selected none, the
// events of the instance itself. from and to are seconds since 1970, 0 for no bound.
func (m *Manager) AuditEvents(ctx context.Context, a Actor, l ListOptions, actionType, actorType string, from, to int64) (*wire.List[wire.AuditEvent], error) {
	if a.AccountID != "" || !a.SystemAdmin {
		if err := a.may(store.Reader); err != nil {
			return nil, err
		}
	}
	q, err := l.query(columns{"timestamp": "seq", "severity": "severity", "action_type": "action_type", "actor_type": "actor_type", "user_name": "user_name"},
		columns{"severity": "severity", "action_type": "action_type", "actor_type": "actor_type"}, "description", "user_name", "app_name", "node_name", "code")
	if err != nil {
		return nil, err
	}
	if len(q.Sort) == 0 {
		q.Sort = []store.Order{{Column: "seq", Descending: true}}
	}
	for column, value := range (columns{"action_type": actionType, "actor_type": actorType}) {
		if value != "" {
			q.Where = append(q.Where, store.Is(column, value))
		}
	}
	if from != 0 {
		q.Where = append(q.Where, store.Condition{Column: "time", Op: store.After, Values: []any{time.Unix(from, 0).UnixMicro() - 1}})
	}
	if to != 0 {
		q.Where = append(q.Where, store.Condition{Column: "time", Op: store.Before, Values: []any{time.Unix(to, 0).Add(time.Second).UnixMicro()}})
	}
	var out *wire.List[wire.AuditEvent]
	err = m.view(ctx, func(tx *store.Tx) error {
		p, err := tx.Events(ctx, a.AccountID, q)
		if err != nil {
			return err
		}
		out, err = page(q, p, func(e *store.Event) (wire.AuditEvent, error) {
			return wire.AuditEvent{
				LogID: e.ID, ZoneID: e.ZoneID, Severity: e.Severity, Description: e.Description, Timestamp: e.Time.Unix(), ActionType: e.ActionType,
				ActorType: e.ActorType, UserID: e.UserID, UserName: e.UserName, AppID: e.AppID, AppName: e.AppName, NodeID: e.NodeID, NodeName: e.NodeName,
			}, nil
		})
		return err
	})
	return out, err
}

// CheckTrusted reports why nothing may be issued: an audit log that was tampered with, or a
// database older than its checkpoint (S18). It is nil when all is well.
func (m *Manager) CheckTrusted(ctx context.Context) error { return m.store.CheckTrusted(ctx) }
