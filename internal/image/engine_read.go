package image

import (
	"context"
	"io"
)

// openEngine reads an image through the engine's export. The export is read once
// from end to end to learn what it holds, and again for layers: nothing is kept
// on disk, and only JSON in memory.
func openEngine(ctx context.Context, ref Ref, o Options) (*Source, error) {
	e, err := newEngine(o)
	if err != nil {
		return nil, err
	}
	s, err := e.source(ctx, ref, o)
	if err != nil {
		e.Close()
		return nil, err
	}
	inner := s.close
	s.close = func() error {
		inner()
		return e.Close()
	}
	return s, nil
}

func (e *engine) source(ctx context.Context, ref Ref, o Options) (*Source, error) {
	info, err := e.inspect(ctx, ref.engineName())
	if err != nil {
		return nil, err
	}
	if info.platform.OS != "" && !o.platformMatches(info.platform) {
		return nil, failf(ErrPlatform, "image is for %s, wanted %s", platformName(&info.platform), platformName(&o.Platform))
	}
	// By id, so that every export gives the same image whatever the tag does.
	export := func() (io.ReadCloser, error) {
		rc, err := e.ImageSave(ctx, []string{info.id})
		if err != nil {
			return nil, e.failed(err)
		}
		return rc, nil
	}
	cache := e.cache(ctx, o.CacheDir, info.id)
	if x := cache.load(); x != nil {
		x.streams = &tarSessions{open: export}
		if s, err := x.engineSource(ctx, ref, o, info.id); err == nil {
			return s, nil
		}
	}
	p := newProgress(o.Progress)
	first := true
	x, err := indexStreamTar(func() (io.ReadCloser, error) {
		rc, err := export()
		if err != nil || !first {
			return rc, err
		}
		first = false
		return &countedReader{ReadCloser: rc, count: p.counter(Pull, "export", info.id, info.size)}, nil
	})
	if err != nil {
		return nil, e.failed(err)
	}
	x.streams.open = export
	s, err := x.engineSource(ctx, ref, o, info.id)
	if err != nil {
		return nil, err
	}
	cache.store(x)
	return s, nil
}

// engineSource opens the only image of an export, which must be the one that the
// engine was asked for.
func (x *tarIndex) engineSource(ctx context.Context, ref Ref, o Options, id string) (*Source, error) {
	unnamed := ref
	unnamed.tag = ""
	s, err := x.source(ctx, unnamed, o)
	if err != nil {
		return nil, err
	}
	s.ref = ref
	config := s.img.manifest.Config.Digest.String()
	if id != config && id != s.img.digest.String() && id != s.indexDigest.String() {
		return nil, failf(ErrDigest, "the engine was asked for image %s and sent one with id %s", id, config)
	}
	return s, nil
}
