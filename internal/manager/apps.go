package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

const (
	maxISV         = 1<<16 - 1
	maxMemory      = 1 << 24 // MiB
	maxThreads     = 1 << 16
	defaultMemory  = 1024 // MiB
	defaultThreads = 128
)

// CreateApp makes an application. Domains asked for wait for a DOMAIN_WHITELIST task.
func (m *Manager) CreateApp(ctx context.Context, a Actor, r wire.AppRequest) (*wire.App, error) {
	if err := a.may(store.Writer); err != nil {
		return nil, err
	}
	id, err := m.newID()
	if err != nil {
		return nil, m.fail(err)
	}
	now := m.now()
	app := store.App{ID: id, AccountID: a.AccountID, MemSize: defaultMemory, Threads: defaultThreads, CreatedBy: a.UserID, CreatedAt: now, UpdatedAt: now, Labels: map[string]string{}, AllowedDomains: []string{}}
	if app.Name, err = checkName("an application", r.Name); err != nil {
		return nil, err
	}
	if s := r.DefaultBuildSettings; s != nil && s.SGX != nil {
		app.ISVProdID, app.MemSize, app.Threads = int(s.SGX.ISVProdID), s.SGX.MemSize, int(s.SGX.Threads)
	}
	u := wire.AppUpdate{
		Description: &r.Description, InputImageName: &r.InputImageName, OutputImageName: &r.OutputImageName, ISVProdID: r.ISVProdID, ISVSVN: r.ISVSVN,
		MemSize: r.MemSize, Threads: r.Threads, AdvancedSettings: r.AdvancedSettings, CertificatePolicy: r.CertificatePolicy, Signers: r.Signers,
	}
	if err := changeApp(&app, u); err != nil {
		return nil, m.fail(err)
	}
	if err := errors.Join(checkLabels("labels", r.Labels), checkLabels("custom_metadata", r.CustomMetadata), checkText("group_id", r.GroupID, 64)); err != nil {
		return nil, m.fail(err)
	}
	maps.Copy(app.Labels, r.Labels)
	app.Settings.CustomMetadata, app.Settings.GroupID = r.CustomMetadata, r.GroupID
	domains, err := checkDomains(r.AllowedDomains)
	if err != nil {
		return nil, err
	}
	var w wire.App
	err = m.update(ctx, func(tx *store.Tx) error {
		app := app
		if _, err := activeAccount(ctx, tx, a.AccountID); err != nil {
			return err
		}
		have, err := tx.Apps().List(ctx, a.AccountID, store.Query{Limit: 1})
		if err != nil {
			return err
		}
		if have.Total >= m.opts.Quotas.AppsPerAccount {
			return newError(Forbidden, CodeQuota, "the account has %d applications, as many as are allowed", have.Total)
		}
		if len(domains) > 0 {
			if err := m.askDomains(ctx, tx, a, &app, domains); err != nil {
				return err
			}
		}
		if err := tx.Apps().Insert(ctx, &app); errors.Is(err, store.ErrExists) {
			return invalid(CodeUnique, "an application with the name %q exists already in this account", app.Name)
		} else if err != nil {
			return err
		}
		if w, err = m.appInfo(ctx, tx, &app); err != nil {
			return err
		}
		return tx.Audit(ctx, appEvent(a, &app, "APP_CREATED", a.Name+" created the application "+app.Name))
	})
	if err != nil {
		return nil, err
	}
	return &w, nil
}

func appEvent(a Actor, app *store.App, code, what string) *store.Event {
	e := a.event(code, "ADMIN", what)
	e.AppID, e.AppName = app.ID, app.Name
	return e
}

