package convert

import (
	"fmt"
	"maps"
	"strconv"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"hitoku.dev/measure/workload"
)

// Labels of a confidential image. They repeat for people and tools what the
// manifest and the SIGSTRUCT say; nobody trusts them.
const (
	LabelSchema      = "dev.hitoku.schema"
	LabelMeasurement = "dev.hitoku.measurement"
	LabelMRSigner    = "dev.hitoku.mrsigner"
	LabelISVProdID   = "dev.hitoku.isv-prod-id"
	LabelISVSVN      = "dev.hitoku.isv-svn"
	LabelAccountRoot = "dev.hitoku.account-root" // "none" without a manager
	LabelTEE         = "dev.hitoku.tee"
	LabelGuest       = "dev.hitoku.guest"
	LabelSource      = "dev.hitoku.source" // digest of the image that was converted
	LabelVersion     = "dev.hitoku.version"
)

// layerType is the media type of the added layer in the family of the image.
func layerType(manifest types.MediaType) types.MediaType {
	if manifest == types.DockerManifestSchema2 {
		return types.DockerLayer
	}
	return types.OCILayer
}

// newConfig is the configuration of the confidential image: everything of the
// image's own but what the guest takes over.
func newConfig(old *v1.ConfigFile, m *workload.Manifest, made *product, labels map[string]string, n *notices) *v1.ConfigFile {
	c := old.DeepCopy()
	c.Config.Entrypoint = made.start
	c.Config.Cmd = nil // what follows IMAGE on docker run's command line reaches the guest
	c.Config.User, c.Config.Env = made.user, made.env
	c.Config.ArgsEscaped = false
	c.Config.WorkingDir = m.Exec.WorkDir
	if h := c.Config.Healthcheck; h != nil {
		if len(h.Test) > 0 && h.Test[0] != "NONE" {
			n.add("HEALTHCHECK is removed: it would run outside of the guest, without what the program has")
		}
		c.Config.Healthcheck = nil
	}
	if len(m.Fronts) > 0 && c.Config.ExposedPorts == nil {
		c.Config.ExposedPorts = map[string]struct{}{}
	}
	for _, f := range m.Fronts {
		c.Config.ExposedPorts[strconv.Itoa(f.Listen)+"/tcp"] = struct{}{}
	}
	if c.Config.Labels == nil {
		c.Config.Labels = map[string]string{}
	}
	maps.Copy(c.Config.Labels, labels)
	return c
}

// assemble puts the added layers and the new configuration on the image.
func assemble(base v1.Image, layers []*addedLayer, config *v1.ConfigFile) (v1.Image, error) {
	var adds []mutate.Addendum
	for _, l := range layers {
		adds = append(adds, mutate.Addendum{
			Layer: l, MediaType: l.mediaType, History: v1.History{CreatedBy: "hitoku convert", Comment: l.what},
		})
	}
	img, err := mutate.Append(base, adds...)
	if err != nil {
		return nil, fmt.Errorf("assemble: %w", err)
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("assemble: %w", err)
	}
	next := cf.DeepCopy()
	next.Config = config.Config
	if len(config.History) == 0 { // an image without history keeps none, or it would not match its layers
		next.History = nil
	}
	img, err = mutate.ConfigFile(img, next)
	if err != nil {
		return nil, fmt.Errorf("assemble: %w", err)
	}
	return img, nil
}
