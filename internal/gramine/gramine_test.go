package gramine

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"hitoku.dev/internal/gramine/gramtest"
	"hitoku.dev/internal/image"
)

func names(files []File) []string {
	var out []string
	for _, f := range files {
		s := f.Path
		if f.Link != "" {
			s += " -> " + f.Link
		}
		out = append(out, s)
	}
	return out
}

// saved is an OCI layout whose layers are the given archives.
func saved(t *testing.T, layers ...[]byte) string {
	t.Helper()
	img := v1.Image(empty.Image)
	for _, b := range layers {
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil })
		if err == nil {
			img, err = mutate.AppendLayers(img, l)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config.OS, config.Architecture = "linux", "amd64"
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	ref := "oci:" + filepath.Join(t.TempDir(), "gramine") + ":1"
	p, err := image.Parse(ref)
	if err == nil {
		_, err = image.Write(t.Context(), p, img, image.WriteOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestSources(t *testing.T) {
	t.Parallel()
	tree := gramtest.Root("1.8")
	archive := filepath.Join(t.TempDir(), "root.tar")
	if err := os.WriteFile(archive, tree.Tar(), 0o600); err != nil {
		t.Fatal(err)
	}
	older := gramtest.Root("1.7")
	older["opt/gramine/libsysdb.so"] = gramtest.Library("gone")
	whiteouts := gramtest.Tree{"opt/.wh.gramine": ""}
	cache := t.TempDir()
	digest := ""
	for _, ref := range []string{tree.Write(t), archive, saved(t, tree.Tar()), saved(t, older.Tar(), whiteouts.Tar(), tree.Tar())} {
		for range 2 { // from the source, and from the cache
			r, err := Open(t.Context(), Options{Ref: ref, CacheDir: cache})
			if err != nil {
				t.Fatal(err)
			}
			if digest == "" {
				digest = r.Digest
			}
			if r.Version != "1.8" || r.Digest != digest {
				t.Errorf("%s: version %s, digest %s, wanted %s", ref, r.Version, r.Digest, digest)
			}
			if _, err := Open(t.Context(), Options{Ref: ref + "#" + r.Digest, CacheDir: cache}); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestLayerFiles(t *testing.T) {
	t.Parallel()
	r, err := Open(t.Context(), Options{Ref: gramtest.Root("1.9").Write(t)})
	if err != nil {
		t.Fatal(err)
	}
	common := []string{HostDir + "/libprotobuf-c.so.1", LibOSPath, PALPath, Dir + "/licences/copyright", LoaderPath}
	for name, c := range map[string]struct {
		libc   LibC
		system bool
		want   []string
	}{
		"static": {NoLibC, true, nil},
		"glibc": {Glibc, true, []string{
			Dir + "/runtime/glibc/ld-linux-x86-64.so.2", Dir + "/runtime/glibc/libc.so.6", Dir + "/runtime/glibc/libm.so.6", Dir + "/runtime/glibc/libnss_files.so.2", Dir + "/runtime/glibc/libpthread.so.0",
		}},
		"musl": {Musl, true, []string{Dir + "/runtime/musl/ld-musl-x86_64.so.1", Dir + "/runtime/musl/libc.so -> ld-musl-x86_64.so.1"}},
		"host": {NoLibC, false, []string{HostDir + "/ld.so", HostDir + "/libc.so.6"}},
	} {
		got, err := r.LayerFiles(c.libc, c.system)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{}
		for _, n := range append(append([]string{}, common...), c.want...) {
			want[n] = true
		}
		seen := map[string]bool{}
		for _, n := range names(got) {
			seen[n] = true
		}
		if d := cmp.Diff(want, seen); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		for _, f := range got {
			if f.Path == LoaderPath && bytes.Contains(f.Data, []byte("/lib64/ld-linux")) != c.system {
				t.Errorf("%s: the loader's interpreter is wrong", name)
			}
		}
	}
	if LibCDir(NoLibC) != "" || LibCDir(Musl) != Dir+"/runtime/musl" {
		t.Error("folders of C libraries")
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(gramtest.Tree)
		o      Options
		want   string
	}{
		"old":        {func(f gramtest.Tree) { replaceVersion(f, "1.6.2") }, Options{}, "Gramine 1.6"},
		"new":        {func(f gramtest.Tree) { replaceVersion(f, "2.0") }, Options{}, "Gramine 2.0"},
		"unreleased": {func(f gramtest.Tree) { replaceVersion(f, "1.9post~UNRELEASED") }, Options{}, "UNRELEASED"},
		"two marks": {func(f gramtest.Tree) {
			f["usr/lib/python3/dist-packages/graminelibos.dist-info/METADATA"] = "Version: 1.7\n"
		}, Options{}, "two versions"},
		"no marks":      {noMarks, Options{}, "--gramine-version"},
		"other version": {func(gramtest.Tree) {}, Options{Version: "1.7"}, "--gramine-version says 1.7"},
		"direct only":   {func(f gramtest.Tree) { delete(f, gramtest.Lib+"/sgx/loader"); delete(f, gramtest.Lib+"/sgx/libpal.so") }, Options{}, "-Dsgx=enabled"},
		"no library OS": {func(f gramtest.Tree) { delete(f, gramtest.Lib+"/libsysdb.so") }, Options{}, "no Gramine in it"},
		"two of them":   {func(f gramtest.Tree) { f["opt/gramine/libsysdb.so"] = gramtest.Library("x") }, Options{}, "more than one"},
		"no licence":    {func(f gramtest.Tree) { delete(f, "usr/share/doc/gramine/copyright") }, Options{}, "licence"},
		"no ELF":        {func(f gramtest.Tree) { f[gramtest.Lib+"/sgx/libpal.so"] = "text" }, Options{}, "no ELF file"},
		"truncated":     {func(f gramtest.Tree) { f[gramtest.Lib+"/libsysdb.so"] = f[gramtest.Lib+"/libsysdb.so"][:0x2500] }, Options{}, "truncated"},
		"other machine": {func(f gramtest.Tree) {
			b := []byte(f[gramtest.Lib+"/sgx/loader"])
			b[18] = 183
			f[gramtest.Lib+"/sgx/loader"] = string(b)
		}, Options{}, "EM_AARCH64"},
		"circle": {func(f gramtest.Tree) { f[gramtest.Lib+"/runtime/glibc/libz.so.1"] = "-> libz.so.1" }, Options{}, "circle"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := gramtest.Root("1.8")
			c.change(tree)
			c.o.Ref = tree.Write(t)
			if _, err := Open(t.Context(), c.o); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.o.Ref) {
				t.Errorf("%v\nwanted %q", err, c.want)
			}
		})
	}
	root := gramtest.Root("1.8").Write(t)
	for ref, want := range map[string]string{
		root + "#sha256:" + strings.Repeat("0", 64): "another build", root + "#sha256:12": "wanted #sha256:", root + "#x": "wanted #sha256:",
		"./nothing-here": "no such file", "oci:" + root: "oci:", "": "",
	} {
		if _, err := Open(t.Context(), Options{Ref: ref}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, wanted %q", ref, err, want)
		}
	}
}

func replaceVersion(f gramtest.Tree, version string) {
	for name, content := range gramtest.Root(version) {
		f[name] = content
	}
}

func noMarks(f gramtest.Tree) {
	for name := range f {
		if strings.Contains(name, "graminelibos") {
			delete(f, name)
		}
	}
}

func TestStatedVersion(t *testing.T) {
	t.Parallel()
	tree := gramtest.Root("1.8")
	noMarks(tree)
	r, err := Open(t.Context(), Options{Ref: tree.Write(t), Version: "1.9"})
	if err != nil || r.Version != "1.9" {
		t.Errorf("%v %v", r, err)
	}
}

func TestWithoutParts(t *testing.T) {
	t.Parallel()
	tree := gramtest.Root("1.8")
	for name := range tree {
		if strings.Contains(name, "/musl/") || strings.Contains(name, "protobuf") {
			delete(tree, name)
		}
	}
	root := tree.Write(t)
	r, err := Open(t.Context(), Options{Ref: root})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.LayerFiles(Musl, true); err == nil || !strings.Contains(err.Error(), "musl") {
		t.Errorf("no musl: %v", err)
	}
	if _, err := r.LayerFiles(Glibc, true); err == nil || !strings.Contains(err.Error(), "libprotobuf-c") {
		t.Errorf("no libraries for the loader: %v", err)
	}
	// Where a build was installed there is no system; the machine's own libraries serve.
	prefix := gramtest.Tree{}
	for name, content := range gramtest.Root("1.8") {
		if rest, ok := strings.CutPrefix(name, "usr/"); ok && (strings.Contains(name, "/gramine") || strings.Contains(name, "python3")) {
			prefix[rest] = content
		}
	}
	r, err = Open(t.Context(), Options{Ref: prefix.Write(t), System: gramtest.Root("1.9").Write(t)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.LayerFiles(Glibc, true); err != nil {
		t.Error(err)
	}
}

func TestPatchInterpreter(t *testing.T) {
	t.Parallel()
	program := []byte(gramtest.Program("x"))
	got, err := PatchInterpreter(program, HostDir+"/ld.so")
	if err != nil || len(got) != len(program) || bytes.Contains(got, []byte("linux-x86-64")) || !bytes.Contains(got, []byte(HostDir+"/ld.so\x00")) {
		t.Errorf("%v", err)
	}
	for want, c := range map[string]struct{ program, name string }{
		"no ELF": {"x", "/a"}, "room for 27": {string(program), strings.Repeat("a", 28)}, "no interpreter": {gramtest.Library("x"), "/a"},
	} {
		if _, err := PatchInterpreter([]byte(c.program), c.name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, wanted %q", err, want)
		}
	}
}

func TestDamagedCache(t *testing.T) {
	t.Parallel()
	ref, cache := saved(t, gramtest.Root("1.8").Tar()), t.TempDir()
	first, err := Open(t.Context(), Options{Ref: ref, CacheDir: cache})
	if err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob(filepath.Join(cache, "gramine-*"))
	if err != nil || len(kept) != 1 {
		t.Fatal(kept, err)
	}
	b, err := os.ReadFile(kept[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(kept[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := Open(t.Context(), Options{Ref: ref, CacheDir: cache}); err != nil || r.Digest != first.Digest {
		t.Errorf("%v %v", r, err)
	}
}

func TestTooManyRemovals(t *testing.T) {
	t.Parallel()
	v := newView()
	v.nodes["/a"] = node{}
	v.work = maxWork
	if err := v.remove("/b", true, true); err == nil {
		t.Error("taken")
	}
	// A folder takes the place of an older layer's link.
	older, newer := gramtest.Root("1.8"), gramtest.Tree{"opt/x": "-> /nowhere"}
	newer["usr/share/doc/gramine"] = "-> ../elsewhere"
	delete(newer, "opt/x")
	ref := saved(t, newer.Tar(), older.Tar())
	if _, err := Open(t.Context(), Options{Ref: ref}); err != nil {
		t.Error(err)
	}
}

func FuzzArchive(f *testing.F) {
	small := gramtest.Root("1.8")
	for name := range small {
		if strings.Contains(name, "/runtime/") || !strings.Contains(name, "gramine") {
			delete(small, name)
		}
	}
	f.Add(small.Tar())
	f.Add(small.Tar()[:2048])
	f.Add(gramtest.Tree{"a": "-> a", "usr/.wh.lib": ""}.Tar())
	f.Fuzz(func(t *testing.T, b []byte) {
		v := newView()
		if v.readTar(t.Context(), bytes.NewReader(b), io.Discard) != nil {
			return
		}
		r, err := v.recognise("")
		if err != nil {
			return
		}
		for _, l := range []LibC{NoLibC, Glibc, Musl} {
			if _, err := r.LayerFiles(l, true); err == nil && len(r.PAL()) == 0 {
				t.Fatal("taken without a loader")
			}
		}
	})
}

// TestFits uses programs of this machine: what is made for tests has no versions of symbols.
func TestFits(t *testing.T) {
	t.Parallel()
	libc, err := os.ReadFile("/lib/x86_64-linux-gnu/libc.so.6")
	if err != nil {
		t.Skipf("no glibc of Debian's kind for x86-64 on this machine: %v", err)
	}
	program, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Skipf("no dynamic program to try: %v", err)
	}
	r := &Runtime{common: []File{{Path: LoaderPath, Data: program}}, host: []File{{Path: hostProtobuf, Data: program}}}
	if !r.Fits(libc) {
		t.Error("a program of this machine does not fit its C library")
	}
	if r.Fits(program) || r.Fits([]byte("x")) || r.Fits([]byte(gramtest.Library("old"))) {
		t.Error("something else fits")
	}
	r.host[0].Data = []byte(gramtest.Library("without versions"))
	if r.Fits(libc) {
		t.Error("a library that does not say what it needs fits")
	}
	r.host = nil
	if r.Fits(libc) {
		t.Error("fits without the library that no image has")
	}
}
