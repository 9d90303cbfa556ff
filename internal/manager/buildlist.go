package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

// Build returns one build of the selected account. While the manager converts
// its image there is no build yet, only its conversion.
func (m *Manager) Build(ctx context.Context, a Actor, id string) (*wire.Build, error) {
	if err := a.may(store.Reader); err != nil {
		return nil, err
	}
	var w wire.Build
	err := m.view(ctx, func(tx *store.Tx) error {
		b, err := tx.Builds().Get(ctx, a.AccountID, id)
		if errors.Is(err, store.ErrNotFound) {
			w, err = conversionBuild(ctx, tx, a.AccountID, id)
			return err
		}
		if err != nil {
			return err
		}
		app, err := tx.Apps().Get(ctx, a.AccountID, b.AppID)
		if err == nil {
			w, err = m.buildInfo(ctx, tx, app, b)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &w, nil
}

// BuildFilter narrows a list of builds.
type BuildFilter struct {
	AppID, ConfigID string
	ImageName       string // part of the image's name or of the application's output image
	Status          string // PENDING, WHITELISTED, REJECTED
	DeployedStatus  string // DEPLOYED, UNDEPLOYED
}

// Builds lists the builds of the selected account.
func (m *Manager) Builds(ctx context.Context, a Actor, l ListOptions, f BuildFilter) (*wire.List[wire.Build], error) {
	if err := a.may(store.Reader); err != nil {
		return nil, err
	}
	q, err := l.query(columns{"created_at": "created_at", "updated_at": "updated_at", "docker_image_name": "docker_name", "docker_version": "docker_version", "mrenclave": "mrenclave", "mrsigner": "mrsigner", "status": "status", "build_id": "id"},
		columns{"build_id": "id", "app_id": "app_id", "docker_image_name": "docker_name", "docker_version": "docker_version", "mrenclave": "mrenclave", "mrsigner": "mrsigner", "status": "status"},
		"docker_name", "docker_version", "mrenclave", "mrsigner", "measurements")
	if err != nil {
		return nil, err
	}
	like(&q, columns{"configs": f.ConfigID})
	if f.AppID != "" {
		q.Where = append(q.Where, store.Is("app_id", f.AppID))
	}
	switch f.Status {
	case "":
	case store.BuildPending, store.BuildWhitelisted, store.BuildRejected:
		q.Where = append(q.Where, store.Is("status", f.Status))
	default:
		return nil, invalid(CodeInvalidValue, "status %q is none of PENDING, WHITELISTED, REJECTED", f.Status)
	}
	var out *wire.List[wire.Build]
	err = m.view(ctx, func(tx *store.Tx) error {
		q := q
		all, err := tx.Apps().Find(ctx, a.AccountID)
		if err != nil {
			return err
		}
		apps := map[string]*store.App{}
		for _, app := range all {
			apps[app.ID] = app
		}
		if l.AllSearch != "" {
			q.Search = append(slices.Clone(q.Search), store.OneOf("app_id", matching(all, l.AllSearch)...))
		}
		q.Where = slices.Clone(q.Where)
		if f.ImageName != "" {
			var ids []string
			for _, b := range all {
				if containsFold(b.OutputImage, f.ImageName) {
					ids = append(ids, b.ID)
				}
			}
			q.Where = append(q.Where, store.Either(store.Like("docker_name", f.ImageName), store.OneOf("app_id", ids...)))
		}
		if q.Where, err = deployedOnly(ctx, tx, a.AccountID, f.DeployedStatus, q.Where); err != nil {
			return err
		}
		p, err := tx.Builds().List(ctx, a.AccountID, q)
		if err != nil {
			return err
		}
		out, err = page(q, p, func(b *store.Build) (wire.Build, error) {
			app, ok := apps[b.AppID]
			if !ok {
				return wire.Build{}, notFound("application", b.AppID)
			}
			return m.buildInfo(ctx, tx, app, b)
		})
		return err
	})
	return out, err
}

func matching(apps []*store.App, part string) []string {
	var ids []string
	for _, app := range apps {
		if containsFold(app.Name, part) || containsFold(app.OutputImage, part) {
			ids = append(ids, app.ID)
		}
	}
	return ids
}

func deployedOnly(ctx context.Context, tx *store.Tx, account, status string, where []store.Condition) ([]store.Condition, error) {
	if status == "" {
		return where, nil
	}
	running, err := tx.Deployments().Find(ctx, account, store.Is("status", store.AppRunning))
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, d := range running {
		ids = append(ids, d.BuildID)
	}
	c := store.OneOf("id", ids...)
	switch status {
	case "DEPLOYED":
	case "UNDEPLOYED":
		c.Op = store.NotIn
	default:
		return nil, invalid(CodeInvalidValue, "deployed_status %q is neither DEPLOYED nor UNDEPLOYED", status)
	}
	return append(where, c), nil
}

func (m *Manager) buildInfo(ctx context.Context, tx *store.Tx, app *store.App, b *store.Build) (wire.Build, error) {
	w, err := buildRecord(app, b)
	if err != nil {
		return w, err
	}
	deployments, err := tx.Deployments().Find(ctx, b.AccountID, store.Is("build_id", b.ID))
	if err != nil {
		return w, err
	}
	w.DeploymentStatus = &wire.StatusAt{Status: "UNDEPLOYED", StatusUpdatedAt: b.CreatedAt.Unix()}
	for _, d := range deployments {
		if d.Status == store.AppRunning {
			w.DeploymentStatus.Status = "DEPLOYED"
		}
		w.DeploymentStatus.StatusUpdatedAt = max(w.DeploymentStatus.StatusUpdatedAt, d.StatusUpdatedAt.Unix())
	}
	switch c, err := tx.Conversions().Get(ctx, b.AccountID, b.ID); {
	case err == nil:
		w.Conversion, err = conversionInfo(c)
		if err != nil {
			return w, err
		}
	case !errors.Is(err, store.ErrNotFound):
		return w, err
	}
	return w, nil
}

// buildRecord is a build without what depends on other rows.
func buildRecord(app *store.App, b *store.Build) (wire.Build, error) {
	w := wire.Build{
		BuildID: b.ID, AppID: b.AppID, AppName: app.Name, AppDescription: app.Description, CreatedAt: b.CreatedAt.Unix(), UpdatedAt: b.UpdatedAt.Unix(),
		Status:      wire.StatusAt{Status: b.Status, StatusUpdatedAt: b.StatusUpdatedAt.Unix()},
		EnclaveInfo: &wire.EnclaveInfo{MREnclave: b.MREnclave, MRSigner: b.MRSigner, ISVProdID: int32(b.ISVProdID), ISVSVN: int32(b.ISVSVN)},
		MemSize:     b.MemSize, Threads: int32(b.Threads), PendingTaskID: b.PendingTaskID, Attributes: map[string]wire.BuildAttributes{}, Configs: map[string]any{},
	}
	for kind, raw := range b.Attributes {
		var attr wire.BuildAttributes
		if err := json.Unmarshal(raw, &attr); err != nil {
			return w, fmt.Errorf("build %s: attributes: %w", b.ID, err)
		}
		w.Attributes[kind] = attr
	}
	for config, raw := range b.Configs {
		w.Configs[config] = raw
	}
	if b.DockerName != "" {
		w.DockerInfo = &wire.DockerInfo{}
		if err := json.Unmarshal(b.DockerInfo, w.DockerInfo); err != nil {
			return w, fmt.Errorf("build %s: docker_info: %w", b.ID, err)
		}
	}
	if len(b.Settings.Advanced) > 0 {
		w.AdvancedSettings = &wire.AdvancedSettings{}
		if err := json.Unmarshal(b.Settings.Advanced, w.AdvancedSettings); err != nil {
			return w, fmt.Errorf("build %s: advanced_settings: %w", b.ID, err)
		}
	}
	return w, nil
}
