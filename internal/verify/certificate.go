package verify

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/atls"
	"hitoku.dev/attest/cmw"
	"hitoku.dev/attest/dcap"
)

// judgeCertificate judges the evidence in a certificate, and whether an account's
// authority vouches for it. A certificate in which others wrap evidence is judged
// for the evidence alone.
func (r *Report) judgeCertificate(chain []*x509.Certificate, o *Options) error {
	r.Kind = KindCertificate
	if strings.HasPrefix(o.Target, "https://") {
		r.Kind = KindServer
	}
	m, err := atls.FromCertificate(chain[0])
	if err != nil && !errors.Is(err, atls.ErrNoEvidence) && o.Root == nil && o.Zone == nil && o.Name == "" && r.Kind == KindCertificate {
		if foreign, parseErr := cmw.FromCertificate(chain[0]); parseErr == nil {
			return r.judgeForeign(foreign, chain, o)
		}
	}
	var given *dcap.Collateral
	if err == nil && o.Collateral != nil {
		given = o.Collateral.DCAP(m.Evidence, o.At)
	}
	out, _ := atls.Verify(chain, atls.Options{
		Root: o.Root, Zone: o.Zone, SimulatedRoot: o.SimulatedRoot, Name: o.Name, Policy: o.Policy, Collateral: given,
		Now: func() time.Time { return o.At }, Report: true,
	})
	r.Verdict, r.Claims, r.Binding, r.Chain = out.Verdict, out.Claims, out.Binding, out.Chain
	r.policy = o.Policy
	r.policy.AllowSimulated = o.SimulatedRoot != nil && (o.Policy.AllowSimulated || !o.Policy.Closed)
	r.result = attest.Result{Claims: out.Claims, Rules: others(out.Verdict.Rules, o.Policy.Rules(&out.Claims))}
	if len(o.With) > 0 || o.EventLog != "" {
		rule := attest.Rule{
			Name: "further_evidence", Wanted: "an event log or devices beside bare evidence", Seen: "a certificate",
			Advice: "give the evidence itself, not the certificate that carries it",
		}
		r.require(rule, rule.Name)
		r.result.Rules = append(r.result.Rules, rule)
	}
	if o.Nonce != nil {
		rule := nonceOfBinding(out.Binding, o.Nonce)
		r.require(rule, "nonce")
		r.result.Rules = append(r.result.Rules, rule)
	}
	return nil
}

// others returns the rules whose names the policy does not judge.
func others(all, judged []attest.Rule) []attest.Rule {
	return slices.DeleteFunc(slices.Clone(all), func(r attest.Rule) bool {
		return slices.ContainsFunc(judged, func(j attest.Rule) bool { return j.Name == r.Name })
	})
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

// judgeForeign judges the evidence in a wrapper that another program made.
func (r *Report) judgeForeign(m *cmw.Message, chain []*x509.Certificate, o *Options) error {
	raw, err := m.CBOR()
	if err != nil {
		return err
	}
	r.Chain = chain
	if err := r.judgeBytes(raw, o); err != nil {
		return err
	}
	r.Verdict.NotChecked = append(r.Verdict.NotChecked,
		"certificate: who issued it, for whom, and whether the evidence speaks for its key")
	return nil
}
