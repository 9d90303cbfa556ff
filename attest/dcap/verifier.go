package dcap

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

// SimulatedFMSPC is the only FMSPC that simulated platforms have; no platform of
// Intel has it (security decision S10).
const SimulatedFMSPC = "00e0f0514d01"

// Options are what a verification rests on.
type Options struct {
	// Root is the trusted root; nil is Intel's, and nobody's for simulated platforms. A root inside
	// evidence or collateral must have the same public key.
	Root *x509.Certificate
	// Collateral may be nil or incomplete; the rules that need what is missing fail.
	Collateral *Collateral
	// At is the time at which everything must be valid.
	At time.Time
	// Grace is how long after its next update a TCB info, an identity or a revocation list still
	// passes. Its rule then says since when it is stale. It never covers certificates.
	Grace time.Duration
	// Simulated says that Root is the root of simulated platforms.
	Simulated bool
}

// Verify checks a quote at a time. It returns an error only for bytes that are
// no quote; everything else is a rule of the result, and a later rule is checked
// even when an earlier one has failed.
func Verify(raw []byte, o Options) (*attest.Result, error) {
	if o.Root == nil && !o.Simulated {
		o.Root = IntelRoot()
	}
	return NewVerifier(o.Root, o.Collateral, o.Simulated).VerifyGrace(raw, o.At, o.Grace)
}

// Verifier holds collateral that was parsed and whose signatures were checked
// once, for many quotes. It is safe for use by several goroutines.
type Verifier struct {
	anchor     anchor
	rootWanted string // for the rule
	rootSeen   string // for the rule
	simulated  bool
	tcbInfo    signedBody[*TCBInfo]
	identity   signedBody[*EnclaveIdentity]
	pckCRL     crlItem
	rootCRL    crlItem
	signersErr error               // why the root's list does not clear the signers of collateral
	pckIssuers []*x509.Certificate // from the CRL's chain
	issuersErr error
	pckChain   []*x509.Certificate // for quotes without a chain
	pckErr     error

	collateralDate time.Time // the oldest issue date

	mu    sync.Mutex
	known map[chainID]*pckChain
}

// maxKnownChains bounds the PCK chains that a Verifier remembers.
const maxKnownChains = 1024

// chainID names certification data.
type chainID struct {
	kind CertType
	hash [32]byte
}

// signedBody is a signed JSON document, as far as it could be read.
type signedBody[T any] struct {
	signer   *x509.Certificate
	signedBy string // for the rule
	period   string // for the rule
	platform string // for the rule
	body     T      // nil unless the signature holds
	err      error  // why it is nil
}

type crlItem struct {
	crl  *crl
	seen string // for the rule
	err  error
}

// NewVerifier reads and checks collateral, except for the times in it. What is
// wrong with it shows in the rules of each verification.
func NewVerifier(root *x509.Certificate, c *Collateral, simulated bool) *Verifier {
	if c == nil {
		c = &Collateral{}
	}
	v := &Verifier{anchor: newAnchor(root), simulated: simulated, known: make(map[chainID]*pckChain)}
	v.rootWanted = "a trusted root"
	if v.anchor.err == nil {
		v.rootWanted = "a chain to " + name(root)
		v.rootSeen = fmt.Sprintf("%s, key sha256:%x…", name(root), shortKey(root))
	}
	signer := v.anchor.newSigner(c.TCBInfoChain)
	v.tcbInfo = readSigned(signer, "tcbInfo", c.TCBInfo, ParseTCBInfo)
	if !bytes.Equal(c.TCBInfoChain, c.QEIdentityChain) { // usually they are the same
		signer = v.anchor.newSigner(c.QEIdentityChain)
	}
	v.identity = readSigned(signer, "enclaveIdentity", c.QEIdentity, ParseEnclaveIdentity)
	if t := v.tcbInfo.body; t != nil {
		v.tcbInfo.period = period(t.IssueDate, t.NextUpdate, t.EvaluationNumber)
		v.tcbInfo.platform = fmt.Sprintf("%s, FMSPC %x", t.ID, t.FMSPC)
		v.collateralDate = t.IssueDate
	}
	if e := v.identity.body; e != nil {
		v.identity.period = period(e.IssueDate, e.NextUpdate, e.EvaluationNumber)
		v.collateralDate = oldest(v.collateralDate, e.IssueDate)
	}
	v.rootCRL = v.anchor.readCRL(c.RootCRL, v.anchor.cert)
	if crl := v.rootCRL.crl; v.rootCRL.err == nil {
		v.signersErr = errors.Join(crl.checkNotRevoked(v.tcbInfo.signer), crl.checkNotRevoked(v.identity.signer))
		v.collateralDate = oldest(v.collateralDate, crl.thisUpdate)
	}
	v.pckCRL = readCRL(c.PCKCRL)
	if crl := v.pckCRL.crl; crl != nil {
		v.collateralDate = oldest(v.collateralDate, crl.thisUpdate)
	}
	if len(c.PCKCRLChain) > 0 {
		v.pckIssuers, v.issuersErr = v.anchor.readIssuers(c.PCKCRLChain)
	}
	if len(c.PCKChain) > 0 {
		v.pckChain, v.pckErr = parseChain(c.PCKChain)
		leafFirst(v.pckChain)
	} else {
		v.pckErr = errors.New("there is none")
	}
	return v
}

func period(from, to time.Time, evaluation int) string {
	return fmt.Sprintf("%s to %s, evaluation number %d", stamp(from), stamp(to), evaluation)
}