// changeApp applies the members of a request that need no approval.
func changeApp(app *store.App, r wire.AppUpdate) error {
	for _, c := range []struct {
		name  string
		from  *string
		to    *string
		limit int
	}{{"description", r.Description, &app.Description, 4096}, {"input_image_name", r.InputImageName, &app.InputImage, 512}, {"output_image_name", r.OutputImageName, &app.OutputImage, 512}} {
		if c.from == nil {
			continue
		}
		if err := checkText(c.name, *c.from, c.limit); err != nil {
			return err
		}
		*c.to = *c.from
	}
	for _, c := range []struct {
		from *int32
		to   *int
	}{{r.ISVProdID, &app.ISVProdID}, {r.ISVSVN, &app.ISVSVN}, {r.Threads, &app.Threads}} {
		if c.from != nil {
			*c.to = int(*c.from)
		}
	}
	if r.MemSize != nil {
		app.MemSize = *r.MemSize
	}
	if err := checkNumbers(app.ISVProdID, app.ISVSVN, app.MemSize, app.Threads); err != nil {
		return err
	}
	if r.AdvancedSettings != nil {
		raw, err := json.Marshal(r.AdvancedSettings)
		if err != nil {
			return fmt.Errorf("advanced settings: %w", err)
		}
		app.Settings.Advanced = raw
	}
	if p := r.CertificatePolicy; p != nil {
		app.Settings.CertificatePolicy = &store.CertificatePolicy{RequireKnownImage: p.RequireKnownImage, RequireKnownSigner: p.RequireKnownSigner, RequireKnownNode: &p.RequireKnownNode}
	}
	if r.Signers != nil {
		app.Settings.Signers = nil
		for _, s := range r.Signers {
			if s.SGX == nil {
				return newError(Unsupported, CodeNotSupported, "signers: only SGX signers are known")
			}
			signer, err := checkHex("mrsigner", s.SGX.MRSigner, 32)
			if err != nil {
				return err
			}
			app.Settings.Signers = append(app.Settings.Signers, store.AppSigner{SGX: &store.SGXSigner{MRSigner: signer, ISVProdID: int(s.SGX.ISVProdID)}})
		}
	}
	return nil
}

func checkNumbers(prodID, svn int, memory int64, threads int) error {
	switch {
	case prodID < 0 || prodID > maxISV:
		return invalid(CodeInvalidValue, "isvprodid %d is not in 0 to %d", prodID, maxISV)
	case svn < 0 || svn > maxISV:
		return invalid(CodeInvalidValue, "isvsvn %d is not in 0 to %d", svn, maxISV)
	case memory < 1 || memory > maxMemory:
		return invalid(CodeInvalidValue, "mem_size %d is not in 1 to %d MiB", memory, maxMemory)
	case threads < 1 || threads > maxThreads:
		return invalid(CodeInvalidValue, "threads %d is not in 1 to %d", threads, maxThreads)
	}
	return nil
}

func checkLabels(name string, labels map[string]string) error {
	if len(labels) > 100 {
		return invalid(CodeInvalidValue, "%s has %d entries, at most 100 are allowed", name, len(labels))
	}
	for k, v := range labels {
		if k == "" {
			return invalid(CodeInvalidValue, "%s has an empty key", name)
		}
		if err := errors.Join(checkText(name, k, 128), checkText(name, v, 256)); err != nil {
			return err
		}
	}
	return nil
}

// UpdateApp changes an application; absent members stay as they are.
func (m *Manager) UpdateApp(ctx context.Context, a Actor, id string, r wire.AppUpdate) (*wire.App, error) {
	if err := a.may(store.Writer); err != nil {
		return nil, err
	}
	var domains []string
	if r.AllowedDomains != nil {
		var err error
		if domains, err = checkDomains(*r.AllowedDomains); err != nil {
			return nil, err
		}
	}
	var w wire.App
	err := m.update(ctx, func(tx *store.Tx) error {
		app, err := tx.Apps().Get(ctx, a.AccountID, id)
		if err != nil {
			return err
		}
		if err := changeApp(app, r); err != nil {
			return err
		}
		if app.Labels, err = patchMap("labels", app.Labels, r.Labels); err != nil {
			return err
		}
		if app.Settings.CustomMetadata, err = patchMap("custom_metadata", app.Settings.CustomMetadata, r.CustomMetadata); err != nil {
			return err
		}
		if r.AllowedDomains != nil {
			if err := m.askDomains(ctx, tx, a, app, domains); err != nil {
				return err
			}
		}
		app.UpdatedAt = m.now()
		if err := tx.Apps().Update(ctx, app); err != nil {
			return err
		}
		if w, err = m.appInfo(ctx, tx, app); err != nil {
			return err
		}
		return tx.Audit(ctx, appEvent(a, app, "APP_UPDATED", a.Name+" changed the application "+app.Name))
	})
	if err != nil {
		return nil, err
	}
	return &w, nil
}

