package closure

import (
	"slices"
	"strings"
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// program finds an executable as execvp does.
func (s *selector) program(name string) (string, bool) {
	if strings.Contains(name, "/") {
		p := under(clean(s.q.WorkDir), name)
		return p, s.isFile(p)
	}
	list := s.env["PATH"]
	if list == "" {
		list = defaultPath
	}
	for d := range strings.SplitSeq(list, ":") {
		if p := under(clean(s.q.WorkDir), d+"/"+name); name != "" && s.isFile(p) {
			return p, true
		}
	}
	return "", false
}

var launchers = []string{"env", "tini", "dumb-init", "catatonit", "gosu", "su-exec", "setpriv", "nice", "nohup", "timeout", "exec", "time", "stdbuf", "ionice", "chroot", "runuser", "sudo", "command", "xargs"}

// command follows a command line: its program, the files among its arguments, and what
// the program makes of them.
func (s *selector) command(argv []string, why string) {
	key := strings.Join(argv, "\x00")
	if len(argv) == 0 || s.commands[key] || len(s.commands) > maxCommands {
		return
	}
	s.commands[key] = true
	p, ok := s.program(argv[0])
	if !ok {
		return
	}
	at, ok := s.take(p, why)
	if !ok {
		return
	}
	for _, a := range argv[1:] {
		if _, v, ok := strings.Cut(a, "="); ok && strings.HasPrefix(a, "-") {
			a = v
		}
		if a != "" && len(a) < maxPath && !strings.HasPrefix(a, "-") {
			if f := under(clean(s.q.WorkDir), a); s.isFile(f) {
				s.take(f, "argument of "+argv[0])
				s.ownFolder(parent(f), "folder of")
			}
		}
	}
	if line, ok := s.one(at, tagInterpreter); ok && !s.isELF(at) {
		s.script(p, line, argv[1:])
		return
	}
	name, called := base(at), base(p)
	switch {
	case slices.Contains(launchers, called):
		for i := 1; i < len(argv); i++ {
			if _, ok := s.program(argv[i]); ok {
				s.command(argv[i:], "started by "+argv[0])
				return
			}
		}
	case isShell(called):
		for i, a := range argv[1:] {
			if strings.HasPrefix(a, "-") && strings.HasSuffix(a, "c") && i+2 < len(argv) {
				s.shell(argv[i+2], argv[i+3:], "command line")
				return
			}
			if !strings.HasPrefix(a, "-") {
				if f := under(clean(s.q.WorkDir), a); s.isFile(f) {
					s.shell(s.content(f), argv[i+2:], f)
				}
				return
			}
		}
	case strings.HasPrefix(name, "python") || strings.HasPrefix(name, "pypy"):
		s.startPython(p, at, argv[1:])
	case name == "node" || name == "nodejs":
		s.runtimes["node"] = true
		s.nodeCommand(argv[1:])
	case name == "java":
		s.java(at, argv[1:])
	default:
		s.pack(name, p, argv[1:])
	}
}

func (s *selector) isELF(at string) bool {
	_, ok := s.one(at, tagELF)
	return ok
}

func isShell(name string) bool {
	return slices.Contains([]string{"sh", "bash", "dash", "ash", "ksh", "zsh", "busybox"}, name)
}

// maxInterpreters is how many scripts may be each other's interpreters (Linux,
// fs/exec.c: exec_binprm).
const maxInterpreters = 5

// script follows the interpreter line of a file.
func (s *selector) script(p, line string, args []string) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return
	}
	if s.interpreters >= maxInterpreters {
		return
	}
	s.interpreters++
	defer func() { s.interpreters-- }()
	if base(words[0]) == "env" && len(words) > 1 {
		words = slices.DeleteFunc(words, func(w string) bool { return w == "-S" })
	}
	s.command(append(append(words, p), args...), "interpreter of "+p)
}

