package convert

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hitoku.dev/attest"
	libos "hitoku.dev/internal/gramine"
	"hitoku.dev/internal/image"
	"hitoku.dev/measure/sgx"
	"hitoku.dev/measure/sgx/gramine"
	"hitoku.dev/measure/workload"
)

// Header is a manifest whose JSON form leaves the files out while Files is empty.
type Header struct {
	*workload.Manifest
	Files []workload.File `json:"files,omitempty"`
}

// Inspection is what a confidential image says about itself, and the checks that
// were made of it.
type Inspection struct {
	Name         string            `json:"name"`
	Digest       string            `json:"digest"`
	Measurement  string            `json:"measurement"` // SHA-256 of the manifest in the image
	MRSigner     string            `json:"mrsigner"`
	ISVProdID    uint16            `json:"isv_prod_id"`
	ISVSVN       uint16            `json:"isv_svn"`
	Date         uint32            `json:"date"` // of the signature, yyyymmdd
	TEE          string            `json:"tee"`
	Guest        string            `json:"guest"`
	AccountRoot  string            `json:"account_root,omitempty"`
	Size         int64             `json:"size"` // stored bytes of all layers and the configuration
	Layers       int               `json:"layers"`
	Files        int               `json:"files"`
	ManifestSize int64             `json:"manifest_size"`
	Labels       map[string]string `json:"labels"`
	Options      Header            `json:"options"`
	// Verified is set when every layer was read and compared with the manifest.
	Verified bool          `json:"verified"`
	OK       bool          `json:"ok"` // every rule held
	Rules    []attest.Rule `json:"rules"`
	// Enclave is of an image for SGX whose manifest and loader make an enclave.
	Enclave *EnclaveShape `json:"sgx,omitempty"`
	Weak    []string      `json:"weak,omitempty"` // what weakens that enclave
	// GramineManifest is the text of the enclave's manifest, where a caller sets it; see ManifestText.
	GramineManifest string `json:"gramine_manifest,omitempty"`

	sigstruct *sgx.Sigstruct    // nil when it cannot be read
	enclave   *gramine.Manifest // nil for other TEEs
	text      []byte            // of enclave
	loader    []byte            // libpal.so
}

