package gramine

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"hitoku.dev/internal/gramine/gramtest"
)

func archiveFile(t *testing.T, b []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "root.tar")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func compressed(t *testing.T, w io.WriteCloser, b []byte) {
	t.Helper()
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestCompressedArchives(t *testing.T) {
	t.Parallel()
	plain := gramtest.Root("1.8").Tar()
	var gz, zst bytes.Buffer
	compressed(t, gzip.NewWriter(&gz), plain)
	z, err := zstd.NewWriter(&zst)
	if err != nil {
		t.Fatal(err)
	}
	compressed(t, z, plain)
	var digests []string
	for _, b := range [][]byte{plain, gz.Bytes(), zst.Bytes()} {
		r, err := Open(t.Context(), Options{Ref: archiveFile(t, b)})
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, r.Digest)
	}
	if len(slices.Compact(digests)) != 1 {
		t.Errorf("digests differ by compression: %v", digests)
	}
	for name, b := range map[string][]byte{"tar": plain[:len(plain)/2], "gzip": gz.Bytes()[:gz.Len()/2], "zstd": zst.Bytes()[:zst.Len()/2]} {
		if _, err := Open(t.Context(), Options{Ref: archiveFile(t, b)}); err == nil {
			t.Errorf("%s: half an archive was taken", name)
		}
	}
}

func TestHostileArchives(t *testing.T) {
	t.Parallel()
	const lib = gramtest.Lib
	regular := func(name string, size int64) *tar.Header {
		return &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: size}
	}
	for name, c := range map[string]struct {
		header *tar.Header
		want   string
	}{
		"too large a file":          {regular(lib+"/libsysdb.so", maxFile+1), "are read"},
		"8 GB in a header":          {regular(lib+"/sgx/libpal.so", 8<<30), "are read"},
		"a hard link to nothing":    {&tar.Header{Name: lib + "/sgx/loader", Typeflag: tar.TypeLink, Linkname: "../../etc/shadow"}, "not kept"},
		"a long name":               {&tar.Header{Name: strings.Repeat("a/", maxPath), Typeflag: tar.TypeSymlink, Linkname: "x"}, "name of"},
		"a link out of the archive": {&tar.Header{Name: lib + "/libsysdb.so", Typeflag: tar.TypeSymlink, Linkname: "../../../../../../../../etc/passwd"}, "no Gramine in it"},
		"an image that was saved":   {regular("manifest.json", 0), "docker-archive:"},
		"an escaping name":          {regular("../../../../etc/passwd", 0), "no Gramine in it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			if err := w.WriteHeader(c.header); err != nil {
				t.Fatal(err)
			}
			if c.header.Size == 0 {
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := Open(t.Context(), Options{Ref: archiveFile(t, b.Bytes())}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, wanted %q", err, c.want)
			}
		})
	}
}

func TestOpaqueFolder(t *testing.T) {
	t.Parallel()
	older := gramtest.Tree{"opt/gramine/libsysdb.so": gramtest.Library("gone")}
	upper := gramtest.Root("1.9")
	upper["opt/.wh..wh..opq"] = ""
	if _, err := Open(t.Context(), Options{Ref: saved(t, older.Tar(), upper.Tar())}); err != nil {
		t.Error(err)
	}
}

// Two texts of one name travel both, in the same order always.
func TestLicencesOfOneName(t *testing.T) {
	t.Parallel()
	tree := gramtest.Root("1.8")
	tree[gramtest.Lib+"/copyright"] = "another text\n"
	tree["usr/share/gramine/copyright"] = tree["usr/share/doc/gramine/copyright"]
	root, digest := tree.Write(t), ""
	for range 8 {
		r, err := Open(t.Context(), Options{Ref: root})
		if err != nil {
			t.Fatal(err)
		}
		if digest == "" {
			digest = r.Digest
		}
		texts := 0
		for _, f := range r.common {
			if strings.HasPrefix(f.Path, licencesPath) {
				texts++
			}
		}
		if r.Digest != digest || texts != 2 {
			t.Fatalf("digest %s with %d texts, wanted %s with 2", r.Digest, texts, digest)
		}
	}
}

// A program of this machine runs where there is nothing but the folder of libraries.
func TestPatchedProgramRuns(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("root is needed to change the root folder")
	}
	root := t.TempDir()
	put := func(name string, b []byte) {
		t.Helper()
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	read := func(names ...string) []byte {
		t.Helper()
		for _, n := range names {
			if b, err := os.ReadFile(n); err == nil {
				return b
			}
		}
		t.Fatalf("none of %v is there", names)
		return nil
	}
	program := read("/bin/echo")
	patched, err := PatchInterpreter(program, hostLoader)
	if err != nil {
		t.Fatal(err)
	}
	put(hostLoader, read("/lib64/"+hostInterpreter))
	put(HostDir+"/libc.so.6", read("/lib/x86_64-linux-gnu/libc.so.6", "/lib64/libc.so.6"))
	put("/plain", program)
	put("/patched", patched)
	run := func(name string) (string, error) {
		c := exec.CommandContext(t.Context(), name, "it", "runs")
		c.Path, c.Dir, c.Env = name, "/", []string{"LD_LIBRARY_PATH=" + HostDir}
		c.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
		out, err := c.CombinedOutput()
		return string(out), err
	}
	if out, err := run("/patched"); err != nil || out != "it runs\n" {
		t.Errorf("patched: %q %v", out, err)
	}
	if out, err := run("/plain"); err == nil {
		t.Errorf("not patched: %q, wanted no such loader", out)
	}
}
