package manager

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

// Kinds of measurements.
const (
	kindSGX       = "sgx"
	kindSGX2      = "sgx2"
	kindSimulated = "simulated"
)

// CreateBuild registers a build by its measurements. It is PENDING until its
// BUILD_WHITELIST task is approved.
func (m *Manager) CreateBuild(ctx context.Context, a Actor, r wire.BuildRequest) (*wire.Build, error) {
	id, err := m.newID()
	if err != nil {
		return nil, m.fail(err)
	}
	return m.createBuild(ctx, a, id, r)
}

func (m *Manager) createBuild(ctx context.Context, a Actor, id string, r wire.BuildRequest) (*wire.Build, error) {
	if err := a.may(store.Writer); err != nil {
		return nil, err
	}
	b, err := newBuild(r)
	if err != nil {
		return nil, m.fail(err)
	}
	var w wire.Build
	err = m.update(ctx, func(tx *store.Tx) error {
		b := *b
		acct, err := activeAccount(ctx, tx, a.AccountID)
		if err != nil {
			return err
		}
		app, err := m.appOf(ctx, tx, a, r)
		if err != nil {
			return err
		}
		now := m.now()
		b.ID, b.AccountID, b.AppID, b.CreatedBy, b.CreatedAt, b.UpdatedAt, b.StatusUpdatedAt = id, a.AccountID, app.ID, a.UserID, now, now, now
		fill(&b.MemSize, app.MemSize)
		fill(&b.Threads, app.Threads)
		if err := checkNumbers(b.ISVProdID, b.ISVSVN, b.MemSize, b.Threads); err != nil {
			return err
		}
		if err := m.mayAddBuild(ctx, tx, acct, app, &b); err != nil {
			return err
		}
		t, err := m.askBuild(a, app, &b)
		if err != nil {
			return err
		}
		if err := tx.Builds().Insert(ctx, &b); err != nil {
			return err
		}
		if err := tx.Tasks().Insert(ctx, t); err != nil {
			return err
		}
		if w, err = m.buildInfo(ctx, tx, app, &b); err != nil {
			return err
		}
		return tx.Audit(ctx, appEvent(a, app, "IMAGE_CREATED", a.Name+" added a build to "+app.Name+" with the measurement "+b.MREnclave))
	})
	if err != nil {
		return nil, err
	}
	return &w, nil
}

// newBuild reads what the request says without looking at the account.
func newBuild(r wire.BuildRequest) (*store.Build, error) {
	b := &store.Build{Status: store.BuildPending, ISVProdID: int(r.ISVProdID), ISVSVN: int(r.ISVSVN), MemSize: r.MemSize, Threads: int(r.Threads), Attributes: map[string]json.RawMessage{}, Configs: map[string]json.RawMessage{}}
	var err error
	if b.MRSigner, err = checkHex("mrsigner", r.MRSigner, 32); err != nil {
		return nil, err
	}
	add := func(kind, name, value string) error {
		value, err := checkHex(name, value, 32)
		if err != nil {
			return err
		}
		b.Measurements = append(b.Measurements, store.Measurement{Kind: kind, Value: value})
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(r.Attributes)) {
		attr := r.Attributes[key]
		switch {
		case key == kindSimulated && attr.Simulated != nil:
			err = add(kindSimulated, "attributes.simulated.measurement", attr.Simulated.Measurement)
		case (key == kindSGX || key == kindSGX2) && attr.SGX != nil:
			err = add(key, "attributes."+key+".mrenclave", attr.SGX.MREnclave)
		default:
			err = newError(Unsupported, CodeNotSupported, "attributes.%s: builds of this kind are not known; sgx, sgx2 and simulated are", key)
		}
		if err != nil {
			return nil, err
		}
		if b.Attributes[key], err = json.Marshal(attr); err != nil {
			return nil, fmt.Errorf("attributes: %w", err)
		}
	}
	if r.MREnclave != "" {
		known := func(x store.Measurement) bool { return x.Value == strings.ToLower(r.MREnclave) }
		if !slices.ContainsFunc(b.Measurements, known) {
			if err := add(kindSGX, "mrenclave", r.MREnclave); err != nil {
				return nil, err
			}
		}
		b.MREnclave = strings.ToLower(r.MREnclave)
	}
	if len(b.Measurements) == 0 {
		return nil, invalid(CodeMissing, "a build needs mrenclave or attributes with a measurement")
	}
	fill(&b.MREnclave, b.Measurements[0].Value)
	if d := r.DockerInfo; d != nil {
		if err := errors.Join(checkText("docker_image_name", d.DockerImageName, 512), checkText("docker_version", d.DockerVersion, 256)); err != nil {
			return nil, err
		}
		b.DockerName, b.DockerVersion = d.DockerImageName, d.DockerVersion
		if b.DockerInfo, err = json.Marshal(d); err != nil {
			return nil, fmt.Errorf("docker_info: %w", err)
		}
	}
	if r.AdvancedSettings != nil {
		if b.Settings.Advanced, err = json.Marshal(r.AdvancedSettings); err != nil {
			return nil, fmt.Errorf("advanced_settings: %w", err)
		}
	}
	return b, nil
}

