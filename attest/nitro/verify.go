package nitro

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/internal/p384"
)

// FormatDocument is the name of the format in claims.
const FormatDocument = "aws-nitro-document"

// clockSkew is how far ahead of the judge's clock a document's own time may lie.
const clockSkew = time.Minute

const (
	adviceRoot     = "is this a document of the AWS partition that you expect? Another root is trusted only when it is named"
	adviceTime     = "documents live for three hours: ask the enclave for a new one, or name the time at which this one was judged"
	adviceTampered = "the document was changed on its way, or was not made by a Nitro hypervisor; ask for a new one"
)

// Options are what a verification rests on.
type Options struct {
	// At is the time at which everything must be valid. Zero is refused by the rules.
	At time.Time
	// Roots are the trusted root certificates; nil means AWS's root G1, which is pinned.
	// The root inside a document must be one of them, byte for byte.
	Roots []*x509.Certificate
}

// Verify checks a document. It returns an error, which wraps [ErrFormat], only for
// bytes that are no document; everything else is a rule of the result, and later
// rules are checked even when an earlier one failed.
func Verify(raw []byte, o Options) (*attest.Result, error) {
	return NewVerifier(o.Roots).Verify(raw, o.At)
}

// Verifier checks many documents, and remembers the certificates that held: AWS's
// authorities live for days, and an enclave's certificate for three hours. It is safe
// for use by several goroutines.
type Verifier struct {
	roots  []*x509.Certificate
	memory p384.Memory
}

// NewVerifier returns a Verifier for roots as in [Options].
func NewVerifier(roots []*x509.Certificate) *Verifier {
	if roots == nil {
		roots = []*x509.Certificate{AWSRoot()}
	}
	return &Verifier{roots: roots}
}

// Verify checks a document at a time; see the function of the same name.
func (v *Verifier) Verify(raw []byte, at time.Time) (*attest.Result, error) {
	d, err := Parse(raw)
	if err != nil {
		return nil, err
	}
	c := &check{v: v, d: d, at: at, rules: make([]attest.Rule, 0, 6)}
	c.run()
	return &attest.Result{Claims: d.claims(), Rules: c.rules, NotChecked: []string{
		"revocation: AWS's revocation lists were not read; the signer's certificate lives for three hours",
	}}, nil
}

// check is one verification under way.
type check struct {
	v     *Verifier
	d     *Document
	at    time.Time
	rules []attest.Rule
	leaf  *x509.Certificate // authentic, or nil
}

// rule appends a rule that holds when err is nil.
func (c *check) rule(name, wanted, seen string, err error, advice string) {
	r := attest.Rule{Name: name, Wanted: wanted, Seen: seen, OK: err == nil}
	if err != nil {
		r.Seen, r.Advice = strings.ReplaceAll(err.Error(), "\n", "; "), advice
	}
	c.rules = append(c.rules, r)
}

func (c *check) run() {
	d := c.d
	c.rule("document_format", "an attestation document of AWS Nitro Enclaves",
		fmt.Sprintf("COSE_Sign1 with ES384, made %s by %s, %d registers", p384.Stamp(d.Timestamp), d.ModuleID, len(d.PCRs)), nil, "")
	c.chain()
	c.signature()
	c.moduleID()
	c.time()
}

func (c *check) chain() {
	root, rootErr := p384.Trusted(c.v.roots, c.d.CABundle[0])
	seen := ""
	if rootErr == nil {
		seen = p384.Name(root)
		rootErr = p384.CheckWindows(c.at, root)
	}
	c.rule("root_trusted", "a chain that begins with a trusted root", seen, rootErr, adviceRoot)

	wanted := "a chain of certificates from the root to the document's signer, valid at the time"
	if root == nil {
		c.rule("certificate_chain", wanted, "", errors.New("not checked, as no trusted root is known"), "see the rule root_trusted")
		return
	}
	der := [][]byte{c.d.Certificate} // the leaf first, without the root
	for i := len(c.d.CABundle) - 1; i > 0; i-- {
		der = append(der, c.d.CABundle[i])
	}
	chain, err := c.v.memory.Chain(root, der)
	advice := adviceTampered
	if err == nil {
		c.leaf = chain[0]
		seen = fmt.Sprintf("%s, issued by %q, valid from %s to %s", p384.Name(c.leaf), c.leaf.Issuer.CommonName, p384.Stamp(c.leaf.NotBefore), p384.Stamp(c.leaf.NotAfter))
		err, advice = p384.CheckWindows(c.at, chain...), adviceTime
	}
	c.rule("certificate_chain", wanted, seen, err, advice)
}

var errNoSigner = errors.New("not checked, as the signer's certificate is not authentic")

func (c *check) signature() {
	if c.leaf == nil {
		c.rule("document_signature", "a document signed by the key of its certificate", "", errNoSigner, "see the rule certificate_chain")
		return
	}
	key, err := p384.Key(c.leaf)
	if err == nil && !p384.Verify(key, c.d.Signature, c.d.Signed) {
		err = errors.New("the signature does not match")
	}
	c.rule("document_signature", "a document signed by the key of its certificate", "signed", err, adviceTampered)
}

// moduleID compares the document with the names in the certificates of its signer:
// AWS issues one for each enclave, by an authority for each instance.
func (c *check) moduleID() {
	wanted := "a certificate for the enclave that the document names"
	if c.leaf == nil {
		c.rule("module_id", wanted, "", errNoSigner, "see the rule certificate_chain")
		return
	}
	var err error
	if name := c.leaf.Subject.CommonName; !strings.HasPrefix(name, c.d.ModuleID+".") {
		err = fmt.Errorf("the certificate is for %q, and the document names %q", name, c.d.ModuleID)
	}
	c.rule("module_id", wanted, c.d.ModuleID, err, adviceTampered)
}

// time compares the document's own time with its certificate and with the judge's clock.
func (c *check) time() {
	made := c.d.Timestamp
	wanted := "a document made before the time of the judgement, while its certificate was valid"
	seen, advice := "made "+p384.Stamp(made), adviceTime
	var err error
	switch {
	case c.at.IsZero():
		err = errors.New("no time was given at which everything must be valid; the document was made " + p384.Stamp(made))
	case made.After(c.at.Add(clockSkew)):
		err = fmt.Errorf("made %s, which is after %s", p384.Stamp(made), p384.Stamp(c.at))
	case c.leaf == nil:
		err, advice = errNoSigner, "see the rule certificate_chain"
	default:
		err = p384.CheckWindows(made, c.leaf)
	}
	c.rule("document_time", wanted, seen, err, advice)
}
