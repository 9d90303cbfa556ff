package manager

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

// Converter makes a confidential image. progress may be called as often as
// wanted, from one goroutine at a time.
type Converter interface {
	Convert(ctx context.Context, job ConversionJob, progress func(ConversionProgress)) (*ConvertedImage, error)
}

// ConversionJob is what a [Converter] gets.
type ConversionJob struct {
	AccountID   string
	AccountRoot string // SHA-256 of the account root's SubjectPublicKeyInfo, hexadecimal
	AppID       string
	TEE         string // "sim" or "sgx"
	Input       string // image reference with its tag
	Output      string
	InputAuth   *wire.AuthConfig // nil: anonymous
	OutputAuth  *wire.AuthConfig
	ISVProdID   int
	ISVSVN      int
	MemSize     int64 // MiB
	Threads     int
	Debug       bool
	Advanced    *wire.AdvancedSettings // of the application; nil when it has none
}

// ConversionProgress says how far a conversion has come. Total is 0 while unknown.
type ConversionProgress struct {
	Stage       string
	Done, Total int64 // bytes
}

// ConvertedImage is what a [Converter] made. Digests are lower-case hexadecimal.
type ConvertedImage struct {
	Measurement string
	MRSigner    string
	ISVProdID   int
	ISVSVN      int
	Digest      string // of the pushed image, "sha256:…"
	Size        int64  // MiB
}

// progressEvery is how often the progress of a conversion is written down.
const progressEvery = 500 * time.Millisecond

// ConvertApp starts the conversion of an application's image. The reply has the
// id of the build to come; ask for it until its conversion is DONE or FAILED.
func (m *Manager) ConvertApp(ctx context.Context, a Actor, r wire.ConvertRequest) (*wire.Build, error) {
	if err := a.may(store.Writer); err != nil {
		return nil, err
	}
	if m.opts.Converter == nil {
		return nil, newError(Unsupported, CodeNotSupported, "this manager does not convert images; use `hitoku convert` and register the measurement")
	}
	id, err := m.newID()
	if err != nil {
		return nil, m.fail(err)
	}
	var job ConversionJob
	var w wire.Build
	err = m.update(ctx, func(tx *store.Tx) error {
		if job, err = m.conversionJob(ctx, tx, a, r); err != nil {
			return err
		}
		shown := r
		shown.AuthConfig, shown.InputAuthConfig, shown.OutputAuthConfig = nil, nil, nil
		request, err := json.Marshal(shown)
		if err != nil {
			return fmt.Errorf("conversion: %w", err)
		}
		now := m.now()
		c := &store.Conversion{ID: id, AccountID: a.AccountID, AppID: r.AppID, Status: store.ConversionRunning, Request: request, Progress: json.RawMessage("{}"), CreatedBy: a.UserID, CreatedAt: now, UpdatedAt: now}
		if err := tx.Conversions().Insert(ctx, c); err != nil {
			return err
		}
		if w, err = conversionBuild(ctx, tx, a.AccountID, id); err != nil {
			return err
		}
		e := a.event("IMAGE_CONVERSION_STARTED", "ADMIN", a.Name+" began to convert "+job.Input+" to "+job.Output)
		e.AppID = r.AppID
		return tx.Audit(ctx, e)
	})
	if err != nil {
		return nil, err
	}
	m.jobs.Go(func() { m.convert(a, id, job) })
	return &w, nil
}