// shell follows the commands of a shell script. Words in the place of a command are
// looked up in PATH, absolute paths and sourced files are taken.
func (s *selector) shell(text string, args []string, where string) {
	for _, c := range shellCommands(text, s.env) {
		for i, w := range c {
			if w == "$@" || w == "$*" {
				s.command(append(append(slices.Clone(c[:i]), args...), c[i+1:]...), "started by "+where)
				s.command(args, "started by "+where)
			}
		}
		switch {
		case (c[0] == "." || c[0] == "source") && len(c) > 1:
			if f := under(clean(s.q.WorkDir), c[1]); s.isFile(f) {
				s.take(f, "sourced by "+where)
				if !s.commands["."+f] {
					s.commands["."+f] = true
					s.shell(s.content(f), args, f)
				}
			}
			continue
		case c[0] == "exec" && len(c) > 1:
			c = c[1:]
		}
		s.command(c, "started by "+where)
		for _, w := range c {
			if !strings.HasPrefix(w, "/") {
				continue
			}
			if at := clean(w); strings.HasSuffix(at, ".d") && s.isDir(at) {
				for _, n := range s.t.Names(at) {
					s.command([]string{join(at, n)}, "started by "+where)
				}
			} else if s.isFile(at) {
				s.take(at, "named in "+where)
			}
		}
	}
}

var shellWords = []string{"then", "else", "elif", "do", "if", "while", "until", "!", "{", "(", "exec", "command", "eval"}

// shellCommands cuts a script into its commands, roughly: quotes are taken off, variables
// that the environment or a plain assignment sets are filled in.
func shellCommands(text string, env map[string]string) [][]string {
	vars := map[string]string{}
	for k, v := range env {
		vars[k] = v
	}
	var out [][]string
	var words []string
	var word []byte
	started := false
	endWord := func() {
		if started {
			words = append(words, expand(string(word), vars))
		}
		word, started = word[:0], false
	}
	endCommand := func() {
		endWord()
		for len(words) > 0 {
			if slices.Contains(shellWords, words[0]) && words[0] != "exec" || words[0] == "exec" && len(words) > 1 {
				words = words[1:]
				continue
			}
			k, v, ok := strings.Cut(words[0], "=")
			if !ok || !moduleName(k) {
				break
			}
			vars[k] = v
			words = words[1:]
		}
		if len(words) > 0 && len(out) < maxCommands {
			out = append(out, words)
		}
		words = nil
	}
	var quote byte
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			} else if c == '\\' && quote == '"' && i+1 < len(text) {
				i++
				word = append(word, text[i])
			} else {
				word = append(word, c)
			}
		case c == '\'' || c == '"':
			quote, started = c, true
		case c == '\\' && i+1 < len(text):
			if i++; text[i] != '\n' {
				word, started = append(word, text[i]), true
			}
		case c == '#' && !started:
			for i+1 < len(text) && text[i+1] != '\n' {
				i++
			}
		case c == ' ' || c == '\t':
			endWord()
		case strings.IndexByte("\n;|&()`", c) >= 0:
			if c == '(' && len(word) > 0 && word[len(word)-1] == '$' {
				word = word[:len(word)-1]
			}
			endCommand()
		default:
			word, started = append(word, c), true
		}
	}
	endCommand()
	return out
}

// expand fills in $NAME and ${NAME…}; what is not known stays.
func expand(w string, vars map[string]string) string {
	var out strings.Builder
	for i := 0; i < len(w); {
		if w[i] != '$' || i+1 == len(w) {
			out.WriteByte(w[i])
			i++
			continue
		}
		from, after := i+1, 0
		if w[from] == '{' {
			n := strings.IndexByte(w[from:], '}')
			if n < 0 {
				return w
			}
			from, after = from+1, from+n+1
		}
		to := from
		for ; to < len(w) && w[to] != '.' && moduleName(w[to:to+1]); to++ {
		}
		name, rest := w[from:to], ""
		if after == 0 {
			after = to
		} else {
			rest = w[to : after-1]
		}
		v, ok := vars[name]
		if !ok && strings.HasPrefix(rest, ":-") {
			v, ok = rest[2:], true
		}
		if ok && out.Len()+len(v) < maxPath {
			out.WriteString(v)
		} else {
			out.WriteString(w[i:after])
		}
		i = after
		if after == from { // "$" before something else
			i = max(i, from)
		}
	}
	return out.String()
}
