package dcap

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"hitoku.dev/attest"
)

const (
	adviceRoot       = "is this evidence of the platform you expect? Another root is trusted only when it is named"
	adviceCollateral = "fetch current collateral for this platform, or name the time at which the evidence was judged"
	adviceTampered   = "the evidence was changed on its way, or was not made by this platform; ask for fresh evidence"
)

// Verify checks a quote with the verifier's collateral at a time; see the
// function of the same name.
func (v *Verifier) Verify(raw []byte, at time.Time) (*attest.Result, error) {
	return v.VerifyGrace(raw, at, 0)
}

// VerifyGrace is Verify with collateral that may be stale by that long; see
// [Options].
func (v *Verifier) VerifyGrace(raw []byte, at time.Time, grace time.Duration) (*attest.Result, error) {
	q, err := parseQuote(raw)
	if err != nil {
		return nil, err
	}
	c := check{v: v, q: q, signed: raw[:q.signedSize()], at: at, grace: max(grace, 0)}
	c.rules = make([]attest.Rule, 0, 16)
	c.run()
	return &attest.Result{Claims: c.claims(), Rules: c.rules, NotChecked: c.notChecked()}, nil
}

// check is one verification under way.
type check struct {
	v      *Verifier
	q      *Quote
	signed []byte // by the attestation key
	at     time.Time
	grace  time.Duration
	rules  []attest.Rule

	pck      *pckChain      // nil when there is none
	platform *TCBLevel      // that the platform reaches
	sgx      *TCBLevel      // that it reaches without its TDX components
	module   *IdentityLevel // of the TDX module
	qe       *IdentityLevel
	tcb      attest.TCB
	scratch  scratch
}

// rule appends a rule that holds when err is nil.
func (c *check) rule(name, wanted, seen string, err error, advice string) {
	r := attest.Rule{Name: name, Wanted: wanted, Seen: seen, OK: err == nil}
	if err != nil {
		r.Seen, r.Advice = strings.ReplaceAll(err.Error(), "\n", "; "), advice
		var better *adviceError
		if errors.As(err, &better) {
			r.Advice = better.advice
		}
	}
	c.rules = append(c.rules, r)
}

// adviceError is an error whose cause calls for other advice than its rule's usual one.
type adviceError struct {
	error
	advice string
}

var (
	errNoPCK      = &adviceError{errors.New("not checked, as there is no PCK certificate"), "see the rule pck_chain"}
	errNoTCBInfo  = &adviceError{errors.New("not checked, as there is no authentic TCB info"), "see the rule tcb_info_signature"}
	errNoPlatform = &adviceError{errors.New("not known, as there is no authentic TCB info for this platform"), "see the rules tcb_info_signature and tcb_info_match"}
	errNoQE       = &adviceError{errors.New("not checked, as there is no authentic QE identity"), "see the rule qe_identity_signature"}
)

func (c *check) run() {
	c.format()
	c.chain()
	c.revocation()
	c.tcbInfo()
	if c.q.TD != nil {
		c.tdxModule()
	}
	c.qeIdentity()
	c.signatures()
	c.level()
}

func (c *check) format() {
	seen := c.q.description()
	if c.q.Trailing > 0 {
		seen += ", " + strconv.Itoa(c.q.Trailing) + " bytes after its end ignored"
	}
	c.rule("quote_format", "an SGX or TDX quote of version 3, 4 or 5", seen, nil, "")
}

// description tells a quote's kind without an allocation.
func (q *Quote) description() string {
	switch q.Format() {
	case FormatSGX3:
		return "SGX quote of version 3, ECDSA P-256"
	case FormatSGX4:
		return "SGX quote of version 4, ECDSA P-256"
	case FormatSGX5:
		return "SGX quote of version 5, ECDSA P-256"
	case FormatTDX4:
		return "TDX quote of version 4, ECDSA P-256"
	}
	if q.TD.TDX15 {
		return "TDX quote of version 5 with a report of TDX 1.5, ECDSA P-256"
	}
	return "TDX quote of version 5 with a report of TDX 1.0, ECDSA P-256"
}

func (c *check) chain() {
	pck, err := c.v.chain(c.q)
	var rootErr error = errNoPCK
	if pck != nil {
		c.pck = pck
		rootErr = pck.rootErr
		err = pck.err
		err = join(err, checkWindows(c.at, pck.leaf, pck.ca))
		if pck.ext != nil && (pck.ext.FMSPC == simulatedFMSPC()) != c.v.simulated {
			rootErr = join(rootErr, c.wrongWorld())
		}
	}
	if a := c.v.anchor; a.err == nil {
		rootErr = join(rootErr, checkWindows(c.at, a.cert))
		if pck != nil {
			rootErr = join(rootErr, checkWindows(c.at, pck.roots...))
		}
	} else {
		rootErr = a.err
	}
	c.rule("root_trusted", c.v.rootWanted, c.v.rootSeen, rootErr, adviceRoot)

	seen := ""
	if pck != nil {
		seen = pck.issuedBy
	}
	c.rule("pck_chain", "a PCK certificate, signed by its CA, valid at the time", seen, err, adviceTampered)
}

