package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"hitoku.dev/internal/convert"
	"hitoku.dev/internal/image"
	"hitoku.dev/measure/workload"
)

// conversionFlags are the flags of every verb that converts an image.
type conversionFlags struct {
	registryFlags
	accountRoot, tee, guest, name, entrypoint string
	noManager, allowArgs, noCache             bool
	args, env, allowEnv, mutableEnv           []string
	rw, ro, encrypted                         []string
	certificates, fronts, cas, systemCAs      []string
	signerFlags
	sgx                 sgxFlags
	cache, logPath      string
	prodID, svn         uint16
	onRenew, maxEntries int
	maxSize             string
	maxRatio            int64
}

func (o *conversionFlags) register(f *pflag.FlagSet) {
	f.StringVar(&o.accountRoot, "account-root", "", "`FILE` with the account root (PEM), or sha256:… of its public key")
	f.BoolVar(&o.noManager, "no-manager", false, "make an image that asks no manager for certificates")
	f.StringVar(&o.name, "name", "", "`DNS` name of the default certificate")
	f.StringArrayVar(&o.fronts, "tls", nil, "terminate TLS: `LISTEN=FORWARD` port (repeatable)")
	f.StringArrayVar(&o.certificates, "certificate", nil, "`subject=…,key=PATH,cert=PATH[,chain=PATH][,type=EC|RSA][,size=N][,alt=DNS]` (repeatable)")
	f.StringArrayVar(&o.cas, "ca-certificate", nil, "put a CA certificate into the image: `PATH=FILE` (repeatable)")
	f.StringArrayVar(&o.systemCAs, "system-ca", nil, "put the CA certificate in `FILE` into the image's trust store (repeatable)")
	f.StringVar(&o.entrypoint, "entrypoint", "", "program to start instead of the image's; JSON list, or words divided by blanks")
	f.StringArrayVar(&o.args, "args", nil, "argument instead of the image's CMD (repeatable)")
	f.BoolVar(&o.allowArgs, "allow-args", false, "let docker run's arguments replace the default ones")
	f.StringArrayVar(&o.env, "env", nil, "fixed variable `NAME=VALUE` (repeatable)")
	f.StringArrayVar(&o.allowEnv, "allow-env", nil, "variable `NAME` that the host may set (repeatable)")
	f.StringArrayVar(&o.mutableEnv, "mutable-env", nil, "default `NAME=VALUE` that the host may change (repeatable)")
	f.StringArrayVar(&o.rw, "rw", nil, "folder `PATH` that the program may write, unprotected (repeatable)")
	f.StringArrayVar(&o.encrypted, "encrypted", nil, "folder `PATH[=KEY]` on encrypted storage or in memory; a key for SGX only: sealing-mrenclave, sealing-mrsigner or a name (repeatable)")
	f.StringArrayVar(&o.ro, "ro", nil, "make folder `PATH` read-only that would be writable (repeatable)")
	f.StringVar(&o.logPath, "log", "", "`PATH` in the image of a file that gets a copy of the output")
	f.IntVar(&o.onRenew, "on-renew", 0, "signal `NUMBER` for the program after its certificate was renewed")

	f.Uint16Var(&o.prodID, "isv-prod-id", 0, "product id in the signature")
	f.Uint16Var(&o.svn, "isv-svn", 0, "security version number in the signature")
	o.signerFlags.register(f, ", made on first use (default: in the user's configuration folder)", "SOURCE_DATE_EPOCH, else the image's date, else 2026-01-01")
	f.StringVar(&o.tee, "tee", workload.TEESimulated, "`KIND` of TEE to convert for: sim or sgx")
	f.StringVar(&o.guest, "guest", "", "guest program `FILE` (default: hitoku-init beside hitoku)")

	f.StringVar(&o.cache, "cache", "", "`DIR` for the hashes of layers (default: in the user's cache folder)")
	f.BoolVar(&o.noCache, "no-cache", false, "read every layer, remember nothing")
	f.IntVar(&o.maxEntries, "max-entries", 0, "refuse more files than this (default and most: 1000000)")
	f.StringVar(&o.maxSize, "max-size", "", "refuse layers that expand to more bytes than this, such as 50G (default 256G)")
	f.Int64Var(&o.maxRatio, "max-ratio", 0, "refuse large layers that expand to more than this many times their size (default 250)")
	o.registryFlags.register(f)
	o.sgx.register(f)
}

