package convert

import (
	"context"
	"crypto/sha256"
	"io"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"hitoku.dev/measure/sgx"
	"hitoku.dev/measure/workload"
)

// Where an image converted for SGX has Gramine's manifest and signature.
const (
	sgxFolder        = workload.Dir + "/sgx"
	sgxManifestPath  = sgxFolder + "/app.manifest.sgx"
	sgxSignaturePath = sgxFolder + "/app.sig"
	hostsPath        = sgxFolder + "/hosts"
)

// product is what the target of a TEE makes of an image.
type product struct {
	params sgx.Params // what is signed; EnclaveHash is the measurement
	files  int        // entries of the measured list
	start  []string   // ENTRYPOINT
	user   string     // USER
	env    []string   // ENV
	// enclave is what a target for hardware says beside; nil for others.
	enclave *Enclave
	// layers are put upon the image, with the SIGSTRUCT's 1808 bytes in the last of them,
	// which is the one that Inspect reads.
	layers func(ctx context.Context, sigstruct []byte, mt types.MediaType) ([]*addedLayer, error)
	// close lets go of what layers needs; may be nil.
	close func() error
}

// simulated is the target of the simulated TEE: the measurement is the hash of the
// manifest, which lists every file.
func (c *conversion) simulated(_ *rootfs, adds *adder, entries []entry) (*product, error) {
	own := ownFiles{guest: c.guest, manifest: func(w io.Writer) error { return workload.EncodeFiles(w, c.m, fileList(entries)) }}
	sum := &countingHash{Hash: sha256.New()}
	if err := own.manifest(sum); err != nil {
		return nil, fail(KindImage, "%w", err)
	}
	own.manifestSize, own.measurement = sum.n, [32]byte(sum.Sum(nil))
	if own.manifestSize > workload.MaxSize {
		return nil, fail(KindLimit, "the manifest would have %d bytes, at most %d are read", own.manifestSize, workload.MaxSize)
	}
	return &product{
		params: sgx.Params{
			EnclaveHash: own.measurement, ISVProdID: c.Signing.ISVProdID, ISVSVN: c.Signing.ISVSVN, Date: c.Signing.Date,
		},
		files: len(entries), start: []string{workload.GuestPath}, env: c.config.Config.Env,
		layers: func(_ context.Context, sigstruct []byte, mt types.MediaType) ([]*addedLayer, error) {
			own.sigstruct = sigstruct
			l, err := buildLayer(withAdditions(own.entries(), adds.list()), mt, "guest program, workload manifest, signature")
			if err != nil {
				return nil, err
			}
			return []*addedLayer{l}, nil
		},
	}, nil
}
