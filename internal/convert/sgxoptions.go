package convert

import (
	"encoding/hex"
	"time"

	"hitoku.dev/internal/convert/sgxplan"
	libos "hitoku.dev/internal/gramine"
	"hitoku.dev/measure/sgx"
	"hitoku.dev/measure/sgx/gramine"
	"hitoku.dev/measure/workload"
)

// SGXOptions are what a conversion for SGX needs beside Options.
type SGXOptions struct {
	Gramine libos.Options   // where Gramine's files come from; its CacheDir is set by Convert
	Plan    sgxplan.Options // ISV values are those of Signing
	Files   string          // FilesLean, the default, FilesAll or FilesPacked
	Include []string        // what the program needs beside what is found: paths, folders, globs
	Exclude []string        // what it does not need
	Trace   []string        // paths that a run of the program opened
	FixPyc  bool            // mend Python's compiled files, whose times Gramine does not show
}

// EnclaveShape is what Gramine's manifest and loader together make of an enclave.
type EnclaveShape struct {
	MRENCLAVE      string  `json:"mrenclave"`
	EnclaveSize    uint64  `json:"enclave_size"` // bytes
	Threads        int     `json:"threads"`
	EDMM           bool    `json:"edmm"`
	Debug          bool    `json:"debug"`
	Attributes     string  `json:"attributes"` // FLAGS and XFRM, 16 bytes little-endian in hexadecimal
	AttributesMask string  `json:"attributes_mask"`
	MiscSelect     uint32  `json:"misc_select"`
	MiscMask       uint32  `json:"misc_mask"`
	TrustedFiles   int     `json:"trusted_files"`
	Mounts         int     `json:"mounts"`
	Packed         int64   `json:"packed"`        // bytes that the guest unpacks into memory at the start
	StartSeconds   float64 `json:"start_seconds"` // predicted: reading the list of files, for each process
}

func newShape(m *gramine.Manifest, got *gramine.Measurement, p *sgx.Params, archive *workload.Packed) EnclaveShape {
	s := EnclaveShape{
		MRENCLAVE: hex.EncodeToString(got.MRENCLAVE[:]), EnclaveSize: got.EnclaveSize, Threads: got.Threads, EDMM: got.EDMM, Debug: m.SGX.Debug,
		Attributes: p.Attributes.String(), AttributesMask: p.AttributesMask.String(), MiscSelect: p.MiscSelect, MiscMask: p.MiscMask,
		TrustedFiles: len(m.SGX.TrustedFiles), Mounts: len(m.FS.Mounts),
		StartSeconds: sgxplan.PredictedStart(len(m.SGX.TrustedFiles)).Round(time.Millisecond).Seconds(),
	}
	if archive != nil {
		s.Packed = archive.Size
	}
	return s
}

// Enclave is what a conversion for SGX says beside the measurement.
type Enclave struct {
	EnclaveShape
	Files         string   `json:"files"`          // how the trusted files were chosen
	Memory        string   `json:"memory"`         // what each process takes, as text
	Gramine       string   `json:"gramine"`        // version
	GramineDigest string   `json:"gramine_digest"` // of its files: sha256:…
	Runtimes      []string `json:"runtimes"`
	Findings      []string `json:"findings"` // what Gramine does otherwise than Linux
	Weak          []string `json:"weak"`     // what weakens the enclave and was allowed
}

// checkSGX refuses what the guest cannot do where the program takes its place.
func (q *Request) checkSGX() error {
	o := &q.Options
	const replaced = "the program takes the guest's place in the enclave"
	for _, r := range []struct {
		given        bool
		what, advice string
	}{
		{len(o.Fronts) > 0, "--tls: no TLS front is possible on SGX, where " + replaced, "let the program read its certificate and speak TLS itself: --certificate subject=NAME,key=/run/key.pem,cert=/run/cert.pem"},
		{o.OnRenew != 0, "--on-renew: nothing is renewed on SGX, where " + replaced, "leave it away; start the container again before the certificate ends"},
		{o.LogPath != "", "--log: no copy of the output is possible on SGX, where " + replaced, "leave it away; the engine keeps the output"},
		{o.StopGrace != 0, "a time to stop is not kept on SGX, where " + replaced, "leave it away; docker stop has one of its own"},
		{o.AllowArgs, "--allow-args: an enclave's arguments are measured", "give --args, or --mutable-env NAME=VALUE for what changes"},
		{q.SGX.Gramine.Ref == "", "--gramine is missing: no part of Gramine comes with Hitoku", "name an image, layout, tar or folder with Gramine 1.7 to 1.9, such as --gramine docker.io/gramineproject/gramine:1.8-jammy"},
	} {
		if r.given {
			return requestError("%s", r.what).advise("%s", r.advice)
		}
	}
	switch q.SGX.Files {
	case FilesAll, FilesLean, FilesPacked:
	case "":
		q.SGX.Files = FilesLean
	default:
		return requestError("--files %q: wanted %s, %s or %s", q.SGX.Files, FilesAll, FilesLean, FilesPacked)
	}
	return nil
}
