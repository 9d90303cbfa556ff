package atls

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/attest/policy"
)

// Options say whom to accept.
type Options struct {
	// Root is the account root: it signed the zone's authority, which signed the leaf.
	Root *x509.Certificate
	// Zone, when set, is the zone authority that must have issued the leaf; another zone of the
	// same account is refused. Compared by its key, so that a renewed certificate of it counts.
	Zone *x509.Certificate
	// SimulatedRoot, when set, is the only root of evidence that is trusted, and what leads to it
	// is simulated (security decision S11).
	SimulatedRoot *x509.Certificate
	// TEERoot replaces Intel's root where SimulatedRoot is nil.
	TEERoot *x509.Certificate
	// Name is the DNS name of the server.
	Name string
	// Policy names measurements and more. Its members AllowSimulated and Binding are set here; a
	// closed policy must allow simulated evidence too.
	Policy policy.Policy
	// Measurements are added to those of the policy.
	Measurements [][]byte
	// ConfigID is the configuration that the program must have, nil for none.
	ConfigID []byte
	// Collateral replaces what the certificate carries.
	Collateral *dcap.Collateral
	// Now is the clock; the only thing here that has a default, the machine's.
	Now func() time.Time
	// Report lists a name, measurement or configuration that was not given among what was not
	// checked, instead of refusing (security decision S7).
	Report bool
}

// Outcome is what was found. Only a verdict that accepts may be acted upon.
type Outcome struct {
	Verdict attest.Verdict
	Claims  attest.Claims
	// Message and Binding are nil where the certificate has none that can be read.
	Message *Message
	Binding *attest.Binding
	// Chain is leaf, zone authority and account root, as far as it holds.
	Chain []*x509.Certificate
}

// Verify judges the certificates that a server sent, leaf first. The error is
// nil exactly when the verdict accepts; the outcome is never nil.
func Verify(chain []*x509.Certificate, o Options) (*Outcome, error) {
	return newChecker(o).verify(chain)
}

// check collects rules of one verification.
type check struct {
	o          *Options
	at         time.Time
	leaf       *x509.Certificate
	rules      []attest.Rule
	notChecked []string
	out        *Outcome
}

func (c *check) rule(name, wanted, seen string, ok bool, advice string) {
	if ok {
		advice = ""
	}
	c.rules = append(c.rules, attest.Rule{Name: name, Wanted: wanted, Seen: seen, OK: ok, Advice: advice})
}

func (k *checker) verify(chain []*x509.Certificate) (*Outcome, error) {
	c := &check{o: &k.o, at: k.o.Now(), out: new(Outcome)}
	result := &attest.Result{}
	var p policy.Policy
	if len(chain) == 0 {
		c.rule("certificate_chain", "a certificate", "none", false, "is this a TLS server?")
	} else {
		c.leaf = chain[0]
		c.chain(chain)
		c.name()
		c.usage()
		result = c.evidence(k)
		p = c.policy(&result.Claims)
	}
	result.Rules = append(c.rules, result.Rules...)
	c.out.Claims = result.Claims
	c.out.Verdict = policy.Judge(result, p)
	c.out.Verdict.NotChecked = append(c.notChecked, dropped(c.out.Verdict.NotChecked, "report_data")...)
	if len(chain) == 0 {
		c.out.Verdict.Accepted = false
	}
	if err := c.out.Verdict.Err(); err != nil {
		return c.out, fmt.Errorf("attested TLS: %w", err)
	}
	return c.out, nil
}

// dropped leaves out the entries with a prefix.
func dropped(list []string, prefix string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return strings.HasPrefix(s, prefix+":") })
}

// chain checks leaf → zone authority → account root: once for what does not
// depend on time, and apart from it the time.
func (c *check) chain(chain []*x509.Certificate) {
	root := c.o.Root
	const wanted = "leaf, zone authority and the trusted account root"
	if root == nil {
		c.rule("certificate_chain", wanted, "no account root was given to compare with", false, "name the account root, as `hitoku account root` prints it")
		c.out.Chain = chain
		return
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root)
	inside := c.leaf.NotBefore
	if root.NotBefore.After(inside) {
		inside = root.NotBefore
	}
	for _, cert := range chain[1:min(len(chain), 8)] {
		intermediates.AddCert(cert)
		if cert.NotBefore.After(inside) {
			inside = cert.NotBefore
		}
	}
	found, err := c.leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: inside, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	found = slices.DeleteFunc(found, func(p []*x509.Certificate) bool { return len(p) != 3 })
	switch {
	case err != nil:
		c.rule("certificate_chain", wanted, err.Error(), false, "is this a server of the account that you trust?")
		c.out.Chain = chain
		return
	case len(found) == 0:
		c.rule("certificate_chain", wanted, "a chain of another length", false, "leaves are issued by a zone's authority, never by the account root")
		c.out.Chain = chain
		return
	}
	c.out.Chain = found[0]
	c.notChecked = append(c.notChecked, "certificate_revocation: the zone's revocation list was not asked for")
	c.rule("certificate_chain", wanted, fmt.Sprintf("issued by %q under %q", found[0][1].Subject.CommonName, root.Subject.CommonName), true, "")
	c.window(found[0])
	c.zone(found[0][1])
}

