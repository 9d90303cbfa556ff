// Package image is where container images come from and where they go: a
// registry, an OCI layout folder, a docker-archive tar file, a Docker Engine.
// Each is one form of [Ref]; [Open] reads any of them as a v1.Image and [Write]
// writes any v1.Image to any of them.
//
// Invariants. Layers, configuration and manifest stay byte for byte what the
// source holds: nothing is unpacked, nothing is recompressed, no layer is kept
// in memory. Every manifest, configuration and layer is compared with its
// digest; a layer's error comes from Read at the end of the stream, so a reader
// that stops before io.EOF has verified nothing. A write that fails or is
// cancelled leaves no partial blob, file or index entry behind.
//
// Trust. Registry, archive, folder and engine may hold anything: sizes are
// bounded before memory is allocated, names never become paths, and a plain
// HTTP connection to anything but the loopback needs Options.Insecure. A tag is
// whatever the source says that it is; only a digest in the reference pins the
// content.
//
// Not promised: that a layer is a well-formed tar, or that its content agrees
// with the diff id in the configuration where the manifest gives a digest of its
// own (the engine that runs the image checks that). Signatures of images are not
// looked at.
package image

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Limits on what is read into memory, in bytes. Registries commonly refuse
// manifests above 4 MiB.
const (
	MaxManifestSize = 4 << 20
	MaxIndexSize    = 4 << 20
	MaxConfigSize   = 8 << 20
)

// Source is an opened image. Its layers are read lazily: keep it open until the
// last of them has been read, and then close it. Cancelling the context given to
// Open ends every read.
type Source struct {
	ref         Ref
	img         *storedImage
	indexDigest v1.Hash
	readOrder   []int
	mountFrom   mountOrigin
	close       func() error
	closeOnce   sync.Once
	closeErr    error
}

// Ref is the reference the source was opened with.
func (s *Source) Ref() Ref { return s.ref }

// Image is the image for the wanted platform.
func (s *Source) Image() v1.Image { return s.img }

// Digest is the digest of the image's manifest. For a docker-archive or engine
// that keeps no manifest it is that of the manifest made here from the stored
// parts, which is the same each time.
func (s *Source) Digest() v1.Hash { return s.img.digest }

// IndexDigest is the digest of the multi-platform index the image was chosen
// from, or the zero Hash if there was none.
func (s *Source) IndexDigest() v1.Hash { return s.indexDigest }

// ReadOrder gives the layers' numbers in the order in which reading them costs
// least: an engine sends its layers in an order of its own, and each step back
// means another export. Sources that do not care give 0, 1, 2 …
func (s *Source) ReadOrder() []int {
	if s.readOrder != nil {
		return append([]int(nil), s.readOrder...)
	}
	order := make([]int, len(s.img.layers))
	for i := range order {
		order[i] = i
	}
	return order
}

// Close releases files and connections. Layers must not be read afterwards.
func (s *Source) Close() error {
	s.closeOnce.Do(func() {
		if s.close != nil {
			s.closeErr = s.close()
		}
	})
	return s.closeErr
}

// Open finds the image that ref names, for the platform of o (linux/amd64 if
// not given), and reads manifest and configuration. Its errors are *Error.
func Open(ctx context.Context, ref Ref, o Options) (*Source, error) {
	o = o.withDefaults()
	var (
		s   *Source
		err error
	)
	switch ref.kind {
	case KindRegistry:
		s, err = openRegistry(ctx, ref, o)
	case KindLayout:
		s, err = openLayout(ctx, ref, o)
	case KindArchive:
		s, err = openArchive(ctx, ref, o)
	case KindEngine:
		s, err = openEngine(ctx, ref, o)
	default:
		return nil, &Error{Image: ref.String(), Side: Pull, Kind: ErrReference, Err: fmt.Errorf("no image given")}
	}
	if err != nil {
		return nil, wrapError(ctx, ref, Pull, err)
	}
	return s, nil
}

// storedImage is a v1.Image over bytes that some source holds.
type storedImage struct {
	raw       []byte
	mediaType types.MediaType
	digest    v1.Hash
	manifest  *v1.Manifest
	config    []byte
	layers    []*storedLayer
}

// checkManifest parses and judges the manifest of one image.
func checkManifest(raw []byte, mt types.MediaType) (*v1.Manifest, types.MediaType, error) {
	m := new(v1.Manifest)
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, "", failf(ErrInvalid, "manifest is not valid: %w", err)
	}
	if m.MediaType != "" {
		mt = m.MediaType
	}
	if m.SchemaVersion == 1 || mt.IsSchema1() {
		return nil, "", failf(ErrUnsupported, "it has a manifest of the old schema 1, which has no digest of its configuration")
	}
	if mt == "" || !mt.IsImage() {
		if mt != "" && mt != "application/json" {
			return nil, "", failf(ErrUnsupported, "manifest has media type %q, wanted an OCI or Docker image manifest", mt)
		}
		mt = types.OCIManifestSchema1
	}
	if !m.Config.MediaType.IsConfig() {
		return nil, "", failf(ErrUnsupported, "it is an artifact with configuration type %q and no container image", m.Config.MediaType)
	}
	if m.Config.Size < 0 || m.Config.Size > MaxConfigSize {
		return nil, "", failf(ErrTooLarge, "configuration of %d bytes, at most %d are read", m.Config.Size, MaxConfigSize)
	}
	for i, l := range m.Layers {
		if err := checkLayerType(i, l); err != nil {
			return nil, "", err
		}
	}
	return m, mt, nil
}

