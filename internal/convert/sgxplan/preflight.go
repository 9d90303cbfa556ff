package sgxplan

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// cannot begins the rule of what ends a program under Gramine.
const cannot = "cannot run under Gramine: "

const anyway = "start another program with --entrypoint, or convert anyway with --allow unsupported"

// programRule is what is known of a program by its name.
type programRule struct {
	names        string // words divided by blanks
	rule, option string
}

func programRules() []programRule {
	return []programRule{
		{"systemd init openrc-init runit runsvdir s6-svscan s6-overlay-suexec upstart", cannot + "it is a process manager for a whole machine", anyway},
		{"ping ping6 traceroute arping tcpdump nmap", cannot + "there are no raw sockets", anyway},
		{"mount umount chroot unshare nsenter bwrap dockerd containerd runc podman", cannot + "there are no mounts or name spaces of its own", anyway},
		{"ip ss nft iptables", cannot + "there is no AF_NETLINK", anyway},
		{"postgres postgresql docker-entrypoint-postgres", "each connection is a process, which is an enclave of its own that takes seconds to start", "put a connection pool before it"},
		{"nginx openresty", "each worker is an enclave of its own", "write \"daemon off; master_process off;\", or worker_processes 1, in its configuration"},
		{"apache2 httpd", "each worker is an enclave of its own", "start it with -X, or use the event module with one process"},
		{"gunicorn uwsgi", "each worker is an enclave of its own", "give one worker with many threads (--workers 1 --threads 8)"},
		{"php-fpm php-fpm8 unicorn puma supervisord", "its children are enclaves of their own", "start one process in the foreground"},
		{"redis-server", "saving forks: a second enclave with a copy of the memory", "give --save \"\" --appendonly no"},
		{"sh bash dash ash busybox zsh", "every command that the shell starts is an enclave of its own; the last one replaces the shell only with exec", "start the program itself with --entrypoint"},
		{"tini dumb-init catatonit gosu su-exec su sudo", "it starts or becomes another program: one more enclave where it forks, and users are emulated", "start the program itself with --entrypoint"},
	}
}

// Preflight lists what Gramine does otherwise than Linux, as far as the image and the options show it.
func Preflight(in *Input) []Finding {
	out := []Finding{}
	add := func(file, rule, option string) { out = append(out, Finding{file, rule, option}) }
	argv := slices.Concat(in.Exec.Entry, in.Exec.Args)
	if len(argv) > 2 && argv[1] == "-c" { // the shell form: the command's first word is what it starts
		words := strings.Fields(argv[2])
		if len(words) > 0 && words[0] == "exec" {
			words = words[1:]
		}
		argv = slices.Concat(argv[:2], words[:min(len(words), 1)])
	}
	for i, a := range argv {
		if i > 0 && strings.HasPrefix(a, "-") {
			continue
		}
		if i > 3 {
			break
		}
		for _, r := range programRules() {
			if slices.Contains(strings.Fields(r.names), path.Base(a)) {
				if i > 0 && strings.HasPrefix(r.rule, cannot) && !wraps(argv[0]) {
					continue // an argument such as "init" is not the program
				}
				add(a, r.rule, r.option)
			}
		}
		if i == 0 && strings.HasSuffix(a, ".sh") {
			add(a, "a script: every command that it starts is an enclave of its own", "start the program itself with --entrypoint")
		}
	}
	if len(argv) > 0 && argv[0] == "/init" && slices.ContainsFunc(in.Files, func(f TrustedFile) bool { return strings.HasSuffix(f.Path, "/s6-svscan") }) {
		add("/init", cannot+"s6 is a process manager for a whole machine", anyway)
	}
	first, more := "", 0
	for _, f := range in.Files {
		switch {
		case f.Mode&0o6000 == 0:
		case first == "":
			first = f.Path
		default:
			more++
		}
	}
	if first != "" {
		if more > 0 {
			first += fmt.Sprintf(" and %d more", more)
		}
		add(first, "set-uid and set-gid have no effect", "run the program as the user that it needs")
	}
	for _, f := range in.Files {
		if b := path.Base(f.Path); strings.HasPrefix(b, "liburing.so") {
			add(f.Path, "there is no io_uring", "choose epoll in the program's options")
		}
	}
	config(in, add)
	slices.SortStableFunc(out, func(a, b Finding) int { return strings.Compare(a.File, b.File) })
	return slices.Compact(out)
}

// wraps knows programs whose first arguments are another program.
func wraps(program string) bool {
	return slices.Contains([]string{"tini", "dumb-init", "catatonit", "gosu", "su-exec", "env", "exec", "nice", "timeout"}, path.Base(program))
}

func config(in *Input, add func(file, rule, option string)) {
	if slices.ContainsFunc(in.Exec.Groups, func(g uint32) bool { return g != in.Exec.GID }) {
		add("image USER", "supplementary groups are emulated only", "give files the program's own user or group")
	}
	c := in.Config
	if c == nil {
		return
	}
	if h := c.Healthcheck; h != nil && len(h.Test) > 0 && h.Test[0] != "NONE" {
		add("image HEALTHCHECK", "it runs outside the enclave, where it sees no protected file", "ask the program over its port instead")
	}
	if s := strings.TrimPrefix(strings.ToUpper(c.StopSignal), "SIG"); s != "" && s != "TERM" && s != "15" && s != "KILL" && s != "9" {
		add("image STOPSIGNAL "+c.StopSignal, "the host can give an enclave SIGTERM only", "run it with --stop-signal SIGTERM")
	}
	for v := range c.Volumes {
		if strings.ContainsAny(v, "\n\r") {
			add("image VOLUME", "a name with a line break", "build the image without it")
		}
	}
}
