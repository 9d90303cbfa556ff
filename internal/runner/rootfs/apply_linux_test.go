package rootfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var stamp = time.Unix(1_700_000_000, 0)

func entry(name string, kind byte, change ...func(*tar.Header)) tar.Header {
	h := tar.Header{Name: name, Typeflag: kind, Mode: 0o644, ModTime: stamp, Uid: os.Getuid(), Gid: os.Getgid()}
	if kind == tar.TypeDir {
		h.Mode = 0o755
	}
	for _, f := range change {
		f(&h)
	}
	return h
}

func link(to string) func(*tar.Header) { return func(h *tar.Header) { h.Linkname = to } }

func mode(m int64) func(*tar.Header) { return func(h *tar.Header) { h.Mode = m } }

// layer writes an archive whose files hold their own name.
func layer(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			w.Write([]byte(h.Name))
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// tree lists a folder: path → type and content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(p)
			out[rel] = "-> " + target
		case d.IsDir():
			out[rel] = "dir"
		case d.Type().IsRegular():
			raw, _ := os.ReadFile(p)
			out[rel] = string(raw)
		default:
			out[rel] = d.Type().String()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func apply(t *testing.T, dir string, raw []byte) (*Report, error) {
	t.Helper()
	return Apply(dir, bytes.NewReader(raw), DefaultLimits())
}

func TestLayersMerge(t *testing.T) {
	t.Parallel()
	r, d, l, s := byte(tar.TypeReg), byte(tar.TypeDir), byte(tar.TypeLink), byte(tar.TypeSymlink)
	for name, tc := range map[string]struct {
		layers [][]tar.Header
		want   map[string]string
	}{
		"plain":               {[][]tar.Header{{entry("a/", d), entry("a/b", r), entry("./c", r)}}, map[string]string{"a": "dir", "a/b": "a/b", "c": "./c"}},
		"missing parent":      {[][]tar.Header{{entry("x/y/z", r)}}, map[string]string{"x": "dir", "x/y": "dir", "x/y/z": "x/y/z"}},
		"absolute name":       {[][]tar.Header{{entry("/a", r)}}, map[string]string{"a": "/a"}},
		"replace file":        {[][]tar.Header{{entry("a", r)}, {entry("/a", r)}}, map[string]string{"a": "/a"}},
		"file by folder":      {[][]tar.Header{{entry("a", r)}, {entry("a", d), entry("a/b", r)}}, map[string]string{"a": "dir", "a/b": "a/b"}},
		"folder by file":      {[][]tar.Header{{entry("a/b", r)}, {entry("a", r)}}, map[string]string{"a": "a"}},
		"folder by folder":    {[][]tar.Header{{entry("a/b", r)}, {entry("a", d)}}, map[string]string{"a": "dir", "a/b": "a/b"}},
		"link by file":        {[][]tar.Header{{entry("t", r), entry("a", s, link("t"))}, {entry("a", r)}}, map[string]string{"a": "a", "t": "t"}},
		"whiteout":            {[][]tar.Header{{entry("a/b", r), entry("a/c", r)}, {entry("a/.wh.b", r)}}, map[string]string{"a": "dir", "a/c": "a/c"}},
		"whiteout of folder":  {[][]tar.Header{{entry("a/b/c", r)}, {entry("a/.wh.b", r)}}, map[string]string{"a": "dir"}},
		"whiteout spares own": {[][]tar.Header{{entry("a", r)}, {entry("/a", r), entry(".wh.a", r)}}, map[string]string{"a": "/a"}},
		"whiteout of nothing": {[][]tar.Header{{entry(".wh.a", r)}}, map[string]string{}},
		"opaque":              {[][]tar.Header{{entry("a/b", r), entry("a/k/l", r)}, {entry("a/c", r), entry("a/.wh..wh..opq", r)}}, map[string]string{"a": "dir", "a/c": "a/c"}},
		"opaque first":        {[][]tar.Header{{entry("a/b", r)}, {entry("a/.wh..wh..opq", r), entry("a/c", r)}}, map[string]string{"a": "dir", "a/c": "a/c"}},
		"opaque and own deep": {[][]tar.Header{{entry("a/k/l", r)}, {entry("a/k/m", r), entry("a/.wh..wh..opq", r)}}, map[string]string{"a": "dir", "a/k": "dir", "a/k/m": "a/k/m"}},
		"aufs metadata":       {[][]tar.Header{{entry(".wh..wh.plnk", d), entry(".wh..wh.aufs", r)}}, map[string]string{}},
		"hard link":           {[][]tar.Header{{entry("a", r), entry("b", l, link("a"))}}, map[string]string{"a": "a", "b": "a"}},
		"hard link below":     {[][]tar.Header{{entry("d/a", r)}, {entry("b", l, link("/d/a"))}}, map[string]string{"d": "dir", "d/a": "d/a", "b": "d/a"}},
		"parent is a link":    {[][]tar.Header{{entry("usr/lib", d), entry("lib", s, link("usr/lib"))}, {entry("lib/x", r)}}, map[string]string{"usr": "dir", "usr/lib": "dir", "lib": "-> usr/lib", "usr/lib/x": "lib/x"}},
		"absolute link":       {[][]tar.Header{{entry("run", d), entry("var/run", s, link("/run"))}, {entry("var/run/x", r)}}, map[string]string{"run": "dir", "var": "dir", "var/run": "-> /run", "run/x": "var/run/x"}},
		"link with dots":      {[][]tar.Header{{entry("a/l", s, link("../../../../b"))}, {entry("a/l/x", r)}}, map[string]string{"a": "dir", "a/l": "-> ../../../../b", "b": "dir", "b/x": "a/l/x"}},
		"fifo":                {[][]tar.Header{{entry("p", tar.TypeFifo)}}, map[string]string{"p": "p---------"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for i, entries := range tc.layers {
				if _, err := apply(t, dir, layer(t, entries...)); err != nil {
					t.Fatalf("layer %d: %v", i, err)
				}
			}
			if diff := cmp.Diff(tc.want, tree(t, dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAttributes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	raw := layer(t,
		entry(".", tar.TypeDir, mode(0o1777)),
		entry("d", tar.TypeDir, mode(0o2750)), entry("d/f", tar.TypeReg, mode(0o4711)),
		entry("ro", tar.TypeDir, mode(0o555)), entry("ro/f", tar.TypeReg, mode(0o400)),
	)
	if _, err := apply(t, dir, raw); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{
		".": fs.ModeDir | fs.ModeSticky | 0o777, "d": fs.ModeDir | fs.ModeSetgid | 0o750, "d/f": fs.ModeSetuid | 0o711, "ro": fs.ModeDir | 0o555, "ro/f": 0o400,
	} {
		fi, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode() != want || !fi.ModTime().Equal(stamp) {
			t.Errorf("%s: mode %v, time %v; wanted %v, %v", name, fi.Mode(), fi.ModTime(), want, stamp)
		}
	}
	if os.Geteuid() != 0 {
		return
	}
	owned := entry("o", tar.TypeReg, func(h *tar.Header) { h.Uid, h.Gid = 33, 34 })
	owned.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "SCHILY.xattr.trusted.overlay.opaque": "y"}
	if _, err := apply(t, dir, layer(t, owned)); err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Lstat(filepath.Join(dir, "o"), &st); err != nil || st.Uid != 33 || st.Gid != 34 {
		t.Errorf("owner %d:%d, %v", st.Uid, st.Gid, err)
	}
	var buf [64]byte
	if n, err := syscall.Getxattr(filepath.Join(dir, "o"), "security.capability", buf[:]); err != nil || n != 20 {
		t.Errorf("capability: %d bytes, %v", n, err)
	}
	if _, err := syscall.Getxattr(filepath.Join(dir, "o"), "trusted.overlay.opaque", buf[:]); err == nil {
		t.Error("an attribute of the overlay file system was taken from the image")
	}
}

func TestHostileLayers(t *testing.T) {
	t.Parallel()
	r, l, s := byte(tar.TypeReg), byte(tar.TypeLink), byte(tar.TypeSymlink)
	for name, tc := range map[string]struct {
		entries []tar.Header
		want    string
	}{
		"dots":               {[]tar.Header{entry("../evil", r)}, "leaves its folder"},
		"dots inside":        {[]tar.Header{entry("a/../../evil", r)}, "leaves its folder"},
		"link loop":          {[]tar.Header{entry("a", s, link("b")), entry("b", s, link("a")), entry("a/x", r)}, "too many levels"},
		"below a file":       {[]tar.Header{entry("a", r), entry("a/b", r)}, "not a directory"},
		"hard link out":      {[]tar.Header{entry("a", l, link("../../etc/passwd"))}, "leaves its folder"},
		"hard link nowhere":  {[]tar.Header{entry("a", l, link("b"))}, "no such file"},
		"hard link folder":   {[]tar.Header{entry("d", tar.TypeDir), entry("a", l, link("d"))}, "is a folder"},
		"hard link to top":   {[]tar.Header{entry("a", l, link("/"))}, "hard link to a folder"},
		"root is a file":     {[]tar.Header{entry(".", r)}, "top of the file system"},
		"empty whiteout":     {[]tar.Header{entry(".wh.", r)}, "whiteout without a name"},
		"whiteout of parent": {[]tar.Header{entry("a/.wh...", r)}, "whiteout without a name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			top := t.TempDir()
			dir := filepath.Join(top, "root")
			if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(top, "evil"), []byte("untouched"), 0o644)); err != nil {
				t.Fatal(err)
			}
			var raw bytes.Buffer
			w := tar.NewWriter(&raw)
			for _, h := range tc.entries {
				if err := w.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
			}
			w.Close()
			_, err := apply(t, dir, raw.Bytes())
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, wanted one with %q", err, tc.want)
			}
			if got := tree(t, top)["evil"]; got != "untouched" {
				t.Errorf("file outside: %q", got)
			}
		})
	}
	// Links that point outside are kept as they are and never followed there.
	top := t.TempDir()
	dir := filepath.Join(top, "root")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Mkdir(filepath.Join(top, "out"), 0o755)); err != nil {
		t.Fatal(err)
	}
	if _, err := apply(t, dir, layer(t, entry("l", s, link(filepath.Join(top, "out"))), entry("m", s, link("../out")), entry("l/x", r), entry("m/y", r), entry("l", r))); err != nil {
		t.Fatal(err)
	}
	if left := tree(t, filepath.Join(top, "out")); len(left) != 0 {
		t.Errorf("written outside: %v", left)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	raw := layer(t, entry("aaaa", tar.TypeReg), entry("bbbb", tar.TypeReg))
	for name, lim := range map[string]Limits{"entries": {1, 100}, "bytes": {100, 7}} {
		if _, err := Apply(t.TempDir(), bytes.NewReader(raw), lim); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := Apply(t.TempDir(), bytes.NewReader(raw[:514]), DefaultLimits()); err == nil {
		t.Error("truncated: accepted")
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	raw := layer(t, entry("etc/passwd", tar.TypeReg), entry("a", tar.TypeSymlink, link("/etc")), entry("b", tar.TypeSymlink, link("a/passwd")),
		entry("c", tar.TypeSymlink, link("../../../b")), entry("d", tar.TypeSymlink, link("d")))
	if _, err := apply(t, dir, raw); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for in, want := range map[string]string{"/etc/passwd": "etc/passwd", "a/passwd": "etc/passwd", "b": "etc/passwd", "c": "etc/passwd", "/": ".", "a/..": ".", "../../b": "etc/passwd", "d": "", "nowhere": ""} {
		got, err := Resolve(root, in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; wanted %q", in, got, err, want)
		}
	}
}

func FuzzApply(f *testing.F) {
	f.Add(layer(f, entry("a/b", tar.TypeReg), entry("l", tar.TypeSymlink, link("/a")), entry("l/c", tar.TypeReg), entry("a/.wh.b", tar.TypeReg)))
	f.Add(layer(f, entry("a", tar.TypeSymlink, link("../x")), entry("a/y", tar.TypeReg), entry("h", tar.TypeLink, link("a/y")), entry(".wh..wh..opq", tar.TypeReg)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		top := t.TempDir()
		dir := filepath.Join(top, "root")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		Apply(dir, bytes.NewReader(raw), Limits{Entries: 50, Bytes: 1 << 20})
		entries, err := os.ReadDir(top)
		if err != nil || len(entries) != 1 {
			t.Fatalf("beside the folder: %v, %v", entries, err)
		}
		os.Chmod(dir, 0o755)
	})
}