// request joins a request file, which may be empty, with the flags.
func (o *conversionFlags) request(cmd *cobra.Command, base *convert.File) (*convert.Request, error) {
	q := &convert.Request{Input: base.Input, Output: base.Output, TEE: o.tee, Guest: o.guest, DryRun: base.NoPush, Version: release, Options: base.Options}
	var err error
	if q.InputOptions, err = o.options(cmd); err != nil {
		return nil, err
	}
	q.OutputOptions = q.InputOptions
	o.fileCredentials(&q.InputOptions, base.InputAuth)
	o.fileCredentials(&q.OutputOptions, base.OutputAuth)
	if err := o.merge(&q.Options); err != nil {
		return nil, usageError{err}
	}
	if err := o.forSGX(cmd, q, base); err != nil {
		return nil, err
	}
	if q.Options.AccountRoot, err = o.root(); err != nil {
		return nil, err
	}
	if q.Limits, err = o.limits(); err != nil {
		return nil, usageError{err}
	}
	if q.Guest == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		q.Guest = convert.FindGuest(self)
	}
	if !o.noCache {
		if q.CacheDir, err = o.cacheDir(); err != nil {
			return nil, err
		}
	}
	q.Signing, err = o.signing(cmd, base)
	return q, err
}

// merge adds what the flags say to what the request file says.
func (o *conversionFlags) merge(c *convert.Options) error {
	c.NoManager, c.Name = o.noManager, o.name
	c.AllowArgs = c.AllowArgs || o.allowArgs
	c.Env = append(c.Env, o.env...)
	c.AllowEnv = append(c.AllowEnv, o.allowEnv...)
	c.MutableEnv = append(c.MutableEnv, o.mutableEnv...)
	c.ReadWrite = append(c.ReadWrite, o.rw...)
	c.ReadOnly = append(c.ReadOnly, o.ro...)
	c.Encrypted = append(c.Encrypted, o.encrypted...)
	if o.onRenew != 0 {
		c.OnRenew = o.onRenew
	}
	if o.logPath != "" {
		c.LogPath = o.logPath
	}
	if o.entrypoint != "" {
		words, err := commandWords(o.entrypoint)
		if err != nil {
			return fmt.Errorf("--entrypoint: %w", err)
		}
		c.Entrypoint = words
	}
	if o.args != nil {
		c.Args = o.args
	}
	for _, text := range o.certificates {
		cert, err := parseCertificateFlag(text)
		if err != nil {
			return fmt.Errorf("--certificate %q: %w", text, err)
		}
		c.Certificates = append(c.Certificates, cert)
	}
	for _, text := range o.fronts {
		front, err := parseFront(text)
		if err != nil {
			return fmt.Errorf("--tls %q: %w", text, err)
		}
		c.Fronts = append(c.Fronts, front)
	}
	for _, text := range o.cas {
		path, file, ok := strings.Cut(text, "=")
		if !ok || path == "" || file == "" {
			return fmt.Errorf("--ca-certificate %q: wanted PATH=FILE", text)
		}
		pem, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("--ca-certificate: %w", err)
		}
		c.CAs = append(c.CAs, convert.CA{Path: path, PEM: pem})
	}
	for _, file := range o.systemCAs {
		pem, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("--system-ca: %w", err)
		}
		c.CAs = append(c.CAs, convert.CA{PEM: pem, System: true})
	}
	return nil
}

func (o *conversionFlags) root() (string, error) {
	if o.accountRoot == "" {
		return "", nil
	}
	text := o.accountRoot
	if !strings.HasPrefix(text, "sha256:") {
		b, err := os.ReadFile(text)
		if err != nil {
			return "", fmt.Errorf("--account-root: %w", err)
		}
		text = string(b)
	}
	hash, err := convert.ParseAccountRoot(text)
	if err != nil {
		return "", usageError{fmt.Errorf("--account-root %s: %w", o.accountRoot, err)}
	}
	return hash, nil
}

