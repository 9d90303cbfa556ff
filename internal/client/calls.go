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

// pageSize is how many items All asks for at a time; the manager gives at most 1000.
const pageSize = 100

// All reads every page of a list. The result is never nil.
func All[T any](ctx context.Context, c *Client, path string) ([]T, error) {
	all, _, err := Newest[T](ctx, c, path, 0)
	return all, err
}

// Newest reads the first limit items of a list, all for 0, and returns how many
// there are in total. The result is never nil.
func Newest[T any](ctx context.Context, c *Client, path string, limit int) ([]T, int, error) {
	all := []T{}
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	for {
		size := pageSize
		if limit > 0 {
			size = min(size, limit-len(all))
		}
		list, err := Get[wire.List[T]](ctx, c, fmt.Sprintf("%s%slimit=%d&offset=%d", path, sep, size, len(all)))
		if err != nil {
			return nil, 0, err
		}
		all = append(all, list.Items...)
		total := len(all)
		if list.Metadata != nil {
			total = list.Metadata.FilteredCount
		}
		if len(list.Items) == 0 || len(all) >= total || limit > 0 && len(all) >= limit {
			return all, total, nil
		}
	}
}

// Account returns the account called name (or with that id).
func (c *Client) Account(ctx context.Context, name string) (wire.Account, error) {
	accounts, err := All[wire.Account](ctx, c, "/v1/accounts")
	if err != nil {
		return wire.Account{}, err
	}
	return find("account", name, accounts, func(a wire.Account) object { return object{id: a.AcctID, name: a.Name} })
}

// App returns the application called name (or with that id).
func (c *Client) App(ctx context.Context, name string) (wire.App, error) {
	apps, err := All[wire.App](ctx, c, "/v1/apps")
	if err != nil {
		return wire.App{}, err
	}
	return find("application", name, apps, func(a wire.App) object { return object{id: a.AppID, name: a.Name} })
}

// Build returns the build with that id, measurement or image name (NAME:TAG).
// By its id it finds one that the manager is still converting, too.
func (c *Client) Build(ctx context.Context, name string) (wire.Build, error) {
	if isID(name) {
		return Get[wire.Build](ctx, c, "/v1/builds/"+name)
	}
	builds, err := All[wire.Build](ctx, c, "/v1/builds")
	if err != nil {
		return wire.Build{}, err
	}
	return find("image", name, builds, func(b wire.Build) object {
		o := object{id: b.BuildID, name: BuildName(b)}
		if b.EnclaveInfo != nil {
			o.digest = b.EnclaveInfo.MREnclave
		}
		return o
	})
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
	return find("node", name, nodes, func(n wire.Node) object { return object{id: n.NodeID, name: n.Name} })
}

// Task returns the task with that id or beginning of an id.
func (c *Client) Task(ctx context.Context, id string) (wire.Task, error) {
	if isID(id) {
		return Get[wire.Task](ctx, c, "/v1/tasks/"+id)
	}
	tasks, err := All[wire.Task](ctx, c, "/v1/tasks")
	if err != nil {
		return wire.Task{}, err
	}
	return find("task", id, tasks, func(t wire.Task) object { return object{id: t.TaskID} })
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
	return find("zone", name, zones, func(z wire.Zone) object { return object{id: z.ZoneID, name: z.Name} })
}

// Registry returns the saved registry with that URL or id.
func (c *Client) Registry(ctx context.Context, name string) (wire.Registry, error) {
	regs, err := Get[[]wire.Registry](ctx, c, "/v1/registry")
	if err != nil {
		return wire.Registry{}, err
	}
	return find("registry", name, regs, func(r wire.Registry) object { return object{id: r.RegistryID, name: r.URL} })
}

// User returns the user with that e-mail address or id in the account, or for a
// system administrator anywhere.
func (c *Client) User(ctx context.Context, name string) (wire.User, error) {
	if isID(name) {
		return Get[wire.User](ctx, c, "/v1/users/"+name)
	}
	lookUp := func(path string) (wire.User, error) {
		users, err := All[wire.User](ctx, c, path)
		if err != nil {
			return wire.User{}, err
		}
		return find("user", name, users, func(u wire.User) object { return object{id: u.UserID, name: u.UserEmail} })
	}
	u, err := lookUp("/v1/users")
	if err == nil {
		return u, nil
	}
	if u, allErr := lookUp("/v1/users?scope=all"); allErr == nil {
		return u, nil
	}
	return u, err
}

// Token returns the caller's API token with that name or id. An id of another's
// token is taken as it is: managers of the account may revoke those.
func (c *Client) Token(ctx context.Context, name string) (wire.APIToken, error) {
	tokens, err := All[wire.APIToken](ctx, c, "/v1/user/tokens")
	if err != nil {
		return wire.APIToken{}, err
	}
	t, err := find("token", name, tokens, func(t wire.APIToken) object { return object{id: t.TokenID, name: t.Name} })
	if err != nil && isID(name) {
		return wire.APIToken{TokenID: name, Name: name}, nil
	}
	return t, err
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
