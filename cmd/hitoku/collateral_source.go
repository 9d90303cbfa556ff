package main

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"hitoku.dev/attest/collateral"
)

// collateralFlags say where collateral comes from and where it is kept.
type collateralFlags struct {
	cache      string
	pccs, kds  string
	tlsCA      string
	pcsKey     string
	evaluation string
	maxAge     time.Duration
	log        *slog.Logger // nil: nothing is logged
}

func (o *collateralFlags) register(f *pflag.FlagSet) {
	f.StringVar(&o.cache, "cache", "", "cache `folder` (default: of the user)")
	o.services(f)
}

// services registers the flags that say whom to ask.
func (o *collateralFlags) services(f *pflag.FlagSet) {
	f.StringVar(&o.pccs, "pccs", "", "`URL` of a caching service to ask instead of Intel's, such as https://pccs.example.com:8081")
	f.StringVar(&o.kds, "kds", "", "`URL` of a service to ask instead of AMD's")
	f.StringVar(&o.tlsCA, "service-ca", "", "PEM `file` of a certificate authority that the services' TLS may have besides the system's")
	f.StringVar(&o.pcsKey, "pcs-key-file", "", "`file` with the subscription key of Intel's service, which it wants for PCK certificates")
	f.StringVar(&o.evaluation, "evaluation", "standard", "evaluation number: `early, standard or a number`")
	f.DurationVar(&o.maxAge, "max-age", 24*time.Hour, "ask for a newer document when one was issued longer ago; 0: only shortly before its next update")
}

// folder is the cache folder.
func (o *collateralFlags) folder() (string, error) {
	if o.cache != "" {
		return o.cache, nil
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("%w; name a folder with --cache", err)
	}
	return filepath.Join(base, "hitoku", "collateral"), nil
}

func (o *collateralFlags) openCache() (*collateral.Cache, error) {
	folder, err := o.folder()
	if err != nil {
		return nil, err
	}
	return collateral.OpenCache(folder)
}

// bundle loads what is named, or else the cache.
func (o *collateralFlags) bundle(from []string) (*collateral.Bundle, error) {
	if len(from) > 0 {
		return collateral.Load(from[0])
	}
	cache, err := o.openCache()
	if err != nil {
		return nil, err
	}
	b, err := cache.Bundle()
	return b, errors.Join(err, cache.Close())
}

// source makes a source over the cache; without network it asks nobody. done ends it.
func (o *collateralFlags) source(roots []*x509.Certificate, network bool, now func() time.Time) (_ *collateral.Source, done func(), err error) {
	opts := collateral.Options{Now: now, MaxAge: o.maxAge, Log: o.log, AMD: []*x509.Certificate{}}
	if opts.As, err = collateral.ParseChoice(o.evaluation); err != nil {
		return nil, nil, usageError{fmt.Errorf("--evaluation: %w", err)}
	}
	for _, r := range roots {
		if _, ok := r.PublicKey.(*ecdsa.PublicKey); !ok {
			opts.AMD = append(opts.AMD, r)
		} else if opts.Intel != nil {
			return nil, nil, usageError{errors.New("two roots of Intel's kind are named; fetch under one at a time")}
		} else {
			opts.Intel = r
		}
	}
	if network {
		if opts.Client, err = o.client(now); err != nil {
			return nil, nil, err
		}
	}
	if opts.Cache, err = o.openCache(); err != nil {
		return nil, nil, err
	}
	return collateral.NewSource(opts), func() { opts.Cache.Close() }, nil
}

func (o *collateralFlags) client(now func() time.Time) (*collateral.Client, error) {
	h := collateral.NewHTTPClient()
	if o.tlsCA != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		raw, err := os.ReadFile(o.tlsCA)
		if err != nil {
			return nil, fmt.Errorf("--service-ca: %w", err)
		}
		if !pool.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("--service-ca: %s holds no certificate in PEM", o.tlsCA)
		}
		h.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	c := collateral.ClientOptions{HTTP: h, PCCS: o.pccs, KDS: o.kds, Now: now}
	if o.pcsKey != "" {
		raw, err := os.ReadFile(o.pcsKey)
		if err != nil {
			return nil, fmt.Errorf("--pcs-key-file: %w", err)
		}
		c.SubscriptionKey = strings.TrimSpace(string(raw))
	}
	return collateral.NewClient(c)
}

// parseFirst reads the first certificate in PEM.
func parseFirst(raw []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}
