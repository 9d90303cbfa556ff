package snp

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"hitoku.dev/attest"
)

// Options are what a verification rests on.
type Options struct {
	// At is the time at which everything must be valid.
	At time.Time
	// Roots are the trusted root certificates, named ARK-Milan, ARK-Genoa or ARK-Turin;
	// nil means AMD's own, which are pinned. A root inside evidence must have the key of one.
	Roots []*x509.Certificate
	// Collateral may be nil when the evidence carries its certificates.
	Collateral *Collateral
	// Grace is how long past its next update a revocation list is still taken.
	Grace time.Duration
}

// Verify checks evidence, in any container that [Read] names. It returns an error,
// which wraps [ErrFormat], only for bytes that hold no report; everything else is a
// rule of the result, and later rules are checked even when an earlier one failed.
func Verify(raw []byte, o Options) (*attest.Result, error) {
	return NewVerifier(o).Verify(raw, o.At)
}

// Verifier holds roots and collateral that were parsed and checked once, for many
// reports, and remembers the chains of evidence that held. It is safe for use by
// several goroutines.
type Verifier struct {
	roots    []*root
	rootsErr error // why no root is trusted
	cas      []*authority
	leaves   []*chain // from collateral
	err      error    // collateral that could not be read
	crls     *revocations
	grace    time.Duration

	none  *bundle // of evidence without certificates
	mu    sync.Mutex
	known map[bundleID]*bundle
}

// bundleID names what evidence carries beside its report: the container and its bytes.
type bundleID struct {
	form string
	hash [sha256.Size]byte
}

// maxKnown bounds the chains of evidence that a Verifier remembers.
const maxKnown = 1024

// NewVerifier reads and checks roots and collateral, except for the times in them;
// o.At is not used. What is wrong with them shows in the rules of each verification.
func NewVerifier(o Options) *Verifier {
	v := &Verifier{grace: o.Grace, none: &bundle{}, known: make(map[bundleID]*bundle)}
	roots := o.Roots
	if roots == nil {
		roots = AMDRoots()
	}
	for _, cert := range roots {
		r := newRoot(cert)
		v.roots = append(v.roots, r)
		v.rootsErr = join(v.rootsErr, r.err)
	}
	if len(roots) == 0 {
		v.rootsErr = errors.New("no root is trusted")
	}
	c := o.Collateral
	if c == nil {
		c = &Collateral{}
	}
	certs, err := parseCerts(c.Certs, maxCollateral)
	v.err = err
	if o.Roots == nil {
		certs = append(certs, amdIntermediates()...)
	}
	var leaves []*x509.Certificate
	for _, cert := range certs {
		if _, _, ok := authorityName(cert); ok && !selfIssued(cert) && cert.IsCA {
			if ca, err := newAuthority(cert, v.roots); err == nil {
				v.cas = append(v.cas, ca)
			}
		} else if _, err := ParseEndorsement(cert); err == nil {
			leaves = append(leaves, cert)
		}
	}
	v.crls = newRevocations(c.CRLs, "")
	for _, cert := range leaves {
		leaf := newChain(cert, v.cas)
		leaf.revocation = v.crls.judge(leaf)
		v.leaves = append(v.leaves, leaf)
	}
	return v
}

// maxCollateral bounds the certificates of collateral: those of some dozen platforms.
const maxCollateral = 64

// bundle is the certificates of one piece of evidence, as far as they could be
// checked. Every one of them must be authentic, needed or not.
type bundle struct {
	leaves  []*chain
	err     error // why a certificate does not hold
	rootErr error // why a root or authority is not trusted
}

