package manager

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/manager/store/storetest"
	"hitoku.dev/internal/wire"
)

func TestApprovalsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.build(w.app("flask"), 1)
	others := []Actor{w.admin, w.member("b@example.org", "WRITER"), w.member("c@example.org", "MANAGER")}
	var mu sync.Mutex
	var wg sync.WaitGroup
	done, lost := 0, 0
	for i := range 6 {
		wg.Go(func() {
			status := store.Approved
			if i%2 == 1 {
				status = store.Denied
			}
			_, err := w.m.UpdateTask(t.Context(), others[i%3], b.PendingTaskID, wire.TaskUpdate{Status: status})
			mu.Lock()
			defer mu.Unlock()
			var e *Error
			switch {
			case err == nil:
				done++
			case errors.As(err, &e) && e.Kind == Conflict:
				lost++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if done != 1 || lost != 5 {
		t.Errorf("%d decisions had an effect, %d lost", done, lost)
	}
	task, err := w.m.Task(t.Context(), w.admin, b.PendingTaskID)
	w.must(err)
	if len(task.Approvals) != 1 {
		t.Errorf("approvals %+v", task.Approvals)
	}
}

func TestApprovalHoldsForWhatWasSeen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	b := w.build(w.app("flask"), 1)
	task, err := w.m.Task(ctx, w.admin, b.PendingTaskID)
	w.must(err)
	if task.Details["measurement.sgx"] != measurement(1) || task.Details["mrsigner"] != measurement(0) || task.Digest == "" {
		t.Errorf("task %+v", task)
	}
	_, err = w.m.UpdateTask(ctx, w.admin, task.TaskID, wire.TaskUpdate{Status: store.Approved, Digest: strings.Repeat("0", 64)})
	refused(t, "another digest", err, Conflict, CodeConflict)

	// Somebody attaches a configuration between looking and approving.
	w.must(w.m.update(ctx, func(tx *store.Tx) error {
		c := &store.Configuration{AccountID: w.account, ID: "c1", Content: []byte("{}")}
		return errors.Join(tx.Configurations().Insert(ctx, c), tx.Audit(ctx, w.admin.event("X", "ADMIN", "x")))
	}))
	_, err = w.m.UpdateBuild(ctx, w.admin, b.BuildID, wire.BuildUpdate{Configs: map[string]any{"c1": nil}})
	w.must(err)
	refused(t, "approval of what was seen before the change", w.approve(w.admin, task.TaskID), Conflict, CodeConflict)
	other := w.member("b@example.org", "WRITER")
	refused(t, "approval by one who saw nothing", w.approve(other, task.TaskID), Conflict, CodeConflict)
	_, err = w.m.UpdateTask(ctx, w.admin, task.TaskID, wire.TaskUpdate{Status: store.Approved, Digest: task.Digest})
	refused(t, "approval with the old digest", err, Conflict, CodeConflict)
	again, err := w.m.Task(ctx, w.admin, b.PendingTaskID)
	w.must(err)
	if again.Details["configs"] != "c1" || again.Digest == task.Digest {
		t.Errorf("task after the change %+v", again)
	}
	w.must(w.approve(w.admin, task.TaskID))

	// What was approved without a configuration is not approved with one.
	_, err = w.m.UpdateBuild(ctx, w.admin, b.BuildID, wire.BuildUpdate{})
	w.must(err)
	b, err = w.m.Build(ctx, w.admin, b.BuildID)
	w.must(err)
	if b.Status.Status != store.BuildPending || b.PendingTaskID == task.TaskID {
		t.Errorf("build after a change %+v", b)
	}
}

// TestApproveChangeRace lets an approval and a change meet in every order: the build is never
// approved with a digest that is not that of its present state.
func TestApproveChangeRace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	app := w.app("flask")
	w.must(w.m.update(ctx, func(tx *store.Tx) error {
		c := &store.Configuration{AccountID: w.account, ID: "c1", Content: []byte("{}")}
		return errors.Join(tx.Configurations().Insert(ctx, c), tx.Audit(ctx, w.admin.event("X", "ADMIN", "x")))
	}))
	for n := range 8 {
		b := w.build(app, n+1)
		task, err := w.m.Task(ctx, w.admin, b.PendingTaskID)
		w.must(err)
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := w.m.UpdateTask(ctx, w.admin, task.TaskID, wire.TaskUpdate{Status: store.Approved, Digest: task.Digest})
			var e *Error
			if err != nil && (!errors.As(err, &e) || e.Kind != Conflict) {
				t.Error(err)
			}
		})
		wg.Go(func() {
			_, err := w.m.UpdateBuild(ctx, w.admin, b.BuildID, wire.BuildUpdate{Configs: map[string]any{"c1": nil}})
			var e *Error
			if err != nil && (!errors.As(err, &e) || e.Kind != Conflict) {
				t.Error(err)
			}
		})
		wg.Wait()
		w.must(w.m.view(ctx, func(tx *store.Tx) error {
			row, err := tx.Builds().Get(ctx, w.account, b.BuildID)
			if err != nil {
				return err
			}
			appRow, err := tx.Apps().Get(ctx, w.account, app.AppID)
			if err != nil {
				return err
			}
			now, err := buildDigest(appRow, row)
			if row.Status == store.BuildWhitelisted && row.Digest != now {
				t.Errorf("build %d is approved for %s and is %s", n, row.Digest, now)
			}
			return err
		}))
	}
}

