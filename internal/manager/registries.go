package manager

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

const maxSecret = 16 << 10 // bytes of a registry's password or token

// Registries lists the saved image registries of the selected account. No call
// returns a password.
func (m *Manager) Registries(ctx context.Context, a Actor) ([]wire.Registry, error) {
	if err := a.may(store.Reader); err != nil {
		return nil, err
	}
	out := []wire.Registry{}
	err := m.view(ctx, func(tx *store.Tx) error {
		rows, err := tx.Registries().Find(ctx, a.AccountID)
		out = out[:0]
		for _, r := range rows {
			out = append(out, registryInfo(r))
		}
		return err
	})
	return out, err
}

func registryInfo(r *store.Registry) wire.Registry {
	return wire.Registry{RegistryID: r.ID, URL: r.URL, Description: r.Description, Username: r.Username}
}

// Registry returns one saved registry.
func (m *Manager) Registry(ctx context.Context, a Actor, id string) (*wire.Registry, error) {
	if err := a.may(store.Reader); err != nil {
		return nil, err
	}
	var w wire.Registry
	err := m.view(ctx, func(tx *store.Tx) error {
		r, err := tx.Registries().Get(ctx, a.AccountID, id)
		if err == nil {
			w = registryInfo(r)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &w, nil
}

// CreateRegistry saves the log-in of a registry, its password encrypted.
func (m *Manager) CreateRegistry(ctx context.Context, a Actor, r wire.RegistryRequest) (*wire.Registry, error) {
	if err := a.may(store.Writer); err != nil {
		return nil, err
	}
	url := strings.TrimRight(strings.TrimSpace(r.URL), "/")
	if url == "" || strings.ContainsAny(url, " \n\t@") || checkText("url", url, 512) != nil {
		return nil, invalid(CodeInvalidValue, "url: wanted a registry's address such as docker.io or https://registry.example/team, without user and password")
	}
	if r.Credential.Default == nil || r.Credential.Default.Username == "" {
		return nil, invalid(CodeMissing, "credential.default with username and password is needed")
	}
	id, err := m.newID()
	if err != nil {
		return nil, m.fail(err)
	}
	now := m.now()
	row := &store.Registry{ID: id, AccountID: a.AccountID, URL: url, Description: r.Description, CreatedAt: now, UpdatedAt: now}
	if err := errors.Join(checkText("description", r.Description, 4096), m.setCredential(row, r.Credential.Default.Username, r.Credential.Default.Password)); err != nil {
		return nil, m.fail(err)
	}
	err = m.update(ctx, func(tx *store.Tx) error {
		if err := tx.Registries().Insert(ctx, row); errors.Is(err, store.ErrExists) {
			return invalid(CodeUnique, "the registry %s is saved already; change that one", url)
		} else if err != nil {
			return err
		}
		return tx.Audit(ctx, a.event("REGISTRY_CREATED", "ADMIN", a.Name+" saved the registry "+url))
	})
	if err != nil {
		return nil, err
	}
	w := registryInfo(row)
	return &w, nil
}

// setCredential encrypts a password for this registry alone.
func (m *Manager) setCredential(row *store.Registry, username, password string) (err error) {
	if err := checkText("username", username, 512); err != nil {
		return err
	}
	if len(password) > maxSecret {
		return invalid(CodeInvalidValue, "the password has more than %d bytes", maxSecret)
	}
	row.Username = username
	row.Sealed, err = m.opts.Box.Seal([]byte(password), registryNames(row)...)
	return err
}

// registryNames binds a password to its registry: one moved to another row does not open.
func registryNames(row *store.Registry) []string {
	return []string{"registry", row.AccountID, row.ID, row.URL}
}

// UpdateRegistry changes description and credential by the RFC 6902 subset.
func (m *Manager) UpdateRegistry(ctx context.Context, a Actor, id string, ops []wire.PatchOp) (*wire.Registry, error) {
	if err := a.may(store.Writer); err != nil {
		return nil, err
	}
	var w wire.Registry
	err := m.update(ctx, func(tx *store.Tx) error {
		row, err := tx.Registries().Get(ctx, a.AccountID, id)
		if err != nil {
			return err
		}
		for _, op := range ops {
			if err := m.patchRegistry(row, op); err != nil {
				return err
			}
		}
		row.UpdatedAt = m.now()
		if err := tx.Registries().Update(ctx, row); err != nil {
			return err
		}
		w = registryInfo(row)
		return tx.Audit(ctx, a.event("REGISTRY_UPDATED", "ADMIN", a.Name+" changed the registry "+row.URL))
	})
	if err != nil {
		return nil, err
	}
	return &w, nil
}

func (m *Manager) patchRegistry(row *store.Registry, op wire.PatchOp) error {
	if op.Op != "add" && op.Op != "replace" && (op.Op != "remove" || op.Path != "/description") {
		return invalid(CodeInvalidValue, "patch: operation %q on %q is not possible", clip(op.Op), clip(op.Path))
	}
	switch op.Path {
	case "/description":
		text, ok := op.Value.(string)
		if !ok && op.Op != "remove" {
			return invalid(CodeInvalidValue, "the value of /description is not a text")
		}
		row.Description = text
		return checkText("description", text, 4096)
	case "/credential", "/credential/default":
		value, _ := op.Value.(map[string]any)
		if op.Path == "/credential" {
			value, _ = value["default"].(map[string]any)
		}
		username, ok1 := value["username"].(string)
		password, ok2 := value["password"].(string)
		if !ok1 || !ok2 || username == "" {
			return invalid(CodeInvalidValue, "the value of %s needs username and password", op.Path)
		}
		return m.setCredential(row, username, password)
	}
	return invalid(CodeInvalidValue, "patch: only /description and /credential can change")
}

// DeleteRegistry forgets a registry.
func (m *Manager) DeleteRegistry(ctx context.Context, a Actor, id string) error {
	if err := a.may(store.Writer); err != nil {
		return err
	}
	return m.update(ctx, func(tx *store.Tx) error {
		row, err := tx.Registries().Get(ctx, a.AccountID, id)
		if err != nil {
			return err
		}
		if err := tx.Registries().Delete(ctx, row); err != nil {
			return err
		}
		return tx.Audit(ctx, a.event("REGISTRY_DELETED", "ADMIN", a.Name+" deleted the registry "+row.URL))
	})
}

// AppRegistries tells which saved registries the images of an application would use.
func (m *Manager) AppRegistries(ctx context.Context, a Actor, app string) (*wire.AppRegistries, error) {
	if err := a.may(store.Reader); err != nil {
		return nil, err
	}
	w := &wire.AppRegistries{}
	err := m.view(ctx, func(tx *store.Tx) error {
		row, err := tx.Apps().Get(ctx, a.AccountID, app)
		if err != nil {
			return err
		}
		for _, x := range []struct {
			image string
			to    **wire.Registry
		}{{row.InputImage, &w.InputImageRegistry}, {row.OutputImage, &w.OutputImageRegistry}} {
			r, err := registryOf(ctx, tx, a.AccountID, x.image)
			if err != nil {
				return err
			}
			if r != nil {
				info := registryInfo(r)
				*x.to = &info
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// ImageRegistry tells which saved registry an image would use, if any.
func (m *Manager) ImageRegistry(ctx context.Context, a Actor, image string) (*wire.ImageRegistry, error) {
	if err := a.may(store.Reader); err != nil {
		return nil, err
	}
	w := &wire.ImageRegistry{}
	err := m.view(ctx, func(tx *store.Tx) error {
		r, err := registryOf(ctx, tx, a.AccountID, image)
		if r != nil {
			info := registryInfo(r)
			w.Registry = &info
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// registryOf finds the saved registry whose address begins the image's name; the longest
// one when there are several, nil when there is none.
func registryOf(ctx context.Context, tx *store.Tx, account, image string) (*store.Registry, error) {
	if image == "" {
		return nil, nil
	}
	rows, err := tx.Registries().Find(ctx, account)
	if err != nil {
		return nil, err
	}
	name := normalImage(image)
	var best *store.Registry
	length := -1
	for _, r := range rows {
		prefix := normalRegistry(r.URL)
		if (name == prefix || strings.HasPrefix(name, prefix+"/")) && len(prefix) > length {
			best, length = r, len(prefix)
		}
	}
	return best, nil
}

// normalImage writes an image's name with its registry, as engines understand it.
func normalImage(image string) string {
	host, rest, ok := strings.Cut(image, "/")
	if ok && (strings.ContainsAny(host, ".:") || host == "localhost") {
		return dockerHub(strings.ToLower(host)) + "/" + rest
	}
	return "docker.io/" + image
}

// normalRegistry cuts what people add to a registry's address.
func normalRegistry(url string) string {
	if _, rest, ok := strings.Cut(url, "://"); ok {
		url = rest
	}
	url = strings.TrimSuffix(strings.TrimSuffix(strings.TrimRight(url, "/"), "/v2"), "/v1")
	host, rest, ok := strings.Cut(url, "/")
	if host = dockerHub(strings.ToLower(host)); ok {
		host += "/" + rest
	}
	return host
}

func dockerHub(host string) string {
	switch host {
	case "index.docker.io", "registry-1.docker.io", "hub.docker.com", "registry.hub.docker.com":
		return "docker.io"
	}
	return host
}

// credential decrypts the log-in of the saved registry of an image; nil when there is none.
func (m *Manager) credential(ctx context.Context, tx *store.Tx, account, image string) (*wire.AuthConfig, error) {
	r, err := registryOf(ctx, tx, account, image)
	if err != nil || r == nil {
		return nil, err
	}
	password, err := m.opts.Box.Open(r.Sealed, registryNames(r)...)
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", r.URL, err)
	}
	return &wire.AuthConfig{Username: r.Username, Password: string(password)}, nil
}
