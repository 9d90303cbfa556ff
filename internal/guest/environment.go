package guest

import (
	"maps"
	"slices"
	"strings"

	"hitoku.dev/measure/workload"
)

// defaultPath is what engines set when the image sets no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// silentEnv are variables that engines set by themselves and this program's
// own: nobody asked for them, so that no line is logged when they are ignored.
var silentEnv = map[string]bool{
	"PATH": true, "HOME": true, "HOSTNAME": true, "TERM": true, "container": true,
	agentURLEnv: true, agentOldEnv: true,
}

// programEnv returns the environment that the manifest allows (security
// decision S16) and the names of the host's variables that it ignores, sorted.
// Of a name that the host gives twice the last value counts.
func programEnv(m *workload.Manifest, host []string) (env, ignored []string) {
	given := envMap(host)
	used := map[string]bool{}
	have := map[string]bool{}
	add := func(name, value string) {
		env = append(env, name+"="+value)
		have[name] = true
	}
	for _, pair := range m.Env.Fixed {
		name, value, _ := strings.Cut(pair, "=")
		add(name, value)
		used[name] = given[name] == value // an engine repeats the image's own values
	}
	for _, pair := range m.Env.Mutable {
		name, value, _ := strings.Cut(pair, "=")
		if v, ok := given[name]; ok {
			value = v
		}
		used[name] = true
		add(name, value)
	}
	for _, name := range m.Env.Allowed {
		if v, ok := given[name]; ok {
			add(name, v)
			used[name] = true
		}
	}
	if v, ok := given["HOSTNAME"]; ok && !have["HOSTNAME"] {
		add("HOSTNAME", v)
	}
	if !have["PATH"] {
		add("PATH", defaultPath)
	}
	if !have["HOME"] && m.Exec.Home != "" {
		add("HOME", m.Exec.Home)
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !used[name] && !silentEnv[name] {
			ignored = append(ignored, name)
		}
	}
	return env, ignored
}

func envMap(env []string) map[string]string {
	given := make(map[string]string, len(env))
	for _, pair := range env {
		if name, value, ok := strings.Cut(pair, "="); ok && name != "" {
			given[name] = value
		}
	}
	return given
}

// programArgs returns the whole argument list of the program and the host's
// arguments that are ignored (ruling 7).
func programArgs(x *workload.Exec, host []string) (args, ignored []string) {
	rest := x.Args
	switch {
	case len(host) == 0 || slices.Equal(host, x.Args): // an engine repeats the image's own arguments
	case x.AllowArgs:
		rest = host
	default:
		ignored = host
	}
	return slices.Concat(x.Entry, rest), ignored
}
