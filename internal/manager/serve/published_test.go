package serve

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"

	"hitoku.dev/internal/wire"
)

// TestPublishedFlow replays what clients of the published interface send, in the order of
// the how-to: cookies with the CSRF header, exact statuses, the members they cannot do without.
func TestPublishedFlow(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.user("admin@example.com", w.ready.Code)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := w.client(jar)
	csrf := func(r *http.Request) { r.Header.Set("X-CSRF-Header", "true") }
	call := func(method, path string, in any, status int, has ...string) map[string]any {
		t.Helper()
		a := w.do(browser, method, path, in, csrf)
		if a.status != status {
			t.Fatalf("%s %s: status %d, wanted %d: %s", method, path, a.status, status, a.body)
		}
		var out any
		if len(a.body) > 0 {
			if err := json.Unmarshal(a.body, &out); err != nil {
				t.Fatalf("%s %s: %v in %s", method, path, err, a.body)
			}
		}
		object, _ := out.(map[string]any)
		if list, ok := out.([]any); ok {
			object, _ = list[0].(map[string]any)
		}
		for _, name := range has {
			member(t, method+" "+path, object, name)
		}
		return object
	}
	// 1: Basic, empty body; JSON and cookies.
	a := w.do(browser, "POST", "/v1/sys/auth", nil, func(r *http.Request) {
		r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("Admin@Example.com:correct horse")))
	})
	if a.status != http.StatusOK || len(a.header.Values("Set-Cookie")) == 0 {
		t.Fatalf("log-in: %d %s %v", a.status, a.body, a.header)
	}
	// 2: a refresh before each call.
	call("POST", "/v1/sys/session/refresh", nil, 200, "session_info.subject_id", "session_info.session_expires_at", "session_info.session_token_expires_at")
	if a := w.do(browser, "GET", "/v1/user", nil); a.status != http.StatusForbidden {
		t.Errorf("a cookie without the CSRF header: status %d, wanted 403", a.status)
	}
	// 3, 4: accounts.
	account := call("POST", "/v1/accounts", map[string]any{"name": "acme", "custom_logo": "", "auth_configs": []any{}, "node_enrollment": map[string]any{"attestation_enforcement_disabled_insecure": true}}, 200, "acct_id", "component", "node_enrollment.attestation_enforcement_disabled_insecure")
	id := account["acct_id"].(string)
	call("POST", "/v1/sys/session/select_account/"+id, nil, 200, "session_info.subject_id")
	call("POST", "/v1/accounts/select_account/"+id, nil, 204)
	call("GET", "/v1/accounts", nil, 200, "items.0.acct_id")
	call("GET", "/v1/user", nil, 200, "user_id", "user_email")
	call("POST", "/v1/users/invite", map[string]any{"user_email": "bob@example.com", "roles": []string{"READER"}, "unknown_member": 1}, 201, "user_id", "user_email")
	call("POST", "/v1/users/process_invite", map[string]any{"accepts": []string{}, "rejects": []string{}}, 204)
	call("GET", "/v1/users", nil, 200, "items.0.user_id", "metadata.filtered_count")
	// 5, 6: zones are a bare array.
	zone := call("GET", "/v1/zones", nil, 200, "acct_id", "zone_id", "name", "certificate", "node_refresh_interval", "node_renewal_threshold", "node_enrollment")
	call("GET", "/v1/zones/"+zone["zone_id"].(string)+"/token", nil, 200, "token")
	// 7: applications.
	app := call("POST", "/v1/apps", map[string]any{
		"name": "python", "description": "", "input_image_name": "docker.io/fortanix/python-flask", "output_image_name": "registry/python", "isvprodid": 1, "isvsvn": 1, "mem_size": 1024, "threads": 128,
		"allowed_domains": []string{"myapp.domain.com"},
	}, 200, "app_id", "isvprodid", "isvsvn", "mem_size", "threads", "default_build_settings", "domains_added.0", "pending_task_id")
	call("GET", "/v1/apps?name=python", nil, 200, "metadata.filtered_count", "items.0.app_id")
	call("PATCH", "/v1/apps/"+app["app_id"].(string), map[string]any{"allowed_domains": []string{"other.domain.com"}}, 400, "message", "code", "severity")
	// 8: builds.
	build := call("POST", "/v1/builds", map[string]any{
		"app_id": app["app_id"], "mrenclave": strings.Repeat("ab", 32), "mrsigner": strings.Repeat("cd", 32), "isvprodid": 1, "isvsvn": 1, "mem_size": 1024, "threads": 128,
		"docker_info": map[string]any{"docker_image_name": "registry/python", "docker_version": "latest"},
	}, 200, "build_id", "status.status", "status.status_updated_at", "enclave_info.mrenclave", "app_name", "pending_task_id")
	call("POST", "/v1/builds", map[string]any{"app_id": app["app_id"], "mrenclave": strings.Repeat("ab", 32), "mrsigner": strings.Repeat("cd", 32), "isvprodid": 1, "isvsvn": 1}, 400, "message", "code")
	// 9: tasks.
	call("GET", "/v1/tasks?status=PENDING", nil, 200, "items.0.task_id", "items.0.requester_info.requester_type", "items.0.entity_id", "items.0.task_type", "items.0.status.status", "items.0.approvals")
	for _, task := range []any{build["pending_task_id"], app["pending_task_id"]} {
		r := call("PATCH", "/v1/tasks/"+task.(string), map[string]any{"status": "APPROVED"}, 200, "task_status.status")
		if got := r["task_status"].(map[string]any)["status"]; got != "SUCCESS" {
			t.Errorf("approved task: status %v, wanted SUCCESS", got)
		}
	}
	if got := call("GET", "/v1/builds/"+build["build_id"].(string), nil, 200, "build_id"); got["status"].(map[string]any)["status"] != "WHITELISTED" {
		t.Errorf("approved build: %v", got["status"])
	}
	// 10: nodes.
	call("GET", "/v1/nodes", nil, 200, "items", "metadata.total_count")
	call("POST", "/v1/sys/session/terminate", nil, 204)
	if a := w.do(browser, "GET", "/v1/user", nil, csrf); a.status != http.StatusUnauthorized {
		t.Errorf("after log-out: status %d, wanted 401", a.status)
	}
}

