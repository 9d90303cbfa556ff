package guest

import (
	"slices"
	"testing"

	"hitoku.dev/measure/workload"
)

func TestProgramEnv(t *testing.T) {
	t.Parallel()
	env := workload.Env{Allowed: []string{"REGION"}, Fixed: []string{"PATH=/bin", "MODE=safe"}, Mutable: []string{"LEVEL=info"}}
	for name, c := range map[string]struct {
		env           workload.Env
		home          string
		host          []string
		want, ignored []string
	}{
		"nothing from the host": {env: env, want: []string{"PATH=/bin", "MODE=safe", "LEVEL=info"}},
		"allowed and mutable": {
			env: env, host: []string{"REGION=eu", "LEVEL=debug", "HOSTNAME=abc"},
			want: []string{"PATH=/bin", "MODE=safe", "LEVEL=debug", "REGION=eu", "HOSTNAME=abc"},
		},
		"evil environment": {
			env:  env,
			host: []string{"LD_PRELOAD=/tmp/x.so", "MODE=debug", "PATH=/tmp", "GODEBUG=x", "SSL_CERT_FILE=/tmp/ca", "HTTPS_PROXY=http://x", "PYTHONPATH=/tmp", "=odd", "odd"},
			want: []string{"PATH=/bin", "MODE=safe", "LEVEL=info"}, ignored: []string{"GODEBUG", "HTTPS_PROXY", "LD_PRELOAD", "MODE", "PYTHONPATH", "SSL_CERT_FILE"},
		},
		"the image's own values repeated": {env: env, host: []string{"PATH=/bin", "MODE=safe"}, want: []string{"PATH=/bin", "MODE=safe", "LEVEL=info"}},
		"the guest's own":                 {env: env, host: []string{"NODE_AGENT_BASE_URL=http://x:1"}, want: []string{"PATH=/bin", "MODE=safe", "LEVEL=info"}},
		"an image without PATH and HOME":  {home: "/root", host: []string{"PATH=/tmp", "HOME=/tmp"}, want: []string{"PATH=" + defaultPath, "HOME=/root"}},
		"host name fixed":                 {env: workload.Env{Fixed: []string{"PATH=/", "HOSTNAME=a"}}, host: []string{"HOSTNAME=b"}, want: []string{"PATH=/", "HOSTNAME=a"}},
		"the last value counts":           {env: env, host: []string{"REGION=a", "REGION=b"}, want: []string{"PATH=/bin", "MODE=safe", "LEVEL=info", "REGION=b"}},
	} {
		m := &workload.Manifest{Env: c.env, Exec: workload.Exec{Home: c.home}}
		got, ignored := programEnv(m, c.host)
		if !slices.Equal(got, c.want) || !slices.Equal(ignored, c.ignored) {
			t.Errorf("%s: got %q ignored %q, wanted %q ignored %q", name, got, ignored, c.want, c.ignored)
		}
	}
}

func TestProgramArgs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		exec                workload.Exec
		host, want, ignored []string
	}{
		"defaults":          {workload.Exec{Entry: []string{"/app"}, Args: []string{"a"}}, nil, []string{"/app", "a"}, nil},
		"repeated":          {workload.Exec{Entry: []string{"/app"}, Args: []string{"a"}}, []string{"a"}, []string{"/app", "a"}, nil},
		"ignored":           {workload.Exec{Entry: []string{"/app"}, Args: []string{"a"}}, []string{"--insecure", "b"}, []string{"/app", "a"}, []string{"--insecure", "b"}},
		"allowed":           {workload.Exec{AllowArgs: true, Entry: []string{"/app"}, Args: []string{"a"}}, []string{"b"}, []string{"/app", "b"}, nil},
		"no entry":          {workload.Exec{Args: []string{"sh"}}, []string{"rm"}, []string{"sh"}, []string{"rm"}},
		"no entry, allowed": {workload.Exec{AllowArgs: true, Args: []string{"sh"}}, []string{"ls", "/"}, []string{"ls", "/"}, nil},
	} {
		got, ignored := programArgs(&c.exec, c.host)
		if !slices.Equal(got, c.want) || !slices.Equal(ignored, c.ignored) {
			t.Errorf("%s: got %q ignored %q", name, got, ignored)
		}
	}
}
