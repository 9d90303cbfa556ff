package manager

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

// subject is what an approver must see, by name.
type subject map[string]string

// digest is the SHA-256 of the subject's JSON with its keys in order.
func (s subject) digest() (raw json.RawMessage, digest string, err error) {
	if raw, err = json.Marshal(s); err != nil {
		return nil, "", fmt.Errorf("subject of a task: %w", err)
	}
	h := sha256.Sum256(raw)
	return raw, hex.EncodeToString(h[:]), nil
}

// newTask makes a task that the caller stores.
func (m *Manager) newTask(kind string, a Actor, entity, description string, s subject) (*store.Task, error) {
	id, err := m.newID()
	if err != nil {
		return nil, err
	}
	raw, digest, err := s.digest()
	if err != nil {
		return nil, err
	}
	now := m.now()
	t := &store.Task{
		ID: id, AccountID: a.AccountID, Type: kind, Status: store.TaskInProgress, StatusUpdatedAt: now, CreatedAt: now,
		RequesterType: "USER", RequesterID: a.UserID, RequesterName: a.Name, EntityID: entity, Description: description,
		Subject: raw, Digest: digest, Approvals: []store.Approval{},
	}
	if a.System {
		t.RequesterType = "SYSTEM"
	}
	return t, nil
}

// seenTasks remembers which digest of a task a person was last shown, so that
// clients who do not send the digest with their decision are held to it too.
type seenTasks struct {
	mu     sync.Mutex
	shown  map[[2]string]string
	former map[[2]string]string // the generation before, so that old entries end
}

const maxSeen = 50_000

func newSeenTasks() *seenTasks {
	return &seenTasks{shown: map[[2]string]string{}, former: map[[2]string]string{}}
}

func (s *seenTasks) note(user, task, digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.shown) >= maxSeen {
		s.former, s.shown = s.shown, map[[2]string]string{}
	}
	s.shown[[2]string{user, task}] = digest
}

func (s *seenTasks) digest(user, task string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d, ok := s.shown[[2]string{user, task}]; ok {
		return d
	}
	return s.former[[2]string{user, task}]
}

// UpdateTask approves or denies a task. The decision holds for the digest that
// the approver gives or, without one, was last shown; when the thing itself has
// changed since, the decision fails with Conflict and nothing happens (S19). Of
// two decisions at once one counts.
func (m *Manager) UpdateTask(ctx context.Context, a Actor, id string, r wire.TaskUpdate) (*wire.TaskResult, error) {
	if err := a.may(store.Writer); err != nil {
		return nil, err
	}
	if r.Status != store.Approved && r.Status != store.Denied {
		return nil, invalid(CodeInvalidValue, "status %q is neither APPROVED nor DENIED", r.Status)
	}
	if err := checkText("denial_reason", r.DenialReason, 1000); err != nil {
		return nil, err
	}
	var w *wire.TaskResult
	err := m.update(ctx, func(tx *store.Tx) error {
		acct, err := activeAccount(ctx, tx, a.AccountID)
		if err != nil {
			return err
		}
		t, err := tx.Tasks().Get(ctx, a.AccountID, id)
		if err != nil {
			return err
		}
		if t.Status != store.TaskInProgress {
			return newError(Conflict, CodeInvalidState, "task %s is closed: %s", id, t.Status)
		}
		approved := r.Status == store.Approved
		if approved {
			if err := m.mayApprove(ctx, tx, a, acct, t, r.Digest); err != nil {
				return err
			}
		}
		if err := m.close(ctx, tx, t, approved); err != nil {
			return err
		}
		now := m.now()
		t.Approvals = append(t.Approvals, store.Approval{UserID: a.UserID, UserName: a.Name, Status: r.Status, DenialReason: r.DenialReason, Digest: t.Digest, At: now})
		t.Status, t.StatusUpdatedAt = store.TaskSuccess, now
		word := "approved"
		if !approved {
			t.Status, t.Reason, word = store.TaskDenied, r.DenialReason, "denied"
		}
		if err := tx.Tasks().Update(ctx, t); err != nil {
			return err
		}
		w = taskResult(t)
		e := a.event("TASK_"+r.Status, "USER_APPROVAL", a.Name+" "+word+": "+t.Description)
		e.AppID, e.NodeID = t.AppID, t.NodeID
		if e.Details, err = json.Marshal(map[string]string{"task_id": t.ID, "digest": t.Digest, "reason": r.DenialReason}); err != nil {
			return err
		}
		return tx.Audit(ctx, e)
	})
	return w, err
}

