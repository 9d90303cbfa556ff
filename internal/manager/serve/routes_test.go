package serve

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"hitoku.dev/internal/manager/api"
	"hitoku.dev/internal/wire"
)

// route is one operation of the OpenAPI document.
type route struct{ method, path, class string }

func routes(t *testing.T) []route {
	t.Helper()
	raw, err := api.New(api.Options{Version: "test"}).OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			Class string `json:"x-authorization-class"`
		}
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("the document says OpenAPI %s", doc.OpenAPI)
	}
	var all []route
	for path, methods := range doc.Paths {
		for method, op := range methods {
			all = append(all, route{strings.ToUpper(method), path, op.Class})
		}
	}
	slices.SortFunc(all, func(a, b route) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	return all
}

// TestEveryRouteWantsItsProof calls each route without any.
func TestEveryRouteWantsItsProof(t *testing.T) {
	t.Parallel()
	w := start(t)
	nobody := &person{w: w}
	for _, r := range routes(t) {
		if r.class == "NoAuth" {
			continue
		}
		path := strings.NewReplacer("{id}", "00000000-0000-4000-8000-000000000000", "{node}", "x", "{token_id}", "x").Replace(r.path)
		if a := nobody.do(r.method, path, `{}`); a.status != http.StatusUnauthorized {
			t.Errorf("%s %s (%s): status %d, wanted 401: %s", r.method, path, r.class, a.status, a.body)
		}
	}
}

// TestOtherAccountsIDsAreNotFound gives ids of one account to a manager of another, on
// every route that takes one.
func TestOtherAccountsIDsAreNotFound(t *testing.T) {
	t.Parallel()
	w := start(t)
	alice := w.user("alice@example.com", w.ready.Code)
	acme := alice.account("acme")
	app := alice.app("web", "web.example.com")
	var build wire.Build
	alice.must(alice.do("POST", "/v1/builds", wire.BuildRequest{AppID: app.AppID, MREnclave: strings.Repeat("ab", 32), MRSigner: strings.Repeat("cd", 32)}), 200, &build)
	var zones []wire.Zone
	alice.must(alice.do("GET", "/v1/zones", nil), 200, &zones)
	var registry wire.Registry
	alice.must(alice.do("POST", "/v1/registry", map[string]any{"url": "registry.example.com", "credential": map[string]any{"default": map[string]string{"username": "u", "password": "p"}}}), 200, &registry)
	var token wire.JoinToken
	alice.must(alice.do("POST", "/v1/zones/"+zones[0].ZoneID+"/join-tokens", wire.JoinTokenRequest{}), 201, &token)

	mallory := w.user("mallory@example.com", "")
	mallory.account("evil")
	ids := map[string]string{
		"accounts": acme.AcctID, "apps": app.AppID, "builds": build.BuildID, "zones": zones[0].ZoneID, "registry": registry.RegistryID,
		"tasks": build.PendingTaskID, "users": "", "nodes": "", "certificates": "",
	}
	bodies := map[string]string{
		"PATCH /v1/apps/{id}": `{"description":"mine"}`, "PATCH /v1/tasks/{id}": `{"status":"APPROVED"}`, "PATCH /v1/registry/{id}": `[{"op":"replace","path":"/description","value":"mine"}]`,
		"PATCH /v1/accounts/{id}": `{"name":"mine"}`, "PATCH /v1/nodes/{id}": `{"patch":[]}`, "PATCH /v1/users/{id}": `{"first_name":"x"}`, "PATCH /v1/builds/{id}": `{"configs":{}}`,
	}
	tried := 0
	for _, r := range routes(t) {
		if r.class != "UserAuth" || !strings.Contains(r.path, "{") || strings.HasPrefix(r.path, "/v1/users/{id}") || strings.HasPrefix(r.path, "/v1/user/tokens") {
			continue
		}
		kind := strings.Split(r.path, "/")[2]
		switch {
		case strings.Contains(r.path, "select_account"):
			kind = "accounts"
		case strings.Contains(r.path, "/registry/app/"):
			kind = "apps"
		}
		id := ids[kind]
		if id == "" {
			id = "11111111-1111-4111-8111-111111111111"
		}
		path := strings.NewReplacer("{id}", id, "{node}", "11111111-1111-4111-8111-111111111111", "{token_id}", token.TokenID).Replace(r.path)
		in, ok := bodies[r.method+" "+r.path]
		if !ok {
			in = `{}`
		}
		a := mallory.do(r.method, path, in)
		tried++
		if a.status != http.StatusNotFound {
			t.Errorf("%s %s: status %d, wanted 404: %s", r.method, r.path, a.status, a.body)
		}
		if strings.Contains(string(a.body), "acme") || strings.Contains(string(a.body), "web.example.com") {
			t.Errorf("%s %s: the reply tells about the other account: %s", r.method, r.path, a.body)
		}
	}
	if tried < 25 {
		t.Errorf("only %d routes were tried", tried)
	}
	var still wire.App
	alice.must(alice.do("GET", "/v1/apps/"+app.AppID, nil), 200, &still)
	if still.Description != "" {
		t.Errorf("the application was changed: %+v", still)
	}
}