func (m *Manager) conversionJob(ctx context.Context, tx *store.Tx, a Actor, r wire.ConvertRequest) (ConversionJob, error) {
	var job ConversionJob
	acct, err := activeAccount(ctx, tx, a.AccountID)
	if err != nil {
		return job, err
	}
	app, err := tx.Apps().Get(ctx, a.AccountID, r.AppID)
	if err != nil {
		return job, err
	}
	if app.InputImage == "" || app.OutputImage == "" {
		return job, invalid(CodeInvalidState, "the application %s has no input or no output image", app.Name)
	}
	root, err := authorityRow(ctx, tx, a.AccountID, store.AuthorityRoot, "", store.AuthorityCurrent)
	if err != nil {
		return job, err
	}
	hash, err := spkiHashOf(root)
	if err != nil {
		return job, err
	}
	job = ConversionJob{
		AccountID: a.AccountID, AccountRoot: hex.EncodeToString(hash[:]), AppID: app.ID, TEE: r.TEE,
		Input: withTag(app.InputImage, first(r.InputDockerVersion, r.DockerVersion)), Output: withTag(app.OutputImage, first(r.OutputDockerVersion, r.DockerVersion)),
		InputAuth: firstAuth(r.InputAuthConfig, r.AuthConfig), OutputAuth: firstAuth(r.OutputAuthConfig, r.AuthConfig),
		ISVProdID: app.ISVProdID, ISVSVN: app.ISVSVN, MemSize: app.MemSize, Threads: app.Threads, Debug: r.Debug,
	}
	fillIf(&job.MemSize, r.MemSize)
	fillIf(&job.Threads, int(r.Threads))
	if err := checkNumbers(job.ISVProdID, job.ISVSVN, job.MemSize, job.Threads); err != nil {
		return job, err
	}
	switch {
	case job.TEE == "" && acct.TestOnly:
		job.TEE = "sim"
	case job.TEE == "":
		job.TEE = "sgx"
	case job.TEE == "sim" && !acct.TestOnly:
		return job, invalid(CodeInvalidValue, "images for the simulated TEE belong into a test-only account, and %s is none", acct.Name)
	case job.TEE != "sim" && job.TEE != "sgx":
		return job, invalid(CodeInvalidValue, "tee %q is neither sim nor sgx", clip(job.TEE))
	}
	if len(app.Settings.Advanced) > 0 {
		job.Advanced = &wire.AdvancedSettings{}
		if err := json.Unmarshal(app.Settings.Advanced, job.Advanced); err != nil {
			return job, fmt.Errorf("application %s: advanced settings: %w", app.ID, err)
		}
	}
	if job.InputAuth == nil {
		if job.InputAuth, err = m.credential(ctx, tx, a.AccountID, job.Input); err != nil {
			return job, err
		}
	}
	if job.OutputAuth == nil {
		job.OutputAuth, err = m.credential(ctx, tx, a.AccountID, job.Output)
	}
	return job, err
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func firstAuth(values ...*wire.AuthConfig) *wire.AuthConfig {
	for _, v := range values {
		if v != nil && v.Username != "" {
			return v
		}
	}
	return nil
}

func fillIf[T comparable](to *T, v T) {
	var zero T
	if v != zero {
		*to = v
	}
}

// withTag gives an image's name a tag: the asked one, its own, or latest.
func withTag(image, tag string) string {
	name, own := splitTag(image)
	return name + ":" + first(tag, own, "latest")
}

func splitTag(image string) (name, tag string) {
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		return image[:i], image[i+1:]
	}
	return image, ""
}

// convert runs a job to its end and registers the build.
func (m *Manager) convert(a Actor, id string, job ConversionJob) {
	ctx := m.jobsCtx
	var mu sync.Mutex
	var last time.Time
	image, err := m.opts.Converter.Convert(ctx, job, func(p ConversionProgress) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(last) < progressEvery {
			return
		}
		last = time.Now()
		m.noteConversion(ctx, a.AccountID, id, func(c *store.Conversion) { c.Progress = progressJSON(p) })
	})
	if err == nil {
		_, err = m.createBuild(ctx, a, id, buildRequest(job, image))
	}
	// The end is written down also when the manager is about to stop.
	ctx = context.WithoutCancel(ctx)
	m.noteConversion(ctx, a.AccountID, id, func(c *store.Conversion) {
		c.Status, c.BuildID = store.ConversionDone, id
		if err != nil {
			c.Status, c.BuildID, c.Failure = store.ConversionFailed, "", err.Error()
		}
	})
	e := a.event("IMAGE_CONVERSION_SUCCEEDED", "ADMIN", "The conversion of "+job.Input+" to "+job.Output+" succeeded")
	e.AppID = job.AppID
	if err != nil {
		e.Code, e.Severity, e.Description = "IMAGE_CONVERSION_FAILED", "ERROR", "The conversion of "+job.Input+" to "+job.Output+" failed: "+err.Error()
	}
	if err := m.store.Update(ctx, func(tx *store.Tx) error { return tx.Audit(ctx, e) }); err != nil {
		m.opts.Log.Error("the end of a conversion could not be recorded", "build", id, "error", err)
	}
}

