package sgxplan

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"hitoku.dev/measure/sgx/gramine"
)

const libraryPath = "LD_LIBRARY_PATH"

// javaFlags keep a Java machine's threads and reserved addresses small.
var javaFlags = [...]struct{ mode, flags string }{
	{"openjdk", "-XX:CompressedClassSpaceSize=16m -XX:ReservedCodeCacheSize=16m -XX:-UsePerfData -XX:+UseSerialGC -Xint"},
	{"openj9", "-Xnojit -Xnoaot -Xdump:none"},
}

// environment fills loader.env. Fixed values are measured. A variable that the host may
// change is passed through; its measured default is in the workload manifest, and the guest
// sets it where the host gives none.
func (p *planner) environment(m *gramine.Manifest) {
	env := map[string]gramine.EnvVar{}
	for _, pair := range p.in.Env.Fixed {
		name, value, _ := strings.Cut(pair, "=")
		if why := cmp.Or(untext(name), untext(value)); why != "" || name == "" {
			p.refuse("loader.env", strconv.Quote(pair), cmp.Or(why, "it has no name"), "take it out of the image's ENV or of --env")
			continue
		}
		env[name] = gramine.EnvVar{Value: value}
	}
	host := slices.Clone(p.in.Env.Allowed)
	for _, pair := range p.in.Env.Mutable {
		name, _, _ := strings.Cut(pair, "=")
		host = append(host, name)
	}
	for _, name := range host {
		why := untext(name)
		switch {
		case why != "" || name == "":
			p.refuse("loader.env", strconv.Quote(name), cmp.Or(why, "it has no name"), "--allow-env NAME")
		case name == libraryPath || name == "GODEBUG":
			p.refuse("loader.env."+name, "from the host", "it acts before the guest can judge it", "fix it with --env "+name+"=VALUE")
		default:
			env[name] = gramine.EnvVar{Passthrough: true}
		}
	}
	p.java(env)
	if p.in.LibC != "" {
		env[libraryPath] = gramine.EnvVar{Value: p.libraries(env[libraryPath].Value)}
	}
	m.Loader.Env = env
}

// libraries is the search path of the dynamic loader: Gramine's C library, the image's own
// LD_LIBRARY_PATH, and the folders in which the image's loader would look by itself.
func (p *planner) libraries(own string) string {
	dirs := slices.Concat([]string{p.in.LibC}, strings.Split(own, ":"), p.in.Libraries)
	var out []string
	for _, d := range dirs {
		if why := untext(d); why != "" || strings.Contains(d, ":") {
			continue // no program of the image finds it either
		}
		if d != "" && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return strings.Join(out, ":")
}

// java gives a Java machine flags for a small, fixed memory. The flags come before the
// image's own, which therefore win.
func (p *planner) java(env map[string]gramine.EnvVar) {
	mode := p.in.Options.JavaMode
	if _, ok := p.runtime("java"); ok && mode == "" {
		p.note("the image starts Java: --java openjdk sets flags for few threads and little memory")
	}
	if mode == "" {
		return
	}
	for _, pair := range JavaEnv(mode, p.in.Env.Fixed) {
		name, value, _ := strings.Cut(pair, "=")
		if env[name].Passthrough {
			p.refuse("loader.env."+name, "from the host", "Java mode fixes it", "leave --java or --allow-env "+name+" away")
			continue
		}
		env[name] = gramine.EnvVar{Value: value}
	}
	if JavaEnv(mode, nil) == nil {
		p.refuse("java mode", strconv.Quote(mode), "wanted openjdk or openj9", "--java openjdk")
	}
}

// JavaEnv are the variables of a Java mode, given the fixed ones; nil for an unknown mode. The
// workload manifest needs them too: the guest gives the program what that names.
func JavaEnv(mode string, fixed []string) []string {
	for _, j := range javaFlags {
		if j.mode != mode {
			continue
		}
		const arenas, options = "MALLOC_ARENA_MAX=", "JAVA_TOOL_OPTIONS="
		out := []string{options + j.flags, arenas + "1"}
		for _, pair := range fixed {
			if own, ok := strings.CutPrefix(pair, options); ok && own != "" && !strings.HasPrefix(own, j.flags) {
				out[0] = options + j.flags + " " + own
			} else if ok && own != "" {
				out[0] = pair
			} else if strings.HasPrefix(pair, arenas) {
				out[1] = pair
			}
		}
		return out
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
