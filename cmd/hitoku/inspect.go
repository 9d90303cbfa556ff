package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/convert"
	"hitoku.dev/internal/image"
	"hitoku.dev/measure/workload"
)

type inspectOptions struct {
	registryFlags
	files, verify, diff bool
	output
}

func newInspectCommand() *cobra.Command {
	var o inspectOptions
	cmd := &cobra.Command{
		Use:   "inspect IMAGE | --diff IMAGE IMAGE",
		Short: "Show measurement, signer, options and files of a confidential image",
		Long: `Show what a confidential image is: its measurement, signer and options, and whether
manifest, signature, guest program and configuration agree. Only the added layer
is read.

With --verify every layer is read and compared with the manifest, file by file:
then the measurement is that of exactly these layers.

With --diff the two images' added layers are compared, and every option, file or
part of the enclave is listed that makes their measurements differ.

Exit codes: 0 all agrees, 1 something does not or the image cannot be read, 2 wrong usage.`,
		Example: `  hitoku inspect registry.example.com/web-hitoku:1
  hitoku inspect oci:./web-hitoku --verify --json
  hitoku inspect --diff oci:./web-hitoku:1 oci:./web-hitoku:2`,
		Args: args(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, a []string) error {
			if wanted := map[bool]int{false: 1, true: 2}[o.diff]; len(a) != wanted {
				return usageError{fmt.Errorf("inspect: %d images, wanted %d; usage: %s", len(a), wanted, cmd.UseLine())}
			}
			if o.diff {
				return o.compare(cmd, a[0], a[1])
			}
			return o.run(cmd, a[0])
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.files, "files", false, "list every file of the manifest; of an image for SGX show Gramine's manifest")
	f.BoolVar(&o.verify, "verify", false, "read every layer and compare it with the manifest")
	f.BoolVar(&o.diff, "diff", false, "say what makes the measurements of two images differ")
	cmd.MarkFlagsMutuallyExclusive("diff", "verify")
	cmd.MarkFlagsMutuallyExclusive("diff", "files")
	o.registryFlags.register(f)
	o.flag(cmd)
	return cmd
}

func (o *inspectOptions) run(cmd *cobra.Command, ref string) error {
	opts, err := o.options(cmd)
	if err != nil {
		return err
	}
	var x *convert.Inspection
	if o.verify {
		meter := newMeter(cmd.ErrOrStderr())
		x, err = convert.MeasureWith(cmd.Context(), ref, opts, convert.Limits{}, meter.event)
		meter.end()
	} else {
		x, err = convert.Inspect(cmd.Context(), ref, opts)
	}
	if err != nil {
		return inspectFailure(err)
	}
	if o.files {
		x.Options.Files = x.Options.Manifest.Files
		x.GramineManifest = x.ManifestText()
	}
	if err := o.print(cmd, x, func(w io.Writer) { printInspection(w, x, o.files) }); err != nil {
		return err
	}
	if err := x.Err(); err != nil {
		return fmt.Errorf("inspect: %w", err)
	}
	return nil
}

func inspectFailure(err error) error {
	var e *image.Error
	if errors.As(err, &e) && e.Kind == image.ErrReference {
		return usageError{fmt.Errorf("inspect: %w", err)}
	}
	return fmt.Errorf("inspect: %w", err)
}

func (o *inspectOptions) compare(cmd *cobra.Command, a, b string) error {
	opts, err := o.options(cmd)
	if err != nil {
		return err
	}
	c, err := convert.Diff(cmd.Context(), a, b, opts)
	if err != nil {
		return inspectFailure(err)
	}
	return o.print(cmd, c, func(w io.Writer) { printComparison(w, c) })
}

func printComparison(w io.Writer, c *convert.Comparison) {
	fmt.Fprintf(w, "image\t%s\nmeasurement\t%s\n", c.A.Name, c.A.Measurement)
	fmt.Fprintf(w, "image\t%s\nmeasurement\t%s\n", c.B.Name, c.B.Measurement)
	if c.Same {
		fmt.Fprintln(w, "result\tthe measurements are equal")
	} else {
		fmt.Fprintf(w, "result\tthe measurements differ by %d things\n", len(c.Differences))
	}
	for _, d := range c.Differences {
		fmt.Fprintf(w, "%s\t%s\n\t%s\n", d.What, d.A, d.B)
	}
}

func printInspection(w io.Writer, x *convert.Inspection, files bool) {
	m := x.Options.Manifest
	row := func(name, format string, args ...any) { fmt.Fprintf(w, name+"\t"+format+"\n", args...) }
	row("image", "%s", x.Name)
	row("digest", "%s", x.Digest)
	row("measurement", "%s", x.Measurement)
	row("signer", "%s", or(x.MRSigner))
	row("product", "%d, version %d, signed %d", x.ISVProdID, x.ISVSVN, x.Date)
	row("TEE", "%s, guest %s", x.TEE, x.Guest)
	row("account root", "%s", or(x.AccountRoot))
	row("size", "%s in %d layers, %d files, manifest %s", megabytes(x.Size), x.Layers, x.Files, megabytes(x.ManifestSize))
	row("starts", "%q as %d:%d in %s", append(append([]string{}, m.Exec.Entry...), m.Exec.Args...), m.Exec.UID, m.Exec.GID, m.Exec.WorkDir)
	row("arguments", "%s", map[bool]string{true: "from the host when it gives any", false: "fixed"}[m.Exec.AllowArgs])
	if e := x.Enclave; e != nil {
		row("enclave", "%d bytes, %d threads, EDMM %v, debug %v", e.EnclaveSize, e.Threads, e.EDMM, e.Debug)
		row("enclave files", "%d trusted, %d mounts, %s unpacked into memory", e.TrustedFiles, e.Mounts, megabytes(e.Packed))
		row("attributes", "%s, mask %s", e.Attributes, e.AttributesMask)
	}
	for _, w := range x.Weak {
		row("WEAK", "%s", w)
	}
	for _, e := range m.Env.Fixed {
		row("environment", "%s", e)
	}
	for _, e := range m.Env.Mutable {
		row("environment", "%s  (the host may change it)", e)
	}
	for _, e := range m.Env.Allowed {
		row("environment", "%s  (from the host)", e)
	}
	for _, f := range m.Folders {
		row("writable", "%s (%s)", f.Path, f.Mode)
	}
	for _, c := range m.Certificates {
		row("certificate", "%s, %s-%d, %s, %s", strings.Join(append([]string{c.Subject}, c.AltNames...), " "), c.KeyType, c.KeySize, c.KeyPath, c.CertPath)
	}
	for _, f := range m.Fronts {
		row("TLS", "port %d, forwarded to %d", f.Listen, f.Forward)
	}
	for _, c := range m.CACertificates {
		row("CA certificate", "%s%s", c.Path, map[bool]string{true: " (in the trust store)"}[c.System])
	}
	for _, r := range x.Rules {
		if r.OK {
			row("checked", "%s", r.Name)
		} else {
			row("WRONG", "%s: wanted %s, seen %s", r.Name, r.Wanted, r.Seen)
		}
	}
	if !x.Verified {
		row("not checked", "the application's layers; --verify reads them")
	}
	if files {
		for i := range m.Files {
			row("file", "%s", fileLine(&m.Files[i]))
		}
		for line := range strings.Lines(x.GramineManifest) {
			row("Gramine", "%s", strings.TrimSuffix(line, "\n"))
		}
	}
}

func fileLine(f *workload.File) string {
	s := fmt.Sprintf("%-8s %04o %d:%d %q", f.Type, f.Mode, f.UID, f.GID, f.Name())
	switch f.Type {
	case workload.TypeFile:
		s += fmt.Sprintf(" %d %s", f.Size, f.SHA256)
	case workload.TypeSymlink, workload.TypeHardlink:
		s += fmt.Sprintf(" -> %q", f.Target())
	}
	return s
}

// measureImage is what `hitoku verify --image` calls: the measurement of a
// confidential image, after every layer was compared with its manifest.
func measureImage(ctx context.Context, ref string, o image.Options) (string, error) {
	x, err := convert.Measure(ctx, ref, o)
	if err != nil {
		return "", err
	}
	if err := x.Err(); err != nil {
		return "", err
	}
	return x.Measurement, nil
}
