package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"hitoku.dev/internal/client"
	"hitoku.dev/internal/convert"
	"hitoku.dev/internal/wire"
)

const (
	pollFirst = 250 * time.Millisecond // between the first questions about a conversion
	pollMost  = 2 * time.Second
)

// remoteFlags are the flags that a conversion on the manager obeys; the manager
// takes everything else from the application.
var remoteFlags = []string{"remote", "app", "tag", "input-tag", "output-tag", "tee", "username", "password-stdin", "json"}

// runRemote lets the manager convert the image, with the account's signing key there.
func (o *imageCreateOptions) runRemote(cmd *cobra.Command) error {
	var refused []string
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if !slices.Contains(remoteFlags, f.Name) {
			refused = append(refused, "--"+f.Name)
		}
	})
	if len(refused) > 0 {
		return usageError{fmt.Errorf("image create: with --remote the manager converts, with the settings of the application; leave out %s, or --remote", strings.Join(refused, ", "))}
	}
	q := wire.ConvertRequest{InputDockerVersion: o.inputTag, OutputDockerVersion: o.outputTag, DockerVersion: o.tag}
	if cmd.Flags().Changed("tee") {
		q.TEE = o.tee
	}
	login, err := o.options(cmd)
	if err != nil {
		return err
	}
	if login.Username != "" {
		q.AuthConfig = &wire.AuthConfig{Username: login.Username, Password: login.Password}
	}
	_, c, err := connect()
	if err != nil {
		return err
	}
	app, err := c.App(cmd.Context(), o.app)
	if err != nil {
		return err
	}
	q.AppID = app.AppID
	b, err := client.Post[wire.Build](cmd.Context(), c, "/v1/builds/convert-app", q)
	if err != nil {
		return fmt.Errorf("convert %s: %w", app.InputImageName, err)
	}
	if b, err = waitForConversion(cmd, c, b); err != nil {
		return err
	}
	return o.print(cmd, created{Build: b}, func(w io.Writer) {
		if b.EnclaveInfo != nil {
			fmt.Fprintf(w, "measurement\t%s\nsigner\t%s\n", b.EnclaveInfo.MREnclave, b.EnclaveInfo.MRSigner)
		}
		printRegistered(w, b)
	})
}

// waitForConversion asks for the build until its conversion is over, and shows how far it is.
func waitForConversion(cmd *cobra.Command, c *client.Client, b wire.Build) (wire.Build, error) {
	meter := newMeter(cmd.ErrOrStderr())
	defer meter.end()
	id := b.BuildID
	for pause := pollFirst; ; pause = min(pause*3/2, pollMost) {
		switch p := b.Conversion; {
		case p == nil || p.State == "DONE":
			return b, nil
		case p.State == "FAILED":
			return b, fmt.Errorf("the conversion on the manager failed: %s", p.Error)
		case p.Stage != "":
			meter.event(convert.Event{Stage: p.Stage, Done: p.Done, Total: p.Total})
		}
		err := pauseFor(cmd.Context(), pause)
		if err == nil {
			b, err = client.Get[wire.Build](cmd.Context(), c, "/v1/builds/"+id)
		}
		if err != nil {
			return b, fmt.Errorf("%w; the conversion goes on on the manager: `hitoku image show %s`", err, id)
		}
	}
}

func pauseFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
