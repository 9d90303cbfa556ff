package convert

import (
	"archive/tar"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hitoku.dev/internal/image/imagetest"
)

type entries = []imagetest.Entry

func meta(name string, typ byte, mode int64, uid, gid int) imagetest.Entry {
	return imagetest.Entry{Name: name, Type: typ, Mode: mode, UID: uid, GID: gid}
}

var (
	file     = imagetest.File
	folder   = imagetest.Dir
	symlink  = imagetest.Symlink
	hardlink = imagetest.Hardlink
	whiteout = imagetest.Whiteout
	opaque   = imagetest.Opaque
)

// mergeCases are layers and what an engine with an overlay file system shows of
// them, below /t. TestEngineAgrees asks a real engine.
var mergeCases = []struct {
	name    string
	layers  []entries
	want    []string // "type path [-> target]", the root and /t left out
	refused string   // what Docker says, which refuses more than containerd
}{
	{"upper file wins", []entries{{file("t/a", "1"), file("t/b", "2")}, {file("t/a", "3")}}, []string{"file /t/a 4e07", "file /t/b d473"}, ""},
	{"whiteout of a file", []entries{{file("t/a", "1"), file("t/b", "2")}, {whiteout("t/a")}}, []string{"file /t/b d473"}, ""},
	{"whiteout of a folder", []entries{{folder("t/d"), file("t/d/x", "1")}, {whiteout("t/d")}}, nil, ""},
	{"whiteout, then new folder two layers up", []entries{{file("t/d/x", "1")}, {whiteout("t/d")}, {folder("t/d"), file("t/d/y", "2")}}, []string{"dir /t/d", "file /t/d/y d473"}, ""},
	{"opaque folder", []entries{{file("t/d/x", "1")}, {folder("t/d"), opaque("t/d"), file("t/d/y", "2")}}, []string{"dir /t/d", "file /t/d/y d473"}, ""},
	{"opaque mark after the folder's files", []entries{{file("t/d/x", "1")}, {folder("t/d"), file("t/d/y", "2"), opaque("t/d")}}, []string{"dir /t/d", "file /t/d/y d473"}, ""},
	{"file replaced by folder", []entries{{file("t/a", "1")}, {folder("t/a"), file("t/a/b", "2")}}, []string{"dir /t/a", "file /t/a/b d473"}, ""},
	{"folder replaced by file", []entries{{file("t/a/b", "1")}, {file("t/a", "2")}}, []string{"file /t/a d473"}, ""},
	{"folder replaced by symlink", []entries{{file("t/a/b", "1"), file("t/c/d", "2")}, {symlink("t/a", "c")}}, []string{"symlink /t/a -> c", "dir /t/c", "file /t/c/d d473"}, ""},
	{"symlink of a lower layer is replaced by an implied folder", []entries{{file("t/c/d", "2"), symlink("t/a", "c")}, {file("t/a/b", "1")}}, []string{"dir /t/a", "file /t/a/b 6b86", "dir /t/c", "file /t/c/d d473"}, ""},
	{"symlink of the same layer is followed", []entries{{folder("t/c"), symlink("t/a", "c"), file("t/a/b", "1")}}, []string{"symlink /t/a -> c", "dir /t/c", "file /t/c/b 6b86"}, ""},
	{"absolute symlink stays inside", []entries{{folder("t/c"), symlink("t/a", "/t/c"), file("t/a/b", "1")}}, []string{"symlink /t/a -> /t/c", "dir /t/c", "file /t/c/b 6b86"}, ""},
	{"same name twice, last wins", []entries{{file("t/a", "1"), file("t/a", "2")}}, []string{"file /t/a d473"}, "duplicates of file paths"},
	{"folder listed twice keeps its files", []entries{{folder("t/d"), file("t/d/x", "1"), meta("t/d", tar.TypeDir, 0o700, 1, 1)}}, []string{"dir /t/d", "file /t/d/x 6b86"}, "duplicates of file paths"},
	{"file over a folder of the same layer", []entries{{file("t/d/x", "1"), file("t/d", "2")}}, []string{"file /t/d d473"}, ""},
	{"folder over a symlink of the same layer", []entries{{folder("t/c"), symlink("t/a", "c"), folder("t/a"), file("t/a/b", "1")}}, []string{"dir /t/a", "file /t/a/b 6b86", "dir /t/c"}, "duplicates of file paths"},
	{"whiteout before a file of the same layer", []entries{{file("t/a", "1")}, {whiteout("t/a"), file("t/a", "2")}}, []string{"file /t/a d473"}, ""},
	{"hard links", []entries{{file("t/b", "1"), hardlink("t/a", "t/b"), hardlink("t/c", "t/a")}}, []string{"file /t/a 6b86", "hardlink /t/b -> /t/a 6b86", "hardlink /t/c -> /t/a 6b86"}, ""},
	{"hard link with another owner and mode", []entries{{file("t/b", "1"), {Name: "t/a", Type: tar.TypeLink, Link: "t/b", Mode: 0o600, UID: 5, GID: 6}}}, []string{"file /t/a 6b86", "hardlink /t/b -> /t/a 6b86"}, ""},
	{"one hard link replaced above", []entries{{file("t/a", "1"), hardlink("t/b", "t/a"), hardlink("t/c", "t/a")}, {file("t/a", "2")}}, []string{"file /t/a d473", "file /t/b 6b86", "hardlink /t/c -> /t/b 6b86"}, ""},
	{"hard link to a symlink", []entries{{symlink("t/a", "x"), hardlink("t/b", "t/a")}}, []string{"symlink /t/a -> x", "symlink /t/b -> x"}, ""},
	{"hard link through a symlink", []entries{{file("t/d/x", "1"), symlink("t/s", "d"), hardlink("t/a", "t/s/x")}}, []string{"file /t/a 6b86", "dir /t/d", "hardlink /t/d/x -> /t/a 6b86", "symlink /t/s -> d"}, ""},
	{"dots and slashes in names", []entries{{file("./t//a", "1"), file("/t/./b", "2")}}, []string{"file /t/a 6b86", "file /t/b d473"}, ""},
	{"non-UTF-8 and long names", []entries{{file("t/\xe9", "1"), file("t/"+strings.Repeat("n", 200), "2"), symlink("t/l", strings.Repeat("x/", 120))}}, []string{"symlink /t/l -> " + strings.Repeat("x/", 120), "file /t/" + strings.Repeat("n", 200) + " d473", "file /t/? 6b86"}, ""},
	{"special files", []entries{{
		meta("t/fifo", tar.TypeFifo, 0o600, 1, 2),
		{Name: "t/null", Type: tar.TypeChar, Major: 1, Minor: 3, Mode: 0o666},
		{Name: "t/disk", Type: tar.TypeBlock, Major: 8, Minor: 1, Mode: 0o660, GID: 6},
		meta("t/suid", tar.TypeReg, 0o4755, 0, 0),
		meta("t/sgid", tar.TypeReg, 0o2755, 3, 4), meta("t/sticky", tar.TypeDir, 0o1777, 0, 0),
	}}, []string{"block /t/disk", "fifo /t/fifo", "char /t/null", "file /t/sgid e3b0", "dir /t/sticky", "file /t/suid e3b0"}, ""},
	{"attributes of folders", []entries{{meta("t/d", tar.TypeDir, 0o750, 7, 8), file("t/d/x", "1")}, {meta("t/d", tar.TypeDir, 0o711, 9, 9)}}, []string{"dir /t/d", "file /t/d/x 6b86"}, ""},
	{"capability", []entries{{{Name: "t/cap", Body: "1", Mode: 0o755, Xattrs: map[string]string{"security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}}}}, []string{"file /t/cap 6b86"}, ""},
	{"capability lost by a hard link without it", []entries{{
		{Name: "t/cap", Body: "1", Mode: 0o755, Xattrs: map[string]string{"security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}},
		{Name: "t/link", Type: tar.TypeLink, Link: "t/cap", Mode: 0o755},
	}}, []string{"file /t/cap 6b86", "hardlink /t/link -> /t/cap 6b86"}, ""},
	{"implied folder over a listed one", []entries{{meta("t/d", tar.TypeDir, 0o700, 7, 8), file("t/d/x", "1")}, {file("t/d/y", "2")}}, []string{"dir /t/d", "file /t/d/x 6b86", "file /t/d/y d473"}, ""},
	{"whiteout and folder in one layer", []entries{{file("t/d/x", "1")}, {whiteout("t/d"), folder("t/d"), file("t/d/y", "2")}}, []string{"dir /t/d", "file /t/d/x 6b86", "file /t/d/y d473"}, ""},
	{"folder and whiteout in one layer", []entries{{file("t/d/x", "1")}, {folder("t/d"), file("t/d/y", "2"), whiteout("t/d")}}, []string{"dir /t/d", "file /t/d/y d473"}, "file exists"},
	{"file and whiteout in one layer", []entries{{file("t/a", "1")}, {file("t/a", "2"), whiteout("t/a")}}, []string{"file /t/a d473"}, "file exists"},
	{"character device 0:0", []entries{{file("t/a", "1")}, {{Name: "t/a", Type: tar.TypeChar}}}, nil, ""},
	{"same layer twice", []entries{{file("t/a", "1"), hardlink("t/b", "t/a")}, {whiteout("t/a")}, {file("t/a", "1"), hardlink("t/b", "t/a")}}, []string{"file /t/a 6b86", "hardlink /t/b -> /t/a 6b86"}, ""},
}

func TestMerge(t *testing.T) {
	t.Parallel()
	for _, c := range mergeCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := slices.DeleteFunc(mergedList(t, c.layers...), func(s string) bool { return s == "dir /" || s == "dir /t" })
			if d := cmp.Diff(c.want, got); d != "" && len(c.want)+len(got) > 0 {
				t.Error(d)
			}
		})
	}
}
