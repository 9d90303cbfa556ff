package agent

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"hitoku.dev/internal/wire"
)

// exchange sends raw bytes, as unmodified clients do, and returns the reply.
func exchange(t *testing.T, base, raw string) (int, http.Header, map[string]any) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.Proto != "HTTP/1.1" {
		t.Errorf("protocol %s", res.Proto)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	if err := json.Unmarshal(body, &out); err != nil {
		t.Fatalf("reply %d %q: %v", res.StatusCode, body, err)
	}
	return res.StatusCode, res.Header, out
}

func get1(t *testing.T, base, path string) (int, map[string]any) {
	t.Helper()
	status, _, body := exchange(t, base, "GET "+path+" HTTP/1.1\r\nHost: 127.0.0.1:9092\r\n\r\n")
	return status, body
}

func post1(t *testing.T, base, path, body string) (int, map[string]any) {
	t.Helper()
	status, _, out := exchange(t, base, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: 127.0.0.1:9092\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body))
	return status, out
}

func csrPEM(t *testing.T, cn string) (string, *x509.CertificateRequest) {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: cn}, DNSNames: []string{cn}}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	req, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), req
}

func jsonOf(v any) string {
	raw, _ := json.Marshal(v)
	return string(raw)
}

func enrolledAgent(t *testing.T) (*fakeManager, *Agent, string) {
	t.Helper()
	m := newFakeManager(t)
	o := m.options(t)
	o.JoinToken = m.token(1, nil)
	a, base, _ := run(t, o)
	ready(t, a)
	return m, a, base
}

func TestFiveCallsOnTheWire(t *testing.T) {
	t.Parallel()
	m, a, base := enrolledAgent(t)
	certificate := pemOf(m.leaf("app.test", nil, &newKey(t).PublicKey, nil, 3600e9), m.zone)
	taskID := uuid.NewString()
	m.app = func(req *x509.CertificateRequest) (int, any) {
		res := wire.TaskResult{TaskID: taskID, TaskStatus: &wire.TaskStatus{Status: "SUCCESS"}, Certificate: certificate}
		switch req.Subject.CommonName {
		case "pending.test":
			res = wire.TaskResult{TaskID: taskID, TaskType: "BUILD_WHITELIST", TaskStatus: &wire.TaskStatus{Status: "INPROGRESS"}, Reason: "build 7 is not approved"}
		case "denied.test":
			res = wire.TaskResult{TaskID: taskID, TaskStatus: &wire.TaskStatus{Status: "DENIED"}, Reason: "no such build", Rules: []wire.Rule{{Name: "known_image", Wanted: "a", Seen: "b"}}}
		case "broken.test":
			return 500, wire.Error{Message: "database is gone", Code: "INTERNAL_SERVER_ERROR", Severity: "ERROR"}
		}
		return 200, res
	}
	m.mu.Lock()
	m.tasks[taskID] = &wire.TaskResult{TaskID: taskID, TaskStatus: &wire.TaskStatus{Status: "SUCCESS"}}
	m.mu.Unlock()
	root := pemOf(m.root)
	for _, prefix := range []string{"", "/v1", "/v1/v1", "//v1"} {
		t.Run("prefix "+prefix, func(t *testing.T) {
			if status, got := get1(t, base, prefix+"/sys/version"); status != 200 || got["version"] != "1.2.3" {
				t.Errorf("version: %d %v", status, got)
			}
			status, got := get1(t, base, prefix+"/enclave/target-info")
			info, _ := base64.StdEncoding.DecodeString(got["targetInfo"].(string))
			nonce, _ := base64.StdEncoding.DecodeString(got["nonce"].(string))
			if status != 200 || len(info) != 512 || len(nonce) != 32 || got["account_root"] != root {
				t.Errorf("target-info: %d %v", status, got)
			}
			ok, req := csrPEM(t, "app.test")
			// Unknown members are ignored, whatever their type.
			status, got = post1(t, base, prefix+"/certificate/issue", jsonOf(map[string]any{"csr": ok, "other": []int{1}, "": nil}))
			want := map[string]any{"task_id": taskID, "task_status": "SUCCESS", "certificate": certificate, "account_root": root}
			if status != 200 || !cmp.Equal(want, got) {
				t.Errorf("issue: %d %s", status, cmp.Diff(want, got))
			}
			if !bytes.Equal(m.lastRequest.Raw, req.Raw) {
				t.Error("the manager got another request than the workload sent")
			}
			// The client sends no body and no content type here.
			status, _, got = exchange(t, base, "POST "+prefix+"/certificate/result/"+taskID+" HTTP/1.1\r\nHost: 127.0.0.1:9092\r\nContent-Length: 0\r\n\r\n")
			if status != 200 || got["task_status"] != "SUCCESS" || got["task_id"] != taskID {
				t.Errorf("result: %d %v", status, got)
			}
			if status, got = post1(t, base, prefix+"/enclave/attest", jsonOf(map[string]any{"report": base64.StdEncoding.EncodeToString(make([]byte, 432)), "attestation_csr": ok})); status != 403 || got["code"] != "ATTESTATION_REQUIRED" {
				t.Errorf("attest: %d %v", status, got)
			}
		})
	}
	pending, _ := csrPEM(t, "pending.test")
	status, got := post1(t, base, "/v1/certificate/issue", jsonOf(map[string]any{"csr": pending}))
	if task, _ := got["task"].(map[string]any); status != 200 || got["task_status"] != "PENDING_WHITELIST" || task["task_id"] != taskID || task["description"] != "build 7 is not approved" {
		t.Errorf("pending: %d %v", status, got)
	}
	denied, _ := csrPEM(t, "denied.test")
	if status, got = post1(t, base, "/v1/certificate/issue", jsonOf(map[string]any{"csr": denied})); status != 200 || got["task_status"] != "DENIED" || got["reason"] != "no such build" || len(got["rules"].([]any)) != 1 {
		t.Errorf("denied: %d %v", status, got)
	}
	broken, _ := csrPEM(t, "broken.test")
	if status, got = post1(t, base, "/v1/certificate/issue", jsonOf(map[string]any{"csr": broken})); status != 502 || !strings.Contains(got["message"].(string), "database is gone") {
		t.Errorf("broken: %d %v", status, got)
	}
	s := a.Status()
	if len(s.Apps) != 3 || len(s.Refusals) != 2 || s.Refusals[0].Subject != "denied.test" || s.Refusals[0].Rules[0].Name != "known_image" {
		t.Errorf("apps %+v\nrefusals %+v", s.Apps, s.Refusals)
	}
}