func (m *Manager) mayApprove(ctx context.Context, tx *store.Tx, a Actor, acct *store.Account, t *store.Task, digest string) error {
	present, creator, err := m.presentSubject(ctx, tx, t)
	if err != nil {
		return err
	}
	if acct.DistinctApprover && (t.RequesterID == a.UserID || creator == a.UserID) {
		return forbidden("the account asks for four eyes: who requested this may not approve it")
	}
	stale := newError(Conflict, CodeConflict, "what task %s asks for has changed since it was seen; read it again and decide again", t.ID)
	stale.Cause = store.ErrStale
	if digest == "" {
		digest = m.seen.digest(a.UserID, t.ID)
	}
	if digest == "" && t.Version > 1 {
		return stale // it was rewritten, and nobody knows which form was seen
	}
	if digest != "" && digest != t.Digest {
		return stale
	}
	if _, now, err := present.digest(); err != nil || now != t.Digest {
		return errors.Join(err, stale)
	}
	return nil
}

// presentSubject is what the task asks for as things are now, and who made the thing.
func (m *Manager) presentSubject(ctx context.Context, tx *store.Tx, t *store.Task) (subject, string, error) {
	switch t.Type {
	case store.TaskBuild:
		b, err := tx.Builds().Get(ctx, t.AccountID, t.BuildID)
		if err != nil {
			return nil, "", err
		}
		app, err := tx.Apps().Get(ctx, t.AccountID, b.AppID)
		if err != nil {
			return nil, "", err
		}
		return buildSubject(app, b), b.CreatedBy, nil
	case store.TaskDomain:
		app, err := tx.Apps().Get(ctx, t.AccountID, t.AppID)
		if err != nil {
			return nil, "", err
		}
		s, err := presentDomains(ctx, tx, app)
		return s, "", err
	case store.TaskNodeAttestation:
		n, err := tx.Nodes().Get(ctx, t.AccountID, t.NodeID)
		if err != nil {
			return nil, "", err
		}
		// Whoever made the join token let the machine ask.
		token, err := tx.JoinTokens().Get(ctx, t.AccountID, n.JoinTokenID)
		if errors.Is(err, store.ErrNotFound) {
			return nodeSubject(n), "", nil
		}
		if err != nil {
			return nil, "", err
		}
		return nodeSubject(n), token.CreatedBy, nil
	}
	return nil, "", invalid(CodeInvalidState, "tasks of type %s are not for people to decide", t.Type)
}

// close carries out a decision.
func (m *Manager) close(ctx context.Context, tx *store.Tx, t *store.Task, approved bool) error {
	switch t.Type {
	case store.TaskBuild:
		return m.decideBuild(ctx, tx, t, approved)
	case store.TaskDomain:
		return m.decideDomains(ctx, tx, t, approved)
	case store.TaskNodeAttestation:
		return m.decideNode(ctx, tx, t, approved)
	}
	return invalid(CodeInvalidState, "tasks of type %s are not for people to decide", t.Type)
}

// refreshTask rewrites an open task after what it asks for was changed by the actor.
func (m *Manager) refreshTask(ctx context.Context, tx *store.Tx, a Actor, id string) error {
	t, err := tx.Tasks().Get(ctx, a.AccountID, id)
	if err != nil {
		return err
	}
	s, _, err := m.presentSubject(ctx, tx, t)
	if err != nil {
		return err
	}
	if t.Subject, t.Digest, err = s.digest(); err != nil {
		return err
	}
	t.RequesterID, t.RequesterName, t.Approvals = a.UserID, a.Name, []store.Approval{}
	return tx.Tasks().Update(ctx, t)
}

