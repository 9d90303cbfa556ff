package convert

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/moby/client"

	"hitoku.dev/internal/image"
	"hitoku.dev/internal/image/imagetest"
	"hitoku.dev/measure/workload"
)

// engine connects to the Docker Engine of DOCKER_HOST or of the usual socket.
func engine(t *testing.T) (*client.Client, string) {
	t.Helper()
	host := os.Getenv("DOCKER_HOST")
	if host == "" {
		host = "unix:///var/run/docker.sock"
	}
	c, err := client.New(client.WithHost(host))
	if err == nil {
		ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
		defer stop()
		_, err = c.Ping(ctx, client.PingOptions{})
	}
	if err != nil {
		t.Skipf("no Docker Engine answers at DOCKER_HOST or /var/run/docker.sock: %v", err)
	}
	t.Cleanup(func() { c.Close() })
	return c, host
}

// engineList loads an image and lists the root file system that the engine
// makes of it, in the manifest's form.
func engineList(t *testing.T, c *client.Client, host, name string, img v1.Image) ([]workload.File, error) {
	t.Helper()
	ref, err := image.Parse("docker-daemon:" + name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := image.Write(t.Context(), ref, img, image.WriteOptions{Options: image.Options{DockerHost: host}}); err != nil {
		return nil, err
	}
	defer c.ImageRemove(context.WithoutCancel(t.Context()), name, client.ImageRemoveOptions{Force: true})
	made, err := c.ContainerCreate(t.Context(), client.ContainerCreateOptions{Image: name})
	if err != nil {
		t.Fatal(err)
	}
	defer c.ContainerRemove(context.WithoutCancel(t.Context()), made.ID, client.ContainerRemoveOptions{Force: true})
	out, err := c.ContainerExport(t.Context(), made.ID, client.ContainerExportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	return exported(t, out), nil
}

func exported(t *testing.T, r io.Reader) []workload.File {
	t.Helper()
	seen := map[string]*workload.File{}
	var order []string
	tr := tar.NewReader(r)
	links := map[string]string{} // name → first name in the archive
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := path.Clean("/" + h.Name)
		if engineMade(name) {
			continue
		}
		f := &workload.File{UID: uint32(h.Uid), GID: uint32(h.Gid), Mode: uint32(h.Mode & 0o7777)}
		f.SetName(name)
		switch h.Typeflag {
		case tar.TypeReg:
			sum := sha256.New()
			f.Type = workload.TypeFile
			if f.Size, err = io.Copy(sum, tr); err != nil {
				t.Fatal(err)
			}
			f.SHA256 = hex.EncodeToString(sum.Sum(nil))
		case tar.TypeLink:
			to := path.Clean("/" + h.Linkname)
			links[name] = to
			*f = *seen[to]
			f.SetName(name)
		case tar.TypeDir:
			f.Type = workload.TypeDir
		case tar.TypeSymlink:
			f.Type, f.Mode = workload.TypeSymlink, 0o777
			f.SetTarget(h.Linkname)
		case tar.TypeFifo:
			f.Type = workload.TypeFIFO
		case tar.TypeChar, tar.TypeBlock:
			f.Type, f.Rdev = workload.TypeChar, uint64(h.Devmajor)<<32|uint64(h.Devminor)
			if h.Typeflag == tar.TypeBlock {
				f.Type = workload.TypeBlock
			}
		default:
			t.Fatalf("%s: type %q", name, h.Typeflag)
		}
		if v := h.PAXRecords[capabilityRecord]; v != "" {
			f.Xattrs = map[string]string{capabilityXattr: base64.StdEncoding.EncodeToString([]byte(v))}
		}
		seen[name] = f
		order = append(order, name)
	}
	// An archive's first name need not be the first in order.
	group := map[string][]string{}
	for _, n := range order {
		first := n
		if to, ok := links[n]; ok {
			first = to
		}
		group[first] = append(group[first], n)
	}
	for _, g := range group {
		least := g[0]
		for _, n := range g {
			least = min(least, n)
		}
		for _, n := range g {
			if n != least && seen[n].Type == workload.TypeFile {
				seen[n].Type = workload.TypeHardlink
				seen[n].SetTarget(least)
			}
		}
	}
	var out []workload.File
	for _, n := range sortedSetOf(seen) {
		out = append(out, *seen[n])
	}
	return out
}

func sortedSetOf(m map[string]*workload.File) []string {
	names := map[string]bool{}
	for k := range m {
		names[k] = true
	}
	return sortedSet(names)
}

// TestEngineAgrees compares the merged view of the cases with what a Docker
// Engine makes of the converted image's layers: what the added layer lists makes
// even the folders agree that the layers only imply. Cases that the engine takes
// share one image, each in a folder of its own.
func TestEngineAgrees(t *testing.T) {
	t.Parallel()
	c, host := engine(t)
	var all []entries
	for i, k := range mergeCases {
		if k.refused != "" {
			t.Run(k.name, func(t *testing.T) {
				t.Parallel()
				_, err := compareWithEngine(t, c, host, fmt.Sprintf("refused-%d", i), k.layers)
				if err == nil || !strings.Contains(err.Error(), k.refused) {
					t.Errorf("the engine says %v, wanted %q", err, k.refused)
				}
			})
			continue
		}
		for n, l := range k.layers {
			if n == len(all) {
				all = append(all, nil)
			}
			for _, e := range l {
				all[n] = append(all[n], moved(e, i))
			}
		}
	}
	t.Run("all", func(t *testing.T) {
		t.Parallel()
		d, err := compareWithEngine(t, c, host, "all", all)
		if err != nil {
			t.Fatal(err)
		}
		if d != "" {
			t.Errorf("the engine's view (-) differs from the manifest (+); tN is case N:\n%s", d)
		}
	})
}

// moved gives case i a folder t<i> instead of t.
func moved(e imagetest.Entry, i int) imagetest.Entry {
	to := fmt.Sprintf("t%d/", i)
	e.Name = strings.Replace(e.Name, "t/", to, 1)
	if e.Type == tar.TypeLink || strings.HasPrefix(e.Link, "/t/") {
		e.Link = strings.Replace(e.Link, "t/", to, 1)
	}
	return e
}

// engineMade are the entries of an exported container that Docker puts there.
func engineMade(name string) bool {
	return name == "/" || workload.Within(name, workload.Dir) || workload.Within(name, "/dev") || name == "/.dockerenv" ||
		name == "/proc" || name == "/sys" || workload.Within(name, "/etc")
}

func compareWithEngine(t *testing.T, c *client.Client, host, name string, layers []entries) (string, error) {
	t.Helper()
	var spec imagetest.Spec
	spec.Config.Cmd = []string{"/t"}
	for _, l := range layers {
		spec.Layers = append(spec.Layers, imagetest.LayerSpec{Entries: l})
	}
	q := request(t, save(t, imagetest.New(t, spec)))
	if _, err := Convert(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	ref, err := image.Parse(q.Output)
	if err != nil {
		t.Fatal(err)
	}
	src, err := image.Open(t.Context(), ref, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	want, err := engineList(t, c, host, fmt.Sprintf("hitoku-test-merge-%s:%d", name, os.Getpid()), src.Image())
	if err != nil {
		return "", err
	}
	x, err := Inspect(t.Context(), q.Output, image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []workload.File
	for _, f := range x.Options.Manifest.Files {
		if !engineMade(f.Name()) {
			got = append(got, f)
		}
	}
	return strings.ReplaceAll(cmp.Diff(want, got), "\u00a0", " "), nil
}
