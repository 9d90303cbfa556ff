package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"hitoku.dev/internal/wire"
)

// Get, Post and Patch are Call with the reply's type as parameter.
func Get[T any](ctx context.Context, c *Client, path string) (T, error) {
	var out T
	err := c.Call(ctx, http.MethodGet, path, nil, &out)
	return out, err
}

// Post sends in and returns the reply.
func Post[T any](ctx context.Context, c *Client, path string, in any) (T, error) {
	var out T
	err := c.Call(ctx, http.MethodPost, path, in, &out)
	return out, err
}

// Patch sends in and returns the reply.
func Patch[T any](ctx context.Context, c *Client, path string, in any) (T, error) {
	var out T
	err := c.Call(ctx, http.MethodPatch, path, in, &out)
	return out, err
}

// All reads every page of a list.
func All[T any](ctx context.Context, c *Client, path string) ([]T, error) {
	const page = 100
	var all []T
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	for {
		list, err := Get[wire.List[T]](ctx, c, fmt.Sprintf("%s%slimit=%d&offset=%d", path, sep, page, len(all)))
		if err != nil {
			return nil, err
		}
		all = append(all, list.Items...)
		if list.Metadata == nil || len(list.Items) == 0 || len(all) >= list.Metadata.FilteredCount {
			return all, nil
		}
	}
}

// AmbiguousError says that a name or an id's beginning stands for several objects.
type AmbiguousError struct {
	Kind, Name string
	IDs        []string
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%s %q stands for several: %s; give the id", e.Kind, e.Name, strings.Join(e.IDs, ", "))
}

// find returns the one item that name stands for: its id, its name, or the
// beginning of its id (at least 4 characters).
func find[T any](kind, name string, items []T, id, label func(T) string) (T, error) {
	var hits []T
	for _, it := range items {
		if id(it) == name || label(it) == name {
			hits = append(hits, it)
		}
	}
	if len(hits) == 0 && len(name) >= 4 {
		for _, it := range items {
			if strings.HasPrefix(id(it), name) {
				hits = append(hits, it)
			}
		}
	}
	var zero T
	switch len(hits) {
	case 1:
		return hits[0], nil
	case 0:
		known := make([]string, 0, len(items))
		for _, it := range items {
			if l := label(it); l != "" {
				known = append(known, l)
			}
		}
		if len(known) == 0 {
			return zero, fmt.Errorf("no %s is called %q; there are none yet", kind, name)
		}
		return zero, fmt.Errorf("no %s is called %q; there are: %s", kind, name, strings.Join(known[:min(len(known), 20)], ", "))
	}
	ids := make([]string, len(hits))
	for i, h := range hits {
		ids[i] = id(h)
	}
	return zero, &AmbiguousError{kind, name, ids}
}

// Account returns the account called name (or with that id).
func (c *Client) Account(ctx context.Context, name string) (wire.Account, error) {
	list, err := Get[wire.List[wire.Account]](ctx, c, "/v1/accounts")
	if err != nil {
		return wire.Account{}, err
	}
	return find("account", name, list.Items, func(a wire.Account) string { return a.AcctID }, func(a wire.Account) string { return a.Name })
}

// App returns the application called name (or with that id).
func (c *Client) App(ctx context.Context, name string) (wire.App, error) {
	apps, err := All[wire.App](ctx, c, "/v1/apps")
	if err != nil {
		return wire.App{}, err
	}
	return find("application", name, apps, func(a wire.App) string { return a.AppID }, func(a wire.App) string { return a.Name })
}

// Build returns the build with that id, measurement or image name (NAME:TAG).
func (c *Client) Build(ctx context.Context, name string) (wire.Build, error) {
	builds, err := All[wire.Build](ctx, c, "/v1/builds")
	if err != nil {
		return wire.Build{}, err
	}
	for _, b := range builds {
		if b.EnclaveInfo != nil && strings.EqualFold(b.EnclaveInfo.MREnclave, name) {
			return b, nil
		}
	}
	return find("image", name, builds, func(b wire.Build) string { return b.BuildID }, BuildName)
}

// BuildName is how a build is shown to people: image name and tag.
func BuildName(b wire.Build) string {
	if b.DockerInfo == nil {
		return b.AppName
	}
	return b.DockerInfo.DockerImageName + ":" + b.DockerInfo.DockerVersion
}

// Node returns the compute node called name (or with that id).
func (c *Client) Node(ctx context.Context, name string) (wire.Node, error) {
	nodes, err := All[wire.Node](ctx, c, "/v1/nodes")
	if err != nil {
		return wire.Node{}, err
	}
	return find("node", name, nodes, func(n wire.Node) string { return n.NodeID }, func(n wire.Node) string { return n.Name })
}

// Task returns the task with that id or beginning of an id.
func (c *Client) Task(ctx context.Context, id string) (wire.Task, error) {
	tasks, err := All[wire.Task](ctx, c, "/v1/tasks")
	if err != nil {
		return wire.Task{}, err
	}
	return find("task", id, tasks, func(t wire.Task) string { return t.TaskID }, func(t wire.Task) string { return t.TaskID })
}

// Zone returns the zone called name, or the account's first one for an empty name.
func (c *Client) Zone(ctx context.Context, name string) (wire.Zone, error) {
	zones, err := Get[[]wire.Zone](ctx, c, "/v1/zones")
	if err != nil {
		return wire.Zone{}, err
	}
	if name == "" && len(zones) > 0 {
		return zones[0], nil
	}
	return find("zone", name, zones, func(z wire.Zone) string { return z.ZoneID }, func(z wire.Zone) string { return z.Name })
}

// Registry returns the saved registry with that URL or id.
func (c *Client) Registry(ctx context.Context, name string) (wire.Registry, error) {
	regs, err := Get[[]wire.Registry](ctx, c, "/v1/registry")
	if err != nil {
		return wire.Registry{}, err
	}
	return find("registry", name, regs, func(r wire.Registry) string { return r.RegistryID }, func(r wire.Registry) string { return r.URL })
}

// Query appends non-empty parameters to path.
func Query(path string, pairs ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}