// checkHex returns a digest of n bytes in lower-case hexadecimal.
func checkHex(name, s string, n int) (string, error) {
	s = strings.ToLower(s)
	if b, err := hex.DecodeString(s); err != nil || len(b) != n {
		return "", invalid(CodeInvalidValue, "%s: wanted %d bytes in hexadecimal, seen %q", name, n, clip(s))
	}
	return s, nil
}

// appOf finds the application that a build request names by id or by name.
func (m *Manager) appOf(ctx context.Context, tx *store.Tx, a Actor, r wire.BuildRequest) (*store.App, error) {
	if r.AppID != "" {
		return tx.Apps().Get(ctx, a.AccountID, r.AppID)
	}
	if r.AppName == "" {
		return nil, invalid(CodeMissing, "a build needs app_id or app_name")
	}
	apps, err := tx.Apps().Find(ctx, a.AccountID, store.Is("name", r.AppName))
	if err != nil {
		return nil, err
	}
	if len(apps) != 1 {
		return nil, notFound("application", r.AppName)
	}
	return apps[0], nil
}

func (m *Manager) mayAddBuild(ctx context.Context, tx *store.Tx, acct *store.Account, app *store.App, b *store.Build) error {
	have, err := tx.Builds().List(ctx, acct.ID, store.Query{Where: []store.Condition{store.Is("app_id", app.ID)}, Limit: 1})
	if err != nil {
		return err
	}
	if have.Filtered >= m.opts.Quotas.BuildsPerApp {
		return newError(Forbidden, CodeQuota, "%s has %d builds, as many as are allowed", app.Name, have.Filtered)
	}
	for _, x := range b.Measurements {
		if x.Kind == kindSimulated && !acct.TestOnly {
			return invalid(CodeInvalidValue, "builds of the simulated TEE belong into a test-only account, and %s is none", acct.Name)
		}
		old, err := tx.Builds().ByMeasurement(ctx, acct.ID, x.Value)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		owner := old.AppID
		if o, err := tx.Apps().Get(ctx, acct.ID, old.AppID); err == nil {
			owner = o.Name
		}
		return invalid(CodeUnique, "the measurement %s belongs to build %s of the application %s already", x.Value, old.ID, owner)
	}
	return nil
}

// askBuild makes the build's task and ties both together. The caller stores them.
func (m *Manager) askBuild(a Actor, app *store.App, b *store.Build) (*store.Task, error) {
	b.Status, b.StatusUpdatedAt, b.Digest = store.BuildPending, m.now(), ""
	t, err := m.newTask(store.TaskBuild, a, b.ID, "Build Whitelist for app: "+app.Name, buildSubject(app, b))
	if err != nil {
		return nil, err
	}
	t.AppID, t.BuildID, b.PendingTaskID = app.ID, b.ID, t.ID
	return t, nil
}

