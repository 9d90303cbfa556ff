package manager

import (
	"context"
	"errors"
	"testing"

	"hitoku.dev/internal/manager/store"
	"hitoku.dev/internal/wire"
)

// fakeConverter makes an image of what it is told, or waits until it is stopped.
type fakeConverter struct {
	jobs chan ConversionJob
	fail error
	hang bool
}

func (f *fakeConverter) Convert(ctx context.Context, job ConversionJob, progress func(ConversionProgress)) (*ConvertedImage, error) {
	f.jobs <- job
	progress(ConversionProgress{Stage: "hashing", Done: 1, Total: 2})
	if f.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &ConvertedImage{Measurement: measurement(1), MRSigner: measurement(0), ISVProdID: job.ISVProdID, ISVSVN: job.ISVSVN, Digest: "sha256:00", Size: 3}, f.fail
}

func TestConversions(t *testing.T) {
	t.Parallel()
	f := &fakeConverter{jobs: make(chan ConversionJob, 1)}
	w := newWorld(t, func(o *Options) { o.Converter = f })
	ctx := t.Context()
	app := w.app("flask")
	_, err := w.m.CreateRegistry(ctx, w.admin, registryOfTests("r.example", "secret"))
	w.must(err)
	b, err := w.m.ConvertApp(ctx, w.admin, wire.ConvertRequest{AppID: app.AppID, OutputDockerVersion: "v2", InputAuthConfig: &wire.AuthConfig{Username: "given", Password: "x"}})
	w.must(err)
	if b.Conversion == nil || b.Conversion.State != store.ConversionRunning || b.BuildID == "" {
		t.Errorf("build %+v", b)
	}
	job := <-f.jobs
	if job.Input != "r.example/in:latest" || job.Output != "r.example/out:v2" || job.InputAuth.Username != "given" || job.OutputAuth.Password != "secret" || job.TEE != "sim" || len(job.AccountRoot) != 64 {
		t.Errorf("job %+v", job)
	}
	w.m.jobs.Wait()
	done, err := w.m.Build(ctx, w.admin, b.BuildID)
	w.must(err)
	if done.Conversion.State != store.ConversionDone || done.PendingTaskID == "" || done.Attributes["simulated"].Simulated.Measurement != measurement(1) || done.DockerInfo.DockerVersion != "v2" {
		t.Errorf("build after its conversion %+v", done)
	}

	f.fail = errors.New("no such tag")
	b, err = w.m.ConvertApp(ctx, w.admin, wire.ConvertRequest{AppID: app.AppID})
	w.must(err)
	<-f.jobs
	w.m.jobs.Wait()
	failed, err := w.m.Build(ctx, w.admin, b.BuildID)
	w.must(err)
	if failed.Conversion.State != store.ConversionFailed || failed.Conversion.Error != "no such tag" {
		t.Errorf("failed conversion %+v", failed.Conversion)
	}

	f.fail, f.hang = nil, true
	b, err = w.m.ConvertApp(ctx, w.admin, wire.ConvertRequest{AppID: app.AppID})
	w.must(err)
	<-f.jobs
	w.m.Close()
	stopped, err := w.m.Build(ctx, w.admin, b.BuildID)
	w.must(err)
	if stopped.Conversion.State != store.ConversionFailed {
		t.Errorf("conversion after the manager stopped %+v", stopped.Conversion)
	}
	// One that was cut off without a word is failed by the next start.
	w.must(w.m.update(ctx, func(tx *store.Tx) error {
		c, err := tx.Conversions().Get(ctx, w.account, b.BuildID)
		if err != nil {
			return err
		}
		c.Status = store.ConversionRunning
		return tx.Conversions().Update(ctx, c)
	}))
	w.must(w.m.Start(ctx))
	if stopped, err = w.m.Build(ctx, w.admin, b.BuildID); err != nil || stopped.Conversion.State != store.ConversionFailed {
		t.Errorf("conversion after a start %+v, %v", stopped, err)
	}
	_, err = w.m.ConvertApp(ctx, w.admin, wire.ConvertRequest{AppID: app.AppID, TEE: "tdx"})
	refused(t, "unknown TEE", err, Invalid, CodeInvalidValue)
	w.open()
	_, err = w.m.ConvertApp(ctx, w.admin, wire.ConvertRequest{AppID: app.AppID})
	refused(t, "manager without a converter", err, Unsupported, CodeNotSupported)
}
