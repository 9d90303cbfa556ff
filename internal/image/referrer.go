package image

import (
	"context"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// WriteReferrer stores artifact beside the image subject that lies where ref
// says, as OCI 1.1 has it: its manifest names subject, and it has no tag of its
// own. Registries without the referrers API get the fallback tag of the OCI
// distribution specification. Archives and engines cannot hold artifacts:
// ErrUnsupported.
func WriteReferrer(ctx context.Context, ref Ref, subject v1.Descriptor, artifact v1.Image, o WriteOptions) (v1.Hash, error) {
	o.Options = o.Options.withDefaults()
	digest, err := writeReferrer(ctx, ref, subject, artifact, o)
	if err != nil {
		return v1.Hash{}, wrapError(ctx, ref, Push, err)
	}
	return digest, nil
}

func writeReferrer(ctx context.Context, ref Ref, subject v1.Descriptor, artifact v1.Image, o WriteOptions) (v1.Hash, error) {
	if ref.kind != KindRegistry && ref.kind != KindLayout {
		return v1.Hash{}, failf(ErrUnsupported, "%s cannot hold artifacts beside an image", ref.kind)
	}
	subject = v1.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size}
	img, ok := mutate.Subject(artifact, subject).(v1.Image)
	if !ok {
		return v1.Hash{}, failf(ErrInvalid, "artifact is no image manifest")
	}
	digest, err := img.Digest()
	if err != nil {
		return v1.Hash{}, err
	}
	if ref.kind == KindRegistry {
		return digest, pushReferrer(ctx, ref, img, digest, o)
	}
	return digest, inLayout(ctx, ref.path, func(w *layoutWriter) error {
		d, err := w.image(img)
		if err != nil {
			return err
		}
		return w.index(func(entries []v1.Descriptor) []v1.Descriptor {
			entries = slices.DeleteFunc(entries, func(e v1.Descriptor) bool { return e.Digest == d.Digest })
			return append(entries, d)
		})
	})
}

func pushReferrer(ctx context.Context, ref Ref, img v1.Image, digest v1.Hash, o WriteOptions) error {
	rr, err := referrerTarget(ref, o.Options, digest)
	if err != nil {
		return err
	}
	opts, g, err := remoteOptions(ctx, o.Options)
	if err != nil {
		return err
	}
	defer g.close()
	pusher, err := remote.NewPusher(opts...)
	if err != nil {
		return err
	}
	return pusher.Push(ctx, rr, img)
}
