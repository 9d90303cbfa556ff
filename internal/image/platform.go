package image

import (
	"encoding/json"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// maxIndexDepth bounds indexes inside indexes.
const maxIndexDepth = 4

// pick chooses the manifest for the wanted platform from an index, or an index
// to look into when no manifest fits. Attestations and other artifacts that lie
// beside the images are passed over.
func pick(raw []byte, o Options) (v1.Descriptor, error) {
	idx := new(v1.IndexManifest)
	if err := json.Unmarshal(raw, idx); err != nil {
		return v1.Descriptor{}, failf(ErrInvalid, "index is not valid: %w", err)
	}
	return pickFrom(idx.Manifests, o)
}

func pickFrom(manifests []v1.Descriptor, o Options) (v1.Descriptor, error) {
	var (
		exact, unnamed, nested []v1.Descriptor
		have                   []string
	)
	for _, d := range manifests {
		switch {
		case !isImageEntry(d):
		case d.MediaType.IsIndex() && (d.Platform == nil || o.platformMatches(*d.Platform)):
			nested = append(nested, d)
		case d.Platform == nil || d.Platform.OS == "" && d.Platform.Architecture == "":
			unnamed = append(unnamed, d)
		case o.platformMatches(*d.Platform):
			exact = append(exact, d)
		default:
			if n := platformName(d.Platform); !slices.Contains(have, n) {
				have = append(have, n)
			}
		}
	}
	// Without a variant goes before one with.
	slices.SortStableFunc(exact, func(a, b v1.Descriptor) int {
		return variantDistance(a, o) - variantDistance(b, o)
	})
	for _, found := range [][]v1.Descriptor{exact, nested, unnamed} {
		if len(found) > 0 {
			return found[0], nil
		}
	}
	if len(have) == 0 {
		return v1.Descriptor{}, failf(ErrPlatform, "index holds no image; wanted %s", platformName(&o.Platform))
	}
	slices.Sort(have)
	return v1.Descriptor{}, failf(ErrPlatform, "index has %s; wanted %s", strings.Join(have, ", "), platformName(&o.Platform))
}

func variantDistance(d v1.Descriptor, o Options) int {
	if d.Platform.Variant == o.Platform.Variant {
		return 0
	}
	return 1
}

func isImageEntry(d v1.Descriptor) bool {
	if d.ArtifactType != "" && !types.MediaType(d.ArtifactType).IsConfig() {
		return false
	}
	if d.Annotations["vnd.docker.reference.type"] != "" {
		return false
	}
	if d.Platform != nil && d.Platform.OS == "unknown" {
		return false
	}
	return d.MediaType.IsImage() || d.MediaType.IsIndex() || d.MediaType.IsSchema1()
}

// resolve follows indexes from a top-level manifest down to one image's
// manifest. fetch returns the verified bytes of a manifest.
func resolve(raw []byte, mt types.MediaType, o Options, fetch func(v1.Descriptor) ([]byte, types.MediaType, error)) ([]byte, types.MediaType, bool, error) {
	index := false
	for depth := 0; ; depth++ {
		mt = manifestType(raw, mt)
		if !mt.IsIndex() {
			return raw, mt, index, nil
		}
		if depth == maxIndexDepth {
			return nil, "", false, failf(ErrInvalid, "more than %d indexes inside each other", maxIndexDepth)
		}
		index = true
		d, err := pick(raw, o)
		if err != nil {
			return nil, "", false, err
		}
		var next types.MediaType
		if raw, next, err = fetch(d); err != nil {
			return nil, "", false, err
		}
		if mt = next; mt == "" {
			mt = d.MediaType
		}
	}
}

// manifestType prefers what the document says of itself, so that a wrong header
// cannot make an index pass for an image.
func manifestType(raw []byte, given types.MediaType) types.MediaType {
	m := new(v1.IndexManifest)
	switch err := json.Unmarshal(raw, m); {
	case err != nil:
		return given
	case m.SchemaVersion == 1:
		return types.DockerManifestSchema1
	case m.MediaType != "":
		return m.MediaType
	case len(m.Manifests) > 0 && !given.IsIndex():
		return types.OCIImageIndex
	}
	return given
}