// Err is nil when every rule held, and names those that did not otherwise.
func (x *Inspection) Err() error {
	var bad []attest.Rule
	for _, r := range x.Rules {
		if !r.OK {
			bad = append(bad, r)
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return &Error{Kind: KindMismatch, Image: x.Name, Err: &attest.RefusedError{What: "image", Rules: bad}}
}

func (x *Inspection) rule(ok bool, name, wanted, seen, advice string) {
	r := attest.Rule{Name: name, Wanted: wanted, Seen: seen, OK: ok}
	if !ok {
		r.Advice = advice
	}
	x.Rules = append(x.Rules, r)
}

const changedAdvice = "the image was changed after its conversion; convert it again"

// ownContent is what the added layer has in /.hitoku.
type ownContent struct {
	manifest, sigstruct        []byte
	enclave, signature, loader []byte // of an image for SGX
	hosts                      []byte
	guest                      string // SHA-256
	guestMode                  int64
	others                     []string
}

// file is where the content of a file that Inspect reads goes, and how long it may be.
func (own *ownContent) file(name string) (to *[]byte, limit int64) {
	switch name {
	case workload.ManifestPath:
		return &own.manifest, workload.MaxSize
	case workload.SigstructPath:
		return &own.sigstruct, 64 << 10
	case sgxManifestPath:
		return &own.enclave, gramine.MaxManifest
	case sgxSignaturePath:
		return &own.signature, 64 << 10
	case hostsPath:
		return &own.hosts, 64 << 10
	case libos.PALPath:
		return &own.loader, maxLoader
	}
	return nil, 0
}

const maxLoader = 64 << 20

// maxOwnLayer bounds the added layer: manifest, guest and what is beside them.
const maxOwnLayer = workload.MaxSize + maxGuest + gramine.MaxManifest + maxLoader + 64<<20

// Inspect reads the added layer of a confidential image and checks manifest,
// signature, guest program and configuration against each other. It does not
// read the application's layers: see Measure. The error is about an image that
// cannot be judged; rules that failed are in the result.
func Inspect(ctx context.Context, ref string, o image.Options) (*Inspection, error) {
	src, x, err := inspect(ctx, ref, o)
	if err != nil {
		return nil, about(ref, err)
	}
	return x, src.Close()
}

// inspect leaves the image open for further reading.
func inspect(ctx context.Context, ref string, o image.Options) (*image.Source, *Inspection, error) {
	r, err := image.Parse(ref)
	if err != nil {
		return nil, nil, err
	}
	src, err := image.Open(ctx, r, o)
	if err != nil {
		return nil, nil, err
	}
	x, err := inspectSource(ctx, src, r.String())
	if err != nil {
		src.Close()
		return nil, nil, err
	}
	return src, x, nil
}

func inspectSource(ctx context.Context, src *image.Source, name string) (*Inspection, error) {
	img := src.Image()
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, fail(KindImage, "configuration: %w", err)
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	if len(layers) == 0 || !slices.Equal(cf.Config.Entrypoint, []string{workload.GuestPath}) && cf.Config.Labels[LabelMeasurement] == "" {
		return nil, fail(KindPlain, "it is no confidential image").advise("hitoku convert makes one from it")
	}
	own, err := readOwn(layers[len(layers)-1])
	if err != nil {
		return nil, err
	}
	x := &Inspection{Name: name, Digest: src.Digest().String(), Layers: len(layers), Labels: cf.Config.Labels}
	if err := x.describe(ctx, own); err != nil {
		return nil, err
	}
	m, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	x.Size = m.Config.Size
	for _, l := range m.Layers {
		x.Size += l.Size
	}
	x.checkOwn(own)
	x.checkConfig(cf)
	x.OK = x.Err() == nil
	return x, nil
}

func readOwn(l v1.Layer) (*ownContent, error) {
	rc, err := l.Uncompressed()
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	limited := &io.LimitedReader{R: rc, N: maxOwnLayer}
	own, err := parseOwn(tar.NewReader(limited))
	if err == nil {
		_, err = io.Copy(io.Discard, limited) // the digest shows at the end
	}
	if limited.N <= 0 {
		err = fmt.Errorf("more than %d bytes", int64(maxOwnLayer))
	}
	if err != nil {
		var pull *image.Error
		if errors.As(err, &pull) {
			return nil, err
		}
		return nil, fail(KindMismatch, "added layer: %w", err).advise(changedAdvice)
	}
	if own.manifest == nil || own.sigstruct == nil || own.guest == "" {
		return nil, fail(KindMismatch, "added layer: %s lacks one of init, manifest.json and sigstruct", workload.Dir).advise(changedAdvice)
	}
	return own, nil
}

// ownFolders are those of the added layer.
var ownFolders = []string{workload.Dir, sgxFolder, libos.Dir}

func parseOwn(r *tar.Reader) (*ownContent, error) {
	own := &ownContent{}
	seen := map[string]bool{}
	for {
		h, err := r.Next()
		if err == io.EOF {
			return own, nil
		}
		if err != nil {
			return nil, err
		}
		name := path.Clean("/" + h.Name)
		if !workload.Within(name, workload.Dir) || h.Typeflag == tar.TypeDir && slices.Contains(ownFolders, name) {
			continue
		}
		if seen[name] || h.Typeflag != tar.TypeReg {
			return nil, fmt.Errorf("%s is there twice or no regular file", name)
		}
		seen[name] = true
		to, limit := own.file(name)
		switch {
		case to != nil:
			*to, err = readAll(r, h.Size, limit)
		case name == workload.GuestPath:
			sum := sha256.New()
			_, err = io.Copy(sum, r)
			own.guest, own.guestMode = hex.EncodeToString(sum.Sum(nil)), h.Mode&0o7777
		default:
			own.others = append(own.others, name)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
}

func readAll(r io.Reader, size, limit int64) ([]byte, error) {
	if size > limit {
		return nil, fmt.Errorf("%d bytes, at most %d are read", size, limit)
	}
	var b bytes.Buffer
	b.Grow(int(size) + bytes.MinRead)
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}

func (x *Inspection) describe(ctx context.Context, own *ownContent) error {
	m, err := workload.Decode(own.manifest)
	if err != nil {
		return fail(KindMismatch, "%w", err).advise(changedAdvice)
	}
	sum := workload.Measurement(own.manifest)
	x.Measurement, x.ManifestSize = hex.EncodeToString(sum[:]), int64(len(own.manifest))
	x.TEE, x.Guest, x.AccountRoot, x.Files = m.TEE, m.Guest, m.AccountRoot, len(m.Files)
	x.Options = Header{Manifest: m}
	if m.TEE == workload.TEESGX {
		return x.describeEnclave(ctx, own)
	}
	return nil
}

// checkOwn compares signature, manifest and guest.
func (x *Inspection) checkOwn(own *ownContent) {
	s, err := sgx.Parse(own.sigstruct)
	if err != nil {
		x.rule(false, "sigstruct_format", "a SIGSTRUCT of 1808 bytes", err.Error(), changedAdvice)
		return
	}
	x.sigstruct = s
	signer := s.MRSigner()
	x.MRSigner, x.ISVProdID, x.ISVSVN, x.Date = hex.EncodeToString(signer[:]), s.ISVProdID, s.ISVSVN, s.Date
	seen := "right"
	err = s.Verify()
	if err != nil {
		seen = err.Error()
	}
	x.rule(err == nil, "sigstruct_signature", "a signature of the key in it", seen, changedAdvice)
	hash := hex.EncodeToString(s.EnclaveHash[:])
	if x.enclave != nil {
		x.checkEnclave(own)
	} else if len(own.enclave)+len(own.signature)+len(own.loader)+len(own.hosts) > 0 {
		own.others = append(own.others, "files of an enclave")
	}
	x.rule(hash == x.Measurement, "sigstruct_measurement", x.Measurement, hash, changedAdvice)
	x.rule(own.guest == x.Guest, "guest", x.Guest, own.guest, changedAdvice)
	x.rule(own.guestMode == 0o555, "guest_mode", "0555", fmt.Sprintf("%04o", own.guestMode), changedAdvice)
	extra := "nothing"
	if len(own.others) > 0 {
		extra = fmt.Sprint(own.others)
	}
	x.rule(len(own.others) == 0, "own_folder", "nothing else in "+workload.Dir, extra, changedAdvice)
}

// checkConfig compares what the engine is told with what the manifest says. A
// wrong configuration only keeps the guest from starting.
func (x *Inspection) checkConfig(cf *v1.ConfigFile) {
	c := &cf.Config
	start := []string{workload.GuestPath}
	if x.TEE == workload.TEESGX { // the user outside the enclave decides nothing inside
		start = enclaveStart
	} else {
		x.rule(c.User == "" || c.User == "0" || c.User == "root", "user", "root", c.User, "the guest starts as root and drops to the measured user")
	}
	x.rule(slices.Equal(c.Entrypoint, start), "entrypoint", strings.Join(start, " "), strings.Join(c.Entrypoint, " "), changedAdvice)
	x.rule(cf.OS+"/"+cf.Architecture == x.Options.Source, "platform", x.Options.Source, cf.OS+"/"+cf.Architecture, changedAdvice)
	for _, l := range []struct{ label, want string }{
		{LabelMeasurement, x.Measurement},
		{LabelMRSigner, x.MRSigner},
		{LabelISVProdID, strconv.Itoa(int(x.ISVProdID))},
		{LabelISVSVN, strconv.Itoa(int(x.ISVSVN))},
	} {
		if seen, ok := c.Labels[l.label]; ok && seen != l.want {
			x.rule(false, "label "+l.label, l.want, seen, "the label is wrong; nobody trusts it, but convert the image again")
		}
	}
}