// buildSubject is all of a build that an approver must see (S19).
func buildSubject(app *store.App, b *store.Build) subject {
	s := subject{
		"account_id": b.AccountID, "app_id": app.ID, "app_name": app.Name, "build_id": b.ID, "mrsigner": b.MRSigner,
		"isvprodid": fmt.Sprint(b.ISVProdID), "isvsvn": fmt.Sprint(b.ISVSVN), "mem_size": fmt.Sprint(b.MemSize), "threads": fmt.Sprint(b.Threads),
	}
	for _, x := range b.Measurements {
		s["measurement."+x.Kind] = x.Value
	}
	if b.DockerName != "" {
		s["image"] = b.DockerName + ":" + b.DockerVersion
	}
	if b.Settings.Debug {
		s["debug"] = "true"
	}
	if len(b.Settings.Advanced) > 0 {
		s["advanced_settings"] = string(b.Settings.Advanced)
	}
	if len(b.Configs) > 0 {
		s["configs"] = strings.Join(slices.Sorted(maps.Keys(b.Configs)), " ")
	}
	return s
}

// buildDigest is over the build as it is now; store.Build.Digest is over what was approved.
func buildDigest(app *store.App, b *store.Build) (string, error) {
	_, digest, err := buildSubject(app, b).digest()
	return digest, err
}

// decideBuild carries out a decision on a build.
func (m *Manager) decideBuild(ctx context.Context, tx *store.Tx, t *store.Task, approved bool) error {
	b, err := tx.Builds().Get(ctx, t.AccountID, t.BuildID)
	if err != nil {
		return err
	}
	now := m.now()
	b.Status, b.Digest = store.BuildRejected, ""
	if approved {
		b.Status, b.Digest = store.BuildWhitelisted, t.Digest
	}
	b.PendingTaskID, b.StatusUpdatedAt, b.UpdatedAt = "", now, now
	return tx.Builds().Update(ctx, b)
}

// WithdrawBuild takes an approval back: no new certificates, those issued are
// revoked. Programs that run keep what they have until it ends (ruling 23).
func (m *Manager) WithdrawBuild(ctx context.Context, a Actor, id string) (*wire.Build, error) {
	return m.changeBuild(ctx, a, id, func(tx *store.Tx, app *store.App, b *store.Build) (*store.Event, error) {
		if b.Status != store.BuildWhitelisted {
			return nil, invalid(CodeInvalidState, "build %s is %s and has no approval to withdraw", id, b.Status)
		}
		b.Status, b.StatusUpdatedAt, b.Digest = store.BuildRejected, m.now(), ""
		if err := m.revokeCertificates(ctx, tx, a.AccountID, "the approval of the build was withdrawn", store.Is("build_id", id)); err != nil {
			return nil, err
		}
		e := appEvent(a, app, "IMAGE_APPROVAL_WITHDRAWN", a.Name+" withdrew the approval of build "+id)
		e.ActionType, e.Severity = "USER_APPROVAL", "WARNING"
		return e, nil
	})
}

// RequestBuildApproval asks again for the approval of a build that was rejected.
func (m *Manager) RequestBuildApproval(ctx context.Context, a Actor, id string) (*wire.Build, error) {
	return m.changeBuild(ctx, a, id, func(tx *store.Tx, app *store.App, b *store.Build) (*store.Event, error) {
		if b.Status != store.BuildRejected {
			return nil, invalid(CodeInvalidState, "build %s is %s; only a rejected one can be asked for again", id, b.Status)
		}
		t, err := m.askBuild(a, app, b)
		if err != nil {
			return nil, err
		}
		return appEvent(a, app, "IMAGE_APPROVAL_REQUESTED", a.Name+" asked again for the approval of build "+id), tx.Tasks().Insert(ctx, t)
	})
}

