package convert

import (
	"archive/tar"
	"context"
	"errors"
	"strings"
	"testing"

	"hitoku.dev/internal/image/imagetest"
)

// layersFS merges layers as a conversion does.
func layersFS(t *testing.T, keep func(string, int64) bool, layers ...entries) *rootfs {
	t.Helper()
	s := &scanner{limits: Limits{}.withDefaults(), note: &notices{}, tell: newProgress(nil), keep: keep}
	var src fakeSource
	order := []int{}
	for i, l := range layers {
		src.layers = append(src.layers, layerOf(t, "gzip", imagetest.Tar(l...)))
		order = append(order, i)
	}
	fs, _, err := s.scanLayers(t.Context(), src.layers, order, 2)
	if err != nil {
		t.Fatal(err)
	}
	return fs
}

func TestContent(t *testing.T) {
	t.Parallel()
	fs := layersFS(t, keepUsual,
		entries{file("etc/passwd", "lower"), file("nix/store/group", "from the store"), symlink("etc/group", "/nix/store/group"), folder("d"), symlink("loop", "loop")},
		entries{file("etc/passwd", "upper"), symlink("link", "../../etc/./passwd"), symlink("dots", "d/../etc/passwd")})
	for path, want := range map[string]string{
		"/etc/passwd": "upper", "/etc/group": "from the store", "/link": "upper", "/dots": "upper", "/d/../etc/passwd": "upper",
		"/d": "no regular file", "/d/": "no regular file", "/none": "not found", "/etc/passwd/x": "no folder", "/loop": "too many symbolic links", "/loop/x": "too many",
	} {
		got, err := fs.content(t.Context(), path)
		if err == nil && string(got) != want || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q %v, wanted %q", path, got, err, want)
		}
	}
	for _, path := range []string{"/none", "/etc/passwd/x", "/loop"} {
		if b, err := fs.optional(t.Context(), path); b != nil || err != nil {
			t.Errorf("%s: %q %v", path, b, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := fs.content(ctx, "/etc/group"); !errors.Is(err, context.Canceled) {
		t.Errorf("reading a layer again: %v", err)
	}
	if !keepUsual("/etc/passwd", 10) || keepUsual("/etc/passwd", maxKept+1) || keepUsual("/bin/sh", 10) {
		t.Error("wrong files are kept")
	}
}

func TestTrustStore(t *testing.T) {
	t.Parallel()
	ca := testCA(t)
	fs := layersFS(t, keepUsual, entries{
		{Name: "etc/ssl/certs/ca-certificates.crt", Body: "old", Mode: 0o640, UID: 3, GID: 4},
		symlink("etc/ssl/cert.pem", "certs/ca-certificates.crt"),
		file("etc/ssl/ca-bundle.pem", "second\n"), symlink("usr/local", "/opt"), folder("opt"),
	})
	var n notices
	a := newAdder(fs, &n)
	cas := []CA{{PEM: append([]byte("a comment\n"), ca...), System: true}, {Path: "/app/ca.pem", PEM: ca}}
	files, err := addCAs(t.Context(), a, cas)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 2 || files[0].Path != "/app/ca.pem" || !strings.HasPrefix(files[1].Path, systemFolder+"/hitoku-") || files[1].Certificate != string(ca) || !files[1].System {
		t.Errorf("%+v", files)
	}
	want := map[string]string{
		"/etc/ssl/certs/ca-certificates.crt": "old\n" + string(ca), "/etc/ssl/ca-bundle.pem": "second\n" + string(ca), "/app/ca.pem": string(ca),
		strings.Replace(files[1].Path, "/usr/local", "/opt", 1): string(ca),
	}
	for _, add := range a.list() {
		if add.ino.kind == kindDir {
			continue
		}
		if want[add.path] != string(add.content) {
			t.Errorf("%s: %q, wanted %q", add.path, add.content, want[add.path])
		}
		if add.path == "/etc/ssl/certs/ca-certificates.crt" && (add.ino.mode != 0o640 || add.ino.uid != 3 || add.ino.gid != 4) {
			t.Errorf("attributes of the store changed: %+v", add.ino)
		}
		delete(want, add.path)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
	if _, err := addCAs(t.Context(), a, cas[:1]); KindOf(err) != KindRequest {
		t.Errorf("the same place again: %v", err)
	}
	empty := newAdder(layersFS(t, keepUsual, entries{folder("etc")}), &n)
	if _, err := addCAs(t.Context(), empty, cas[:1]); err != nil || len(n.list) != 1 || !strings.Contains(n.list[0], "no trust store") {
		t.Errorf("%v %q", err, n.list)
	}
}

func TestReplacedFileIsTold(t *testing.T) {
	t.Parallel()
	q := request(t, sample(t))
	c := cert("/run/k.pem", "/etc/passwd")
	q.Options.Certificates = append(q.Options.Certificates, c)
	res := convertOK(t, q)
	if len(res.Notices) == 0 || !strings.Contains(res.Notices[0], "/etc/passwd of the image is replaced") {
		t.Errorf("%q", res.Notices)
	}
}

// A folder that a layer implies is vague until a layer lists it again.
func TestVagueFolders(t *testing.T) {
	t.Parallel()
	fs := layersFS(t, nil,
		entries{meta("a", tar.TypeDir, 0o700, 1, 1), file("a/x", ""), file("b/x", ""), file("c/x", ""), file("e/x", "")},
		entries{file("a/y", ""), folder("b"), file("d/e/f", ""), whiteout("c"), file("e/.wh..wh..opq", "")},
	)
	got := fs.vagueFolders(fs.entries())
	if s := strings.Join(got, " "); s != "/a /d /d/e /e" {
		t.Errorf("vague folders: %s", s)
	}
}

func TestRootWhiteout(t *testing.T) {
	t.Parallel()
	fs := layersFS(t, nil, entries{meta("./", tar.TypeDir, 0o711, 0, 0), file("a", "1"), file("b/c", "2")}, entries{file(".wh..wh..opq", ""), file("d", "3")})
	var paths []string
	for _, e := range fs.entries() {
		paths = append(paths, e.path)
	}
	if s := strings.Join(paths, " "); s != "/ /d" || fs.nodes[rootNode].ino.mode != 0o711 {
		t.Errorf("%s, root %o", s, fs.nodes[rootNode].ino.mode)
	}
}