func (o *conversionFlags) limits() (convert.Limits, error) {
	l := convert.Limits{Entries: o.maxEntries, Ratio: o.maxRatio}
	if o.maxEntries < 0 || o.maxEntries > workload.MaxFiles || o.maxRatio < 0 {
		return l, fmt.Errorf("--max-entries runs from 1 to %d, --max-ratio from 1", workload.MaxFiles)
	}
	if o.maxSize != "" {
		n, err := parseSize(o.maxSize)
		if err != nil {
			return l, fmt.Errorf("--max-size %q: wanted bytes, or a number with K, M, G or T", o.maxSize)
		}
		l.Bytes = n
	}
	return l, nil
}

func parseSize(s string) (int64, error) {
	shift := 0
	if i := strings.IndexByte("KMGT", s[len(s)-1]); i >= 0 {
		shift, s = 10*(i+1), s[:len(s)-1]
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 || n > 1<<62>>shift {
		return 0, errors.New("out of range")
	}
	return n << shift, nil
}

func (o *conversionFlags) cacheDir() (string, error) {
	if o.cache != "" {
		return o.cache, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("layer cache: %w; give a folder with --cache DIR, or --no-cache", err)
	}
	return filepath.Join(dir, "hitoku", "layers"), nil
}

// signing finds the signer. A dry run makes no key: without one it finds the
// measurement only.
func (o *conversionFlags) signing(cmd *cobra.Command, base *convert.File) (convert.Signing, error) {
	s := convert.Signing{ISVProdID: o.prodID, ISVSVN: o.svn}
	if base.ISVProdID != nil && !cmd.Flags().Changed("isv-prod-id") {
		s.ISVProdID = *base.ISVProdID
	}
	if base.ISVSVN != nil && !cmd.Flags().Changed("isv-svn") {
		s.ISVSVN = *base.ISVSVN
	}
	var err error
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); o.date != "" || epoch != "" {
		if s.Date, err = signingDate(o.date, epoch); err != nil {
			return s, usageError{err}
		}
	}
	s.Signer, err = o.signer(cmd, base.NoPush)
	return s, err
}

// registryFlags say how to reach images.
type registryFlags struct {
	platform, username, ca  string
	passwordStdin, insecure bool
}

func (o *registryFlags) register(f *pflag.FlagSet) {
	f.StringVar(&o.platform, "platform", "linux/amd64", "`OS/ARCH` to choose from an image for several")
	f.StringVar(&o.username, "username", "", "user name for the registry (default: docker's own log-ins)")
	f.BoolVar(&o.passwordStdin, "password-stdin", false, "read the registry's password from standard input")
	f.BoolVar(&o.insecure, "insecure", false, "speak plain HTTP to the registry")
	f.StringVar(&o.ca, "registry-ca", "", "`FILE` with CA certificates (PEM) to trust for the registry")
}

func (o *registryFlags) options(cmd *cobra.Command) (image.Options, error) {
	opts := image.Options{Username: o.username, Insecure: o.insecure}.FromEnvironment(os.Getenv)
	p, err := v1.ParsePlatform(o.platform)
	if err != nil || p.OS == "" || p.Architecture == "" {
		return opts, usageError{fmt.Errorf("--platform %q: wanted OS/ARCH, for example linux/amd64", o.platform)}
	}
	opts.Platform = *p
	if o.passwordStdin != (o.username != "") {
		return opts, usageError{errors.New("--username and --password-stdin belong together")}
	}
	if o.passwordStdin {
		b, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), 64<<10))
		if err != nil {
			return opts, fmt.Errorf("--password-stdin: %w", err)
		}
		opts.Password = strings.TrimRight(string(b), "\r\n")
	}
	if o.ca != "" {
		if opts.CA, err = os.ReadFile(o.ca); err != nil {
			return opts, fmt.Errorf("--registry-ca: %w", err)
		}
	}
	return opts, nil
}

// fileCredentials takes the request file's log-in where no flag gives one.
func (o *registryFlags) fileCredentials(opts *image.Options, a *convert.Auth) {
	if a != nil && o.username == "" {
		opts.Username, opts.Password = a.Username, a.Password
	}
}
