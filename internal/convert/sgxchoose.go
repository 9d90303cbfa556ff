package convert

import (
	"context"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"

	"hitoku.dev/internal/convert/closure"
	"hitoku.dev/internal/convert/sgxplan"
	"hitoku.dev/measure/workload"
)

// The values of SGXOptions.Files.
const (
	FilesAll    = "all"    // every file of the image, once
	FilesLean   = "lean"   // what the program needs
	FilesPacked = "packed" // as lean, but large folders as one archive, unpacked into enclave memory
)

// chosenFile is a name under which an enclave may open a file: a regular file's own, or that
// of a link to it. Gramine follows no link when it compares names.
type chosenFile struct {
	path  string
	ino   *inode
	asked bool // the user named it
}

// choice is what of an image an enclave may open.
type choice struct {
	files    []chosenFile // sorted by path, each once
	links    []sgxplan.DirLink
	runtimes []string
	notices  []string
	program  string // the file that is started, without links; empty where it was not found
	// libraries are the folders where the image's dynamic loader looks, each once.
	libraries []string
}

// choose finds the files for an enclave by the mode that is asked for.
func (e *enclave) choose(ctx context.Context, entries []entry) (*choice, error) {
	c, fs, o := e.conversion, e.fs, &e.SGX
	env := slices.Concat(c.m.Env.Fixed, c.m.Env.Mutable)
	q := closure.Request{
		Argv: slices.Concat(c.m.Exec.Entry, c.m.Exec.Args), Env: env, WorkDir: c.m.Exec.WorkDir,
		Include: slices.Concat(o.Include, sgxplan.Includes(o.Plan.Fragment)), Exclude: o.Exclude, Trace: o.Trace,
	}
	if o.Files == FilesPacked { // names in an archive cost nothing at the start
		q.Folder = closure.MaxFiles
	}
	for _, ca := range c.m.CACertificates {
		q.Include = append(q.Include, ca.Path)
	}
	s, err := closure.Select(ctx, e.tree, q)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && o.Files != FilesAll:
		return nil, fail(KindImage, "%w", err)
	case err != nil:
		s = &closure.Selection{Runtimes: guessLibC(fs), Notices: []string{err.Error()}, Libraries: usualLibraries}
	}
	ch := &choice{runtimes: s.Runtimes, notices: s.Notices, program: s.Program, libraries: realFolders(fs, s.Libraries)}
	if o.Files == FilesAll {
		if s.Program != "" {
			ch.notices = nil // what a search would have left out is here
		}
		ch.whole(fs, entries, o.Exclude)
		return ch, nil
	}
	for _, p := range s.Files {
		id, ok := fs.bare(p)
		if !ok || fs.nodes[id].ino.kind != kindFile {
			return nil, fmt.Errorf("%s: chosen, and no regular file of the image", p)
		}
		ch.files = append(ch.files, chosenFile{p, fs.nodes[id].ino, slices.Contains(o.Include, p)})
	}
	for _, p := range s.Links {
		if id, ok := fs.bare(p); ok {
			ch.link(fs, p, fs.nodes[id].ino)
		}
	}
	ch.secondNames(fs, entries)
	ch.sort()
	return ch, nil
}

var usualLibraries = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib"}

// realFolders leaves out what is no folder, and second names of a folder.
func realFolders(fs *rootfs, names []string) (out []string) {
	seen := map[nodeID]bool{}
	for _, n := range names {
		if id, err := fs.lookup(n); err == nil && fs.nodes[id].ino.kind == kindDir && !seen[id] {
			seen[id] = true
			out = append(out, n)
		}
	}
	return out
}

// secondNames adds the links to folders that have chosen files in them, by which a program may
// name those files.
func (ch *choice) secondNames(fs *rootfs, entries []entry) {
	used := map[string]bool{}
	for i := range ch.files {
		for d := path.Dir(ch.files[i].path); d != "/" && !used[d]; d = path.Dir(d) {
			used[d] = true
		}
	}
	for i := range entries {
		e := &entries[i]
		if e.ino.kind != kindSymlink || slices.ContainsFunc(notListed, func(d string) bool { return workload.Within(e.path, d) }) {
			continue
		}
		id, err := fs.lookup(e.path)
		if err != nil || fs.nodes[id].ino.kind != kindDir {
			continue
		}
		if to := fs.path(id); used[to] && !workload.Within(e.path, to) {
			ch.links = append(ch.links, sgxplan.DirLink{Path: e.path, Target: e.ino.link})
		}
	}
}

// notListed are folders of which no file is listed: Gramine makes them itself, or they are the
// conversion's.
var notListed = []string{"/proc", "/sys", "/dev", workload.Dir}

// whole adds every file of the image under its own name, and under those of links to it.
func (ch *choice) whole(fs *rootfs, entries []entry, exclude []string) {
	for i := range entries {
		e := &entries[i]
		if slices.ContainsFunc(notListed, func(d string) bool { return workload.Within(e.path, d) }) ||
			slices.ContainsFunc(exclude, func(g string) bool { return closure.Match(g, e.path) }) {
			continue
		}
		switch e.ino.kind {
		case kindFile:
			ch.files = append(ch.files, chosenFile{path: e.path, ino: e.ino})
		case kindSymlink:
			ch.link(fs, e.path, e.ino)
		}
	}
	ch.sort()
}

// link adds a symbolic link: as a folder's second name, or as a file's.
func (ch *choice) link(fs *rootfs, path string, ino *inode) {
	if ino.kind != kindSymlink {
		return
	}
	id, err := fs.lookup(path)
	if err != nil {
		return // it leads nowhere: the program would not find anything there either
	}
	switch to := fs.nodes[id].ino; to.kind {
	case kindFile:
		ch.files = append(ch.files, chosenFile{path: path, ino: to})
	case kindDir:
		ch.links = append(ch.links, sgxplan.DirLink{Path: path, Target: ino.link})
	}
}

// has reports whether a file of this name is chosen, in whatever folder.
func (ch *choice) has(base string) bool {
	return slices.ContainsFunc(ch.files, func(f chosenFile) bool { return path.Base(f.path) == base })
}

func (ch *choice) sort() {
	slices.SortFunc(ch.files, func(a, b chosenFile) int { return strings.Compare(a.path, b.path) })
	ch.files = slices.CompactFunc(ch.files, func(a, b chosenFile) bool { return a.path == b.path })
	slices.SortFunc(ch.links, func(a, b sgxplan.DirLink) int { return strings.Compare(a.Path, b.Path) })
	ch.links = slices.Compact(ch.links)
}

func (f *chosenFile) trusted() sgxplan.TrustedFile {
	return sgxplan.TrustedFile{
		Path: f.path, SHA256: hex.EncodeToString(f.ino.hash[:]), Size: f.ino.size, Mode: uint32(f.ino.mode), Asked: f.asked,
	}
}

// guessLibC is for images whose program cannot be found: by the loaders that are there.
func guessLibC(fs *rootfs) []string {
	var out []string
	for _, l := range []struct{ path, runtime string }{
		{hostInterpreter, runtimeGlibc}, {"/lib/ld-musl-x86_64.so.1", runtimeMusl},
	} {
		if _, err := fs.lookup(l.path); err == nil {
			out = append(out, l.runtime)
		}
	}
	return out
}

const (
	runtimeGlibc = "elf-glibc"
	runtimeMusl  = "elf-musl"
)
