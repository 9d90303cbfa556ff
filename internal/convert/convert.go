package convert

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	libos "hitoku.dev/internal/gramine"
	"hitoku.dev/internal/image"
	"hitoku.dev/measure/sgx"
	"hitoku.dev/measure/workload"
)

// Result says what a conversion made.
type Result struct {
	Name         string     `json:"name"`            // reference of the confidential image; for a registry with its digest
	Image        string     `json:"image,omitempty"` // the reference as it was asked for
	Digest       string     `json:"digest,omitempty"`
	Measurement  string     `json:"measurement"`
	MRSigner     string     `json:"mrsigner,omitempty"`
	ISVProdID    uint16     `json:"isv_prod_id"`
	ISVSVN       uint16     `json:"isv_svn"`
	Date         uint32     `json:"date"`
	TEE          string     `json:"tee"`
	Source       string     `json:"source"`        // digest of the image that was converted
	Size         int64      `json:"size"`          // stored bytes of all layers and the configuration
	Files        int        `json:"files"`         // entries of the manifest
	Layers       int        `json:"layers"`        // with the added one
	AddedBytes   int64      `json:"added_bytes"`   // stored bytes of the added layers
	CachedLayers int        `json:"cached_layers"` // whose hashes were known
	AccountRoot  string     `json:"account_root,omitempty"`
	Guest        string     `json:"guest"`              // SHA-256 of the guest program
	Referrer     string     `json:"referrer,omitempty"` // digest of the statement beside the image
	Policy       string     `json:"policy,omitempty"`   // a policy file that accepts evidence of the image
	Notices      []string   `json:"notices"`
	Options      Header     `json:"options"` // the manifest without its files
	Config       *v1.Config `json:"-"`
	DryRun       bool       `json:"dry_run,omitempty"`
	Enclave      *Enclave   `json:"sgx,omitempty"` // of a conversion for SGX
}

// Convert does what the package comment says. Its errors are *Error and
// *image.Error. A failed or cancelled conversion leaves nothing behind but
// complete entries of the cache.
func Convert(ctx context.Context, q Request) (*Result, error) {
	in, out, err := q.refs()
	if err != nil {
		return nil, err
	}
	if err := q.check(); err != nil {
		return nil, about(q.Input, err)
	}
	res, err := convert(ctx, &q, in, out)
	if err != nil {
		if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
			err = fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		return nil, about(in.String(), err)
	}
	return res, nil
}

// conversion is one run of Convert.
type conversion struct {
	*Request
	note   notices
	tell   *progress
	src    *image.Source
	config *v1.ConfigFile
	guest  []byte
	m      *workload.Manifest
	// runtime has Gramine's files, for SGX.
	runtime *libos.Runtime
}

func convert(ctx context.Context, q *Request, in, out image.Ref) (*Result, error) {
	c := &conversion{Request: q, tell: newProgress(q.Progress)}
	q.Limits = q.Limits.withDefaults()
	var store *cache
	var err error
	if q.CacheDir != "" {
		if store, err = openCache(q.CacheDir); err != nil {
			return nil, err
		}
	}
	// An engine's image that is known needs no export.
	from := q.InputOptions
	from.CacheDir = q.CacheDir
	if c.src, err = image.Open(ctx, in, from); err != nil {
		return nil, err
	}
	defer c.src.Close()
	if err := c.plan(); err != nil {
		return nil, err
	}
	if err := c.openRuntime(ctx); err != nil {
		return nil, err
	}
	s := &scanner{cache: store, limits: q.Limits, note: &c.note, tell: c.tell, keep: keepUsual}
	target := c.simulated
	if c.TEE == workload.TEESGX {
		s.sniff, s.keep = sniffFiles, keepForSGX
		target = func(fs *rootfs, adds *adder, entries []entry) (*product, error) {
			return c.enclaved(ctx, fs, adds, entries)
		}
	}
	fs, cached, err := s.scan(ctx, c.src)
	if err != nil {
		return nil, err
	}
	c.tell.stage(StageMeasure, 0)
	adds, entries, err := c.measure(ctx, fs)
	if err != nil {
		return nil, err
	}
	made, err := target(fs, adds, entries)
	if err != nil {
		return nil, err
	}
	if made.close != nil {
		defer made.close()
	}
	res := &Result{
		Measurement: hex.EncodeToString(made.params.EnclaveHash[:]), TEE: q.TEE, Source: c.src.Digest().String(),
		ISVProdID: q.Signing.ISVProdID, ISVSVN: q.Signing.ISVSVN, Date: q.Signing.Date,
		Files: made.files, CachedLayers: cached, AccountRoot: q.Options.AccountRoot, Guest: c.m.Guest,
		Options: Header{Manifest: c.m}, DryRun: q.DryRun, Enclave: made.enclave,
	}
	if !out.IsZero() {
		res.Name, res.Image = out.String(), out.String()
	}
	if q.Signing.Signer != nil {
		if err := c.finish(ctx, made, out, res); err != nil {
			return nil, err
		}
	} else if err := ctx.Err(); err != nil {
		return nil, err
	}
	res.Notices = append([]string{}, c.note.list...)
	return res, nil
}

