package convert

import (
	"context"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"

	libos "hitoku.dev/internal/gramine"
	"hitoku.dev/measure/sgx"
	"hitoku.dev/measure/workload"
)

// enclaveStart is how Gramine's loader is started (pal/src/host/linux-sgx/host_main.c).
var enclaveStart = []string{libos.LoaderPath, libos.PALPath, "init", sgxFolder + "/app"}

// product is what an image for SGX has beside its own layers: Gramine's files, and a small
// layer with all that decides the measurement and what Inspect reads.
func (e *enclave) product(params sgx.Params, manifest, enclave []byte) *product {
	return &product{
		params: params, files: e.info.TrustedFiles, enclave: e.info,
		start: enclaveStart,
		user:  e.config.Config.User,
		env:   hostEnv(e.config.Config.Env),
		layers: func(ctx context.Context, sigstruct []byte, mt types.MediaType) ([]*addedLayer, error) {
			base, err := buildLayer(e.runtimeEntries(), mt, "Gramine "+e.runtime.Version)
			if err != nil {
				return nil, err
			}
			layers := []*addedLayer{base}
			if e.archive != nil {
				l, err := e.archiveLayer(ctx, mt)
				if err != nil {
					return nil, err
				}
				layers = append(layers, l)
			}
			list := []layerEntry{
				{workload.Dir, impliedFolder(), nil},
				{libos.Dir, impliedFolder(), nil},
				{sgxFolder, impliedFolder(), nil},
				fileEntry(workload.GuestPath, 0o555, e.guest), fileEntry(workload.ManifestPath, 0o444, manifest), fileEntry(workload.SigstructPath, 0o444, sigstruct),
				fileEntry(libos.PALPath, 0o444, e.runtime.PAL()), fileEntry(sgxManifestPath, 0o444, enclave), fileEntry(sgxSignaturePath, 0o444, sigstruct), fileEntry(hostsPath, 0o444, []byte(hosts)),
			}
			own, err := buildLayer(withAdditions(list, e.adds.list()), mt, "guest program, manifests, signature")
			if err != nil {
				return nil, err
			}
			return append(layers, own), nil
		},
	}
}

// archiveLayer is the layer of what the guest unpacks, in a temporary file.
func (e *enclave) archiveLayer(ctx context.Context, mt types.MediaType) (*addedLayer, error) {
	f, err := tempFile(e.tempDir())
	if err != nil {
		return nil, err
	}
	e.files = append(e.files, f)
	a := e.archive
	return buildLayerIn(f, []layerEntry{
		{workload.Dir, impliedFolder(), nil},
		{sgxFolder, impliedFolder(), nil},
		{archivePath, &inode{kind: kindFile, mode: 0o444, size: a.size}, func(w io.Writer) error { return a.write(ctx, w) }},
	}, mt, "files and folders for enclave memory")
}

// runtimeEntries are Gramine's files but the measured loader, with their folders.
func (e *enclave) runtimeEntries() []layerEntry {
	var out []layerEntry
	folders := map[string]bool{}
	for i := range e.system {
		f := &e.system[i]
		if f.Path == libos.PALPath {
			continue
		}
		for d := path.Dir(f.Path); d != "/" && !folders[d]; d = path.Dir(d) {
			folders[d] = true
			out = append(out, layerEntry{d, impliedFolder(), nil})
		}
		if f.Link != "" {
			out = append(out, layerEntry{f.Path, &inode{kind: kindSymlink, mode: 0o777, link: f.Link}, nil})
		} else {
			out = append(out, fileEntry(f.Path, uint16(f.Mode), f.Data))
		}
	}
	slices.SortFunc(out, func(a, b layerEntry) int { return strings.Compare(a.path, b.path) })
	return out
}

// hostEnv is the environment in the image's configuration, which the loader outside the
// enclave gets too. Variables for dynamic loaders are the program's alone: they are in the
// enclave's manifest.
func hostEnv(env []string) []string {
	out := []string{}
	for _, pair := range env {
		if !strings.HasPrefix(pair, "LD_") && !strings.HasPrefix(pair, "GLIBC_TUNABLES=") {
			out = append(out, pair)
		}
	}
	return append(out, "LD_LIBRARY_PATH="+libos.HostDir)
}