// closeTasks ends the open tasks about something that is gone.
func (m *Manager) closeTasks(ctx context.Context, tx *store.Tx, account, column, id, reason string) error {
	tasks, err := tx.Tasks().Find(ctx, account, store.Is(column, id), store.Is("status", store.TaskInProgress))
	if err != nil {
		return err
	}
	for _, t := range tasks {
		t.Status, t.StatusUpdatedAt, t.Reason = store.TaskFailed, m.now(), reason
		if err := tx.Tasks().Update(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

func taskStatus(t *store.Task) wire.TaskStatus {
	return wire.TaskStatus{CreatedAt: t.CreatedAt.Unix(), StatusUpdatedAt: t.StatusUpdatedAt.Unix(), Status: t.Status}
}

func taskResult(t *store.Task) *wire.TaskResult {
	s := taskStatus(t)
	return &wire.TaskResult{TaskID: t.ID, CertificateID: t.CertificateID, NodeID: t.NodeID, BuildID: t.BuildID, TaskType: t.Type, TaskStatus: &s, Reason: t.Reason}
}

func taskInfo(t *store.Task) (wire.Task, error) {
	w := wire.Task{
		TaskID: t.ID, EntityID: t.EntityID, TaskType: t.Type, Status: taskStatus(t), Description: t.Description, Digest: t.Digest,
		RequesterInfo: wire.RequesterInfo{RequesterType: t.RequesterType}, Approvals: []wire.ApprovalInfo{}, Details: map[string]string{},
	}
	switch t.RequesterType {
	case "USER":
		w.RequesterInfo.UserID, w.RequesterInfo.UserName = t.RequesterID, t.RequesterName
	case "APP":
		w.RequesterInfo.AppID, w.RequesterInfo.AppName = t.RequesterID, t.RequesterName
	}
	for _, ap := range t.Approvals {
		w.Approvals = append(w.Approvals, wire.ApprovalInfo{UserID: ap.UserID, UserName: ap.UserName, Status: ap.Status, DenialReason: ap.DenialReason})
	}
	if err := json.Unmarshal(t.Subject, &w.Details); err != nil {
		return w, fmt.Errorf("task %s: subject: %w", t.ID, err)
	}
	if t.Type == store.TaskDomain {
		w.DomainsAdded, w.DomainsRemoved = strings.Fields(w.Details["domains_added"]), strings.Fields(w.Details["domains_removed"])
	}
	return w, nil
}

// Task returns one task of the selected account, and remembers that the actor saw it.
func (m *Manager) Task(ctx context.Context, a Actor, id string) (*wire.Task, error) {
	if err := a.may(store.Reader); err != nil {
		return nil, err
	}
	var w wire.Task
	err := m.view(ctx, func(tx *store.Tx) error {
		t, err := tx.Tasks().Get(ctx, a.AccountID, id)
		if err == nil {
			w, err = taskInfo(t)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	m.seen.note(a.UserID, id, w.Digest)
	return &w, nil
}

// TaskFilter narrows a list of tasks.
type TaskFilter struct {
	Type      string
	Status    string // PENDING or CLOSED
	Requester string // part of a user name
	Approver  string // part of a user name
	EntityID  string
}

// Tasks lists the tasks of the selected account, and remembers that the actor saw them.
func (m *Manager) Tasks(ctx context.Context, a Actor, l ListOptions, f TaskFilter) (*wire.List[wire.Task], error) {
	if err := a.may(store.Reader); err != nil {
		return nil, err
	}
	q, err := l.query(columns{"created_at": "created_at", "status_updated_at": "status_updated_at", "task_type": "type", "status": "status", "requester": "requester_name", "description": "description", "task_id": "id"},
		columns{"task_id": "id", "task_type": "type", "entity_id": "entity_id", "status": "status"}, "requester_name", "description")
	if err != nil {
		return nil, err
	}
	like(&q, columns{"requester_name": f.Requester, "approvals": f.Approver})
	if f.Type != "" {
		q.Where = append(q.Where, store.Is("type", f.Type))
	}
	if f.EntityID != "" {
		q.Where = append(q.Where, store.Is("entity_id", f.EntityID))
	}
	switch f.Status {
	case "":
	case "PENDING":
		q.Where = append(q.Where, store.Is("status", store.TaskInProgress))
	case "CLOSED":
		q.Where = append(q.Where, store.OneOf("status", store.TaskSuccess, store.TaskDenied, store.TaskFailed))
	default:
		return nil, invalid(CodeInvalidValue, "status %q is neither PENDING nor CLOSED", f.Status)
	}
	var out *wire.List[wire.Task]
	err = m.view(ctx, func(tx *store.Tx) error {
		p, err := tx.Tasks().List(ctx, a.AccountID, q)
		if err != nil {
			return err
		}
		out, err = page(q, p, taskInfo)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, t := range out.Items {
		m.seen.note(a.UserID, t.TaskID, t.Digest)
	}
	return out, nil
}

// TaskStatus tells how a task stands to whoever knows its id.
func (m *Manager) TaskStatus(ctx context.Context, id string) (*wire.TaskResult, error) {
	var w *wire.TaskResult
	err := m.view(ctx, func(tx *store.Tx) error {
		t, err := tx.TaskByID(ctx, id)
		if err == nil {
			w = taskResult(t)
		}
		return err
	})
	return w, err
}

// DeleteTask removes a closed task.
func (m *Manager) DeleteTask(ctx context.Context, a Actor, id string) error {
	if err := a.may(store.Writer); err != nil {
		return err
	}
	return m.update(ctx, func(tx *store.Tx) error {
		t, err := tx.Tasks().Get(ctx, a.AccountID, id)
		if err != nil {
			return err
		}
		if t.Status == store.TaskInProgress {
			return invalid(CodeInvalidState, "task %s is still pending; approve or deny it first", id)
		}
		if err := tx.Tasks().Delete(ctx, t); err != nil {
			return err
		}
		return tx.Audit(ctx, a.event("TASK_DELETED", "ADMIN", a.Name+" deleted the closed task: "+t.Description))
	})
}