// plan reads the image's configuration and judges it together with the request.
func (c *conversion) plan() error {
	cf, err := c.src.Image().ConfigFile()
	if err != nil {
		return fail(KindImage, "configuration: %w", err)
	}
	c.config = cf
	if c.Signing.Date == 0 {
		c.Signing.Date = imageDate(cf.Created.Time)
	}
	if cf.Config.Labels[LabelMeasurement] != "" || slices.Equal(cf.Config.Entrypoint, []string{workload.GuestPath}) {
		return convertedError()
	}
	if cf.OS != "linux" {
		return fail(KindImage, "the image is for %s, only Linux images can be converted", cf.OS)
	}
	m := &workload.Manifest{
		Schema: workload.Schema, TEE: c.TEE, AccountRoot: c.Options.AccountRoot, LogPath: c.Options.LogPath,
		Source: "linux/" + cf.Architecture,
	}
	if m.Exec, err = planExec(&cf.Config, &c.Options); err != nil {
		return err
	}
	if m.Env, err = planEnv(&cf.Config, &c.Options, &c.note); err != nil {
		return err
	}
	if m.Folders, err = planFolders(&cf.Config, &c.Options); err != nil {
		return err
	}
	m.Certificates, m.Fronts = planCertificates(&c.Options)
	if c.guest, err = readGuest(c.Guest, cf.Architecture); err != nil {
		return err
	}
	sum := sha256.Sum256(c.guest)
	m.Guest = hex.EncodeToString(sum[:])
	c.m = m
	return nil
}

// openRuntime reads Gramine's files, where they are needed.
func (c *conversion) openRuntime(ctx context.Context) error {
	if c.TEE != workload.TEESGX {
		return nil
	}
	if c.config.Architecture != "amd64" {
		return fail(KindImage, "the image is for linux/%s: SGX is of x86-64 processors only", c.config.Architecture).advise("choose another with --platform linux/amd64")
	}
	o := c.SGX.Gramine
	o.CacheDir = c.CacheDir // opened before: nobody else can write it
	var err error
	if c.runtime, err = libos.Open(ctx, o); err != nil {
		return fail(KindRuntime, "--gramine: %w", err)
	}
	return nil
}

// imageDate is the day of an image, in UTC, as a SIGSTRUCT has it. Many tools write 1970 for "none".
func imageDate(made time.Time) uint32 {
	if y := made.UTC().Year(); y <= 1980 || y > 9999 {
		return sgx.DefaultDate
	}
	return sgx.Date(made)
}

func convertedError() error {
	return fail(KindConverted, "it is a confidential image already").advise("convert the image that it was made from")
}

// measure completes the manifest from the root file system, and lists what the
// added layer changes in it and what is in it then.
func (c *conversion) measure(ctx context.Context, fs *rootfs) (*adder, []entry, error) {
	if fs.child(rootNode, workload.Dir[1:]) != noNode {
		return nil, nil, convertedError()
	}
	passwd, err := fs.optional(ctx, passwdPath)
	if err != nil {
		return nil, nil, err
	}
	group, err := fs.optional(ctx, groupPath)
	if err != nil {
		return nil, nil, err
	}
	u, err := resolveUser(c.config.Config.User, passwd, group)
	if err != nil {
		return nil, nil, err
	}
	x := &c.m.Exec
	x.UID, x.GID, x.Groups, x.Home = u.uid, u.gid, u.groups, u.home

	a := newAdder(fs, &c.note)
	if err := a.workDir(x.WorkDir); err != nil {
		return nil, nil, err
	}
	if c.m.CACertificates, err = addCAs(ctx, a, c.Options.CAs); err != nil {
		return nil, nil, err
	}
	if c.TEE == workload.TEESGX { // the guest writes plain files into enclave memory, and what is needed is read again
		entries := fs.entries()
		a.vague(entries)
		return a, entries, nil
	}
	if err := a.certificateLinks(c.m.Certificates); err != nil {
		return nil, nil, err
	}
	fs.indexes, fs.contents = nil, nil
	entries := fs.entries()
	a.vague(entries)
	c.warnFolders(entries)
	return a, entries, nil
}