func TestFourEyes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	yes, no := true, false
	_, err := w.m.UpdateAccount(ctx, w.admin, w.account, wire.AccountUpdate{FourEyes: &yes})
	w.must(err)
	other := w.member("b@example.org", "MANAGER")
	b := w.build(w.app("flask", "a.example"), 1)
	refused(t, "own request", w.approve(w.admin, b.PendingTaskID), Forbidden, CodeForbidden)
	_, err = w.m.UpdateAccount(ctx, other, w.account, wire.AccountUpdate{FourEyes: &no})
	refused(t, "MANAGER who switches the rule off", err, Forbidden, CodeForbidden)

	// A token is its owner.
	token, err := w.m.CreateAPIToken(ctx, w.admin, wire.APITokenRequest{Name: "ci"})
	w.must(err)
	byToken, err := w.m.Authenticate(ctx, token.Token)
	w.must(err)
	refused(t, "own request by a token", w.approve(byToken, b.PendingTaskID), Forbidden, CodeForbidden)

	// Whoever changes what is asked for becomes a requester too; the maker stays one.
	w.must(w.m.update(ctx, func(tx *store.Tx) error {
		c := &store.Configuration{AccountID: w.account, ID: "c1", Content: []byte("{}")}
		return errors.Join(tx.Configurations().Insert(ctx, c), tx.Audit(ctx, w.admin.event("X", "ADMIN", "x")))
	}))
	_, err = w.m.UpdateBuild(ctx, other, b.BuildID, wire.BuildUpdate{Configs: map[string]any{"c1": nil}})
	w.must(err)
	for _, a := range []Actor{w.admin, other} {
		_, err := w.m.Task(ctx, a, b.PendingTaskID)
		w.must(err)
		refused(t, "approval by one of the two who made it", w.approve(a, b.PendingTaskID), Forbidden, CodeForbidden)
	}
	third := w.member("c@example.org", "WRITER")
	_, err = w.m.Task(ctx, third, b.PendingTaskID)
	w.must(err)
	w.must(w.approve(third, b.PendingTaskID))
}

func TestTaskRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	b := w.build(w.app("flask"), 1)
	reader := w.member("r@example.org", "READER")
	refused(t, "READER", w.approve(reader, b.PendingTaskID), Forbidden, CodeForbidden)
	_, err := w.m.UpdateTask(ctx, w.admin, b.PendingTaskID, wire.TaskUpdate{Status: "MAYBE"})
	refused(t, "unknown decision", err, Invalid, CodeInvalidValue)
	refused(t, "pending task deleted", w.m.DeleteTask(ctx, w.admin, b.PendingTaskID), Invalid, CodeInvalidState)
	r, err := w.m.UpdateTask(ctx, w.admin, b.PendingTaskID, wire.TaskUpdate{Status: store.Denied, DenialReason: "who made this?"})
	w.must(err)
	if r.TaskStatus.Status != store.TaskDenied || r.BuildID != b.BuildID {
		t.Errorf("result %+v", r)
	}
	refused(t, "closed task", w.approve(w.admin, b.PendingTaskID), Conflict, CodeInvalidState)
	status, err := w.m.TaskStatus(ctx, b.PendingTaskID)
	w.must(err)
	if status.TaskStatus.Status != store.TaskDenied || status.Reason != "who made this?" {
		t.Errorf("status %+v", status)
	}
	w.must(w.m.DeleteTask(ctx, w.admin, b.PendingTaskID))
	_, err = w.m.Task(ctx, w.admin, b.PendingTaskID)
	refused(t, "deleted task", err, NotFound, CodeNotFound)
	again, err := w.m.RequestBuildApproval(ctx, w.admin, b.BuildID)
	w.must(err)
	w.must(w.approve(w.admin, again.PendingTaskID))
	withdrawn, err := w.m.WithdrawBuild(ctx, w.admin, b.BuildID)
	w.must(err)
	if withdrawn.Status.Status != store.BuildRejected {
		t.Errorf("build %+v", withdrawn)
	}
	_, err = w.m.WithdrawBuild(ctx, w.admin, b.BuildID)
	refused(t, "approval withdrawn twice", err, Invalid, CodeInvalidState)
}

// TestApprovalRowsFlipped is T7: whoever can write the database cannot approve.
func TestApprovalRowsFlipped(t *testing.T) {
	t.Parallel()
	flips := map[string]func(*world, *wire.App, *wire.Build) error{
		"UPDATE builds SET status = 'WHITELISTED'":                         readBuild,
		"UPDATE builds SET digest = (SELECT digest FROM tasks LIMIT 1)":    readBuild,
		"UPDATE builds SET mrsigner = mrenclave":                           readBuild,
		"UPDATE tasks SET status = 'SUCCESS'":                              readTask,
		"UPDATE tasks SET requester_id = 'somebody else'":                  readTask,
		"UPDATE tasks SET digest = mac":                                    readTask,
		"UPDATE apps SET pending_task_id = 'x'":                            readApp,
		`UPDATE apps SET allowed_domains = '["bank.example"]'`:             readApp,
		"UPDATE domains SET name = 'bank.example'":                         readApp,
		"UPDATE domains SET app_id = 'other'":                              readDomain,
		"DELETE FROM domains":                                              readDomain,
		"UPDATE accounts SET test_only = NOT test_only":                    readAccount,
		"UPDATE accounts SET distinct_approver = NOT distinct_approver":    readAccount,
		`UPDATE accounts SET options = '{"accept_bare_binding":true}'`:     readAccount,
		`UPDATE memberships SET roles = '["MANAGER"]'`:                     readMe,
		"UPDATE users SET system_admin = NOT system_admin":                 readMe,
		"UPDATE zones SET refresh_interval = 0":                            readZone,
		"UPDATE authorities SET certificate = '' WHERE kind = 'zone'":      readZone,
		"UPDATE authorities SET kind = 'zone' WHERE kind = 'root'":         readRoot,
		"DELETE FROM authorities WHERE kind = 'root'":                      readRoot,
		"UPDATE sessions SET token_expires_at = token_expires_at + 100000": readSession,
	}
	for q, read := range flips {
		t.Run(strings.ReplaceAll(q, " ", "_"), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			app := w.app("flask", "a.example")
			w.must(w.approve(w.admin, app.PendingTaskID))
			b := w.build(app, 1)
			w.must(read(w, app, b))
			storetest.Raw(t, w.backend, q)
			err := read(w, app, b)
			refused(t, q, err, Internal, CodeInternal)
			if !errors.Is(err, store.ErrTampered) {
				t.Errorf("%s: %v", q, err)
			}
		})
	}
}

