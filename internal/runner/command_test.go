package runner

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hitoku.dev/internal/sgxhost"
)

func TestParsePort(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]*portMapping{
		"8443:443": {"", 8443, 443}, "443": {"", 0, 443}, "127.0.0.1:1:2": {"127.0.0.1", 1, 2}, "127.0.0.1::2": {"127.0.0.1", 0, 2},
		"[::1]:1:2": {"::1", 1, 2}, "0:5": {"", 0, 5}, "1:2/tcp": {"", 1, 2},
		"": nil, "x": nil, "1:x": nil, "0": nil, "1:0": nil, "70000:1": nil, "1:70000": nil, "1:2/udp": nil, "host:1:2": nil, "[::1:1:2": nil, "1:2:3:4": nil, "-1:2": nil,
	} {
		got, err := parsePort(text)
		var usage *UsageError
		switch {
		case want == nil && !errors.As(err, &usage):
			t.Errorf("%q: %+v, %v", text, got, err)
		case want != nil && (err != nil || got != *want):
			t.Errorf("%q: %+v, %v; wanted %+v", text, got, err, *want)
		}
	}
}

func FuzzParsePort(f *testing.F) {
	for _, s := range []string{"1:2", "[::1]:1:2", "127.0.0.1::5/tcp", "]:["} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := parsePort(s); err == nil && (p.container < 1 || p.container > 65535 || p.host < 0 || p.host > 65535) {
			t.Errorf("%q: %+v", s, p)
		}
	})
}

func TestParseVolume(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]*volume{
		"/a:/b": {"/a", "/b", false}, "/a:/b/../c:ro": {"/a", "/c", true}, "/a:/b:rw": {"/a", "/b", false},
		"a:/b": nil, "/a:b": nil, "/a": nil, "/a:/": nil, "/a:/b:z": nil, "/a:/b:ro:x": nil, "": nil,
	} {
		got, err := parseVolume(text)
		if (err == nil) != (want != nil) || want != nil && got != *want {
			t.Errorf("%q: %+v, %v; wanted %+v", text, got, err, want)
		}
	}
}

