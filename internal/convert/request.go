package convert

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"path"
	"strings"

	"hitoku.dev/internal/image"
	"hitoku.dev/measure/sgx"
	"hitoku.dev/measure/workload"
)

// Request says what to convert and how.
type Request struct {
	Input, Output string // references as image.Parse reads them; Output must give a tag
	// InputOptions and OutputOptions say how to reach them. Their Progress is not used.
	InputOptions, OutputOptions image.Options

	TEE     string     // workload.TEESimulated or workload.TEESGX
	Options Options    // what the measurement depends on beside the image
	SGX     SGXOptions // the same, for SGX only
	Guest   string     // file with the guest program, hitoku-init
	Signing Signing

	// CacheDir keeps layer indexes; empty means none.
	CacheDir string
	Limits   Limits
	// DryRun measures and signs but writes no image.
	DryRun bool
	// Version of the converting program, for a label; may be empty.
	Version string
	// Progress is called, one call at a time; may be nil.
	Progress func(Event)
}

// Signing is what the SIGSTRUCT says beside the measurement.
type Signing struct {
	// Signer may be nil in a dry run: then only the measurement is found.
	Signer    sgx.Signer
	ISVProdID uint16
	ISVSVN    uint16
	Date      uint32 // yyyymmdd; 0 is the day when the image was made, or sgx.DefaultDate where it says none
}

// Options become part of the workload manifest.
type Options struct {
	// AccountRoot is the SHA-256 of the account root's SubjectPublicKeyInfo, lower-case
	// hexadecimal. Empty only with NoManager.
	AccountRoot string
	// NoManager makes an image that asks nobody for certificates.
	NoManager bool

	// Entrypoint, where not nil, replaces the image's ENTRYPOINT and, as with docker run
	// --entrypoint, drops its CMD. Args, where not nil, replaces CMD.
	Entrypoint, Args []string
	AllowArgs        bool

	Env        []string // NAME=VALUE, fixed
	AllowEnv   []string // NAME
	MutableEnv []string // NAME=VALUE

	ReadWrite, Encrypted []string
	// ReadOnly takes folders off the default list of writable ones.
	ReadOnly []string

	// Name is the DNS name of the default certificate, made when there is no other.
	Name         string
	Certificates []workload.Certificate
	Fronts       []workload.Front
	CAs          []CA

	LogPath   string
	OnRenew   int // signal number
	StopGrace int // seconds
}

// CA is a CA certificate that goes into the image.
type CA struct {
	// Path in the image; empty only with System: then /usr/local/share/ca-certificates is chosen.
	Path   string
	PEM    []byte
	System bool // also into the distribution's trust store
}

// The default certificate lies where CCM's users expect theirs.
const (
	defaultKeyPath  = "/run/key.pem"
	defaultCertPath = "/run/cert.pem"
)

// DefaultCertificate is the certificate that a name alone asks for.
func DefaultCertificate(name string) workload.Certificate {
	return workload.Certificate{AltNames: []string{}, CertPath: defaultCertPath, KeyPath: defaultKeyPath, KeySize: 256, KeyType: "EC", Subject: name}
}

func requestError(format string, args ...any) *Error { return fail(KindRequest, format, args...) }

// refs parses and judges both references.
func (q *Request) refs() (in, out image.Ref, err error) {
	if q.Input == "" {
		return in, out, requestError("no input image")
	}
	if in, err = image.Parse(q.Input); err != nil {
		return in, out, err
	}
	if q.Output == "" {
		if q.DryRun {
			return in, out, nil
		}
		return in, out, requestError("no output image")
	}
	if out, err = image.Parse(q.Output); err != nil {
		return in, out, err
	}
	if in.Equal(out) {
		return in, out, requestError("input and output are the same image %s", in).
			advise("give the output another name or tag, so that the plain image stays")
	}
	switch out.Kind() {
	case image.KindRegistry, image.KindLayout:
		if out.Digest() != "" {
			return in, out, requestError("output %s names a digest, which is only known afterwards", q.Output).advise("give a tag")
		}
	}
	if (out.Kind() == image.KindRegistry || out.Kind() == image.KindEngine) && !hasTag(q.Output) {
		return in, out, requestError("output %s has no tag", q.Output).advise("add one, for example %s:confidential", q.Output)
	}
	return in, out, nil
}

// hasTag reports whether the text gives a tag; image.Parse adds "latest" by itself.
func hasTag(ref string) bool {
	return strings.Contains(ref[strings.LastIndexByte(ref, '/')+1:], ":") &&
		!(strings.HasPrefix(ref, string(image.KindEngine)+":") && strings.Count(ref, ":") == 1)
}