func TestRefusedCalls(t *testing.T) {
	t.Parallel()
	_, _, base := enrolledAgent(t)
	request, parsed := csrPEM(t, "a.test")
	hash := sha256.Sum256(parsed.RawSubjectPublicKeyInfo)
	report := make([]byte, 432)
	copy(report[320:], hash[:])
	for name, tc := range map[string]struct {
		method, path, body string
		status             int
		want               string
	}{
		"unknown path":       {"GET", "/v1/sys/config", "", 404, "no such call"},
		"three prefixes":     {"GET", "/v1/v1/v1/sys/version", "", 404, "no such call"},
		"dots":               {"GET", "/v1/../v1/sys/version", "", 404, "no such call"},
		"wrong method":       {"POST", "/v1/sys/version", "{}", 405, "wanted GET"},
		"get of issue":       {"GET", "/v1/certificate/issue", "", 405, "wanted POST"},
		"empty body":         {"POST", "/v1/certificate/issue", "", 400, "wanted a JSON object"},
		"array":              {"POST", "/v1/certificate/issue", "[]", 400, "wanted a JSON object"},
		"no csr":             {"POST", "/v1/certificate/issue", "{}", 400, "is missing"},
		"null csr":           {"POST", "/v1/certificate/issue", `{"csr":null}`, 400, "is missing"},
		"csr of other type":  {"POST", "/v1/certificate/issue", `{"csr":5}`, 400, "wanted a string"},
		"csr twice":          {"POST", "/v1/certificate/issue", `{"csr":"a","csr":"b"}`, 400, "twice"},
		"csr twice escaped":  {"POST", "/v1/certificate/issue", `{"csr":"a","\u0063sr":"b"}`, 400, "twice"},
		"trailing bytes":     {"POST", "/v1/certificate/issue", `{"csr":"a"}{}`, 400, "after the JSON object"},
		"cut short":          {"POST", "/v1/certificate/issue", `{"csr":"a"`, 400, "request body"},
		"not UTF-8":          {"POST", "/v1/certificate/issue", "{\"csr\":\"\xff\"}", 400, "UTF-8"},
		"not PEM":            {"POST", "/v1/certificate/issue", `{"csr":"MIIB"}`, 400, "PEM"},
		"two blocks":         {"POST", "/v1/certificate/issue", jsonOf(map[string]string{"csr": request + request}), 400, "one PEM block"},
		"other PEM":          {"POST", "/v1/certificate/issue", jsonOf(map[string]string{"csr": strings.ReplaceAll(request, "CERTIFICATE REQUEST", "CERTIFICATE")}), 400, "CERTIFICATE REQUEST"},
		"too long":           {"POST", "/v1/certificate/issue", `{"csr":"` + strings.Repeat("a", maxBody) + `"}`, 413, "more than"},
		"task id":            {"POST", "/v1/certificate/result/..%2f..%2fnodes", "", 400, "UUID"},
		"unknown task":       {"POST", "/v1/certificate/result/" + uuid.NewString(), "", 404, "no such task"},
		"no report":          {"POST", "/v1/enclave/attest", jsonOf(map[string]any{"attestation_csr": request}), 400, "no report"},
		"short report":       {"POST", "/v1/enclave/attest", jsonOf(map[string]any{"report": "AAAA", "attestation_csr": request}), 400, "432 bytes"},
		"foreign report":     {"POST", "/v1/enclave/attest", jsonOf(map[string]any{"report": report, "attestation_csr": request}), 403, "report_mac"},
		"report of another":  {"POST", "/v1/enclave/attest", jsonOf(map[string]any{"report": make([]byte, 432), "attestation_csr": request}), 403, "report_mac"},
		"report unstated":    {"POST", "/v1/enclave/attest", jsonOf(map[string]any{"report": report, "attestation_csr": request}), 403, "binding: wanted"},
		"binding unreadable": {"POST", "/v1/enclave/attest", jsonOf(map[string]any{"report": report, "attestation_csr": request, "binding": "AAAA"}), 403, "binding: wanted"},
	} {
		t.Run(name, func(t *testing.T) {
			raw := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", tc.method, tc.path, len(tc.body), tc.body)
			status, head, got := exchange(t, base, raw)
			message, _ := got["message"].(string)
			if status != tc.status || !strings.Contains(message, tc.want) || got["code"] == "" || got["severity"] != "ERROR" {
				t.Errorf("%d %v, wanted %d with %q", status, got, tc.status, tc.want)
			}
			if head.Get("Content-Type") != "application/json" {
				t.Errorf("content type %q", head.Get("Content-Type"))
			}
		})
	}
}

