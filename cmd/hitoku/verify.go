package main

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"hitoku.dev/attest"
	"hitoku.dev/attest/collateral"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/attest/policy"
	"hitoku.dev/internal/image"
	"hitoku.dev/internal/verify"
)

// verifyTimeout bounds the connection to a server.
const verifyTimeout = 15 * time.Second

type verifyOptions struct {
	root, simulatedRoot, zone string
	measurements              []string
	signers                   []string
	name                      string
	at                        string
	collateral                string
	nonce, reportData         string
	image                     string
	tcbStatuses               []string
	allowDebug                bool
	registry                  registryFlags // of the image
	json                      bool
}

// newVerifyCommand takes the function that measures an image for --image.
func newVerifyCommand(measure func(ctx context.Context, ref string, o image.Options) (measurement string, err error)) *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify https://HOST:PORT | FILE | -",
		Short: "Judge the evidence of a server, a certificate or a quote, rule by rule",
		Long: `Judge the evidence of a server, a certificate or a quote, rule by rule.

The target is a TLS server whose certificate carries evidence, a file with such
a certificate (PEM, leaf first), or a bare SGX quote. "-" reads standard input.

Without further flags it judges that the evidence is authentic, its collateral
current, the TEE no debug TEE and its TCB UpToDate; what was not checked is
listed. Name what you expect to have it checked: --measurement or --image,
--signer, --nonce.

A server's or certificate's --root is the account root (` + "`hitoku account root`" + `). For a
bare quote, --root replaces Intel's root. Simulated evidence is refused unless
its root is named with --trust-simulated-root; trust it in tests only.

Exit codes: 0 accepted, 1 refused, 2 wrong usage.`,
		Example: `  hitoku verify https://web.example.com:8443 --root acme.pem --image registry.example.com/web:1
  hitoku verify quote.bin --collateral ./collateral --at 2025-06-16T15:24:14Z --json`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			opts, err := o.parse(a[0])
			if err != nil {
				return usageError{err}
			}
			if opts.Image != "" {
				if o.registry.passwordStdin && a[0] == "-" {
					return usageError{errors.New("verify: standard input cannot give both the target and --password-stdin")}
				}
				source, err := o.registry.options(cmd)
				if err != nil {
					return err
				}
				opts.Measure = func(ctx context.Context, ref string) (string, error) { return measure(ctx, ref, source) }
			}
			opts.Stdin = cmd.InOrStdin()
			opts.Dial = (&net.Dialer{Timeout: verifyTimeout}).DialContext
			report, err := verify.Run(cmd.Context(), *opts)
			if err != nil {
				return fmt.Errorf("verify: %w", err)
			}
			if o.json {
				err = (&output{json: true}).print(cmd, report, nil)
			} else {
				err = report.WriteText(cmd.OutOrStdout())
			}
			return errors.Join(err, report.Err())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.root, "root", "", "PEM file of the account root; for a bare quote, of another root than Intel's")
	f.StringVar(&o.zone, "zone", "", "PEM file of the zone's authority that must have issued the certificate (hitoku zone certificate)")
	f.StringVar(&o.simulatedRoot, "trust-simulated-root", "", "PEM file of an account's simulated root; for tests only")
	f.StringArrayVar(&o.measurements, "measurement", nil, "accept this measurement, hexadecimal (repeatable)")
	f.StringArrayVar(&o.signers, "signer", nil, "accept this signer (MRSIGNER), hexadecimal (repeatable)")
	f.StringVar(&o.image, "image", "", "measure this confidential image and accept its measurement only")
	f.StringVar(&o.name, "name", "", "DNS name that the certificate must be for (default: the host of the address)")
	f.StringVar(&o.at, "at", "", "judge as of this time, RFC 3339 (default: now)")
	f.StringVar(&o.collateral, "collateral", "", "exported bundle or JSON `file`, or folder with the answers of the makers' services")
	f.StringVar(&o.nonce, "nonce", "", "nonce that the evidence answers, hexadecimal; in a bare quote the beginning of the report data")
	f.StringVar(&o.reportData, "report-data", "", "the 64 bytes that the evidence was made over, hexadecimal")
	f.StringArrayVar(&o.tcbStatuses, "tcb-status", nil, "accept this TCB status besides UpToDate, for example SWHardeningNeeded (repeatable)")
	f.BoolVar(&o.allowDebug, "allow-debug", false, "accept a TEE whose memory can be read")
	o.registry.register(f)
	f.BoolVar(&o.json, "json", false, "print JSON instead of a report")
	return cmd
}

