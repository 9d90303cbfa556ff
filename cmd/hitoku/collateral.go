package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hitoku.dev/attest"
	"hitoku.dev/attest/atls"
	"hitoku.dev/attest/collateral"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/attest/snp"
)

func newCollateralCommand() *cobra.Command {
	return group("collateral", "What the makers of TEEs signed about their platforms: fetch, show, export, import",
		newCollateralFetchCommand(), newCollateralShowCommand(), newCollateralExportCommand(), newCollateralImportCommand())
}

type fetchOptions struct {
	collateralFlags
	roots    []string
	fmspcs   []string
	tee      string
	ca       string
	kinds    []string
	products []string
	out      string
	output
}

func newCollateralFetchCommand() *cobra.Command {
	var o fetchOptions
	cmd := &cobra.Command{
		Use:   "fetch [EVIDENCE FILE...]",
		Short: "Get what evidence, or a kind of platform, needs from the makers' services",
		Long: `Get TCB infos, enclave identities, revocation lists and certificates from Intel's
provisioning certification service (or a caching service, --pccs) and AMD's key
distribution service, verify them, and keep them in the cache.

Name evidence (quotes of SGX and TDX, reports of SEV-SNP, certificates that carry
them), platforms of Intel (--fmspc), or products of AMD (--product). Without any,
what the cache has already is renewed.

A document is asked for again when it is older than --max-age or close to its next
update. What a service does not give is named, and the exit code is 1; a stale
document stays in the cache, and verification refuses it.

The environment's HTTPS_PROXY is used. Exit codes: 0 done, 1 something is missing
or stale, 2 wrong usage.`,
		Example: `  hitoku collateral fetch quote.bin --out bundle.json
  hitoku collateral fetch --fmspc 00906ed50000 --tee sgx --pccs https://pccs.example.com:8081`,
		RunE: func(cmd *cobra.Command, a []string) error { return o.run(cmd, a) },
	}
	f := cmd.Flags()
	o.register(f)
	f.StringArrayVar(&o.roots, "root", nil, "PEM `file` of a root to trust instead of Intel's and AMD's (repeatable)")
	f.StringArrayVar(&o.fmspcs, "fmspc", nil, "a kind of Intel platform, 12 hexadecimal `digits` (repeatable)")
	f.StringVar(&o.tee, "tee", "sgx", "of --fmspc: `sgx or tdx`")
	f.StringVar(&o.ca, "ca", "", "of --fmspc: the platforms' CA, `processor or platform` (default: both for SGX, platform for TDX)")
	f.StringArrayVar(&o.kinds, "kind", nil, "also this `kind`: qve-identity, qae-identity, sgx-evaluation-numbers, tdx-evaluation-numbers (repeatable)")
	f.StringArrayVar(&o.products, "product", nil, "a `product` of AMD, Milan, Genoa or Turin: authorities and revocation lists (repeatable)")
	f.StringVar(&o.out, "out", "", "write what was got to this `file` too, as a bundle")
	o.flag(cmd)
	return cmd
}

func (o *fetchOptions) run(cmd *cobra.Command, files []string) error {
	roots, err := readRoots(o.roots)
	if err == nil {
		err = o.check()
	}
	if err != nil {
		return usageError{fmt.Errorf("collateral fetch: %w", err)}
	}
	var evidence [][]byte
	for _, name := range files {
		raw, err := readEvidence(name)
		if err != nil {
			return fmt.Errorf("collateral fetch: %s: %w", name, err)
		}
		evidence = append(evidence, raw)
	}
	src, done, err := o.source(roots, true, time.Now)
	if err != nil {
		return fmt.Errorf("collateral fetch: %w", err)
	}
	defer done()
	ctx := cmd.Context()
	var errs []error
	for _, raw := range evidence {
		errs = append(errs, fetchFor(ctx, src, raw))
	}
	errs = append(errs, o.platforms(ctx, src))
	if len(evidence)+len(o.fmspcs)+len(o.kinds)+len(o.products) == 0 {
		_, err := src.Refresh(ctx)
		errs = append(errs, err)
	}
	docs := src.Documents()
	if o.out != "" {
		errs = append(errs, writeBundle(o.out, docs))
	}
	err = printEntries(cmd, &o.output, collateral.NewBundle(docs), roots, time.Now())
	if failed := errors.Join(append(errs, err)...); failed != nil {
		return fmt.Errorf("collateral fetch: %w", failed)
	}
	return nil
}