func readSigned[T any](by signer, member string, data []byte, parse func([]byte) (T, error)) (s signedBody[T]) {
	if len(data) == 0 {
		s.err = errors.New("it is missing from the collateral")
		return s
	}
	if s.err = by.err; s.err != nil {
		return s
	}
	s.signer, s.signedBy = by.cert, "signed by "+name(by.cert)
	body, sig, err := splitSigned(data, member)
	switch {
	case err != nil:
		s.err = err
	case !verifyRaw(by.key, body, sig):
		s.err = fmt.Errorf("the signature of %s does not match", name(by.cert))
	default:
		s.body, s.err = parse(body)
	}
	return s
}

func readCRL(data []byte) (c crlItem) {
	if len(data) == 0 {
		c.err = errors.New("it is missing from the collateral")
		return c
	}
	if c.crl, c.err = parseCRL(data); c.err == nil {
		c.seen = fmt.Sprintf("not among %d revoked", c.crl.count)
	}
	return c
}

// readCRL reads a list that issuer must have signed.
func (a anchor) readCRL(data []byte, issuer *x509.Certificate) crlItem {
	c := readCRL(data)
	switch {
	case c.err != nil:
	case a.err != nil:
		c.err = a.err
	default:
		c.err = c.crl.checkSignedBy(issuer)
	}
	return c
}

// readIssuers reads the chain beside the PCK CRL: the PCK CA and perhaps the root.
func (a anchor) readIssuers(pem []byte) ([]*x509.Certificate, error) {
	chain, err := parseChain(pem)
	if err != nil {
		return nil, fmt.Errorf("issuer chain: %w", err)
	}
	err = a.checkRoots(chain)
	var issuers []*x509.Certificate
	for _, c := range chain {
		if selfIssued(c) {
			continue
		}
		err = errors.Join(err, checkShape(c, true), a.signed(c))
		issuers = append(issuers, c)
	}
	if err != nil {
		return nil, fmt.Errorf("issuer chain: %w", err)
	}
	return issuers, nil
}

// chain returns the PCK chain of a quote: its own, or the collateral's.
func (v *Verifier) chain(q *Quote) (*pckChain, error) {
	id := chainID{q.CertType, sha256.Sum256(q.CertData)}
	if p := v.remembered(id); p != nil {
		return p, nil
	}
	p, err := v.readChain(q)
	if err == nil {
		v.remember(id, p)
	}
	return p, err
}

func (v *Verifier) readChain(q *Quote) (*pckChain, error) {
	switch q.CertType {
	case CertPCKLeaf, CertPCKChain:
		certs, err := parseChain(q.CertData)
		if err != nil {
			return nil, fmt.Errorf("certification data of the quote: %w", err)
		}
		more := v.pckIssuers
		if q.CertType == CertPCKLeaf {
			if len(certs) != 1 {
				return nil, fmt.Errorf("certification data of type 4 holds %d certificates, wanted 1", len(certs))
			}
			more = append(more[:len(more):len(more)], v.pckChain...)
		}
		return v.newChain(certs, more), nil
	case CertPPIDPlain, CertPPIDRSA2048, CertPPIDRSA3072:
		if v.pckErr != nil {
			return nil, &adviceError{
				fmt.Errorf("the quote names its PCK certificate by PPID only (certification data type %d), and of the collateral's: %w", q.CertType, v.pckErr),
				"add the platform's PCK certificate and its chain to the collateral; Intel's service gives it to the platform's owner",
			}
		}
		p := v.newChain(v.pckChain, v.pckIssuers)
		p.err = errors.Join(p.err, checkPPID(q, p))
		return p, nil
	default:
		return nil, fmt.Errorf("certification data type %d is not supported", q.CertType)
	}
}

// newChain builds a chain and looks its certificates up in the revocation lists.
func (v *Verifier) newChain(certs, more []*x509.Certificate) *pckChain {
	p := v.anchor.newPCKChain(certs, more)
	if p.ca == nil {
		p.pckCRLErr, p.rootCRLErr = errNoPCK, errNoPCK
		return p
	}
	p.issuedBy = "issued by " + name(p.ca)
	if crl := v.pckCRL.crl; crl != nil {
		p.pckCRLErr = errors.Join(v.issuersErr, crl.checkSignedBy(p.ca), crl.checkNotRevoked(p.leaf))
	}
	if crl := v.rootCRL.crl; crl != nil {
		p.rootCRLErr = crl.checkNotRevoked(p.ca)
	}
	return p
}

// checkPPID compares the identifiers in certification data of types 1 to 3 with
// the PCK certificate that the collateral gave. The encrypted PPID can be read by
// Intel alone; there the signature over the QE report is what binds the two.
func checkPPID(q *Quote, p *pckChain) error {
	var id PCK
	if err := id.readPPID(q.CertType, q.CertData); err != nil || p.ext == nil {
		return err
	}
	if id.PPID != nil && !bytes.Equal(id.PPID, p.ext.PPID[:]) {
		return fmt.Errorf("the PCK certificate is for PPID %x, the quote for %x", p.ext.PPID, id.PPID)
	}
	if id.PCEID != nil && *id.PCEID != p.ext.PCEID {
		return fmt.Errorf("the PCK certificate is for PCEID %x, the quote for %x", p.ext.PCEID, *id.PCEID)
	}
	return nil
}

func (v *Verifier) remembered(id chainID) *pckChain {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.known[id]
}

// remember keeps chains that hold, so that hostile ones cannot fill the memory.
func (v *Verifier) remember(id chainID, p *pckChain) {
	if p.err != nil || p.rootErr != nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.known) >= maxKnownChains {
		clear(v.known)
	}
	v.known[id] = p
}
