package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/moby/client"
	"github.com/moby/moby/client/pkg/versions"
)

// engine speaks to one Docker Engine.
type engine struct {
	*client.Client
	host string
}

func newEngine(o Options) (*engine, error) {
	opts := []client.Opt{client.WithHost(o.DockerHost), client.WithUserAgent("hitoku")}
	if dir := o.DockerCertPath; dir != "" {
		opts = append(opts, client.WithTLSClientConfig(
			filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")))
	}
	c, err := client.New(opts...)
	if err != nil {
		return nil, failf(ErrEngine, "%s: %w", o.DockerHost, err)
	}
	return &engine{Client: c, host: o.DockerHost}, nil
}

// failed gives an engine's error its kind.
func (e *engine) failed(err error) error {
	var f *failure
	var done *Error
	switch {
	case err == nil || errors.As(err, &f) || errors.As(err, &done) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return err
	case errdefs.IsNotFound(err):
		return failf(ErrNoTag, "the engine at %s has no such image: %w", e.host, err)
	case errors.Is(err, os.ErrPermission) || errdefs.IsPermissionDenied(err):
		return failf(ErrEngine, "no permission to use %s (be in the group docker, or root): %w", e.host, err)
	}
	return failf(ErrEngine, "%s: %w", e.host, err)
}

// engineImage is what the engine says of an image.
type engineImage struct {
	id       string
	size     int64
	platform v1.Platform
	diffIDs  []string
	manifest string // digest, where the engine keeps manifests
}

func (e *engine) inspect(ctx context.Context, name string) (engineImage, error) {
	r, err := e.ImageInspect(ctx, name)
	if err != nil {
		return engineImage{}, e.failed(err)
	}
	img := engineImage{
		id: r.ID, size: r.Size, diffIDs: r.RootFS.Layers,
		platform: v1.Platform{OS: r.Os, Architecture: r.Architecture, Variant: r.Variant},
	}
	if r.Descriptor != nil {
		img.manifest = r.Descriptor.Digest.String()
	}
	return img, nil
}

// keepsManifests reports whether the engine stores images in containerd: then
// layers are kept as they came and the image id is the manifest's digest.
func (e *engine) keepsManifests(ctx context.Context) (bool, error) {
	r, err := e.Info(ctx, client.InfoOptions{})
	if err != nil {
		return false, e.failed(err)
	}
	for _, kv := range r.Info.DriverStatus {
		if kv[0] == "driver-type" && kv[1] == "io.containerd.snapshotter.v1" {
			return true, nil
		}
	}
	return false, nil
}

// knowsZstd reports whether the engine loads layers compressed with zstd: those
// before Docker Engine 23 (API 1.42) do not. Call it after another request, which
// settles the API's version.
func (e *engine) knowsZstd() bool {
	return versions.GreaterThanOrEqualTo(e.ClientVersion(), "1.42")
}

func resolveEngine(ctx context.Context, ref Ref, o Options) (v1.Hash, error) {
	e, err := newEngine(o)
	if err != nil {
		return v1.Hash{}, err
	}
	defer e.Close()
	img, err := e.inspect(ctx, ref.engineName())
	if err != nil {
		return v1.Hash{}, err
	}
	return v1.NewHash(img.id)
}

// engineName is what the engine's API takes.
func (r Ref) engineName() string { return r.name + r.digest }