func (q *Request) check() error {
	switch q.TEE {
	case workload.TEESimulated:
	case workload.TEESGX:
		if err := q.checkSGX(); err != nil {
			return err
		}
	default:
		return requestError("tee %q is not known", q.TEE).advise("use --tee sim, or --tee sgx")
	}
	if q.Signing.Signer == nil && !q.DryRun {
		return requestError("no signing key")
	}
	return q.Options.check()
}

func (o *Options) check() error {
	switch {
	case o.AccountRoot == "" && !o.NoManager:
		return requestError("no account root").
			advise("give --account-root FILE or sha256:… (hitoku account root prints it), or --no-manager for an image without certificates")
	case o.AccountRoot != "" && o.NoManager:
		return requestError("--account-root and --no-manager exclude each other")
	case o.AccountRoot != "" && !workload.IsHash(o.AccountRoot):
		return requestError("account root %q, wanted 64 lower-case hexadecimal digits", o.AccountRoot)
	case o.NoManager && (len(o.Certificates) > 0 || o.Name != ""):
		return requestError("a certificate is asked for, but with --no-manager nobody issues it")
	case o.NoManager && len(o.Fronts) > 0:
		return requestError("a TLS front needs a certificate, but with --no-manager nobody issues it")
	case len(o.Fronts) > 0 && len(o.Certificates) == 0 && o.Name == "":
		return requestError("a TLS front needs a certificate").advise("give the DNS name with --name")
	case o.Name != "" && !workload.IsDNSName(o.Name):
		return requestError("name %q is no DNS name in lower case without wildcard", o.Name)
	}
	for _, l := range []struct {
		flag  string
		items []string
	}{{"--rw", o.ReadWrite}, {"--encrypted", o.Encrypted}, {"--ro", o.ReadOnly}} {
		for _, p := range l.items {
			if !path.IsAbs(p) || path.Clean(p) == "/" {
				return requestError("%s %q: wanted an absolute path below the root", l.flag, p)
			}
		}
	}
	for _, e := range append(append([]string{}, o.Env...), o.MutableEnv...) {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			return requestError("environment %q: wanted NAME=VALUE", e)
		}
	}
	for _, e := range o.AllowEnv {
		if e == "" || strings.Contains(e, "=") {
			return requestError("environment %q: wanted a name alone", e)
		}
	}
	for _, c := range o.CAs {
		if err := c.check(); err != nil {
			return err
		}
	}
	return nil
}

func (c *CA) check() error {
	if c.Path == "" && !c.System {
		return requestError("CA certificate without a path in the image")
	}
	if c.Path != "" && (!path.IsAbs(c.Path) || path.Clean(c.Path) == "/") {
		return requestError("CA certificate: %q is no absolute path", c.Path)
	}
	if _, err := parseCertificates(c.PEM); err != nil {
		return requestError("CA certificate %s: %w", c.Path, err)
	}
	return nil
}

// parseCertificates wants PEM certificates and nothing else, and returns them
// in one spelling: without headers, comments and blank lines.
func parseCertificates(data []byte) (string, error) {
	var out strings.Builder
	for rest := data; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			return "", fmt.Errorf("PEM block %q, wanted CERTIFICATE", b.Type)
		}
		if _, err := x509.ParseCertificate(b.Bytes); err != nil {
			return "", err
		}
		out.Write(pem.EncodeToMemory(&pem.Block{Type: b.Type, Bytes: b.Bytes}))
	}
	if out.Len() == 0 {
		return "", errors.New("no certificate in PEM form")
	}
	return out.String(), nil
}

// ParseAccountRoot reads "sha256:…" as it is, or a PEM text (the account root's
// certificate or public key), into what Options.AccountRoot holds.
func ParseAccountRoot(text string) (string, error) {
	if h, ok := strings.CutPrefix(strings.TrimSpace(text), "sha256:"); ok {
		if !workload.IsHash(h) {
			return "", requestError("account root %q: wanted sha256: and 64 lower-case hexadecimal digits", text)
		}
		return h, nil
	}
	b, _ := pem.Decode([]byte(text))
	if b == nil {
		return "", requestError("account root: no PEM text in it").advise("hitoku account root prints it")
	}
	spki := b.Bytes
	switch b.Type {
	case "CERTIFICATE":
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return "", requestError("account root: %w", err)
		}
		spki = c.RawSubjectPublicKeyInfo
	case "PUBLIC KEY":
		if _, err := x509.ParsePKIXPublicKey(b.Bytes); err != nil {
			return "", requestError("account root: %w", err)
		}
	default:
		return "", requestError("account root: PEM block %q, wanted CERTIFICATE or PUBLIC KEY", b.Type)
	}
	sum := sha256.Sum256(spki)
	return hex.EncodeToString(sum[:]), nil
}
