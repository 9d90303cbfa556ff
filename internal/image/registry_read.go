package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// mountOrigin is where blobs of a registry source can be mounted from.
type mountOrigin struct {
	ref    name.Reference
	layers map[v1.Hash]bool
}

func openRegistry(ctx context.Context, ref Ref, o Options) (*Source, error) {
	rr, err := ref.reference(o)
	if err != nil {
		return nil, failf(ErrReference, "%w", err)
	}
	opts, g, err := remoteOptions(ctx, o)
	if err != nil {
		return nil, err
	}
	img, index, err := pullRegistry(ctx, ref, rr, opts, g, o)
	if err != nil {
		g.close()
		return nil, noSuchTag(err, ref)
	}
	s := &Source{ref: ref, img: img, indexDigest: index, close: func() error { g.close(); return nil }}
	s.mountFrom = mountOrigin{ref: rr, layers: map[v1.Hash]bool{}}
	for _, l := range img.layers {
		s.mountFrom.layers[l.desc.Digest] = true
	}
	return s, nil
}

func pullRegistry(ctx context.Context, ref Ref, rr name.Reference, opts []remote.Option, g *guard, o Options) (*storedImage, v1.Hash, error) {
	puller, err := remote.NewPuller(opts...)
	if err != nil {
		return nil, v1.Hash{}, err
	}
	top, err := puller.Get(ctx, rr)
	if err != nil {
		return nil, v1.Hash{}, err
	}
	raw, mt, fromIndex, err := resolve(top.Manifest, top.MediaType, o, func(d v1.Descriptor) ([]byte, types.MediaType, error) {
		next, err := puller.Get(ctx, rr.Context().Digest(d.Digest.String()))
		if err != nil {
			return nil, "", fmt.Errorf("manifest %s: %w", d.Digest, err)
		}
		return next.Manifest, next.MediaType, nil
	})
	if err != nil {
		return nil, v1.Hash{}, err
	}
	blob := func(d v1.Descriptor) layerOpener {
		open := func() (io.ReadCloser, error) {
			l, err := puller.Layer(ctx, rr.Context().Digest(d.Digest.String()))
			if err != nil {
				return nil, err
			}
			rc, err := l.Compressed()
			return rc, missingBlob(err, d)
		}
		return func() (io.ReadCloser, error) {
			rc, err := open()
			if err != nil {
				return nil, err
			}
			return &steadyReader{ReadCloser: rc, open: open, again: func() bool { return g.pause(ctx) }}, nil
		}
	}
	m, _, err := checkManifest(raw, mt)
	if err != nil {
		return nil, v1.Hash{}, err
	}
	config, err := readBlob(blob(m.Config), m.Config, MaxConfigSize, "configuration")
	if err != nil {
		return nil, v1.Hash{}, err
	}
	p := newProgress(o.Progress)
	img, err := newImage(raw, mt, config, o, func(_ int, d v1.Descriptor) layerOpener { return blob(d) })
	if err != nil {
		return nil, v1.Hash{}, err
	}
	img.attach(ctx, ref, p)
	var index v1.Hash
	if fromIndex {
		index = top.Digest
	}
	return img, index, nil
}

// steadyReader opens a blob again when its connection breaks, and passes over
// what was read already. The digest is that of all that it gave.
type steadyReader struct {
	io.ReadCloser
	open  func() (io.ReadCloser, error)
	again func() bool
	seen  int64
	tries int
	// broken is how the present connection ended.
	broken error
}

func (s *steadyReader) Read(p []byte) (int, error) {
	for {
		var n int
		err := s.broken
		if err == nil {
			n, err = s.ReadCloser.Read(p)
			s.seen += int64(n)
		}
		if err == nil || err == io.EOF || !temporary(err) {
			return n, err
		}
		if s.broken = err; n > 0 {
			return n, nil
		}
		if s.tries++; s.tries == attempts || !s.again() {
			return 0, err
		}
		next, err := s.open()
		if err != nil {
			return 0, err
		}
		s.ReadCloser.Close()
		s.ReadCloser, s.broken = next, nil
		if _, err := io.CopyN(io.Discard, next, s.seen); err != nil {
			if s.broken = err; !temporary(err) {
				return 0, err
			}
		}
	}
}

// attach tells the layers what their errors and events shall name.
func (i *storedImage) attach(ctx context.Context, ref Ref, p *progress) {
	for _, l := range i.layers {
		l.ctx, l.ref, l.progress = ctx, ref, p
	}
}

func readBlob(open layerOpener, d v1.Descriptor, limit int64, what string) ([]byte, error) {
	if d.Size > limit {
		return nil, failf(ErrTooLarge, "%s %s has %d bytes, at most %d are read", what, d.Digest, d.Size, limit)
	}
	rc, err := open()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", what, d.Digest, err)
	}
	defer rc.Close()
	v, err := newVerifier(rc, d.Digest, d.Size)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(v)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return b, nil
}

// missingBlob keeps a blob's 404 apart from a tag's.
func missingBlob(err error, d v1.Descriptor) error {
	var te *transport.Error
	if errors.As(err, &te) && te.StatusCode == http.StatusNotFound {
		return failf(ErrInvalid, "the registry has the manifest but not its blob %s: %w", d.Digest, err)
	}
	return err
}

// noSuchTag writes the commonest refusal in words.
func noSuchTag(err error, ref Ref) error {
	var te *transport.Error
	var f *failure
	if errors.As(err, &f) || !errors.As(err, &te) {
		return err
	}
	switch classifyRegistry(err) {
	case ErrNoTag:
		if ref.digest != "" {
			return failf(ErrNoTag, "the repository has no manifest %s: %w", ref.digest, err)
		}
		return failf(ErrNoTag, "the repository has no tag %q: %w", ref.tag, err)
	case ErrNoName:
		return failf(ErrNoName, "the registry has no such repository: %w", err)
	}
	return err
}