// statusServer answers as a node agent on loopback that listens on the given addresses.
func statusServer(t *testing.T, listen string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"listen":[`+listen+`]}`) }))
	t.Cleanup(s.Close)
	return s.URL
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	bridge := statusServer(t, `"127.0.0.1:9092","172.18.0.1:9092"`)
	for name, tc := range map[string]struct {
		engine string
		o      Options
		want   string
	}{
		"SGX elsewhere": {EngineDocker, Options{Agent: bridge, TEE: TEESGX}, "docker run --device /dev/sgx_enclave -v /var/run/aesmd/aesm.socket:/var/run/aesmd/aesm.socket -e NODE_AGENT_BASE_URL=http://172.18.0.1:9092 shop:1"},
		"SGX, other names": {
			EnginePodman,
			Options{Agent: bridge, TEE: TEESGX, SGX: &sgxhost.Platform{Ready: true, EnclaveDevice: "/dev/sgx/enclave", AESM: "/run/aesmd/aesm.socket"}},
			"podman run --device /dev/sgx/enclave:/dev/sgx_enclave -v /run/aesmd/aesm.socket:/var/run/aesmd/aesm.socket -e NODE_AGENT_BASE_URL=http://172.18.0.1:9092 shop:1",
		},
		"plain":        {EngineDocker, Options{Agent: bridge}, "docker run -v /run/hitoku/tee:/run/hitoku/tee:ro -e NODE_AGENT_BASE_URL=http://172.18.0.1:9092 shop:1"},
		"given":        {EngineDocker, Options{Agent: "http://10.0.0.1:9092/v1/"}, "docker run -v /run/hitoku/tee:/run/hitoku/tee:ro -e NODE_AGENT_BASE_URL=http://10.0.0.1:9092 shop:1"},
		"without port": {EngineDocker, Options{Agent: "10.0.0.1"}, "docker run -v /run/hitoku/tee:/run/hitoku/tee:ro -e NODE_AGENT_BASE_URL=http://10.0.0.1:9092 shop:1"},
		"all": {
			EnginePodman,
			Options{Agent: bridge, Remove: true, Detach: true, Name: "n", TEEDir: "/t", Env: []string{"A=b c"}, Ports: []string{"1:2"}, Volumes: []string{"/a:/b"}, Args: []string{"-x", "it's"}},
			`podman run --rm -d --name n -v /t:/run/hitoku/tee:ro -e NODE_AGENT_BASE_URL=http://172.18.0.1:9092 -e 'A=b c' -p 1:2 -v /a:/b shop:1 -x 'it'\''s'`,
		},
		"every address": {EnginePodman, Options{Agent: statusServer(t, `"0.0.0.0:9093"`)}, "podman run -v /run/hitoku/tee:/run/hitoku/tee:ro -e NODE_AGENT_BASE_URL=http://host.containers.internal:9093 shop:1"},
	} {
		tc.o.Image = "shop:1"
		argv, err := CommandLine(t.Context(), tc.engine, tc.o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(tc.want, ShellQuote(argv)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for name, tc := range map[string]struct {
		o    Options
		want string
	}{
		"loopback only": {Options{Image: "a", Agent: statusServer(t, `"127.0.0.1:9092"`)}, "--listen"},
		"no agent":      {Options{Image: "a", Agent: "http://127.0.0.1:1"}, "hitoku agent"},
		"https":         {Options{Image: "a", Agent: "https://x"}, "wanted http://"},
		"no image":      {Options{}, "no image"},
		"flag as image": {Options{Image: "--privileged"}, "flags go before"},
		"bad name":      {Options{Image: "a", Name: "-x"}, "name"},
		"bad env":       {Options{Image: "a", Env: []string{"=x"}}, "NAME=VALUE"},
		"relative tee":  {Options{Image: "a", TEEDir: "tee"}, "absolute"},
	} {
		if _, err := CommandLine(t.Context(), EngineDocker, tc.o); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, wanted %q", name, err, tc.want)
		}
	}
}

// What is logged names variables and not what is in them.
func TestShownCommandHoldsNoSecret(t *testing.T) {
	t.Parallel()
	argv, err := CommandLine(t.Context(), EngineDocker, Options{
		Agent: "10.0.0.1", Image: "shop:1", Env: []string{"PASSWORD=s3cret=x", "EMPTY=", "FROM_SHELL"}, Args: []string{"-e", "plain"},
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = "docker run -v /run/hitoku/tee:/run/hitoku/tee:ro -e NODE_AGENT_BASE_URL=http://10.0.0.1:9092 -e 'PASSWORD=…' -e 'EMPTY=…' -e FROM_SHELL shop:1 -e plain"
	if got := ShellQuote(withoutValues(argv)); got != want {
		t.Errorf("%s\nwanted %s", got, want)
	}
	if !strings.Contains(ShellQuote(argv), "s3cret") {
		t.Error("the command itself has lost a value")
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	away := errors.New("away")
	for name, tc := range map[string]struct {
		engine          string
		docker, podman  error
		builtin         error
		want, wantError string
	}{
		"docker first":     {"auto", nil, nil, nil, "docker", ""},
		"then podman":      {"", away, nil, nil, "podman", ""},
		"then the builtin": {"auto", away, away, nil, "builtin", ""},
		"nothing":          {"auto", away, away, errors.New("no namespaces"), "", "no namespaces"},
		"asked for":        {"builtin", nil, nil, nil, "builtin", ""},
		"asked and away":   {"docker", away, nil, nil, "docker", "away"},
		"unknown":          {"lxc", nil, nil, nil, "", "wanted auto, docker, podman, builtin"},
	} {
		got, err := choose(t.Context(), tc.engine, func(_ context.Context, e string) error {
			return map[string]error{"docker": tc.docker, "podman": tc.podman}[e]
		}, func() error { return tc.builtin })
		if tc.wantError == "" && (err != nil || got != tc.want) || tc.wantError != "" && (err == nil || !strings.Contains(err.Error(), tc.wantError)) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestSGXRefusals(t *testing.T) {
	t.Parallel()
	bare := &sgxhost.Platform{Problems: []sgxhost.Problem{{Rule: "processor", Wanted: "SGX", Seen: "none", Advice: "take another"}}}
	for want, c := range map[string]struct {
		engine string
		o      Options
	}{
		"cannot run SGX enclaves with evidence: processor": {EngineDocker, Options{TEE: TEESGX, SGX: bare}},
		"no devices for SGX": {EngineBuiltin, Options{TEE: TEESGX}},
		"--tee-dir is the":   {EngineDocker, Options{TEE: TEESGX, TEEDir: "/t"}},
		`--tee "tdx"`:        {EngineDocker, Options{TEE: "tdx"}},
	} {
		c.o.Image, c.o.Agent = "shop:1", "10.0.0.1"
		if _, err := CommandLine(t.Context(), c.engine, c.o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, wanted %q", err, want)
		}
	}
}
