package serve

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"hitoku.dev/internal/convert"
	"hitoku.dev/internal/convert/sgxplan"
	"hitoku.dev/internal/gramine"
	"hitoku.dev/internal/image"
	"hitoku.dev/internal/manager"
	"hitoku.dev/internal/wire"
	"hitoku.dev/measure/sgx"
	"hitoku.dev/measure/workload"
)

// converter converts images for convert-app calls. Each account has a signing
// key of its own beside the master key, made at its first use.
type converter struct {
	keyDir, cacheDir, guest, version, gramine string
}

// Convert implements manager.Converter.
func (c *converter) Convert(ctx context.Context, job manager.ConversionJob, progress func(manager.ConversionProgress)) (*manager.ConvertedImage, error) {
	if job.Debug {
		return nil, fmt.Errorf("debug builds are not made by this version")
	}
	key, err := sgx.LoadOrCreateKey(filepath.Join(c.keyDir, "signing-"+job.AccountID+".pem"), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("signing key of the account: %w", err)
	}
	options, err := options(job)
	if err != nil {
		return nil, err
	}
	enclave, err := c.enclave(job)
	if err != nil {
		return nil, err
	}
	q := convert.Request{
		Input: job.Input, Output: job.Output, InputOptions: login(job.InputAuth), OutputOptions: login(job.OutputAuth),
		TEE: job.TEE, Options: options, SGX: enclave, Guest: c.guest, CacheDir: c.cacheDir, Version: c.version,
		Signing: convert.Signing{Signer: sgx.KeySigner{Key: key}, ISVProdID: uint16(job.ISVProdID), ISVSVN: uint16(job.ISVSVN)},
		Progress: func(e convert.Event) {
			progress(manager.ConversionProgress{Stage: e.Stage, Done: e.Done, Total: e.Total})
		},
	}
	r, err := convert.Convert(ctx, q)
	if err != nil {
		return nil, err
	}
	return &manager.ConvertedImage{
		Measurement: r.Measurement, MRSigner: r.MRSigner, ISVProdID: int(r.ISVProdID), ISVSVN: int(r.ISVSVN), Digest: r.Digest, Size: r.Size >> 20,
	}, nil
}

// enclave says how a job for SGX is converted.
func (c *converter) enclave(job manager.ConversionJob) (o convert.SGXOptions, err error) {
	if job.TEE != workload.TEESGX {
		return o, nil
	}
	if c.gramine == "" {
		return o, errors.New("this manager has no Gramine, without which it converts for the simulated TEE only: start it with --gramine REF, or convert with hitoku image create")
	}
	o.Gramine = gramine.Options{Ref: c.gramine, System: "/"}
	o.Plan = sgxplan.Options{EnclaveSize: strconv.FormatInt(job.MemSize, 10) + "M", Threads: job.Threads}
	if s := job.Advanced; s != nil && s.JavaRuntime != "" {
		o.Plan.JavaMode, err = convert.JavaMode(s.JavaRuntime)
	}
	return o, err
}

// login uses the given credentials, and never those of the manager's own user.
func login(a *wire.AuthConfig) image.Options {
	o := image.Options{Anonymous: a == nil}
	if a != nil {
		o.Username, o.Password = a.Username, a.Password
	}
	return o
}

// options translates the application's settings in the published spelling.
func options(job manager.ConversionJob) (convert.Options, error) {
	o := convert.Options{AccountRoot: job.AccountRoot}
	s := job.Advanced
	if s == nil {
		return o, nil
	}
	o.Entrypoint, o.AllowArgs = s.Entrypoint, s.AllowCmdlineArgs
	o.Encrypted, o.ReadWrite = s.EncryptedDirs, s.RWDirs
	o.Env, o.MutableEnv = s.ManifestEnv, s.MutableEnv
	if s.JavaRuntime != "" && job.TEE != workload.TEESGX {
		return o, fmt.Errorf("java_runtime %s: the simulated TEE needs no Java mode; leave it out", s.JavaRuntime)
	}
	if c := s.Certificate; c != nil {
		cert := convert.DefaultCertificate(c.Subject)
		if c.KeyType != "" {
			cert.KeyType = c.KeyType
		}
		if cert.KeyType == "RSA" {
			cert.KeySize = 2048
		}
		if c.KeyParam != nil && c.KeyParam.Size != 0 {
			cert.KeySize = int(c.KeyParam.Size)
		}
		if c.KeyPath != "" {
			cert.KeyPath = c.KeyPath
		}
		if c.CertPath != "" {
			cert.CertPath = c.CertPath
		}
		cert.AltNames = append(cert.AltNames, c.AltNames...)
		o.Certificates = []workload.Certificate{cert}
	}
	return o, nil
}

// newConverter finds the guest beside the running program.
func newConverter(o Options) (*converter, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return &converter{keyDir: o.keyDir(), cacheDir: filepath.Join(o.Dir, "layers"), guest: convert.FindGuest(self), version: o.Version, gramine: o.Gramine}, nil
}