// patchMap applies the RFC 6902 subset (add, remove, replace) to a flat object.
func patchMap(name string, old map[string]string, ops []wire.PatchOp) (map[string]string, error) {
	if len(ops) == 0 {
		return old, nil
	}
	next := maps.Clone(old)
	if next == nil {
		next = map[string]string{}
	}
	for _, op := range ops {
		key, ok := strings.CutPrefix(op.Path, "/")
		key = strings.NewReplacer("~1", "/", "~0", "~").Replace(key)
		value, isText := op.Value.(string)
		_, there := next[key]
		switch {
		case !ok || key == "":
			return nil, invalid(CodeInvalidValue, "%s: path %q does not name a key", name, op.Path)
		case op.Op != "remove" && !isText:
			return nil, invalid(CodeInvalidValue, "%s: the value of %q is not a text", name, key)
		case op.Op != "add" && !there:
			return nil, invalid(CodeInvalidValue, "%s: there is no key %q", name, key)
		}
		switch op.Op {
		case "add", "replace":
			next[key] = value
		case "remove":
			delete(next, key)
		default:
			return nil, invalid(CodeInvalidValue, "%s: operation %q is none of add, remove, replace", name, op.Op)
		}
	}
	return next, checkLabels(name, next)
}

// App returns one application of the selected account.
func (m *Manager) App(ctx context.Context, a Actor, id string) (*wire.App, error) {
	if err := a.may(store.Reader); err != nil {
		return nil, err
	}
	var w wire.App
	err := m.view(ctx, func(tx *store.Tx) error {
		app, err := tx.Apps().Get(ctx, a.AccountID, id)
		if err == nil {
			w, err = m.appInfo(ctx, tx, app)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &w, nil
}

// AppFilter narrows a list of applications.
type AppFilter struct{ Name, Description string }

// Apps lists the applications of the selected account.
func (m *Manager) Apps(ctx context.Context, a Actor, l ListOptions, f AppFilter) (*wire.List[wire.App], error) {
	if err := a.may(store.Reader); err != nil {
		return nil, err
	}
	q, err := l.query(columns{"name": "name", "description": "description", "created_at": "created_at", "updated_at": "updated_at", "app_id": "id"},
		columns{"name": "name", "app_id": "id"}, "name", "description")
	if err != nil {
		return nil, err
	}
	like(&q, columns{"name": f.Name, "description": f.Description})
	var out *wire.List[wire.App]
	err = m.view(ctx, func(tx *store.Tx) error {
		p, err := tx.Apps().List(ctx, a.AccountID, q)
		if err != nil {
			return err
		}
		out, err = page(q, p, func(app *store.App) (wire.App, error) { return m.appInfo(ctx, tx, app) })
		return err
	})
	return out, err
}

// AppLabels counts the labels of all applications of the selected account.
func (m *Manager) AppLabels(ctx context.Context, a Actor) ([]LabelCount, error) {
	if err := a.may(store.Reader); err != nil {
		return nil, err
	}
	var all []map[string]string
	err := m.view(ctx, func(tx *store.Tx) error {
		apps, err := tx.Apps().Find(ctx, a.AccountID)
		all = all[:0]
		for _, app := range apps {
			all = append(all, app.Labels)
		}
		return err
	})
	return countLabels(all), err
}

// LabelCount says how many objects carry a label.
type LabelCount struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	Count int    `json:"count"`
}

func countLabels(all []map[string]string) []LabelCount {
	counts := map[[2]string]int{}
	for _, labels := range all {
		for k, v := range labels {
			counts[[2]string{k, v}]++
		}
	}
	out := []LabelCount{}
	for kv, n := range counts {
		out = append(out, LabelCount{kv[0], kv[1], n})
	}
	slices.SortFunc(out, func(x, y LabelCount) int {
		return strings.Compare(x.Key+"\x00"+x.Value, y.Key+"\x00"+y.Value)
	})
	return out
}

// DeleteApp removes an application with its domains and builds, revokes its
// certificates and closes its tasks.
func (m *Manager) DeleteApp(ctx context.Context, a Actor, id string) error {
	if err := a.may(store.Writer); err != nil {
		return err
	}
	return m.update(ctx, func(tx *store.Tx) error {
		app, err := tx.Apps().Get(ctx, a.AccountID, id)
		if err != nil {
			return err
		}
		acct, err := tx.Accounts().Get(ctx, a.AccountID)
		if err != nil {
			return err
		}
		builds, err := tx.Builds().Find(ctx, a.AccountID, store.Is("app_id", id))
		if err != nil {
			return err
		}
		for _, b := range builds {
			if err := m.removeBuild(ctx, tx, b); err != nil {
				return err
			}
		}
		if err := m.closeTasks(ctx, tx, a.AccountID, "app_id", id, "the application was deleted"); err != nil {
			return err
		}
		domains, err := tx.Domains().Find(ctx, a.AccountID, store.Is("app_id", id))
		if err != nil {
			return err
		}
		for _, d := range domains {
			if err := tx.Domains().Delete(ctx, d); err != nil {
				return err
			}
		}
		if len(domains) > 0 {
			if err := m.renameZones(ctx, tx, acct); err != nil {
				return err
			}
		}
		if err := m.revokeCertificates(ctx, tx, a.AccountID, "the application was deleted", store.Is("app_id", id)); err != nil {
			return err
		}
		if err := tx.Apps().Delete(ctx, app); err != nil {
			return err
		}
		return tx.Audit(ctx, appEvent(a, app, "APP_DELETED", a.Name+" deleted the application "+app.Name))
	})
}

func (m *Manager) appInfo(ctx context.Context, tx *store.Tx, app *store.App) (wire.App, error) {
	w := wire.App{
		AppID: app.ID, Name: app.Name, Description: app.Description, CreatedAt: app.CreatedAt.Unix(), UpdatedAt: app.UpdatedAt.Unix(),
		InputImageName: app.InputImage, OutputImageName: app.OutputImage, ISVProdID: int32(app.ISVProdID), ISVSVN: int32(app.ISVSVN),
		MemSize: app.MemSize, Threads: int32(app.Threads), AllowedDomains: app.AllowedDomains, WhitelistedDomains: []string{},
		DomainsAdded: []string{}, DomainsRemoved: []string{}, Nodes: []wire.AppNodeInfo{}, Labels: app.Labels,
		CustomMetadata: app.Settings.CustomMetadata, PendingTaskID: app.PendingTaskID, GroupID: app.Settings.GroupID,
		DefaultBuildSettings: wire.DefaultBuildSettings{SGX: &wire.SGXBuildSettings{ISVProdID: int32(app.ISVProdID), MemSize: app.MemSize, Threads: int32(app.Threads)}},
	}
	if app.Settings.Advanced != nil {
		w.AdvancedSettings = &wire.AdvancedSettings{}
		if err := json.Unmarshal(app.Settings.Advanced, w.AdvancedSettings); err != nil {
			return w, fmt.Errorf("application %s: advanced settings: %w", app.ID, err)
		}
	}
	if p := app.Settings.CertificatePolicy; p != nil {
		w.CertificatePolicy = &wire.CertificatePolicy{RequireKnownImage: p.RequireKnownImage, RequireKnownSigner: p.RequireKnownSigner, RequireKnownNode: p.RequireKnownNode != nil && *p.RequireKnownNode}
	}
	for _, s := range app.Settings.Signers {
		if s.SGX != nil {
			w.Signers = append(w.Signers, wire.ApplicationSigner{SGX: &wire.SGXSigner{MRSigner: s.SGX.MRSigner, ISVProdID: int32(s.SGX.ISVProdID)}})
		}
	}
	var err error
	if w.WhitelistedDomains, err = approvedDomains(ctx, tx, app); err != nil {
		return w, err
	}
	w.DomainsAdded, w.DomainsRemoved = difference(app.AllowedDomains, w.WhitelistedDomains)
	if app.PendingTaskID == "" {
		w.DomainsAdded, w.DomainsRemoved = []string{}, []string{}
	}
	deployments, err := tx.Deployments().Find(ctx, app.AccountID, store.Is("app_id", app.ID))
	if err != nil {
		return w, err
	}
	for _, d := range deployments {
		info, err := deploymentInfo(ctx, tx, d)
		if err != nil {
			return w, err
		}
		w.Nodes = append(w.Nodes, info)
	}
	return w, nil
}
