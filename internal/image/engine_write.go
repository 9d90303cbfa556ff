package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/moby/client"
)

// writeEngine loads img into the engine. What the engine has already is not
// sent: the whole image when its id is known there, else the lower layers that
// it shares with the image it was made from.
func writeEngine(ctx context.Context, ref Ref, img v1.Image, o WriteOptions) (Result, error) {
	if ref.name == "" {
		return Result{}, failf(ErrReference, "an engine needs a name for the image, not an id")
	}
	e, err := newEngine(o.Options)
	if err != nil {
		return Result{}, err
	}
	defer e.Close()
	containerd, err := e.keepsManifests(ctx)
	if err != nil {
		return Result{}, err
	}
	id, err := engineID(img, containerd)
	if err != nil {
		return Result{}, err
	}
	if _, err := e.inspect(ctx, id.String()); err == nil {
		return e.tagOnly(ctx, ref, img, id)
	} else if classify(err) != ErrNoTag {
		return Result{}, err
	}
	l := &engineLoad{engine: e, img: img, progress: newProgress(o.Progress), name: ref.name, from: o.MountFrom}
	var skip map[v1.Hash]bool
	if !containerd {
		if skip, err = e.shared(ctx, ref, img, o.MountFrom); err != nil {
			return Result{}, err
		}
	}
	res, err := l.load(ctx, skip)
	if err != nil && len(skip) > 0 && ctx.Err() == nil && classify(err) == ErrEngine {
		// A layer may have been removed since: send everything.
		res, err = l.load(ctx, nil)
	}
	if err != nil {
		return Result{}, err
	}
	got, err := e.inspect(ctx, ref.name)
	if err != nil {
		return Result{}, err
	}
	if got.id != id.String() && got.manifest != id.String() {
		return Result{}, failf(ErrDigest, "the engine has image %s under that name after loading, wanted %s", got.id, id)
	}
	return res, nil
}

// engineID is the id that the engine will give the image.
func engineID(img v1.Image, containerd bool) (v1.Hash, error) {
	if containerd {
		return img.Digest()
	}
	return img.ConfigName()
}

func (e *engine) tagOnly(ctx context.Context, ref Ref, img v1.Image, id v1.Hash) (Result, error) {
	if _, err := e.ImageTag(ctx, client.ImageTagOptions{Source: id.String(), Target: ref.name}); err != nil {
		return Result{}, e.failed(err)
	}
	var res Result
	return res, eachBlob(img, func(_ v1.Hash, size int64) { res.Existing.add(size) })
}

// shared lists the layers that the engine has as the lowest ones of the image
// that img was made from, or of the one that the name stands for now. An engine
// knows a layer by all diff ids below it, so only a common beginning counts.
func (e *engine) shared(ctx context.Context, ref Ref, img v1.Image, from *Source) (map[v1.Hash]bool, error) {
	names := []string{ref.name}
	if from != nil && from.ref.kind == KindEngine {
		names = append(names, from.ref.engineName())
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	common := 0
	for _, n := range names {
		have, err := e.inspect(ctx, n)
		if err != nil {
			if classify(err) == ErrNoTag {
				continue
			}
			return nil, err
		}
		n, err := commonLayers(layers, have.diffIDs)
		if err != nil {
			return nil, err
		}
		common = max(common, n)
	}
	skip := map[v1.Hash]bool{}
	for i, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			return nil, err
		}
		if i < common {
			skip[digest] = true
		} else {
			delete(skip, digest) // the same bytes once more, on top of others
		}
	}
	return skip, nil
}

func commonLayers(layers []v1.Layer, diffIDs []string) (int, error) {
	for i := range min(len(layers), len(diffIDs)) {
		diff, err := layers[i].DiffID()
		if err != nil {
			return 0, err
		}
		if diff.String() != diffIDs[i] {
			return i, nil
		}
	}
	return min(len(layers), len(diffIDs)), nil
}

type engineLoad struct {
	engine   *engine
	img      v1.Image
	name     string
	from     *Source
	progress *progress
}

func (l *engineLoad) load(ctx context.Context, skip map[v1.Hash]bool) (Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pr, pw := io.Pipe()
	t := &archiveWriter{ctx: ctx, name: l.name, from: l.from, progress: l.progress, skip: skip, noZstd: !l.engine.knowsZstd()}
	written := make(chan error, 1)
	go func() {
		err := t.write(pw, l.img)
		pw.CloseWithError(err)
		written <- err
	}()
	err := l.send(ctx, pr)
	// The writer ends when nobody reads any more.
	pr.CloseWithError(errLoadOver)
	if werr := <-written; werr != nil && !errors.Is(werr, errLoadOver) {
		return Result{}, werr
	}
	return t.result, err
}

var errLoadOver = errors.New("engine stopped reading")

func (l *engineLoad) send(ctx context.Context, body io.Reader) error {
	resp, err := l.engine.ImageLoad(ctx, body, client.ImageLoadWithQuiet(true))
	if err != nil {
		return l.engine.failed(err)
	}
	defer resp.Close()
	dec := json.NewDecoder(resp)
	for {
		var m struct {
			Error string `json:"error"`
		}
		switch err := dec.Decode(&m); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return l.engine.failed(fmt.Errorf("reply to load: %w", err))
		case m.Error != "":
			return failf(ErrEngine, "the engine refuses the image: %s", m.Error)
		}
	}
}