func (c *check) zone(issuer *x509.Certificate) {
	if c.o.Zone == nil {
		c.notChecked = append(c.notChecked, "zone: any zone of the account is accepted")
		return
	}
	hash := func(cert *x509.Certificate) string {
		h := attest.SPKIHash(cert.RawSubjectPublicKeyInfo)
		return fmt.Sprintf("%q with key %x…", cert.Subject.CommonName, h[:8])
	}
	c.rule("certificate_zone", "issued by zone "+hash(c.o.Zone), "issued by "+hash(issuer),
		bytes.Equal(issuer.RawSubjectPublicKeyInfo, c.o.Zone.RawSubjectPublicKeyInfo), "the same program may run in several zones of an account; is this the one that you were told?")
}

func (c *check) window(chain []*x509.Certificate) {
	const form = "2006-01-02 15:04:05 UTC"
	from, to := chain[0].NotBefore, chain[0].NotAfter
	for _, cert := range chain[1:] {
		if cert.NotBefore.After(from) {
			from = cert.NotBefore
		}
		if cert.NotAfter.Before(to) {
			to = cert.NotAfter
		}
	}
	seen := from.UTC().Format(form) + " to " + to.UTC().Format(form)
	c.rule("certificate_time", "certificates valid at "+c.at.UTC().Format(form), seen, !c.at.Before(from) && !c.at.After(to),
		"the application renews its certificate by itself; look at its log, and at the clock here")
}

func (c *check) name() {
	seen := strings.Join(c.leaf.DNSNames, ", ")
	if seen == "" {
		seen = "no name"
	}
	if c.o.Name == "" {
		if c.o.Report {
			c.notChecked = append(c.notChecked, "name: the certificate is for "+seen)
			return
		}
		c.rule("certificate_name", "a name to compare with", "none was given", false, "name the server")
		return
	}
	// The name must stand there as it is: a wildcard would be some other zone's mistake.
	ok := c.leaf.VerifyHostname(c.o.Name) == nil && (net.ParseIP(c.o.Name) != nil || slices.ContainsFunc(c.leaf.DNSNames, func(n string) bool {
		return strings.EqualFold(n, c.o.Name)
	}))
	c.rule("certificate_name", c.o.Name, seen, ok, "is this the server that you meant?")
}

// usage wants a leaf that was issued to an attested application, for a server.
func (c *check) usage() {
	attested := slices.ContainsFunc(c.leaf.UnknownExtKeyUsage, attest.OIDAttestedAppEKU.Equal)
	server := slices.Contains(c.leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	seen := "another usage"
	switch {
	case c.leaf.IsCA:
		seen = "a certificate authority"
	case attested && server:
		seen = "a server certificate of an attested application"
	case server:
		seen = "a server certificate, not of an attested application"
	}
	c.rule("certificate_usage", "a server certificate of an attested application", seen, attested && server && !c.leaf.IsCA, "only an attested application's certificate speaks for a TEE")
}

// evidence reads and verifies what the leaf carries.
func (c *check) evidence(k *checker) *attest.Result {
	const wanted, advice = "one evidence extension in the certificate", "this server proves nothing about where it runs"
	m, err := FromCertificate(c.leaf)
	if err != nil {
		c.rule("evidence_extension", wanted, err.Error(), false, advice)
		return &attest.Result{}
	}
	c.out.Message = m
	c.out.Binding, err = attest.ParseBinding(m.Binding)
	if err != nil {
		c.rule("evidence_extension", wanted, err.Error(), false, advice)
	} else {
		c.rule("evidence_extension", wanted, fmt.Sprintf("evidence of %d bytes with its binding", len(m.Evidence)), true, "")
	}
	v, from := k.verifier(m)
	result, err := v.Verify(m.Evidence, c.at)
	if err != nil {
		c.rule("quote_format", "an SGX or TDX quote of version 3, 4 or 5", err.Error(), false, advice)
		return &attest.Result{}
	}
	if from != "" {
		c.notChecked = append(c.notChecked, from)
	}
	if result.Claims.Simulated {
		marked := slices.ContainsFunc(c.leaf.PolicyIdentifiers, attest.OIDSimulatedPolicy.Equal)
		seen := "the mark"
		if !marked {
			seen = "no mark"
		}
		c.rule("certificate_kind", "the mark of simulated accounts in the certificate", seen, marked, "the zone's authority issues for hardware only")
	}
	return result
}

func (c *check) policy(claims *attest.Claims) policy.Policy {
	p := c.o.Policy
	p.Measurements = append(slices.Clone(p.Measurements), c.o.Measurements...)
	p.AllowSimulated = c.o.SimulatedRoot != nil && (p.AllowSimulated || !p.Closed)
	if len(p.Measurements) == 0 && !c.o.Report {
		c.rule("measurement", "a measurement to compare with", "none was given", false, "name the measurement of the image, as `hitoku inspect IMAGE` prints it")
	}
	b := &policy.Binding{Seen: c.out.Binding, Purpose: attest.PurposeAppTLS, ConfigID: c.o.ConfigID}
	subject := attest.SPKIHash(c.leaf.RawSubjectPublicKeyInfo)
	b.Subject = &subject
	if c.o.Root != nil {
		account := attest.SPKIHash(c.o.Root.RawSubjectPublicKeyInfo)
		b.AccountRoot = &account
	}
	p.Binding = b
	if s := c.out.Binding; s != nil && c.o.ConfigID == nil && len(s.ConfigID) > 0 {
		if c.o.Report {
			c.notChecked = append(c.notChecked, fmt.Sprintf("config: the program runs with configuration %x", s.ConfigID))
		} else {
			b.ConfigID = []byte{}
		}
	}
	return p
}