// bundle checks the certificates that evidence carries, or remembers them.
func (v *Verifier) bundle(e *Evidence) *bundle {
	if len(e.Certs) == 0 && len(e.CRLs) == 0 {
		return v.none
	}
	id := bundleID{e.form, sha256.Sum256(e.carried)}
	v.mu.Lock()
	b := v.known[id]
	v.mu.Unlock()
	if b != nil {
		return b
	}
	b = v.newBundle(e)
	if b.err != nil || b.rootErr != nil {
		return b // what an enemy sent is not kept
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.known) >= maxKnown {
		clear(v.known)
	}
	v.known[id] = b
	return b
}

func (v *Verifier) newBundle(e *Evidence) *bundle {
	b := &bundle{}
	certs, err := parseCerts(e.Certs, maxEvidenceCerts)
	if err != nil {
		b.err = fmt.Errorf("the evidence's certificates: %w", err)
		return b
	}
	cas := v.cas
	var leaves []*x509.Certificate
	for _, cert := range certs {
		switch {
		case selfIssued(cert):
			b.rootErr = join(b.rootErr, v.checkRoot(cert))
		case cert.IsCA:
			ca, err := newAuthority(cert, v.roots)
			var notRoot *rootError
			switch {
			case errors.As(err, &notRoot):
				b.rootErr = join(b.rootErr, err)
			case err != nil:
				b.err = join(b.err, err)
			default:
				cas = append(cas[:len(cas):len(cas)], ca)
			}
		default:
			leaves = append(leaves, cert)
		}
	}
	// A list in the evidence is looked at only when the verifier brought none: its
	// sender could have chosen an older one.
	lists := v.crls
	if len(lists.lists) == 0 && lists.err == nil && len(e.CRLs) > 0 {
		lists = newRevocations(e.CRLs, ", which the evidence carries")
	}
	for _, cert := range leaves {
		c := newChain(cert, cas)
		c.revocation = lists.judge(c)
		b.leaves = append(b.leaves, c)
		b.err = join(b.err, c.err)
	}
	return b
}

// maxEvidenceCerts bounds the certificates of one piece of evidence.
const maxEvidenceCerts = 8

// checkRoot refuses a root certificate in evidence that is no trusted one.
func (v *Verifier) checkRoot(cert *x509.Certificate) error {
	for _, r := range v.roots {
		if bytes.Equal(cert.Raw, r.cert.Raw) {
			return nil
		}
		if bytes.Equal(cert.RawSubjectPublicKeyInfo, r.cert.RawSubjectPublicKeyInfo) {
			return checkSignature(cert, r.cert)
		}
	}
	return fmt.Errorf("the evidence carries the root %s, which is not trusted", certName(cert))
}

// pick chooses the certificate that a report is judged with: one that matches it
// and is valid, else one that comes near, so that rules can say what is wrong.
func (v *Verifier) pick(r *Report, b *bundle, at time.Time) *chain {
	var best *chain
	score := 0
	consider := func(c *chain, fromEvidence bool) {
		if c.info != nil && c.info.Key != r.KeyInfo.SigningKey() {
			return
		}
		s := 0
		if fromEvidence {
			s = 1
		}
		if c.info != nil && c.info.checkProduct(r) == nil {
			chip := c.info.checkChip(r) == nil
			tcb := c.info.checkTCB(r) == nil
			if chip {
				s += 2
			}
			if chip && tcb {
				s += 4
			}
		}
		if s > 1 && c.err == nil {
			s += 8
			if checkWindows(at, c.cert) == nil {
				s += 16
			}
		}
		if s > score {
			best, score = c, s
		}
	}
	for _, c := range b.leaves {
		consider(c, true)
	}
	for _, c := range v.leaves {
		consider(c, false)
	}
	if best == nil {
		best = v.onlyOne(r.KeyInfo.SigningKey())
	}
	return best
}

// onlyOne returns the collateral's certificate of a kind of key when it is the
// only one: it was given for this report, and rules can say why it does not fit.
func (v *Verifier) onlyOne(key SigningKey) (only *chain) {
	for _, c := range v.leaves {
		if c.info.Key != key {
			continue
		}
		if only != nil {
			return nil
		}
		only = c
	}
	return only
}
