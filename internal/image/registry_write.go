package image

import (
	"context"
	"net/http"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func writeRegistry(ctx context.Context, ref Ref, img v1.Image, o WriteOptions) (Result, error) {
	rr, err := ref.reference(o.Options)
	if err != nil {
		return Result{}, failf(ErrReference, "%w", err)
	}
	layers, serial, err := cheapestOrder(img, o.MountFrom)
	if err != nil {
		return Result{}, err
	}
	if serial {
		o.Jobs = 1
	}
	opts, g, err := remoteOptions(ctx, o.Options)
	if err != nil {
		return Result{}, err
	}
	defer g.close()
	fate := &blobFates{of: map[string]string{}}
	g.observe = fate.observe
	out := &outgoing{Image: img, layers: layers, progress: newProgress(o.Progress)}
	if o.MountFrom != nil && o.MountFrom.mountFrom.ref != nil &&
		o.MountFrom.mountFrom.ref.Context().RegistryStr() == rr.Context().RegistryStr() {
		out.origin = o.MountFrom.mountFrom
	}
	pusher, err := remote.NewPusher(opts...)
	if err != nil {
		return Result{}, err
	}
	if err := pusher.Push(ctx, rr, out); err != nil {
		return Result{}, err
	}
	return fate.result(img)
}

// outgoing is the image as it is pushed: layers report progress, and those that
// the registry has in another repository can be mounted from there.
type outgoing struct {
	v1.Image
	layers   []v1.Layer // in the order to read them, which is not the image's
	origin   mountOrigin
	progress *progress
}

func (o *outgoing) Layers() ([]v1.Layer, error) {
	out := make([]v1.Layer, len(o.layers))
	for i, l := range o.layers {
		h, err := l.Digest()
		if err != nil {
			return nil, err
		}
		size, err := l.Size()
		if err != nil {
			return nil, err
		}
		out[i] = &countedLayer{Layer: l, count: func() func(int, bool) {
			return o.progress.counter(Push, "layer", h.String(), size)
		}}
		if o.origin.layers[h] {
			out[i] = &remote.MountableLayer{Layer: out[i], Reference: o.origin.ref}
		}
	}
	return out, nil
}

// blobFates learns from the replies what became of each blob.
type blobFates struct {
	mu sync.Mutex
	of map[string]string
}

const (
	fateExisting = "existing"
	fateMounted  = "mounted"
	fateUploaded = "uploaded"
)

func (b *blobFates) observe(r *http.Request, resp *http.Response) {
	fate, digest := "", ""
	switch {
	case r.Method == http.MethodHead && resp.StatusCode == http.StatusOK && strings.Contains(r.URL.Path, "/blobs/"):
		fate, digest = fateExisting, r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	case r.Method == http.MethodPost && resp.StatusCode == http.StatusCreated:
		fate, digest = fateMounted, r.URL.Query().Get("mount")
	case r.Method == http.MethodPut && resp.StatusCode == http.StatusCreated:
		fate, digest = fateUploaded, r.URL.Query().Get("digest")
	}
	if digest == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of[digest] = fate
}

func (b *blobFates) result(img v1.Image) (Result, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var res Result
	return res, eachBlob(img, func(h v1.Hash, size int64) {
		switch b.of[h.String()] {
		case fateMounted:
			res.Mounted.add(size)
		case fateUploaded:
			res.Uploaded.add(size)
		default:
			// Not asked for at all: the manifest itself was there.
			res.Existing.add(size)
		}
	})
}

// eachBlob visits configuration and layers, each digest once.
func eachBlob(img v1.Image, visit func(v1.Hash, int64)) error {
	m, err := img.Manifest()
	if err != nil {
		return err
	}
	seen := map[v1.Hash]bool{}
	for _, d := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		if !seen[d.Digest] {
			seen[d.Digest] = true
			visit(d.Digest, d.Size)
		}
	}
	return nil
}

// resolveRegistry asks for the digest of what the tag names, index or image.
func resolveRegistry(ctx context.Context, ref Ref, o Options) (v1.Hash, error) {
	rr, err := ref.reference(o)
	if err != nil {
		return v1.Hash{}, failf(ErrReference, "%w", err)
	}
	opts, g, err := remoteOptions(ctx, o)
	if err != nil {
		return v1.Hash{}, err
	}
	defer g.close()
	// GET and not HEAD: the digest is then computed and not believed.
	d, err := remote.Get(rr, opts...)
	if err != nil {
		return v1.Hash{}, noSuchTag(err, ref)
	}
	return d.Digest, nil
}

func referrerTarget(ref Ref, o Options, digest v1.Hash) (name.Reference, error) {
	rr, err := ref.reference(o)
	if err != nil {
		return nil, failf(ErrReference, "%w", err)
	}
	return rr.Context().Digest(digest.String()), nil
}