// parse turns flags into options. Its errors are errors of usage.
func (o *verifyOptions) parse(target string) (*verify.Options, error) {
	out := &verify.Options{Target: target, Name: o.name, Image: o.image, At: time.Now()}
	if u, err := url.Parse(target); err == nil && u.Host != "" {
		if u.Scheme != "https" {
			return nil, fmt.Errorf("verify: %s: only https addresses can be judged", target)
		}
		if u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/" {
			return nil, fmt.Errorf("verify: %s: wanted https://HOST:PORT and nothing else", target)
		}
	}
	p := policy.Policy{AllowDebug: o.allowDebug}
	if len(o.tcbStatuses) > 0 {
		p.TCBStatuses = append([]string{dcap.UpToDate}, o.tcbStatuses...)
	}
	var err error
	list := func(flag string, texts []string) (out [][]byte) {
		for _, s := range texts {
			b, e := unhex(flag, s, 32, 48)
			err = errors.Join(err, e)
			out = append(out, b)
		}
		return out
	}
	p.Measurements = list("--measurement", o.measurements)
	p.Signers = list("--signer", o.signers)
	if o.reportData != "" {
		var e error
		p.ReportData, e = unhex("--report-data", o.reportData, attest.ReportDataSize)
		err = errors.Join(err, e)
	}
	if o.nonce != "" {
		var e error
		if out.Nonce, e = unhex("--nonce", o.nonce); e == nil && (len(out.Nonce) < 8 || len(out.Nonce) > attest.ReportDataSize) {
			e = fmt.Errorf("verify: --nonce has %d bytes, wanted 8 to %d", len(out.Nonce), attest.ReportDataSize)
		}
		err = errors.Join(err, e)
	}
	if o.at != "" {
		var e error
		if out.At, e = time.Parse(time.RFC3339, o.at); e != nil {
			err = errors.Join(err, fmt.Errorf("verify: --at %q: wanted a time like 2026-01-31T12:00:00Z", o.at))
		}
	}
	out.Policy = p
	for _, r := range []struct {
		flag, file string
		to         **x509.Certificate
	}{{"--root", o.root, &out.Root}, {"--trust-simulated-root", o.simulatedRoot, &out.SimulatedRoot}, {"--zone", o.zone, &out.Zone}} {
		if r.file == "" {
			continue
		}
		cert, e := readRoot(r.file)
		if e != nil {
			err = errors.Join(err, fmt.Errorf("verify: %s: %w", r.flag, e))
		}
		*r.to = cert
	}
	if o.collateral != "" {
		var e error
		if out.Collateral, e = collateral.Load(o.collateral); e != nil {
			err = errors.Join(err, fmt.Errorf("verify: --collateral: %w", e))
		}
	}
	return out, err
}

// unhex reads a flag's value, which must have one of the given numbers of bytes if there are any.
func unhex(flag, s string, sizes ...int) ([]byte, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) == 0 {
		return nil, fmt.Errorf("verify: %s %q: not hexadecimal", flag, s)
	}
	for _, n := range sizes {
		if len(b) == n {
			return b, nil
		}
	}
	if len(sizes) > 0 {
		return nil, fmt.Errorf("verify: %s has %d bytes, wanted %v", flag, len(b), sizes)
	}
	return b, nil
}

// readRoot reads the one certificate in a file, PEM or DER.
func readRoot(file string) (*x509.Certificate, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	der := raw
	if block, rest := pem.Decode(raw); block != nil {
		if next, _ := pem.Decode(rest); next != nil {
			return nil, fmt.Errorf("%s holds several certificates; name the root alone", file)
		}
		der = block.Bytes
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return cert, nil
}
