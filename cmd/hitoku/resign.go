package main

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"hitoku.dev/internal/convert"
	"hitoku.dev/internal/image"
	"hitoku.dev/measure/sgx"
)

type resignOptions struct {
	registryFlags
	signerFlags
	prepare, signature string
	output
}

func newResignCommand() *cobra.Command {
	var o resignOptions
	cmd := &cobra.Command{
		Use:   "resign IMAGE OUTPUT | --prepare FILE IMAGE",
		Short: "Put another signature on a confidential image",
		Long: `Put a signature of another key or date on a confidential image, without converting
it again: the measurement, the product id, the version and the application's layers
stay.

The key is a file or lies in an HSM (--key FILE or PKCS #11 URI), or a command signs
(--signer-command). Where the key is on another
machine, sign in two steps: --prepare writes the 256 bytes that are to be signed
(RSASSA-PKCS1-v1_5 with SHA-256, RSA-3072, exponent 3), and --signature puts the 384
bytes of the signature into the image, checked against --signer-public-key. The date
is the one of the present signature; with --date give the same in both steps.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage.`,
		Example: `  hitoku resign oci:./web:1 oci:./web:2 --key release-key.pem
  hitoku resign oci:./web:1 --prepare tbs.bin
  openssl dgst -sha256 -sign offline.pem -out web.sig tbs.bin
  hitoku resign oci:./web:1 oci:./web:2 --signature web.sig --signer-public-key offline-pub.pem`,
		Args: args(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, a []string) error { return o.run(cmd, a) },
	}
	f := cmd.Flags()
	f.StringVar(&o.prepare, "prepare", "", "write the bytes to be signed to `FILE`, and no image")
	f.StringVar(&o.signature, "signature", "", "`FILE` with the signature, 384 bytes, big-endian as openssl writes it")
	o.signerFlags.register(f, "", "that of the present signature")
	o.registryFlags.register(f)
	o.flag(cmd)
	cmd.MarkFlagsMutuallyExclusive("prepare", "signature", "key", "signer-command")
	return cmd
}

func (o *resignOptions) run(cmd *cobra.Command, a []string) error {
	opts, err := o.options(cmd)
	if err != nil {
		return err
	}
	var date uint32
	if o.date != "" {
		if date, err = sgx.ParseDate(o.date); err != nil {
			return usageError{fmt.Errorf("resign: --date: %w", err)}
		}
	}
	if wanted := map[bool]int{false: 2, true: 1}[o.prepare != ""]; len(a) != wanted {
		return usageError{fmt.Errorf("resign: %d images, wanted %d; usage: %s", len(a), wanted, cmd.UseLine())}
	}
	if o.prepare != "" {
		return o.prepareFile(cmd, a[0], opts, date)
	}
	signer, err := o.chosen(cmd)
	if err != nil {
		return fmt.Errorf("resign: %w", err)
	}
	res, err := convert.Resign(cmd.Context(), convert.ResignRequest{
		Input: a[0], Output: a[1], InputOptions: opts, OutputOptions: opts, Signer: signer, Date: date,
	})
	if err != nil {
		return resignFailure(err)
	}
	for _, n := range res.Notices {
		fmt.Fprintln(cmd.ErrOrStderr(), "note: "+n)
	}
	return o.print(cmd, res, func(w io.Writer) {
		fmt.Fprintf(w, "image\t%s\ndigest\t%s\nmeasurement\t%s\nsigner\t%s\n", res.Name, res.Digest, res.Measurement, res.MRSigner)
		fmt.Fprintf(w, "product\t%d, version %d, signed %d\n", res.ISVProdID, res.ISVSVN, res.Date)
	})
}

func (o *resignOptions) prepareFile(cmd *cobra.Command, ref string, opts image.Options, date uint32) error {
	b, err := convert.SigningRequest(cmd.Context(), ref, opts, date)
	if err != nil {
		return resignFailure(err)
	}
	if err := os.WriteFile(o.prepare, b, 0o644); err != nil {
		return fmt.Errorf("resign: --prepare: %w", err)
	}
	return o.print(cmd, map[string]any{"file": o.prepare, "bytes": len(b)}, func(w io.Writer) {
		fmt.Fprintf(w, "to be signed\t%s, %d bytes\n", o.prepare, len(b))
	})
}

// chosen is the signer of the flags; unlike a conversion it makes no key.
func (o *resignOptions) chosen(cmd *cobra.Command) (sgx.Signer, error) {
	if o.signature == "" {
		if o.key == "" && o.signerCommand == "" {
			return nil, usageError{errors.New("say who signs: --key FILE or pkcs11:URI, --signer-command COMMAND, or --signature FILE")}
		}
		return o.signer(cmd, true)
	}
	if o.signerKey == "" {
		return nil, usageError{errors.New("--signature needs --signer-public-key FILE")}
	}
	pub, err := o.publicKey()
	if err != nil {
		return nil, err
	}
	sig, err := os.ReadFile(o.signature)
	if err != nil {
		return nil, fmt.Errorf("--signature: %w", err)
	}
	return madeSignature{pub, sig}, nil
}

// madeSignature is a signature that was made elsewhere.
type madeSignature struct {
	key       *rsa.PublicKey
	signature []byte
}

func (m madeSignature) Public() *rsa.PublicKey { return m.key }

func (m madeSignature) SignPKCS1v15SHA256(context.Context, []byte) ([]byte, error) {
	return m.signature, nil
}

func resignFailure(err error) error {
	var e *image.Error
	err = fmt.Errorf("resign: %w", err)
	if errors.As(err, &e) && e.Kind == image.ErrReference || convert.KindOf(err) == convert.KindRequest {
		return usageError{err}
	}
	return err
}
