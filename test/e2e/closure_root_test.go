//go:build e2e

package e2e

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"hitoku.dev/internal/convert/closure"
)

// rootTree shows an unpacked root file system to package closure.
type rootTree struct {
	root string
	seen map[string]closure.File
}

// unpackRoot makes the root of an image of images.sh, with files of an application on top.
func unpackRoot(t *testing.T, name string, app map[string]string) *rootTree {
	t.Helper()
	root := t.TempDir()
	if out, err := exec.Command("tar", "-C", root, "-xf", filepath.Join(env(t, "HITOKU_E2E_IMAGES"), name+".tar"), "--exclude=./dev/*").CombinedOutput(); err != nil {
		t.Fatalf("unpack %s: %v: %s", name, err, out)
	}
	if err := os.Chmod(root, 0o755); err != nil { // the archive has the mode of the folder it was made in
		t.Fatal(err)
	}
	for p, text := range app {
		if err := os.MkdirAll(filepath.Dir(root+p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(root+p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &rootTree{root, map[string]closure.File{}}
}

func (r *rootTree) Lstat(p string) (closure.File, bool) {
	if f, ok := r.seen[p]; ok {
		return f, true
	}
	i, err := os.Lstat(r.root + p)
	if err != nil {
		return closure.File{}, false
	}
	f := closure.File{Kind: closure.Other, Size: i.Size(), Mode: uint16(i.Mode().Perm())}
	switch {
	case i.IsDir():
		f.Kind = closure.Dir
	case i.Mode().IsRegular():
		f.Kind = closure.Regular
		f.Facts = r.facts(p, i.Size())
	case i.Mode()&os.ModeSymlink != 0:
		f.Kind = closure.Symlink
		f.Link, _ = os.Readlink(r.root + p)
	}
	r.seen[p] = f
	return f, true
}

func (r *rootTree) facts(p string, size int64) []byte {
	s := closure.NewSniffer(p, size)
	f, err := os.Open(r.root + p)
	if s == nil || err != nil {
		return nil
	}
	defer f.Close()
	if _, err := io.CopyBuffer(struct{ io.Writer }{s}, f, make([]byte, 32<<10)); err != nil {
		return nil
	}
	return s.Facts()
}

func (r *rootTree) Names(dir string) []string {
	es, err := os.ReadDir(r.root + dir)
	if err != nil {
		return nil
	}
	out := make([]string, len(es))
	for i, e := range es {
		out[i] = e.Name()
	}
	return out
}

// resolve follows links as inside the root; it returns "" for what is not there.
func (r *rootTree) resolve(p string) string {
	at, todo := "/", strings.Split(p, "/")
	for steps := 0; len(todo) > 0 && steps < 400; steps++ {
		e := todo[0]
		todo = todo[1:]
		q := path.Join(at, e)
		i, err := os.Lstat(r.root + q)
		if err != nil {
			return ""
		}
		if i.Mode()&os.ModeSymlink == 0 {
			at = q
			continue
		}
		to, _ := os.Readlink(r.root + q)
		if strings.HasPrefix(to, "/") {
			at = "/"
		}
		todo = append(strings.Split(to, "/"), todo...)
	}
	return at
}

func (r *rootTree) regular(p string) bool {
	i, err := os.Lstat(r.root + p)
	return err == nil && i.Mode().IsRegular()
}

// listing counts the paths by which files can be reached, links to folders followed: what a
// listing that knows no mounts needs.
func (r *rootTree) listing() int {
	n := 0
	var visit func(dir string, above map[string]bool)
	visit = func(dir string, above map[string]bool) {
		real := r.resolve(dir)
		if real == "" || real == "/proc" || real == "/sys" || real == "/dev" || above[real] {
			return
		}
		above[real] = true
		defer delete(above, real)
		for _, name := range r.Names(real) {
			p := path.Join(dir, name)
			to := r.resolve(p)
			switch i, err := os.Lstat(r.root + to); {
			case to == "" || err != nil:
			case i.IsDir():
				visit(p, above)
			case i.Mode().IsRegular():
				n++
			}
		}
	}
	visit("/", map[string]bool{})
	return n
}

// entries counts what a selection lists: its files, and the links to files among its links.
func (r *rootTree) entries(s *closure.Selection) int {
	n := len(s.Files)
	for _, l := range s.Links {
		if r.regular(r.resolve(l)) {
			n++
		}
	}
	return n
}

var (
	openLine = regexp.MustCompile(`open(?:at2?)?\(.* = \d+<(/.*)>$`)
	execLine = regexp.MustCompile(`execve\(("(?:[^"\\]|\\.)*").* = 0$`)
)

// opened reads the output of strace -y: the regular files of the root that were opened or
// executed, by paths without links, but those that were opened for writing.
func (r *rootTree) opened(t *testing.T, file string) []string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []string
	seen := map[string]bool{}
	add := func(p string) {
		if p != "" && !seen[p] && r.regular(p) {
			seen[p] = true
			out = append(out, p)
		}
	}
	inside := false
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		line := in.Text()
		if m := openLine.FindStringSubmatch(line); m != nil && !strings.Contains(line, "O_WRONLY") && !strings.Contains(line, "O_RDWR") {
			if p, ok := strings.CutPrefix(m[1], r.root+"/"); ok {
				inside = true
				add("/" + p)
			}
		}
		if m := execLine.FindStringSubmatch(line); m != nil {
			if p, err := strconv.Unquote(m[1]); err == nil && (inside || !strings.Contains(line, "unshare")) {
				add(r.resolve(p))
			}
		}
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}