// member fails unless the dotted path leads to a value that is not null.
func member(t *testing.T, what string, object map[string]any, path string) {
	t.Helper()
	var v any = object
	for _, part := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[part]
		case []any:
			v = nil
			if part == "0" && len(x) > 0 {
				v = x[0]
			}
		default:
			v = nil
		}
	}
	if v == nil {
		t.Errorf("%s: the reply has no %s: %v", what, path, object)
	}
}

// TestRequestsThatAreRefused lists what a request may not be.
func TestRequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	w := start(t)
	p := w.user("admin@example.com", w.ready.Code)
	p.account("acme")
	for _, tc := range []struct {
		name, method, path string
		in                 any
		status             int
		code               string
	}{
		{"a member twice", "POST", "/v1/apps", `{"name":"a","name":"b","input_image_name":"x","output_image_name":"y"}`, 400, ""},
		{"a wrong type", "POST", "/v1/apps", `{"name":7,"input_image_name":"x","output_image_name":"y"}`, 400, "INVALID_BODY_PARAMETER"},
		{"no JSON", "POST", "/v1/apps", `{`, 400, ""},
		{"no body", "POST", "/v1/apps", nil, 400, ""},
		{"a missing member", "POST", "/v1/apps", `{"name":"a"}`, 400, ""},
		{"a body that is too large", "POST", "/v1/apps", `{"name":"` + strings.Repeat("x", 1<<20) + `"}`, 413, "REQUEST_PAYLOAD_TOO_LARGE"},
		{"an unknown path", "GET", "/v1/nothing", nil, 404, "NOT_FOUND"},
		{"an unknown method", "PUT", "/v1/apps", `{}`, 405, "METHOD_NOT_ALLOWED"},
		{"an id that is none", "GET", "/v1/apps/nothing", nil, 404, "NOT_FOUND"},
		{"a limit that is none", "GET", "/v1/apps?limit=-1", nil, 400, "INVALID_QUERY_PARAMETER"},
		{"a sort key that is none", "GET", "/v1/apps?sort_by=secret:ASC", nil, 400, ""},
		{"enrolling without a join token", "POST", "/v1/nodes", `{"name":"n","ipaddress":"1.2.3.4","sgx_version":"2"}`, 400, ""},
		{"an agent's call without certificate", "POST", "/v1/certificates", wire.CertificateRequest{CSR: "x"}, 401, "NODE_NOT_ENROLLED"},
	} {
		a := p.do(tc.method, tc.path, tc.in)
		var e wire.Error
		if a.status != tc.status || json.Unmarshal(a.body, &e) != nil || e.Message == "" || e.Code == "" || e.Severity == "" || tc.code != "" && e.Code != tc.code {
			if tc.name == "enrolling without a join token" && (a.status == 401 || a.status == 403) {
				continue
			}
			t.Errorf("%s: status %d %s, wanted %d %s", tc.name, a.status, a.body, tc.status, tc.code)
		}
	}
}

// TestAliasPath serves the other generation's path.
func TestAliasPath(t *testing.T) {
	t.Parallel()
	w := start(t)
	p := &person{w: w}
	p.must(p.do("GET", "/api/v1/confidential_computing/sys/version", nil), 200, &wire.Version{})
}
