package verify

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/atls"
	"hitoku.dev/attest/collateral"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/attest/policy"
)

// Options say what is judged and what is wanted of it.
type Options struct {
	Target string // https://host:port, a file, or - for Stdin
	Stdin  io.Reader
	// Root is the account root for servers and certificates, and replaces Intel's root for bare quotes.
	Root          *x509.Certificate
	SimulatedRoot *x509.Certificate
	// Zone, when set, is the zone authority that must have issued a server's certificate.
	Zone   *x509.Certificate
	Name   string    // DNS name of the server; the host of the address when empty
	At     time.Time // of the judgement
	Policy policy.Policy
	Nonce  []byte
	// Image, when set, is measured by Measure, and its measurement is the one that is wanted.
	Image      string
	Measure    func(ctx context.Context, ref string) (measurement string, err error)
	Collateral *collateral.Bundle // nil: what the certificate carries
	Dial       func(ctx context.Context, network, address string) (net.Conn, error)
}

// Run judges the target. An error means that nothing could be judged: the server
// does not answer, a file cannot be read, an image cannot be measured.
func Run(ctx context.Context, o Options) (*Report, error) {
	r := &Report{Target: o.Target, At: o.At}
	if o.Image != "" {
		if err := r.measureImage(ctx, &o); err != nil {
			return nil, err
		}
	}
	chain, raw, err := r.open(ctx, &o)
	if err != nil {
		return nil, err
	}
	if chain != nil {
		r.judgeCertificate(chain, &o)
	} else {
		r.judgeQuote(raw, &o)
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

func (r *Report) judgeCertificate(chain []*x509.Certificate, o *Options) {
	var collateral *dcap.Collateral
	m, err := atls.FromCertificate(chain[0])
	if err == nil && o.Collateral != nil {
		collateral = o.Collateral.DCAP(m.Evidence, o.At)
	}
	out, _ := atls.Verify(chain, atls.Options{
		Root: o.Root, Zone: o.Zone, SimulatedRoot: o.SimulatedRoot, Name: o.Name, Policy: o.Policy, Collateral: collateral,
		Now: func() time.Time { return o.At }, Report: true,
	})
	r.Kind = KindCertificate
	if strings.HasPrefix(o.Target, "https://") {
		r.Kind = KindServer
	}
	r.Verdict, r.Claims, r.Binding, r.Chain = out.Verdict, out.Claims, out.Binding, out.Chain
	if o.Nonce != nil {
		r.require(nonceOfBinding(out.Binding, o.Nonce), "nonce")
	}
}

// require adds a rule to the verdict and takes what it covers off the list of what was not checked.
func (r *Report) require(rule attest.Rule, covers string) {
	r.Verdict.Rules = append(r.Verdict.Rules, rule)
	r.Verdict.Accepted = r.Verdict.Accepted && rule.OK
	r.Verdict.NotChecked = slices.DeleteFunc(r.Verdict.NotChecked, func(s string) bool { return strings.HasPrefix(s, covers+":") })
}

func nonceOfBinding(b *attest.Binding, nonce []byte) attest.Rule {
	rule := attest.Rule{Name: "nonce", Wanted: hex.EncodeToString(nonce), Seen: "no binding", Advice: "ask for evidence over this nonce"}
	if b != nil {
		rule.Seen = hex.EncodeToString(b.Nonce)
		if rule.OK = bytes.Equal(b.Nonce, nonce); rule.OK {
			rule.Advice = ""
		}
	}
	return rule
}

func (r *Report) judgeQuote(raw []byte, o *Options) {
	r.Kind = KindQuote
	root, simulated := o.SimulatedRoot, true
	if root == nil {
		root, simulated = o.Root, false
	}
	if root == nil {
		root = dcap.IntelRoot()
	}
	var collateral *dcap.Collateral
	if o.Collateral != nil {
		collateral = o.Collateral.DCAP(raw, o.At)
	}
	result, err := dcap.Verify(raw, dcap.Options{Root: root, Collateral: collateral, At: o.At, Simulated: simulated})
	if err != nil {
		r.Verdict = attest.Verdict{Rules: []attest.Rule{{
			Name: "quote_format", Wanted: "an SGX quote of version 3, or a certificate with evidence", Seen: err.Error(), Advice: "is this the right file?",
		}}}
		return
	}
	p := o.Policy
	p.AllowSimulated = simulated
	r.Claims = result.Claims
	r.Verdict = policy.Judge(result, p)
	if collateral == nil {
		r.Verdict.NotChecked = append(r.Verdict.NotChecked, "collateral: none was given; name it with --collateral")
	}
	if o.Nonce != nil {
		seen := result.Claims.ReportData
		ok := len(o.Nonce) <= len(seen) && bytes.Equal(seen[:len(o.Nonce)], o.Nonce)
		rule := attest.Rule{Name: "nonce", Wanted: "report data that begin with " + hex.EncodeToString(o.Nonce), Seen: hex.EncodeToString(seen), OK: ok}
		if !ok {
			rule.Advice = "ask for evidence over this nonce"
		}
		r.require(rule, "nonce")
	}
}
