package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// WriteOptions are Options for the place written to.
type WriteOptions struct {
	Options
	// MountFrom is the opened image that the layers come from. A registry mounts
	// what it already has in that repository, an engine needs no layer twice.
	MountFrom *Source
}

// Count is a number of blobs and their bytes.
type Count struct {
	Blobs int   `json:"blobs"`
	Bytes int64 `json:"bytes"`
}

func (c *Count) add(size int64) {
	c.Blobs++
	c.Bytes += size
}

// Result says what Write did. Layers and the configuration are counted, each once.
type Result struct {
	// Digest of the image's manifest, and of its configuration: the latter is what
	// Docker Engine calls the image id.
	Digest  v1.Hash `json:"digest"`
	ImageID v1.Hash `json:"image_id"`
	// Name is the reference to use from here on; for a registry with the digest.
	Name string `json:"name"`

	Mounted  Count `json:"mounted"`  // taken over inside the target without sending
	Uploaded Count `json:"uploaded"` // sent or copied
	Existing Count `json:"existing"` // there already
}

// Write puts img where ref says. Errors are *Error: of side pull if reading img
// failed. A failed or cancelled Write leaves the target as it was (a registry may
// keep blobs that no manifest names; its own clean-up removes them).
func Write(ctx context.Context, ref Ref, img v1.Image, o WriteOptions) (Result, error) {
	o.Options = o.Options.withDefaults()
	res, err := write(ctx, ref, img, o)
	if err != nil {
		return Result{}, wrapError(ctx, ref, Push, err)
	}
	return res, nil
}

func write(ctx context.Context, ref Ref, img v1.Image, o WriteOptions) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	digest, err := img.Digest()
	if err != nil {
		return Result{}, fmt.Errorf("image to write: %w", err)
	}
	id, err := img.ConfigName()
	if err != nil {
		return Result{}, fmt.Errorf("image to write: %w", err)
	}
	if ref.kind != KindEngine && ref.digest != "" && ref.digest != digest.String() {
		return Result{}, failf(ErrReference, "the output names digest %s but the image has %s; give a tag", ref.digest, digest)
	}
	var res Result
	switch ref.kind {
	case KindRegistry:
		res, err = writeRegistry(ctx, ref, img, o)
	case KindLayout:
		res, err = writeLayout(ctx, ref, img, o)
	case KindArchive:
		res, err = writeArchive(ctx, ref, img, o)
	case KindEngine:
		res, err = writeEngine(ctx, ref, img, o)
	default:
		return Result{}, failf(ErrReference, "no output given")
	}
	if err != nil {
		return Result{}, err
	}
	res.Digest, res.ImageID, res.Name = digest, id, ref.String()
	if ref.kind == KindRegistry && ref.digest == "" {
		res.Name += "@" + digest.String()
	}
	return res, nil
}

// ResolveDigest gives the digest of what ref names at this moment: of the index
// if it is one, the image id for an engine.
func ResolveDigest(ctx context.Context, ref Ref, o Options) (v1.Hash, error) {
	o = o.withDefaults()
	var (
		h   v1.Hash
		err error
	)
	switch ref.kind {
	case KindRegistry:
		h, err = resolveRegistry(ctx, ref, o)
	case KindEngine:
		h, err = resolveEngine(ctx, ref, o)
	default:
		var s *Source
		if s, err = Open(ctx, ref, o); err == nil {
			h = s.Digest()
			if s.indexDigest != (v1.Hash{}) {
				h = s.indexDigest
			}
			err = s.Close()
		}
	}
	if err != nil {
		return v1.Hash{}, wrapError(ctx, ref, Pull, err)
	}
	return h, nil
}

// Exists reports whether ref names something.
func Exists(ctx context.Context, ref Ref, o Options) (bool, error) {
	_, err := ResolveDigest(ctx, ref, o)
	var e *Error
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &e) && (e.Kind == ErrNoTag || e.Kind == ErrNoName):
		return false, nil
	}
	return false, err
}

// cheapestOrder gives the layers of img in the order of the stream that they come
// from, if they come from one: then they must also be read one at a time.
func cheapestOrder(img v1.Image, from *Source) (layers []v1.Layer, serial bool, err error) {
	layers, err = img.Layers()
	if err != nil {
		return nil, false, err
	}
	ranks := map[v1.Hash]int{}
	note := func(l *storedLayer) {
		if l.serial {
			ranks[l.desc.Digest] = 1 + l.rank
		}
	}
	if from != nil {
		for _, l := range from.img.layers {
			note(l)
		}
	}
	type ranked struct {
		v1.Layer
		digest v1.Hash
	}
	order := make([]ranked, len(layers))
	for i, l := range layers {
		if stored, ok := l.(*storedLayer); ok {
			note(stored)
		}
		digest, err := l.Digest()
		if err != nil {
			return nil, false, err
		}
		order[i] = ranked{l, digest}
	}
	slices.SortStableFunc(order, func(a, b ranked) int { return ranks[a.digest] - ranks[b.digest] })
	out := make([]v1.Layer, len(layers))
	for i, l := range order {
		out[i] = l.Layer
	}
	return out, len(ranks) > 0, nil
}

// countedLayer reports the progress of reading a layer out.
type countedLayer struct {
	v1.Layer
	count func() func(int, bool)
}

func (c *countedLayer) Compressed() (io.ReadCloser, error) {
	rc, err := c.Layer.Compressed()
	if err != nil {
		return nil, err
	}
	return &countedReader{ReadCloser: rc, count: c.count()}, nil
}

type countedReader struct {
	io.ReadCloser
	count func(int, bool)
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.count(n, err == io.EOF)
	return n, err
}
