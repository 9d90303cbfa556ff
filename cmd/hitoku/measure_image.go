package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/convert"
)

type measureImageOptions struct {
	conversionFlags
	requestFile string
	output
}

// newMeasureCommand computes measurements: of an image by itself, of other things by its
// subcommands.
func newMeasureCommand() *cobra.Command {
	var o measureImageOptions
	cmd := &cobra.Command{
		Use:   "measure IMAGE",
		Short: "Compute what hardware will measure, from an image or from files alone",
		Long: `Compute the measurement that the confidential image of IMAGE would have, and write
nothing: what hitoku convert would do with the same options. So a third party who has
the image, the options, the guest program and, for SGX, Gramine's files, finds out
whether a measurement is that of this program.

IMAGE is a plain image, in the forms that hitoku convert reads. For a converted one see
hitoku inspect --verify.

MRSIGNER is shown where a signing key is given (--key, --signer-command) or the user has one.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage.`,
		Example: `  hitoku measure registry.example.com/web:1 --tee sgx --gramine docker.io/gramineproject/gramine:1.8-jammy \
      --account-root acme.pem --name web.example.com --json
  hitoku measure oci:./web:1 --no-manager
  hitoku measure sgx-manifest app.manifest.sgx --libpal libpal.so`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error { return o.run(cmd, a[0]) },
	}
	o.register(cmd.Flags())
	cmd.Flags().StringVar(&o.requestFile, "request-file", "", "JSON `file` with a request of CCM's converter; - reads standard input")
	o.flag(cmd)
	cmd.AddCommand(newMeasureManifestCommand(), newMeasureSigstructCommand(), newMeasureSGXSCommand())
	return cmd
}

// measuredImage is what measure IMAGE prints as JSON: the conversion that would be made.
type measuredImage struct {
	*convert.Result
	MRENCLAVE string `json:"mrenclave,omitempty"`
}

func (o *measureImageOptions) run(cmd *cobra.Command, ref string) error {
	base, err := o.readRequestFile(cmd, o.requestFile)
	if err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	base.Input, base.Output, base.NoPush = ref, "", true
	q, err := o.request(cmd, base)
	if err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	meter := newMeter(cmd.ErrOrStderr())
	q.Progress = meter.event
	res, err := convert.Convert(cmd.Context(), *q)
	meter.end()
	if err != nil {
		return conversionFailure("measure", err)
	}
	for _, n := range res.Notices {
		fmt.Fprintln(cmd.ErrOrStderr(), "note: "+n)
	}
	out := measuredImage{Result: res}
	if res.Enclave != nil {
		out.MRENCLAVE = res.Enclave.MRENCLAVE
	}
	return o.print(cmd, out, func(w io.Writer) { printConversion(w, res) })
}
