package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/convert"
	"hitoku.dev/internal/image"
)

type convertOptions struct {
	conversionFlags
	requestFile string
	dryRun      bool
	output
}

func newConvertCommand() *cobra.Command {
	var o convertOptions
	cmd := &cobra.Command{
		Use:   "convert INPUT OUTPUT",
		Short: "Make a confidential image out of a container image",
		Long: `Make a confidential image out of a container image: the same layers, and one more
with the guest program, the workload manifest and its signature. The manifest's
hash is the measurement, known before anything runs.

INPUT and OUTPUT are one of
  HOST/REPOSITORY:TAG             a registry
  oci:DIR:TAG                     an OCI layout folder
  docker-archive:FILE             what docker save writes
  docker-daemon:NAME:TAG          a Docker Engine

The program runs in a closed world: it may write to /tmp, /var/tmp, /run,
/var/run, /var/log, /var/cache, /dev/shm, to the image's VOLUMEs, and where --rw
and --encrypted say. The environment is the image's; the host changes only what
--allow-env and --mutable-env name, and arguments only with --allow-args.

Without --key, a signing key is made on first use and kept in the user's
configuration folder. Two machines get the same digest with the same key, date,
guest program and options; the measurement does not depend on the key.

--request-file takes the JSON of CCM's converter; options beside it are added to
it or replace what it says.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage.`,
		Example: `  hitoku convert registry.example.com/web:1 registry.example.com/web-hitoku:1 \
      --account-root acme.pem --name web.example.com --tls 8443=5000
  hitoku convert oci:./web:1 --dry-run --json --no-manager`,
		Args: args(cobra.MaximumNArgs(2)),
		RunE: func(cmd *cobra.Command, a []string) error { return o.run(cmd, a) },
	}
	f := cmd.Flags()
	o.register(f)
	f.StringVar(&o.requestFile, "request-file", "", "JSON `file` with a request of CCM's converter; - reads standard input")
	f.BoolVar(&o.dryRun, "dry-run", false, "print the measurement, write no image")
	o.flag(cmd)
	return cmd
}

func (o *convertOptions) run(cmd *cobra.Command, images []string) error {
	base, err := o.readRequestFile(cmd, o.requestFile)
	if err != nil {
		return fmt.Errorf("convert: %w", err)
	}
	if len(images) > 0 {
		base.Input = images[0]
	}
	if len(images) > 1 {
		base.Output = images[1]
	}
	if base.Input == "" {
		return usageError{fmt.Errorf("convert: no input image; usage: %s", cmd.UseLine())}
	}
	base.NoPush = base.NoPush || o.dryRun
	q, err := o.request(cmd, base)
	if err != nil {
		return fmt.Errorf("convert: %w", err)
	}
	meter := newMeter(cmd.ErrOrStderr())
	q.Progress = meter.event
	res, err := convert.Convert(cmd.Context(), *q)
	meter.end()
	if err != nil {
		return conversionFailure("convert", err)
	}
	res.Notices = append(base.Notices, res.Notices...)
	for _, n := range res.Notices {
		fmt.Fprintln(cmd.ErrOrStderr(), "note: "+n)
	}
	return o.print(cmd, res, func(w io.Writer) { printConversion(w, res) })
}

// readRequestFile reads a request of CCM's converter; without a name it is empty.
func (o *conversionFlags) readRequestFile(cmd *cobra.Command, name string) (*convert.File, error) {
	if name == "" {
		return &convert.File{}, nil
	}
	data, err := readInput(name, cmd.InOrStdin(), 16<<20)
	if err != nil {
		return nil, fmt.Errorf("--request-file: %w", err)
	}
	f, err := convert.ParseFileFor(data, o.tee)
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", name, err)}
	}
	return f, nil
}

// conversionFailure turns contradictions in the request into errors of usage.
func conversionFailure(verb string, err error) error {
	err = fmt.Errorf("%s: %w", verb, err)
	var e *image.Error
	switch kind := convert.KindOf(err); {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: stopped; nothing was written", verb)
	case kind == convert.KindRequest, errors.As(err, &e) && e.Kind == image.ErrReference:
		return usageError{err}
	}
	return err
}

func printConversion(w io.Writer, r *convert.Result) {
	name := r.Name
	if r.DryRun {
		name = "(dry run: nothing written)"
	}
	fmt.Fprintf(w, "image\t%s\ndigest\t%s\nmeasurement\t%s\nsigner\t%s\n", or(name), or(r.Digest), r.Measurement, or(r.MRSigner))
	fmt.Fprintf(w, "product\t%d, version %d\n", r.ISVProdID, r.ISVSVN)
	fmt.Fprintf(w, "account root\t%s\n", or(r.AccountRoot))
	if e := r.Enclave; e != nil {
		printEnclave(w, e)
	}
	fmt.Fprintf(w, "files\t%d in %d layers (%d known before), %s; added %s\n", r.Files, r.Layers, r.CachedLayers, megabytes(r.Size), megabytes(r.AddedBytes))
	fmt.Fprintf(w, "starts\t%s\n", strings.Join(append(append([]string{}, r.Options.Exec.Entry...), r.Options.Exec.Args...), " "))
}

func printEnclave(w io.Writer, e *convert.Enclave) {
	fmt.Fprintf(w, "enclave\t%s, %d threads, %s\n", e.Memory, e.Threads, or(strings.Join(e.Runtimes, ", ")))
	fmt.Fprintf(w, "Gramine\t%s, files %s\n", e.Gramine, e.GramineDigest)
	fmt.Fprintf(w, "trusted files\t%d (%s), read in about %v by each process, twice on SGX\n", e.TrustedFiles, e.Files, time.Duration(e.StartSeconds*float64(time.Second)).Round(time.Millisecond))
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
