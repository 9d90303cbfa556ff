package convert

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// rewritten is an image with another last layer and configuration.
type rewritten struct {
	layers                   []v1.Layer
	config                   *v1.ConfigFile
	manifest                 *v1.Manifest
	configBytes, manifestRaw []byte
}

// withLastLayer is img with layer in the place of its last one. The configuration gets the
// layer's diff id.
func withLastLayer(img v1.Image, layer *addedLayer, config *v1.ConfigFile) (v1.Image, error) {
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	last := len(layers) - 1
	r := &rewritten{layers: slices.Clone(layers), config: config, manifest: m.DeepCopy()}
	r.layers[last] = layer
	if len(config.RootFS.DiffIDs) != len(layers) || len(m.Layers) != len(layers) {
		return nil, fmt.Errorf("the image has %d layers, its configuration %d, its manifest %d", len(layers), len(config.RootFS.DiffIDs), len(m.Layers))
	}
	config.RootFS.DiffIDs[last] = layer.diffID
	if r.configBytes, err = json.Marshal(config); err != nil {
		return nil, err
	}
	name, size, err := v1.SHA256(bytes.NewReader(r.configBytes))
	if err != nil {
		return nil, err
	}
	r.manifest.Config.Digest, r.manifest.Config.Size, r.manifest.Config.Data = name, size, nil
	r.manifest.Layers[last] = v1.Descriptor{MediaType: layer.mediaType, Digest: layer.digest, Size: layer.stored.Size()}
	r.manifestRaw, err = json.Marshal(r.manifest)
	return r, err
}

func (r *rewritten) Layers() ([]v1.Layer, error)         { return r.layers, nil }
func (r *rewritten) MediaType() (types.MediaType, error) { return r.manifest.MediaType, nil }
func (r *rewritten) Size() (int64, error)                { return int64(len(r.manifestRaw)), nil }
func (r *rewritten) ConfigName() (v1.Hash, error)        { return r.manifest.Config.Digest, nil }
func (r *rewritten) ConfigFile() (*v1.ConfigFile, error) { return r.config.DeepCopy(), nil }
func (r *rewritten) RawConfigFile() ([]byte, error)      { return r.configBytes, nil }
func (r *rewritten) Digest() (v1.Hash, error)            { return partial.Digest(r) }
func (r *rewritten) Manifest() (*v1.Manifest, error)     { return r.manifest.DeepCopy(), nil }
func (r *rewritten) RawManifest() ([]byte, error)        { return r.manifestRaw, nil }
func (r *rewritten) LayerByDigest(h v1.Hash) (v1.Layer, error) {
	return r.find(h, v1.Layer.Digest)
}

func (r *rewritten) LayerByDiffID(h v1.Hash) (v1.Layer, error) {
	return r.find(h, v1.Layer.DiffID)
}

func (r *rewritten) find(h v1.Hash, id func(v1.Layer) (v1.Hash, error)) (v1.Layer, error) {
	for _, l := range r.layers {
		if seen, err := id(l); err == nil && seen == h {
			return l, nil
		}
	}
	return nil, fmt.Errorf("no layer %s in the image", h)
}