func TestStatusIsForLoopback(t *testing.T) {
	t.Parallel()
	m, a, base := enrolledAgent(t)
	status, got := get1(t, base, "/v1/status")
	if status != 200 || got["node_id"] != a.Status().NodeID || got["account_id"] != m.accountID {
		t.Errorf("%d %v", status, got)
	}
	if raw := jsonOf(got); strings.Contains(raw, "PRIVATE") {
		t.Error("a key is in the status")
	}
	if status, _, got := exchange(t, base, "GET /v1/status HTTP/1.1\r\nHost: rebind.example:9092\r\n\r\n"); status != 403 {
		t.Errorf("by another host name: %d %v", status, got)
	}
}

func TestCallsWhileNotEnrolled(t *testing.T) {
	t.Parallel()
	m := newFakeManager(t)
	m.stop()
	o := m.options(t)
	o.JoinToken = m.token(1, nil)
	a, base, _ := run(t, o)
	eventually(t, "the agent waits", func() bool { return strings.Contains(a.Status().WaitingFor, "refused") })
	request, _ := csrPEM(t, "a.test")
	status, got := post1(t, base, "/v1/certificate/issue", jsonOf(map[string]string{"csr": request}))
	if status != 503 || got["code"] != "NODE_NOT_ENROLLED" || !strings.Contains(got["message"].(string), "waits for") {
		t.Errorf("%d %v", status, got)
	}
	m.start(m.addr)
	ready(t, a)
}

func TestManagerRestartCostsARequestOnlyTime(t *testing.T) {
	t.Parallel()
	m, _, base := enrolledAgent(t)
	m.stop()
	type answer struct {
		status int
		body   map[string]any
	}
	got := make(chan answer)
	go func() {
		status, body := get1(t, base, "/v1/enclave/target-info")
		got <- answer{status, body}
	}()
	m.start(m.addr)
	if a := <-got; a.status != 200 {
		t.Errorf("%d %v", a.status, a.body)
	}
}

func FuzzDecodeObject(f *testing.F) {
	for _, s := range []string{`{}`, `{"csr":"x"}`, `{"csr":"x","csr":"y"}`, `{"a":{"csr":1},"csr":"\u0000"}`, `[1]`, `{"csr":`, "{\"\\u0063sr\":\"x\"}", `{"csr":"x"} `} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var got string
		if decodeObject(raw, map[string]*string{"csr": &got}) != nil {
			return
		}
		// What is accepted is JSON, and the standard decoder reads the same member.
		var want map[string]any
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatalf("accepted %q: %v", raw, err)
		}
		if s, _ := want["csr"].(string); s != got {
			t.Fatalf("%q: %q, wanted %q", raw, got, s)
		}
	})
}
