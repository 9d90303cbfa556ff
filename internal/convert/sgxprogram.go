package convert

import (
	"path"
	"slices"
	"strings"
)

// exactProgram starts a Java machine under its own name: it finds its libraries beside its
// file, and Gramine does not tell it where a link leads.
func (e *enclave) exactProgram() {
	x := &e.m.Exec
	command := &x.Entry
	if len(*command) == 0 {
		command = &x.Args
	}
	if path.Base((*command)[0]) != "java" {
		if slices.ContainsFunc(e.choice.runtimes, func(r string) bool { return strings.HasPrefix(r, "java") }) {
			e.note.add("Java is started by %s: under Gramine it finds its own files only when it is started by the path of its file, not by that of a link", (*command)[0])
		}
		return
	}
	for _, name := range programNames((*command)[0], x.WorkDir, pathOf(e.m.Env.Fixed)) {
		id, err := e.fs.lookup(name)
		if err != nil || e.fs.nodes[id].ino.kind != kindFile {
			continue
		}
		if real := e.fs.path(id); real != (*command)[0] {
			e.note.add("the program is started as %s, the file that %s leads to: Java finds its own files beside it", real, (*command)[0])
			*command = append([]string{real}, (*command)[1:]...)
		}
		return
	}
}

// programNames are where execvp(3) looks for a program.
func programNames(name, dir, folders string) []string {
	if strings.Contains(name, "/") {
		return []string{under(dir, name)}
	}
	var out []string
	for folder := range strings.SplitSeq(folders, ":") {
		out = append(out, under(under(dir, folder), name))
	}
	return out
}

// under makes a name absolute as seen from a folder.
func under(dir, name string) string {
	if path.IsAbs(name) {
		return name
	}
	return path.Join(dir, name)
}

func pathOf(env []string) string {
	for _, pair := range env {
		if v, ok := strings.CutPrefix(pair, "PATH="); ok {
			return v
		}
	}
	return ""
}

func setVars(env, more []string) []string {
	v := newVars()
	for _, pair := range slices.Concat(env, more) {
		v.set(pair)
	}
	return v.list()
}