// join is errors.Join without its allocation where at most one has failed.
func join(a, b error) error {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return errors.Join(a, b)
}

// wrongWorld explains evidence of a simulated platform under a real root, or the reverse.
func (c *check) wrongWorld() error {
	if c.v.simulated {
		return fmt.Errorf("FMSPC %x is not that of simulated platforms, %s", c.pck.ext.FMSPC, SimulatedFMSPC)
	}
	return fmt.Errorf("FMSPC %s belongs to simulated platforms, and this root is not trusted as a simulated one", SimulatedFMSPC)
}

func (c *check) revocation() {
	list := &c.v.pckCRL
	seen, err := list.seen, list.err
	if err == nil {
		if err = errNoPCK; c.pck != nil {
			err = c.pck.pckCRLErr
		}
		var stale error
		seen, stale = c.fresh("the CRL", seen, list.crl.thisUpdate, list.crl.nextUpdate)
		err = join(err, stale)
		err = join(err, checkWindows(c.at, c.v.pckIssuers...))
	}
	c.rule("pck_revocation", "a current CRL of the PCK CA that does not list the PCK certificate", seen, err, adviceCollateral)

	list = &c.v.rootCRL
	seen = list.seen
	if err = list.err; err == nil {
		if err = errNoPCK; c.pck != nil {
			err = c.pck.rootCRLErr
		}
		err = join(err, c.v.signersErr)
		var stale error
		seen, stale = c.fresh("the CRL", seen, list.crl.thisUpdate, list.crl.nextUpdate)
		err = join(err, stale)
	}
	c.rule("root_crl", "a current CRL of the root that lists neither the PCK CA nor the TCB signer", seen, err, adviceCollateral)
}

// fresh judges the period of a collateral document. Within the grace it passes, and is called stale.
func (c *check) fresh(what, seen string, from, to time.Time) (string, error) {
	if c.at.After(to) && !c.at.After(to.Add(c.grace)) {
		return seen + ", stale since " + stamp(to), nil
	}
	return seen, checkWindow(what, from, to, c.at)
}

func simulatedFMSPC() [6]byte { return [6]byte{0x00, 0xe0, 0xf0, 0x51, 0x4d, 0x01} }

func (c *check) tcbInfo() {
	t := &c.v.tcbInfo
	err := t.err
	if err == nil {
		err = checkWindows(c.at, t.signer)
	}
	c.rule("tcb_info_signature", "a TCB info signed under the trusted root", t.signedBy, err, adviceCollateral)

	if t.body == nil {
		c.rule("tcb_info_current", "a TCB info that is valid at the time", "", errNoTCBInfo, "")
		c.rule("tcb_info_match", "a TCB info for this platform", "", errNoTCBInfo, "")
		return
	}
	seen, err := c.fresh("the TCB info", t.period, t.body.IssueDate, t.body.NextUpdate)
	c.rule("tcb_info_current", "a TCB info that is valid at the time", seen, err, adviceCollateral)

	seen = ""
	switch err = c.matchTCBInfo(t.body); {
	case err != nil:
	default:
		seen = t.platform
		c.tcb.Platform = NotSupported
		if c.platform != nil {
			c.tcb.Platform, c.tcb.Advisories = c.platform.Status, c.platform.Advisories
		}
	}
	c.rule("tcb_info_match", "a TCB info for this platform", seen, err, adviceCollateral)
}

// matchTCBInfo looks for the platform's level in a TCB info that must be for it.
func (c *check) matchTCBInfo(t *TCBInfo) error {
	id := idSGX
	if c.q.TD != nil {
		id = idTDX
	}
	switch {
	case t.ID != id:
		return fmt.Errorf("it is for %s, and the quote is of %s", t.ID, id)
	case c.pck == nil || c.pck.ext == nil:
		return errNoPCK
	case t.FMSPC != c.pck.ext.FMSPC || t.PCEID != c.pck.ext.PCEID:
		return fmt.Errorf("FMSPC %x, PCEID %x; the platform has FMSPC %x, PCEID %x", t.FMSPC, t.PCEID, c.pck.ext.FMSPC, c.pck.ext.PCEID)
	case c.q.TD != nil:
		c.sgx, c.platform = t.MatchTDX(&c.pck.ext.TCB, &c.q.TD.TEETCBSVN)
	default:
		c.platform = t.Match(&c.pck.ext.TCB)
	}
	return nil
}

// tdxModule compares the TDX module that launched the TD with the TCB info.
func (c *check) tdxModule() {
	t, r := c.v.tcbInfo.body, c.q.TD
	svn, version := r.TEETCBSVN[0], r.TEETCBSVN[1]
	seen := ""
	var err error
	switch {
	case c.tcb.Platform == "":
		err = errNoPlatform
	default:
		m := t.TDXModule(version)
		if m == nil {
			err = &adviceError{fmt.Errorf("the TCB info has no identity for TDX modules of version %d", version), adviceCollateral}
		} else {
			err = m.check(r)
		}
		switch {
		case err != nil:
			c.tcb.Module = NotSupported
		case version == 0:
			seen = "version 0, judged by the TDX components of its TCB"
		default:
			c.tcb.Module, seen = NotSupported, m.ID
			if c.module = m.Match(svn); c.module != nil {
				c.tcb.Module, seen = c.module.Status, c.module.label
			}
		}
	}
	c.rule("tdx_module", "a TDX module that the TCB info names", seen, err, "is this machine's TDX module Intel's? Update it, and launch the TD again")
}

