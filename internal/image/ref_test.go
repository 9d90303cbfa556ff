package image_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hitoku.dev/internal/image"
)

func TestParse(t *testing.T) {
	t.Parallel()
	hash := "sha256:" + strings.Repeat("ab", 32)
	for in, want := range map[string]string{
		"busybox":                              "index.docker.io/library/busybox:latest",
		"docker://busybox:1":                   "index.docker.io/library/busybox:1",
		"docker.io/library/busybox":            "index.docker.io/library/busybox:latest",
		"localhost:5000/a/b:c":                 "localhost:5000/a/b:c",
		"127.0.0.1:5000/a@" + hash:             "127.0.0.1:5000/a@" + hash,
		"[::1]:5000/a:1":                       "[::1]:5000/a:1",
		"host.example/a:1@" + hash:             "host.example/a:1@" + hash,
		"oci:dir":                              "oci:dir",
		"oci:/a/b:tag":                         "oci:/a/b:tag",
		"oci:/a/b:host/name:tag":               "oci:/a/b:host/name:tag",
		"oci:/a/b@" + hash:                     "oci:/a/b@" + hash,
		"docker-archive:/x/y.tar":              "docker-archive:/x/y.tar",
		"docker-archive:y.tar:a/b":             "docker-archive:y.tar:a/b:latest",
		"docker-archive:y.tar:docker.io/a/b:1": "docker-archive:y.tar:a/b:1",
		`docker-archive:C:\x\y.tar:a:1`:        `docker-archive:C:\x\y.tar:a:1`,
		"docker-daemon:busybox":                "docker-daemon:busybox:latest",
		"docker-daemon:docker.io/library/x:1":  "docker-daemon:x:1",
		"docker-daemon:reg.example:5000/a/b:1": "docker-daemon:reg.example:5000/a/b:1",
		"docker-daemon:" + hash:                "docker-daemon:" + hash,
		"oci:5000/name":                        "oci:5000/name", // a folder, not a host called oci
		"docker-archive.example/name:1":        "docker-archive.example/name:1",
		"host.example:5000/docker-daemon:1":    "host.example:5000/docker-daemon:1",
		"docker-daemon://busybox:1":            "docker-daemon:busybox:1",
		"index.docker.io/library/busybox:1":    "index.docker.io/library/busybox:1",
		"oci:dir with blanks:tag":              "oci:dir with blanks:tag",
		"docker-archive:/tmp/a b.tar:n:1":      "docker-archive:/tmp/a b.tar:n:1",
		"docker://host.example/a:1@" + hash:    "host.example/a:1@" + hash,
		"docker-daemon:host/a/b":               "docker-daemon:host/a/b:latest",
	} {
		r, err := image.Parse(in)
		if err != nil {
			t.Errorf("Parse(%q): %v", in, err)
			continue
		}
		if r.String() != want {
			t.Errorf("Parse(%q) = %s, wanted %s", in, r, want)
		}
		if again, err := image.Parse(r.String()); err != nil || !again.Equal(r) {
			t.Errorf("Parse(%s) = %s, %v: not the same again", r, again, err)
		}
	}
	for _, in := range []string{
		"", ":", "UPPER/case", "a b", "host/", "host/a:", "host/a@sha256:12", "oci:", "oci::tag", "oci:d:t@" + hash, "oci:d:a b",
		"docker-archive:", "docker-archive:f:UPPER", "docker-daemon:", "docker-daemon:sha256:12", "docker-daemon:a@" + hash, "http://host/a", "s3://x",
	} {
		if r, err := image.Parse(in); err == nil {
			t.Errorf("Parse(%q) = %s, wanted an error", in, r)
		} else {
			wantError(t, err, image.Pull, image.ErrReference)
		}
	}
}

func TestEqual(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"busybox", "docker.io/library/busybox:latest", true},
		{"busybox:1", "busybox:2", false},
		{"docker-daemon:busybox", "busybox", false},
		{"oci:" + dir + ":a", "oci:" + link + ":a", true},
		{"oci:" + dir + ":a", "oci:" + dir + ":b", false},
		{"oci:" + dir, "oci:" + dir + ":b", true},
		{"docker-archive:" + dir + "/x:a", "docker-archive:" + link + "/../" + filepath.Base(dir) + "/x:b", false},
		{"docker-archive:" + dir + "/x:a", "docker-archive:" + dir + "/./x:b", true},
	} {
		if got := ref(t, c.a).Equal(ref(t, c.b)); got != c.want {
			t.Errorf("%s equals %s: %v, wanted %v", c.a, c.b, got, c.want)
		}
	}
}
