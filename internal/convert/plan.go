package convert

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hitoku.dev/measure/workload"
)

// defaultWritable are the folders that programs write to in almost every image (ruling 4).
var defaultWritable = []string{"/dev/shm", "/run", "/tmp", "/var/cache", "/var/log", "/var/run", "/var/tmp"}

// defaultPath is what engines set where an image says no PATH.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// notices collects what the user should know and need not act upon.
type notices struct{ list []string }

func (n *notices) add(format string, args ...any) {
	n.list = append(n.list, fmt.Sprintf(format, args...))
}

// planExec joins ENTRYPOINT, CMD and WORKDIR with the request. User and groups
// follow when the root file system is known.
func planExec(c *v1.Config, o *Options) (workload.Exec, error) {
	entry, args := c.Entrypoint, c.Cmd
	if o.Entrypoint != nil {
		entry, args = o.Entrypoint, nil
	}
	if o.Args != nil {
		args = o.Args
	}
	x := workload.Exec{
		AllowArgs: o.AllowArgs, Args: texts(args), Entry: texts(entry),
		OnRenew: o.OnRenew, StopGrace: o.StopGrace,
		WorkDir: cleanPath(c.WorkingDir),
	}
	all := slices.Concat(x.Entry, x.Args)
	if len(all) == 0 || all[0] == "" {
		return x, fail(KindNoEntry, "the image has neither ENTRYPOINT nor CMD").advise("say what to start with --entrypoint")
	}
	return x, nil
}

func texts(s []string) []string { return append([]string{}, s...) }

// planEnv decides for each variable whether its value is fixed, a default, or
// the host's alone. Each name ends up in one list.
func planEnv(c *v1.Config, o *Options, n *notices) (workload.Env, error) {
	fixed := newVars()
	for _, e := range c.Env {
		if !strings.Contains(e, "=") || strings.HasPrefix(e, "=") || !utf8.ValidString(e) {
			n.add("the image's environment has %q, which is no NAME=VALUE; it is left out", e)
			continue
		}
		fixed.set(e)
	}
	if !fixed.has("PATH") {
		fixed.set(defaultPath)
	}
	for _, e := range o.Env {
		fixed.set(e)
	}
	mutable := newVars()
	for _, e := range o.MutableEnv {
		fixed.drop(varName(e))
		mutable.set(e)
	}
	allowed := map[string]bool{}
	for _, v := range o.AllowEnv {
		switch {
		case mutable.has(v):
		case fixed.has(v):
			mutable.set(fixed.get(v))
			fixed.drop(v)
		default:
			allowed[v] = true
		}
	}
	for _, e := range o.Env {
		if mutable.has(varName(e)) {
			return workload.Env{}, requestError("environment: %s is given as fixed and as changeable by the host", varName(e))
		}
	}
	env := workload.Env{Allowed: sortedSet(allowed), Fixed: fixed.list(), Mutable: mutable.list()}
	slices.SortFunc(env.Mutable, func(a, b string) int { return strings.Compare(varName(a), varName(b)) })
	for _, v := range slices.Concat(env.Allowed, varNames(env.Mutable)) {
		if steersCode(v) {
			n.add("the host may set %s, which decides what code runs", v)
		}
	}
	return env, nil
}

// steersCode knows variables with which a host takes over a program.
func steersCode(v string) bool {
	switch v {
	case "PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "NODE_OPTIONS", "NODE_PATH", "PERL5LIB", "PERL5OPT", "RUBYLIB", "RUBYOPT",
		"CLASSPATH", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "BASH_ENV", "ENV", "GCONV_PATH", "GODEBUG",
		"SSL_CERT_FILE", "SSL_CERT_DIR", "OPENSSL_CONF", "IFS":
		return true
	}
	return strings.HasPrefix(v, "LD_") || strings.HasPrefix(v, "GLIBC_")
}

// vars keeps NAME=VALUE pairs in the order of the names' first appearance.
type vars struct {
	order []string
	pairs map[string]string
}

func newVars() *vars { return &vars{pairs: map[string]string{}} }

func (v *vars) has(n string) bool   { _, ok := v.pairs[n]; return ok }
func (v *vars) get(n string) string { return v.pairs[n] }
func (v *vars) drop(n string) {
	delete(v.pairs, n)
	v.order = slices.DeleteFunc(v.order, func(o string) bool { return o == n })
}

func (v *vars) set(pair string) {
	n := varName(pair)
	if !v.has(n) {
		v.order = append(v.order, n)
	}
	v.pairs[n] = pair
}

func (v *vars) list() []string {
	out := make([]string, 0, len(v.order))
	for _, n := range v.order {
		out = append(out, v.pairs[n])
	}
	return out
}

func varName(pair string) string {
	n, _, _ := strings.Cut(pair, "=")
	return n
}

func varNames(pairs []string) []string {
	out := make([]string, len(pairs))
	for i, p := range pairs {
		out[i] = varName(p)
	}
	return out
}

func sortedSet(m map[string]bool) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// planFolders lists what is writable: the usual folders, the image's VOLUMEs,
// and the request's. The strongest wish for a path wins.
func planFolders(c *v1.Config, o *Options) ([]workload.Folder, error) {
	mode := map[string]string{}
	for _, p := range defaultWritable {
		mode[p] = workload.FolderRW
	}
	for v := range c.Volumes {
		p := cleanPath(v)
		if p == "/" || workload.Within(p, workload.Dir) {
			return nil, fail(KindImage, "VOLUME %q of the image cannot be writable", v).advise("build the image without it")
		}
		mode[p] = workload.FolderRW
	}
	for _, p := range o.ReadOnly {
		if _, ok := mode[cleanPath(p)]; !ok {
			return nil, requestError("--ro %s: it is not writable by default", p)
		}
		delete(mode, cleanPath(p))
	}
	for _, p := range o.ReadWrite {
		mode[cleanPath(p)] = workload.FolderRW
	}
	for _, p := range o.Encrypted {
		mode[cleanPath(p)] = workload.FolderEncrypted
	}
	out := []workload.Folder{}
	for p, m := range mode {
		if workload.Within(p, workload.Dir) {
			return nil, requestError("%s belongs to the conversion and cannot be writable", p)
		}
		out = append(out, workload.Folder{Mode: m, Path: p})
	}
	slices.SortFunc(out, func(a, b workload.Folder) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

// planCertificates fills in the default certificate and puts names into order.
func planCertificates(o *Options) ([]workload.Certificate, []workload.Front) {
	certs := []workload.Certificate{}
	for _, c := range o.Certificates {
		c.AltNames = slices.Compact(slices.Sorted(slices.Values(c.AltNames)))
		if c.AltNames == nil {
			c.AltNames = []string{}
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 && o.Name != "" {
		certs = append(certs, DefaultCertificate(o.Name))
	}
	fronts := append([]workload.Front{}, o.Fronts...)
	slices.SortFunc(fronts, func(a, b workload.Front) int { return a.Listen - b.Listen })
	return certs, fronts
}