func (c *check) qeIdentity() {
	e := &c.v.identity
	err := e.err
	if err == nil {
		err = checkWindows(c.at, e.signer)
	}
	c.rule("qe_identity_signature", "a QE identity signed under the trusted root", e.signedBy, err, adviceCollateral)
	if e.body == nil {
		c.rule("qe_identity_current", "a QE identity that is valid at the time", "", errNoQE, "")
		c.rule("qe_identity", "the quoting enclave of the QE identity", "", errNoQE, "")
		return
	}
	b := e.body
	seen, err := c.fresh("the QE identity", e.period, b.IssueDate, b.NextUpdate)
	c.rule("qe_identity_current", "a QE identity that is valid at the time", seen, err, adviceCollateral)

	id := idQE
	if c.q.TD != nil {
		id = idTDQE
	}
	err = b.check(&c.q.QEReport)
	if b.ID != id {
		err = errors.Join(err, &adviceError{fmt.Errorf("the identity is of enclave %q, wanted %q", b.ID, id), adviceCollateral})
	}
	seen = b.ID
	if err == nil {
		c.tcb.QE = NotSupported
		if c.qe = b.Match(c.q.QEReport.ISVSVN); c.qe != nil {
			c.tcb.QE, seen = c.qe.Status, c.qe.label
		}
	}
	c.rule("qe_identity", "the quoting enclave of the QE identity", seen, err, adviceTampered)
}

func (c *check) signatures() {
	key, qeErr, keyErr := c.attestationKey()
	c.rule("qe_report_signature", "a QE report signed by the PCK key", "signed", qeErr, adviceTampered)

	var err error
	if want := c.q.QEReportData(); c.q.QEReport.ReportData != want {
		err = fmt.Errorf("report data %x…", c.q.QEReport.ReportData[:8])
	}
	c.rule("qe_report_data", "a QE report that holds the hash of the attestation key", "the hash of this quote's attestation key", err, adviceTampered)

	if err = keyErr; err == nil && !c.scratch.verifyRaw(key, c.signed, &c.q.Signature) {
		err = errNoMatch
	}
	c.rule("quote_signature", "a quote signed by the attestation key", "signed", err, adviceTampered)
}

// attestationKey reads the attestation key and checks the PCK key's signature
// over the QE report, unless the same was done before.
func (c *check) attestationKey() (key *ecdsa.PublicKey, qeErr, keyErr error) {
	if c.pck == nil || c.pck.key == nil {
		key, keyErr = c.scratch.publicKey(&c.q.AttestationKey)
		return key, errNoPCK, keyErr
	}
	id := attestationID(c.q)
	if key = c.pck.attested.find(id); key != nil {
		return key, nil, nil
	}
	if report := c.q.QEReport.Bytes(); !c.scratch.verifyRaw(c.pck.key, report[:], &c.q.QEReportSignature) {
		qeErr = errNoMatch
	}
	if key, keyErr = c.scratch.publicKey(&c.q.AttestationKey); keyErr == nil && qeErr == nil {
		c.pck.attested.add(id, key)
	}
	return key, qeErr, keyErr
}

var errNoMatch = errors.New("the signature does not match")

// overall converges the statuses of platform, TDX module and quoting enclave.
func (c *check) overall() string {
	status := Converge(c.tcb.Platform, c.tcb.Module)
	if c.q.TD != nil && c.q.TD.TDX15 && c.sgx != nil {
		status = c.v.tcbInfo.body.relaunch(c.q.TD, c.sgx.Status, status, c.tcb.Module, c.tcb.QE)
	}
	if c.q.TD != nil && status == Revoked {
		return Revoked
	}
	return Converge(status, c.tcb.QE)
}

func (c *check) level() {
	c.tcb.Overall = c.overall()
	var err error
	switch {
	case c.tcb.Platform == "":
		err = errNoPlatform
	case c.tcb.QE == "":
		err = &adviceError{errors.New("not known for the quoting enclave, as no authentic QE identity names it"), "see the rules qe_identity_signature and qe_identity"}
	case c.tcb.Overall == NotSupported:
		err = errors.New("no level of the TCB info or of an identity matches (TCBNotSupported)")
	case c.tcb.Overall == Revoked:
		err = errors.New("the status is Revoked: this platform must not be trusted any more")
	}
	c.rule("tcb_level", "a TCB level that is known and not revoked", c.tcb.Overall, err, "update the platform's firmware and microcode, then its PCK certificate")
}

// notChecked lists what a reader of the rules might miss.
func (c *check) notChecked() []string {
	if c.q.TD == nil {
		return nil
	}
	return []string{"event_log: no log was replayed into RTMR0 to RTMR3"}
}
