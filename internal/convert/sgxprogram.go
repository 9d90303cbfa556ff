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
	name, real := (*command)[0], e.choice.program
	switch {
	case path.Base(name) != "java":
		if slices.ContainsFunc(e.choice.runtimes, func(r string) bool { return strings.HasPrefix(r, "java") }) {
			e.note.add("Java is started by %s: under Gramine it finds its own files only when it is started by the path of its file, not by that of a link", name)
		}
	case real != "" && real != name:
		e.note.add("the program is started as %s, the file that %s leads to: Java finds its own files beside it", real, name)
		*command = append([]string{real}, (*command)[1:]...)
	}
}

func setVars(env, more []string) []string {
	v := newVars()
	for _, pair := range slices.Concat(env, more) {
		v.set(pair)
	}
	return v.list()
}