func progressJSON(p ConversionProgress) json.RawMessage {
	raw, err := json.Marshal(p)
	if err != nil {
		return json.RawMessage("{}")
	}
	return raw
}

func (m *Manager) noteConversion(ctx context.Context, account, id string, change func(*store.Conversion)) {
	err := m.store.Update(ctx, func(tx *store.Tx) error {
		c, err := tx.Conversions().Get(ctx, account, id)
		if err != nil {
			return err
		}
		change(c)
		c.UpdatedAt = m.now()
		return tx.Conversions().Update(ctx, c)
	})
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, store.ErrNotFound) {
		m.opts.Log.Error("the progress of a conversion could not be recorded", "build", id, "error", err)
	}
}

func buildRequest(job ConversionJob, image *ConvertedImage) wire.BuildRequest {
	name, tag := splitTag(job.Output)
	r := wire.BuildRequest{
		AppID: job.AppID, MRSigner: image.MRSigner, ISVProdID: int32(image.ISVProdID), ISVSVN: int32(image.ISVSVN), MemSize: job.MemSize, Threads: int32(job.Threads),
		MREnclave: image.Measurement, AdvancedSettings: job.Advanced,
		DockerInfo: &wire.DockerInfo{DockerImageName: name, DockerVersion: tag, DockerImageSHA: image.Digest, DockerImageSize: image.Size},
	}
	if job.TEE == "sim" {
		r.Attributes = map[string]wire.BuildAttributes{kindSimulated: {Simulated: &wire.SimulatedAttributes{Measurement: image.Measurement}}}
	}
	return r
}

// conversionBuild shows a conversion as the build that it will become.
func conversionBuild(ctx context.Context, tx *store.Tx, account, id string) (wire.Build, error) {
	c, err := tx.Conversions().Get(ctx, account, id)
	if errors.Is(err, store.ErrNotFound) {
		return wire.Build{}, notFound("build", id)
	}
	if err != nil {
		return wire.Build{}, err
	}
	app, err := tx.Apps().Get(ctx, account, c.AppID)
	if err != nil {
		return wire.Build{}, err
	}
	w := wire.Build{
		BuildID: c.ID, AppID: app.ID, AppName: app.Name, CreatedAt: c.CreatedAt.Unix(), UpdatedAt: c.UpdatedAt.Unix(),
		Status: wire.StatusAt{Status: store.BuildPending, StatusUpdatedAt: c.UpdatedAt.Unix()}, MemSize: app.MemSize, Threads: int32(app.Threads),
	}
	w.Conversion, err = conversionInfo(c)
	return w, err
}

func conversionInfo(c *store.Conversion) (*wire.Conversion, error) {
	var p ConversionProgress
	if err := json.Unmarshal(c.Progress, &p); err != nil {
		return nil, fmt.Errorf("conversion %s: %w", c.ID, err)
	}
	return &wire.Conversion{State: c.Status, Stage: p.Stage, Done: p.Done, Total: p.Total, Error: c.Failure}, nil
}

// Start brings in order what a former run left: conversions that were interrupted failed.
// Call it once before the first request.
func (m *Manager) Start(ctx context.Context) error {
	return m.update(ctx, func(tx *store.Tx) error {
		return tx.InterruptConversions(ctx, m.now())
	})
}
