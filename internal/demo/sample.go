package demo

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const page = `<!doctype html>
<title>Hitoku</title>
<h1>Hello from an attested program</h1>
<p>This server speaks plain HTTP and knows nothing of attestation. The guest in front of it does.</p>
`

// file is one entry of a layer.
type file struct {
	name string
	mode int64
	body []byte
	dir  bool
}

// sampleImage is the application as its developer would have built it: FROM
// scratch, a static program and a page. It runs as user web where the
// demonstration has root; in a user namespace of somebody else there is one user only.
func sampleImage(program string, root bool) (v1.Image, error) {
	hello, err := os.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("the sample application: %w; run `make build`", err)
	}
	layer, err := layerOf(
		file{name: "etc/", mode: 0o755, dir: true},
		file{name: "etc/passwd", mode: 0o644, body: []byte("root:x:0:0:root:/:/\nweb:x:1000:1000::/www:/\n")},
		file{name: "etc/group", mode: 0o644, body: []byte("root:x:0:\nweb:x:1000:\n")},
		file{name: "hello", mode: 0o755, body: hello},
		file{name: "tmp/", mode: 0o1777, dir: true},
		file{name: "www/", mode: 0o755, dir: true},
		file{name: "www/index.html", mode: 0o644, body: []byte(page)},
	)
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layer)
	if err != nil {
		return nil, err
	}
	cfg, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", "amd64"
	cfg.Config.Entrypoint = []string{"/hello"}
	if root {
		cfg.Config.User = "web"
	}
	cfg.Config.Env = []string{"PATH=/"}
	cfg.Config.ExposedPorts = map[string]struct{}{"8080/tcp": {}}
	return mutate.ConfigFile(image, cfg)
}

// tampered is image with one more layer, as an operator of the registry could add it.
func tampered(image v1.Image, f file) (v1.Image, error) {
	layer, err := layerOf(f)
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(image, layer)
}

func layerOf(files ...file) (v1.Layer, error) {
	var raw bytes.Buffer
	zw := gzip.NewWriter(&raw)
	tw := tar.NewWriter(zw)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.body)), Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		if f.dir {
			h.Typeflag = tar.TypeDir
		}
		if err := tw.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := tw.Write(f.body); err != nil {
			return nil, err
		}
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	if err := zw.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw.Bytes())), nil }, tarball.WithMediaType(types.OCILayer))
}