func (o *fetchOptions) check() error {
	if o.tee != string(attest.SGX) && o.tee != string(attest.TDX) {
		return fmt.Errorf("--tee %q: wanted sgx or tdx", o.tee)
	}
	if o.ca != "" && o.ca != dcap.CAProcessor && o.ca != dcap.CAPlatform {
		return fmt.Errorf("--ca %q: wanted processor or platform", o.ca)
	}
	for i, f := range o.fmspcs {
		if b, err := unhex("--fmspc", f, 6); err != nil || len(b) != 6 {
			return fmt.Errorf("--fmspc %q: wanted 12 hexadecimal digits", f)
		}
		o.fmspcs[i] = strings.ToLower(f)
	}
	for _, k := range o.kinds {
		switch collateral.Kind(k) {
		case collateral.QVEIdentity, collateral.QAEIdentity, collateral.SGXEvaluationNumbers, collateral.TDXEvaluationNumbers:
		default:
			return fmt.Errorf("--kind %q is not known", k)
		}
	}
	for _, p := range o.products {
		if !snp.Product(p).Known() {
			return fmt.Errorf("--product %q: wanted Milan, Genoa or Turin", p)
		}
	}
	return nil
}

// platforms fetches what was named by flags.
func (o *fetchOptions) platforms(ctx context.Context, src *collateral.Source) error {
	var errs []error
	cas := []string{o.ca}
	if o.ca == "" {
		cas = []string{dcap.CAPlatform}
		if o.tee == string(attest.SGX) {
			cas = append(cas, dcap.CAProcessor)
		}
	}
	for _, f := range o.fmspcs {
		for _, ca := range cas {
			_, err := src.Platform(ctx, attest.TEE(o.tee), f, ca)
			errs = append(errs, err)
		}
	}
	for _, k := range o.kinds {
		_, err := src.Signed(ctx, collateral.Kind(k), "")
		errs = append(errs, err)
	}
	for _, p := range o.products {
		for _, k := range []snp.SigningKey{snp.VCEK, snp.VLEK} {
			_, err := src.Product(ctx, snp.Product(p), k)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// readEvidence reads a quote, a report, or the evidence in a certificate.
func readEvidence(name string) ([]byte, error) {
	raw, err := readLimited(name, snp.MaxEvidence)
	if err != nil {
		return nil, err
	}
	if dcap.Recognise(raw) || snp.Recognise(raw) {
		return raw, nil
	}
	cert, err := parseFirst(raw)
	if err != nil {
		return nil, errors.New("neither a quote of SGX or TDX nor a report of SEV-SNP, nor a certificate in PEM that carries one")
	}
	m, err := atls.FromCertificate(cert)
	if err != nil {
		return nil, err
	}
	return m.Evidence, nil
}

func fetchFor(ctx context.Context, src *collateral.Source, raw []byte) error {
	if dcap.Recognise(raw) {
		_, err := src.DCAP(ctx, raw)
		return err
	}
	_, err := src.SNP(ctx, raw)
	return err
}

func newCollateralShowCommand() *cobra.Command {
	var o output
	var flags collateralFlags
	var roots []string
	var at string
	cmd := &cobra.Command{
		Use:   "show [BUNDLE|FOLDER|FILE]",
		Short: "List collateral: whom it is about, its dates, and what it is worth",
		Long: `List the documents of a bundle, of a folder of files, or of the cache: kind,
subject, dates, evaluation number, and state.

  fresh    signed under a trusted root, the next update is still to come
  stale    signed under a trusted root, the next update has passed
  revoked  a revocation list in the same place names it or its signer
  unknown  not signed under a trusted root, or not valid yet`,
		Args: args(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			trusted, err := readRoots(roots)
			when := time.Now()
			if err == nil && at != "" {
				if when, err = time.Parse(time.RFC3339, at); err != nil {
					err = fmt.Errorf("--at %q: wanted a time like 2026-01-31T12:00:00Z", at)
				}
			}
			if err != nil {
				return usageError{fmt.Errorf("collateral show: %w", err)}
			}
			b, err := flags.bundle(a)
			if err != nil {
				return fmt.Errorf("collateral show: %w", err)
			}
			return printEntries(cmd, &o, b, trusted, when)
		},
	}
	cmd.Flags().StringVar(&flags.cache, "cache", "", "cache `folder` (default: of the user)")
	cmd.Flags().StringArrayVar(&roots, "root", nil, "PEM `file` of a root to trust instead of Intel's and AMD's (repeatable)")
	cmd.Flags().StringVar(&at, "at", "", "judge as of this time, RFC 3339 (default: now)")
	o.flag(cmd)
	return cmd
}

func newCollateralExportCommand() *cobra.Command {
	var o output
	var flags collateralFlags
	var roots []string
	cmd := &cobra.Command{
		Use:   "export FILE [FROM]",
		Short: "Write the cache, or a folder of files, as one bundle for machines without network",
		Args:  args(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, a []string) error {
			trusted, err := readRoots(roots)
			if err != nil {
				return usageError{fmt.Errorf("collateral export: %w", err)}
			}
			b, err := flags.bundle(a[1:])
			var docs []*collateral.Document
			if err == nil {
				docs, err = b.Verified(trusted, time.Now())
			}
			if err == nil {
				err = writeBundle(a[0], docs)
			}
			if err != nil {
				return fmt.Errorf("collateral export: %w", err)
			}
			return o.done(cmd, map[string]any{"file": a[0], "documents": len(docs)}, "%s written: %d documents", a[0], len(docs))
		},
	}
	cmd.Flags().StringVar(&flags.cache, "cache", "", "cache `folder` (default: of the user)")
	cmd.Flags().StringArrayVar(&roots, "root", nil, "PEM `file` of a root to trust instead of Intel's and AMD's (repeatable)")
	o.flag(cmd)
	return cmd
}

func newCollateralImportCommand() *cobra.Command {
	var o output
	var flags collateralFlags
	var roots []string
	cmd := &cobra.Command{
		Use:   "import BUNDLE --root intel|amd|FILE",
		Short: "Take a bundle, or a folder of files, into the cache, once a named root has verified all of it",
		Long: `Take a bundle, or a folder of files, into the cache. Name the root or roots that
must have signed it: intel and amd are the makers' own, a PEM file is another.
When one document is signed under none of them, nothing is taken.`,
		Example: "  hitoku collateral import bundle.json --root intel --cache /var/lib/hitoku/collateral",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			if len(roots) == 0 {
				return usageError{errors.New("collateral import: --root is missing; name intel, amd or a PEM file")}
			}
			trusted, err := readRoots(roots)
			if err != nil {
				return usageError{fmt.Errorf("collateral import: %w", err)}
			}
			n, err := importCollateral(&flags, a[0], trusted)
			if err != nil {
				return fmt.Errorf("collateral import: %w", err)
			}
			return o.done(cmd, map[string]any{"documents": n}, "%d documents taken in", n)
		},
	}
	cmd.Flags().StringVar(&flags.cache, "cache", "", "cache `folder` (default: of the user)")
	cmd.Flags().StringArrayVar(&roots, "root", nil, "intel, amd, or the PEM `file` of another root (repeatable; required)")
	o.flag(cmd)
	return cmd
}

func importCollateral(flags *collateralFlags, from string, roots []*x509.Certificate) (int, error) {
	b, err := collateral.Load(from)
	if err != nil {
		return 0, err
	}
	docs, err := b.Verified(roots, time.Now())
	if err != nil {
		return 0, fmt.Errorf("nothing was taken in: %w", err)
	}
	cache, err := flags.openCache()
	if err != nil {
		return 0, err
	}
	return len(docs), errors.Join(cache.Put(docs...), cache.Close())
}

func writeBundle(file string, docs []*collateral.Document) error {
	raw, err := collateral.Encode(docs)
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	_, err = temporary.Write(append(raw, '\n'))
	if err = errors.Join(err, temporary.Chmod(0o644), temporary.Close()); err == nil {
		err = os.Rename(temporary.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary.Name()))
	}
	return nil
}

func printEntries(cmd *cobra.Command, o *output, b *collateral.Bundle, roots []*x509.Certificate, at time.Time) error {
	entries := b.Inspect(roots, at)
	collateral.SortEntries(entries)
	return o.print(cmd, entries, func(w io.Writer) {
		if len(entries) == 0 {
			fmt.Fprintln(w, "There is no collateral here. Get some: hitoku collateral fetch EVIDENCE")
			return
		}
		fmt.Fprintln(w, "KIND\tSUBJECT\tISSUED\tNEXT UPDATE\tEVALUATION\tSTATE\tWHY")
		for _, e := range entries {
			number := "-"
			if e.Evaluation != 0 {
				number = fmt.Sprint(e.Evaluation)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.Kind, or(clipped(e.Subject)), e.Issued.UTC().Format(time.DateOnly), e.NextUpdate.UTC().Format(time.DateOnly), number, e.State, clipped(e.Reason))
		}
	})
}

// clipped keeps a subject or reason from outside bytes to one line of printable characters.
func clipped(s string) string {
	out := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(out) > 100 {
		out = out[:48] + "…" + out[len(out)-48:]
	}
	return out
}

// readRoots reads roots by name or file; none means the makers' own.
func readRoots(names []string) ([]*x509.Certificate, error) {
	if len(names) == 0 {
		names = []string{"intel", "amd"}
	}
	var out []*x509.Certificate
	for _, n := range names {
		switch n {
		case "intel":
			out = append(out, dcap.IntelRoot())
		case "amd":
			out = append(out, snp.AMDRoots()...)
		default:
			cert, err := readRoot(n)
			if err != nil {
				return nil, fmt.Errorf("--root: %w", err)
			}
			switch cert.PublicKey.(type) {
			case *ecdsa.PublicKey, *rsa.PublicKey:
			default:
				return nil, fmt.Errorf("--root: %s has a key of a kind that no maker of TEEs uses", n)
			}
			out = append(out, cert)
		}
	}
	return out, nil
}
