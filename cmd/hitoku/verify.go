package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
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

	"hitoku.dev/attest/collateral"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/attest/ear"
	"hitoku.dev/attest/policy"
	"hitoku.dev/attest/policy/policyfile"
	"hitoku.dev/internal/image"
	"hitoku.dev/internal/verify"
)

// verifyTimeout bounds the connection to a server.
const verifyTimeout = 15 * time.Second

type verifyOptions struct {
	root, simulatedRoot, zone string
	tpmKeys                   []string
	policy, suggest           string
	measurements              []string
	signers                   []string
	name                      string
	at                        string
	collateral                string
	eventLog                  string
	rims, with                []string
	nonce, reportData         string
	image                     string
	tcbStatuses               []string
	allowDebug                bool
	registry                  registryFlags // of the image
	ear                       bool
	earKey                    string
	json                      bool

	policyID string // of the policy file that was read
}

// newVerifyCommand takes the function that measures an image for --image.
func newVerifyCommand(measure func(ctx context.Context, ref string, o image.Options) (measurement string, err error)) *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify https://HOST:PORT | FILE | -",
		Short: "Judge the evidence of a server, a certificate or a TEE, rule by rule",
		Long: `Judge the evidence of a server, a certificate or a TEE, rule by rule.

The target is a TLS server whose certificate carries evidence, or a file; "-"
reads standard input. The format is recognised by its content: SGX and TDX
quotes, SEV-SNP reports, AWS Nitro documents, TPM quotes (also those of Azure's
confidential machines), NVIDIA GPU reports, certificates with evidence (PEM,
leaf first), and attestation results (EAR). Evidence may be bare, in hexadecimal
or base64, a member of a JSON object such as {"quote": …}, or wrapped after
RFC 9999.

Without further flags it judges that the evidence is authentic, its collateral
current, the TEE no debug TEE and, for Intel, its TCB UpToDate; what was not
checked is listed. Name what you expect to have it checked: --measurement or
--image, --signer, --nonce. With --policy FILE everything that the file does not
name is refused; --suggest-policy FILE writes the least change of the policy that
would accept what was judged, for a person to approve.

A server's or certificate's --root is the account root (` + "`hitoku account root`" + `). For
bare evidence, --root replaces the maker's pinned root, and --collateral gives
what the maker signed about the platform: a folder of certificates, revocation
lists and answers of its services in any mix. Simulated evidence is refused
unless its root is named with --trust-simulated-root; trust it in tests only.

With --ear it prints the verdict as a signed attestation result. To judge such a
result, name the public key of its verifier with --ear-key.

Exit codes: 0 accepted, 1 refused, 2 wrong usage.`,
		Example: `  hitoku verify https://web.example.com:8443 --root acme.pem --image registry.example.com/web:1
  hitoku verify quote.bin --collateral ./collateral --at 2025-06-16T15:24:14Z --json
  hitoku verify report.bin --collateral ./certs --policy production.yaml --nonce 6f1c0c4e54a44a3c
  hitoku verify quote.bin --collateral ./collateral --with gpu.json --ear --ear-key verifier.pem`,
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
			return errors.Join(o.print(cmd, report), o.writeSuggestion(cmd, report), report.Err())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.root, "root", "", "PEM file of the account root; for bare evidence, of another root than the maker's")
	f.StringArrayVar(&o.tpmKeys, "tpm-key", nil, "PEM file of a TPM's attestation key that you vouch for (repeatable)")
	f.StringVar(&o.zone, "zone", "", "PEM file of the zone's authority that must have issued the certificate (hitoku zone certificate)")
	f.StringVar(&o.simulatedRoot, "trust-simulated-root", "", "PEM file of an account's simulated root; for tests only")
	f.StringVar(&o.policy, "policy", "", "judge by this policy file, YAML or JSON; what it does not name is refused")
	f.StringVar(&o.suggest, "suggest-policy", "", "write a policy file that would accept what was judged, for a person to approve")
	f.StringArrayVar(&o.measurements, "measurement", nil, "accept this measurement, hexadecimal (repeatable)")
	f.StringArrayVar(&o.signers, "signer", nil, "accept this signer (MRSIGNER), hexadecimal (repeatable)")
	f.StringVar(&o.image, "image", "", "measure this confidential image and accept its measurement only")
	f.StringVar(&o.name, "name", "", "DNS name that the certificate must be for (default: the host of the address)")
	f.StringVar(&o.at, "at", "", "judge as of this time, RFC 3339, or this day at 0:00 UTC (default: now)")
	f.StringVar(&o.collateral, "collateral", "", "file or folder with what the makers signed: a bundle, certificates, revocation lists, answers of their services")
	f.StringVar(&o.eventLog, "event-log", "", "file with the event log of the evidence (TCG, CC, IMA or dstack), to be replayed to its registers")
	f.StringArrayVar(&o.rims, "rim", nil, "file with reference values that NVIDIA signed for a driver or a VBIOS (repeatable)")
	f.StringArrayVar(&o.with, "with", nil, "file with the evidence of a device beside the TEE, such as a GPU (repeatable)")
	f.StringVar(&o.nonce, "nonce", "", "nonce that the evidence answers, hexadecimal; where the format has none, the beginning of the report data")
	f.StringVar(&o.reportData, "report-data", "", "what the evidence was made over, hexadecimal; less than 64 bytes are padded with zeros")
	f.StringArrayVar(&o.tcbStatuses, "tcb-status", nil, "accept this TCB status besides UpToDate, for example SWHardeningNeeded (repeatable)")
	f.BoolVar(&o.allowDebug, "allow-debug", false, "accept a TEE whose memory can be read")
	o.registry.register(f)
	f.BoolVar(&o.ear, "ear", false, "print the verdict as a signed attestation result (EAR, a JSON web token)")
	f.StringVar(&o.earKey, "ear-key", "", "PEM file of the key that signs it, made on first use; for a result as target, of its verifier's public key")
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
	p, err := o.judge()
	list := func(flag string, texts []string) (out [][]byte) {
		for _, s := range texts {
			b, e := unhex(flag, s, 32, 48)
			err = errors.Join(err, e)
			out = append(out, b)
		}
		return out
	}
	p.Measurements = append(p.Measurements, list("--measurement", o.measurements)...)
	p.Signers = append(p.Signers, list("--signer", o.signers)...)
	value := func(flag, text string, most int, to *[]byte) {
		if text == "" {
			return
		}
		if len(*to) > 0 {
			err = errors.Join(err, fmt.Errorf("verify: %s: the policy file names it already; name it once", flag))
			return
		}
		b, e := unhex(flag, text)
		if e == nil && len(b) > most {
			e = fmt.Errorf("verify: %s has %d bytes, at most %d allowed", flag, len(b), most)
		}
		*to, err = b, errors.Join(err, e)
	}
	value("--report-data", o.reportData, maxReportData, &p.ReportData)
	out.Nonce, p.Nonce = p.Nonce, nil
	value("--nonce", o.nonce, maxReportData, &out.Nonce)
	if o.nonce != "" && len(out.Nonce) == 1 {
		err = errors.Join(err, errors.New("verify: --nonce has 1 byte, which says nothing"))
	}
	if o.at != "" {
		var e error
		if out.At, e = moment(o.at); e != nil {
			err = errors.Join(err, e)
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
	out.EventLog, out.With = o.eventLog, o.with
	for _, file := range o.rims {
		rim, e := os.ReadFile(file)
		if e != nil {
			err = errors.Join(err, fmt.Errorf("verify: --rim: %w", e))
		}
		out.RIMs = append(out.RIMs, rim)
	}
	for _, file := range o.tpmKeys {
		key, e := readPublicKey(file)
		err = errors.Join(err, e)
		out.Keys = append(out.Keys, key)
	}
	switch {
	case o.ear && o.earKey == "":
		err = errors.Join(err, errors.New("verify: --ear needs --ear-key FILE, the key that signs; it is made if it is not there"))
	case o.ear && o.json:
		err = errors.Join(err, errors.New("verify: --ear and --json cannot be printed together"))
	case !o.ear && o.earKey != "":
		data, e := os.ReadFile(o.earKey)
		if e == nil {
			out.ResultKey, e = ear.ParsePublicKey(data)
		}
		if e != nil {
			err = errors.Join(err, fmt.Errorf("verify: --ear-key: %w", e))
		}
	}
	if o.suggest != "" {
		if _, e := os.Lstat(o.suggest); e == nil {
			err = errors.Join(err, fmt.Errorf("verify: --suggest-policy: %s is there already; name a new file, so that no policy is replaced unread", o.suggest))
		}
	}
	if o.collateral != "" {
		var e error
		if out.Collateral, e = collateral.Load(o.collateral); e != nil {
			err = errors.Join(err, fmt.Errorf("verify: --collateral: %w", e))
		}
	}
	return out, err
}

// maxReportData is the longest value in bytes that any format signs for its caller (Nitro's user data).
const maxReportData = 512

// judge returns the policy of a file, or the default with what flags tolerate.
func (o *verifyOptions) judge() (policy.Policy, error) {
	if o.policy == "" {
		p := policy.Policy{AllowDebug: o.allowDebug}
		if len(o.tcbStatuses) > 0 {
			p.TCBStatuses = append([]string{dcap.UpToDate}, o.tcbStatuses...)
		}
		return p, nil
	}
	if len(o.measurements) > 0 || len(o.signers) > 0 || len(o.tcbStatuses) > 0 || o.allowDebug || o.image != "" {
		return policy.Policy{}, errors.New("verify: --policy says what is accepted; --measurement, --signer, --tcb-status, --allow-debug and --image cannot widen it")
	}
	text, err := os.ReadFile(o.policy)
	if err != nil {
		return policy.Policy{}, fmt.Errorf("verify: --policy: %w", err)
	}
	p, err := policyfile.Parse(text)
	if err != nil {
		return policy.Policy{}, fmt.Errorf("verify: --policy %s: %w", o.policy, err)
	}
	o.policyID = fmt.Sprintf("sha256:%x", sha256.Sum256(text))
	return *p, nil
}

// print writes the report, or the signed result, to standard output.
func (o *verifyOptions) print(cmd *cobra.Command, report *verify.Report) error {
	switch {
	case o.json:
		return (&output{json: true}).print(cmd, report, nil)
	case !o.ear:
		return report.WriteText(cmd.OutOrStdout())
	}
	key, err := ear.LoadOrCreateKey(o.earKey, rand.Reader)
	if err != nil {
		return fmt.Errorf("verify: --ear-key: %w", err)
	}
	var policies []string
	if o.policyID != "" {
		policies = []string{o.policyID}
	}
	token, err := report.EAR(key, version(), policies...)
	if err != nil {
		return fmt.Errorf("verify: --ear: %w", err)
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
	return err
}

// writeSuggestion writes the policy file of --suggest-policy.
func (o *verifyOptions) writeSuggestion(cmd *cobra.Command, report *verify.Report) error {
	if o.suggest == "" {
		return nil
	}
	text, err := report.SuggestedPolicy()
	if err != nil {
		return fmt.Errorf("verify: --suggest-policy: %w", err)
	}
	f, err := os.OpenFile(o.suggest, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("verify: --suggest-policy: %w", err)
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("verify: --suggest-policy: %w", err)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s: a policy that accepts this. Read it before you use it.\n", o.suggest)
	return nil
}

// moment reads a time, or a day.
func moment(s string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return t, fmt.Errorf("verify: --at %q: wanted a time like 2026-01-31T12:00:00Z, or a day like 2026-01-31", s)
	}
	return t, nil
}

func readPublicKey(file string) (crypto.PublicKey, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, fmt.Errorf("verify: %s: no PEM block PUBLIC KEY", file)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("verify: %s: %w", file, err)
	}
	return key, nil
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