// warnFolders tells which declared or asked-for folders leave files of the image unprotected.
func (c *conversion) warnFolders(entries []entry) {
	for _, f := range c.m.Folders {
		if slices.Contains(defaultWritable, f.Path) {
			continue
		}
		n := 0
		for i := range entries {
			if entries[i].ino.kind == kindFile && workload.Within(entries[i].path, f.Path) {
				n++
			}
		}
		if n > 0 {
			c.note.add("%s is writable: %d files that the image has there are not protected; --ro %s makes it read-only", f.Path, n, f.Path)
		}
	}
}

// finish signs, assembles and writes.
func (c *conversion) finish(ctx context.Context, made *product, out image.Ref, res *Result) error {
	c.tell.stage(StageSign, 0)
	sig, err := sgx.Sign(ctx, made.params, c.Signing.Signer)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fail(KindSign, "%w", err)
	}
	signer := sig.MRSigner()
	res.MRSigner = hex.EncodeToString(signer[:])

	c.tell.stage(StageAssemble, 0)
	base := c.src.Image()
	mt, err := base.MediaType()
	if err != nil {
		return err
	}
	layers, err := made.layers(ctx, sig.Marshal(), layerType(mt))
	if err != nil {
		return err
	}
	img, err := assemble(base, layers, newConfig(c.config, c.m, made, c.labels(res), &c.note))
	if err != nil {
		return err
	}
	if err := c.describe(img, layers, res); err != nil {
		return err
	}
	if c.DryRun {
		return ctx.Err()
	}
	return c.write(ctx, img, out, res)
}

func (c *conversion) labels(res *Result) map[string]string {
	root := res.AccountRoot
	if root == "" {
		root = "none"
	}
	l := map[string]string{
		LabelSchema: strconv.Itoa(workload.Schema), LabelMeasurement: res.Measurement, LabelMRSigner: res.MRSigner,
		LabelISVProdID: strconv.Itoa(int(res.ISVProdID)), LabelISVSVN: strconv.Itoa(int(res.ISVSVN)),
		LabelAccountRoot: root, LabelTEE: res.TEE, LabelGuest: res.Guest, LabelSource: res.Source,
	}
	if c.Version != "" {
		l[LabelVersion] = c.Version
	}
	return l
}

func (c *conversion) describe(img v1.Image, layers []*addedLayer, res *Result) error {
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	m, err := img.Manifest()
	if err != nil {
		return err
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return err
	}
	if res.Policy, err = policyText(res); err != nil {
		return err
	}
	res.Digest, res.Layers = digest.String(), len(m.Layers)
	for _, l := range layers {
		res.AddedBytes += l.stored.Size()
	}
	res.Size, res.Config = m.Config.Size, &cf.Config
	for _, l := range m.Layers {
		res.Size += l.Size
	}
	return nil
}

// referrerWait bounds the small write that follows the image's; a Ctrl-C between
// the two does not leave an image without its statement.
const referrerWait = 30 * time.Second

func (c *conversion) write(ctx context.Context, img v1.Image, out image.Ref, res *Result) error {
	c.tell.stage(StageWrite, res.Size)
	o := image.WriteOptions{Options: c.OutputOptions, MountFrom: c.src}
	o.Progress = c.tell.write
	done, err := image.Write(ctx, out, img, o)
	if err != nil {
		return err
	}
	res.Name, res.Digest = done.Name, done.Digest.String()
	if out.Kind() != image.KindRegistry && out.Kind() != image.KindLayout {
		return nil
	}
	artifact, err := newReferrer(done.Digest, predicate{
		AccountRoot: res.AccountRoot, Guest: res.Guest, ISVProdID: res.ISVProdID, ISVSVN: res.ISVSVN,
		Measurement: res.Measurement, MRSigner: res.MRSigner, Policy: res.Policy, Source: res.Source, TEE: res.TEE,
	})
	if err != nil {
		return err
	}
	mt, err := img.MediaType()
	if err != nil {
		return err
	}
	size, err := img.Size()
	if err != nil {
		return err
	}
	rest, stop := context.WithTimeout(context.WithoutCancel(ctx), referrerWait)
	defer stop()
	o.Progress = nil
	ref, err := image.WriteReferrer(rest, out, v1.Descriptor{MediaType: mt, Digest: done.Digest, Size: size}, artifact, o)
	if err != nil {
		c.note.add("the statement beside the image could not be written: %v", err)
		return nil
	}
	res.Referrer = ref.String()
	return nil
}