func checkLayerType(i int, l v1.Descriptor) error {
	switch {
	case !l.MediaType.IsDistributable() || l.MediaType == foreignZstdLayer:
		return failf(ErrUnsupported, "layer %d (%s) is a foreign layer (%s) that may not be copied", i, l.Digest, l.MediaType)
	case !l.MediaType.IsLayer() && l.MediaType != dockerZstdLayer:
		return failf(ErrUnsupported, "layer %d (%s) has media type %q; tar, tar+gzip and tar+zstd are read", i, l.Digest, l.MediaType)
	case l.Size < 0:
		return failf(ErrInvalid, "layer %d (%s) has a negative size", i, l.Digest)
	}
	return nil
}

const (
	foreignZstdLayer types.MediaType = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
	dockerZstdLayer  types.MediaType = "application/vnd.docker.image.rootfs.diff.tar.zstd"
)

// configInfo is what of a configuration is needed to judge the image.
type configInfo struct {
	v1.Platform
	RootFS struct {
		DiffIDs []v1.Hash `json:"diff_ids"`
	} `json:"rootfs"`
}

// newImage joins manifest, configuration and a way to layer bytes. open is
// called once for each reading of layer i.
func newImage(raw []byte, mt types.MediaType, config []byte, o Options, open func(i int, d v1.Descriptor) layerOpener) (*storedImage, error) {
	m, mt, err := checkManifest(raw, mt)
	if err != nil {
		return nil, err
	}
	var info configInfo
	if err := json.Unmarshal(config, &info); err != nil {
		return nil, failf(ErrInvalid, "configuration %s is not valid: %w", m.Config.Digest, err)
	}
	if !o.platformMatches(info.Platform) {
		return nil, failf(ErrPlatform, "image is for %s, wanted %s", platformName(&info.Platform), platformName(&o.Platform))
	}
	if len(info.RootFS.DiffIDs) != len(m.Layers) {
		return nil, failf(ErrInvalid, "configuration lists %d layers, manifest %d", len(info.RootFS.DiffIDs), len(m.Layers))
	}
	digest, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	img := &storedImage{raw: raw, mediaType: mt, digest: digest, manifest: m, config: config}
	for i, d := range m.Layers {
		if plainLayer(d.MediaType) && d.Digest.Algorithm == info.RootFS.DiffIDs[i].Algorithm && d.Digest != info.RootFS.DiffIDs[i] {
			return nil, failf(ErrDigest, "uncompressed layer %d has digest %s but diff id %s", i, d.Digest, info.RootFS.DiffIDs[i])
		}
		img.layers = append(img.layers, &storedLayer{desc: d, diffID: info.RootFS.DiffIDs[i], open: open(i, d)})
	}
	return img, nil
}

func plainLayer(mt types.MediaType) bool {
	return mt == types.OCIUncompressedLayer || mt == types.DockerUncompressedLayer
}

func (i *storedImage) Layers() ([]v1.Layer, error) {
	out := make([]v1.Layer, len(i.layers))
	for n, l := range i.layers {
		out[n] = l
	}
	return out, nil
}

func (i *storedImage) MediaType() (types.MediaType, error) { return i.mediaType, nil }
func (i *storedImage) Size() (int64, error)                { return int64(len(i.raw)), nil }
func (i *storedImage) ConfigName() (v1.Hash, error)        { return i.manifest.Config.Digest, nil }
func (i *storedImage) ConfigFile() (*v1.ConfigFile, error) { return partial.ConfigFile(i) }
func (i *storedImage) RawConfigFile() ([]byte, error)      { return bytes.Clone(i.config), nil }
func (i *storedImage) Digest() (v1.Hash, error)            { return i.digest, nil }
func (i *storedImage) Manifest() (*v1.Manifest, error)     { return i.manifest.DeepCopy(), nil }
func (i *storedImage) RawManifest() ([]byte, error)        { return bytes.Clone(i.raw), nil }

func (i *storedImage) LayerByDigest(h v1.Hash) (v1.Layer, error) {
	for _, l := range i.layers {
		if l.desc.Digest == h {
			return l, nil
		}
	}
	if h == i.manifest.Config.Digest {
		return partial.ConfigLayer(i)
	}
	return nil, fmt.Errorf("image %s has no layer %s", i.digest, h)
}

func (i *storedImage) LayerByDiffID(h v1.Hash) (v1.Layer, error) {
	for _, l := range i.layers {
		if l.diffID == h {
			return l, nil
		}
	}
	return nil, fmt.Errorf("image %s has no layer with diff id %s", i.digest, h)
}
