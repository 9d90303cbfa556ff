package verify

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/collateral"
	"hitoku.dev/attest/ear"
	"hitoku.dev/attest/policy"
)

// Options say what is judged and what is wanted of it.
type Options struct {
	Target string // https://host:port, a file, or - for Stdin
	Stdin  io.Reader
	// Root is the account root for servers and certificates; for bare evidence it replaces the
	// pinned root of the maker.
	Root          *x509.Certificate
	SimulatedRoot *x509.Certificate
	// Zone, when set, is the zone authority that must have issued a server's certificate.
	Zone *x509.Certificate
	// Keys are attestation keys of TPMs that the caller vouches for.
	Keys []crypto.PublicKey
	// ResultKey is the key of the verifier that signed an attestation result.
	ResultKey crypto.PublicKey
	Name      string    // DNS name of the server; the host of the address when empty
	At        time.Time // of the judgement
	Policy    policy.Policy
	Nonce     []byte
	// Image, when set, is measured by Measure, and its measurement is the one that is wanted.
	Image      string
	Measure    func(ctx context.Context, ref string) (measurement string, err error)
	Collateral *collateral.Bundle // nil: what the certificate carries
	EventLog   string             // file with the event log of the evidence; may be empty
	RIMs       [][]byte           // reference values that NVIDIA signed, in XML
	With       []string           // files with evidence of devices beside the TEE
	Dial       func(ctx context.Context, network, address string) (net.Conn, error)
}

// Run judges the target. An error means that nothing could be judged: the server
// does not answer, a file cannot be read, an image cannot be measured.
func Run(ctx context.Context, o Options) (*Report, error) {
	r := &Report{Target: o.Target, At: o.At}
	o.Policy.At = o.At
	if o.Image != "" {
		if err := r.measureImage(ctx, &o); err != nil {
			return nil, err
		}
	}
	chain, raw, err := r.open(ctx, &o)
	if err != nil {
		return nil, err
	}
	switch {
	case chain != nil:
		err = r.judgeCertificate(chain, &o)
	case ear.Recognise(raw):
		err = r.judgeResult(raw, &o)
	default:
		r.Kind = KindQuote
		err = r.judgeBytes(raw, &o)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Report) measureImage(ctx context.Context, o *Options) error {
	text, err := o.Measure(ctx, o.Image)
	if err != nil {
		return fmt.Errorf("measure %s: %w", o.Image, err)
	}
	m, err := hex.DecodeString(text)
	if err != nil || len(m) == 0 {
		return fmt.Errorf("measure %s: %q is no measurement", o.Image, text)
	}
	r.Image, r.ImageMeasurement = o.Image, text
	// The image is what is wanted, also when measurements are named beside it: all must agree.
	for _, named := range o.Policy.Measurements {
		if !bytes.Equal(named, m) {
			return fmt.Errorf("measurement %x was named, but image %s has measurement %s; name one of them", named, o.Image, text)
		}
	}
	o.Policy.Measurements = [][]byte{m}
	return nil
}

// require adds a rule to the verdict and takes what it covers off the list of what was not checked.
func (r *Report) require(rule attest.Rule, covers string) {
	r.Verdict.Rules = append(r.Verdict.Rules, rule)
	r.Verdict.Accepted = r.Verdict.Accepted && rule.OK
	r.Verdict.NotChecked = slices.DeleteFunc(r.Verdict.NotChecked, func(s string) bool { return strings.HasPrefix(s, covers+":") })
}

// refuse makes the whole verdict of one rule that failed.
func (r *Report) refuse(name, wanted, seen, advice string) {
	r.Verdict = attest.Verdict{Rules: []attest.Rule{{Name: name, Wanted: wanted, Seen: seen, Advice: advice}}}
	r.result.Rules = r.Verdict.Rules
}