func readBuild(w *world, _ *wire.App, b *wire.Build) error {
	_, err := w.m.Build(w.t.Context(), w.admin, b.BuildID)
	return err
}

func readTask(w *world, _ *wire.App, b *wire.Build) error {
	_, err := w.m.TaskStatus(w.t.Context(), b.PendingTaskID)
	return err
}

func readApp(w *world, app *wire.App, _ *wire.Build) error {
	_, err := w.m.App(w.t.Context(), w.admin, app.AppID)
	return err
}

func readDomain(w *world, _ *wire.App, _ *wire.Build) error {
	return w.m.view(w.t.Context(), func(tx *store.Tx) error {
		_, err := tx.Domains().Get(w.t.Context(), w.account, "a.example")
		return err
	})
}

func readAccount(w *world, _ *wire.App, _ *wire.Build) error {
	_, err := w.m.Account(w.t.Context(), w.admin, w.account, false)
	return err
}

func readMe(w *world, _ *wire.App, _ *wire.Build) error {
	_, err := w.m.Me(w.t.Context(), w.admin)
	return err
}

func readZone(w *world, _ *wire.App, _ *wire.Build) error {
	_, err := w.m.Zones(w.t.Context(), w.admin)
	return err
}

func readRoot(w *world, _ *wire.App, _ *wire.Build) error {
	_, err := w.m.AccountRoot(w.t.Context(), w.admin, w.account)
	return err
}

func readSession(w *world, _ *wire.App, _ *wire.Build) error {
	_, err := w.m.Refresh(w.t.Context(), w.admin)
	return err
}

// TestTaskMachine drives a build through random decisions and compares it with a model.
func TestTaskMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	app := w.app("flask")
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		if n++; n > 20 {
			return // each history is dozens of transactions
		}
		b := w.build(app, n)
		status, task := store.BuildPending, b.PendingTaskID
		tasks := map[string]string{task: store.TaskInProgress}
		ctx := t.Context()
		expect := func(what string, err error, ok bool) {
			if (err == nil) != ok {
				rt.Fatalf("%s of a build that is %s: %v", what, status, err)
			}
		}
		decide := func(word, taskStatus, buildStatus string) func(*rapid.T) {
			return func(*rapid.T) {
				_, err := w.m.UpdateTask(ctx, w.admin, task, wire.TaskUpdate{Status: word})
				expect(word, err, status == store.BuildPending)
				if err == nil {
					status, tasks[task] = buildStatus, taskStatus
				}
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"approve": decide(store.Approved, store.TaskSuccess, store.BuildWhitelisted),
			"deny":    decide(store.Denied, store.TaskDenied, store.BuildRejected),
			"withdraw": func(*rapid.T) {
				_, err := w.m.WithdrawBuild(ctx, w.admin, b.BuildID)
				expect("withdrawal", err, status == store.BuildWhitelisted)
				if err == nil {
					status = store.BuildRejected
				}
			},
			"ask again": func(*rapid.T) {
				again, err := w.m.RequestBuildApproval(ctx, w.admin, b.BuildID)
				expect("another request", err, status == store.BuildRejected)
				if err == nil {
					status, task = store.BuildPending, again.PendingTaskID
					tasks[task] = store.TaskInProgress
				}
			},
			"": func(*rapid.T) {
				now, err := w.m.Build(ctx, w.admin, b.BuildID)
				if err != nil || now.Status.Status != status || (now.PendingTaskID != "") != (status == store.BuildPending) {
					rt.Fatalf("wanted %s, seen %+v, %v", status, now, err)
				}
				for id, want := range tasks {
					if r, err := w.m.TaskStatus(ctx, id); err != nil || r.TaskStatus.Status != want {
						rt.Fatalf("task %s: wanted %s, seen %+v, %v", id, want, r, err)
					}
				}
			},
		})
	})
}