// UpdateBuild changes the configurations that are attached to a build. What was approved
// without them has to be approved again.
func (m *Manager) UpdateBuild(ctx context.Context, a Actor, id string, r wire.BuildUpdate) (*wire.Build, error) {
	return m.changeBuild(ctx, a, id, func(tx *store.Tx, app *store.App, b *store.Build) (*store.Event, error) {
		next := map[string]json.RawMessage{}
		for config, options := range r.Configs {
			if _, err := tx.Configurations().Get(ctx, a.AccountID, config); err != nil {
				return nil, err
			}
			raw, err := json.Marshal(options)
			if err != nil {
				return nil, fmt.Errorf("configs: %w", err)
			}
			next[config] = raw
		}
		b.Configs = next
		e := appEvent(a, app, "IMAGE_UPDATED", a.Name+" changed the configurations of build "+id)
		switch b.Status {
		case store.BuildPending:
			b.UpdatedAt = m.now()
			if err := tx.Builds().Update(ctx, b); err != nil {
				return nil, err
			}
			return e, m.refreshTask(ctx, tx, a, b.PendingTaskID)
		case store.BuildWhitelisted:
			if now, err := buildDigest(app, b); err != nil || now == b.Digest {
				return e, err
			}
			t, err := m.askBuild(a, app, b)
			if err != nil {
				return nil, err
			}
			return e, tx.Tasks().Insert(ctx, t)
		}
		return e, nil
	})
}

// changeBuild loads a build, lets fn change it, and stores it with the event that fn returns.
func (m *Manager) changeBuild(ctx context.Context, a Actor, id string, fn func(*store.Tx, *store.App, *store.Build) (*store.Event, error)) (*wire.Build, error) {
	if err := a.may(store.Writer); err != nil {
		return nil, err
	}
	var w wire.Build
	err := m.update(ctx, func(tx *store.Tx) error {
		if _, err := activeAccount(ctx, tx, a.AccountID); err != nil {
			return err
		}
		b, err := tx.Builds().Get(ctx, a.AccountID, id)
		if err != nil {
			return err
		}
		app, err := tx.Apps().Get(ctx, a.AccountID, b.AppID)
		if err != nil {
			return err
		}
		e, err := fn(tx, app, b)
		if err != nil {
			return err
		}
		b.UpdatedAt = m.now()
		if err := tx.Builds().Update(ctx, b); err != nil {
			return err
		}
		if w, err = m.buildInfo(ctx, tx, app, b); err != nil {
			return err
		}
		return tx.Audit(ctx, e)
	})
	if err != nil {
		return nil, err
	}
	return &w, nil
}

// DeleteBuild removes a build and revokes its certificates.
func (m *Manager) DeleteBuild(ctx context.Context, a Actor, id string) error {
	if err := a.may(store.Writer); err != nil {
		return err
	}
	return m.update(ctx, func(tx *store.Tx) error {
		b, err := tx.Builds().Get(ctx, a.AccountID, id)
		if err != nil {
			return err
		}
		app, err := tx.Apps().Get(ctx, a.AccountID, b.AppID)
		if err != nil {
			return err
		}
		if err := m.removeBuild(ctx, tx, b); err != nil {
			return err
		}
		return tx.Audit(ctx, appEvent(a, app, "IMAGE_DELETED", a.Name+" deleted build "+id+" of "+app.Name))
	})
}

// removeBuild takes a build away with all that hangs on it. The caller audits.
func (m *Manager) removeBuild(ctx context.Context, tx *store.Tx, b *store.Build) error {
	if err := m.closeTasks(ctx, tx, b.AccountID, "build_id", b.ID, "the build was deleted"); err != nil {
		return err
	}
	if err := m.revokeCertificates(ctx, tx, b.AccountID, "the build was deleted", store.Is("build_id", b.ID)); err != nil {
		return err
	}
	deployments, err := tx.Deployments().Find(ctx, b.AccountID, store.Is("build_id", b.ID))
	if err != nil {
		return err
	}
	for _, d := range deployments {
		if err := tx.Deployments().Delete(ctx, d); err != nil {
			return err
		}
	}
	return tx.Builds().Delete(ctx, b)
}
