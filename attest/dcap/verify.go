package dcap

import (
	"crypto/x509"
	"encoding/hex"
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
	q, err := ParseQuote(raw)
	if err != nil {
		return nil, err
	}
	if q.TD != nil {
		return nil, formatError("quotes of TDX are not verified")
	}
	c := &check{v: v, q: q, at: at}
	c.rules = make([]attest.Rule, 0, 15)
	c.run()
	return &attest.Result{Claims: c.claims(), Rules: c.rules}, nil
}

// check is one verification under way.
type check struct {
	v     *Verifier
	q     *Quote
	at    time.Time
	rules []attest.Rule

	pck      *pckChain // nil when there is none
	platform *TCBLevel
	qe       *IdentityLevel
	tcb      attest.TCB
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
	errNoPCK     = &adviceError{errors.New("not checked, as there is no PCK certificate"), "see the rule pck_chain"}
	errNoTCBInfo = &adviceError{errors.New("not checked, as there is no authentic TCB info"), "see the rule tcb_info_signature"}
	errNoQE      = &adviceError{errors.New("not checked, as there is no authentic QE identity"), "see the rule qe_identity_signature"}
)

func (c *check) run() {
	c.format()
	c.chain()
	c.revocation()
	c.tcbInfo()
	c.qeIdentity()
	c.signatures()
	c.level()
}

func (c *check) format() {
	seen := "SGX quote of version 3, ECDSA P-256"
	if c.q.Trailing > 0 {
		seen += fmt.Sprintf(", %d bytes after its end ignored", c.q.Trailing)
	}
	c.rule("quote_format", "an SGX quote of version 3", seen, nil, "")
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
	err := list.err
	if err == nil {
		if err = errNoPCK; c.pck != nil {
			err = c.pck.pckCRLErr
		}
		err = join(err, checkCRLWindow(list.crl, c.at))
		err = join(err, checkWindows(c.at, c.v.pckIssuers...))
	}
	c.rule("pck_revocation", "a current CRL of the PCK CA that does not list the PCK certificate", list.seen, err, adviceCollateral)

	list = &c.v.rootCRL
	if err = list.err; err == nil {
		if err = errNoPCK; c.pck != nil {
			err = c.pck.rootCRLErr
		}
		err = join(err, c.v.signersErr)
		err = join(err, checkCRLWindow(list.crl, c.at))
	}
	c.rule("root_crl", "a current CRL of the root that lists neither the PCK CA nor the TCB signer", list.seen, err, adviceCollateral)
}

func simulatedFMSPC() [6]byte { return [6]byte{0x00, 0xe0, 0xf0, 0x51, 0x4d, 0x01} }

func checkCRLWindow(crl *x509.RevocationList, at time.Time) error {
	return checkWindow("the CRL", crl.ThisUpdate, crl.NextUpdate, at)
}

// checkNotRevoked looks a certificate up in the list of its own issuer. A
// revocation counts at every time, also before its date.
func checkNotRevoked(crl *x509.RevocationList, cert *x509.Certificate) error {
	if cert == nil {
		return nil
	}
	for i := range crl.RevokedCertificateEntries {
		e := &crl.RevokedCertificateEntries[i]
		if e.SerialNumber.Cmp(cert.SerialNumber) == 0 {
			return &adviceError{
				fmt.Errorf("%s, serial number %x, was revoked at %s", name(cert), cert.SerialNumber, stamp(e.RevocationTime)),
				"do not trust this any more: its maker has revoked it",
			}
		}
	}
	return nil
}

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
	c.rule("tcb_info_current", "a TCB info that is valid at the time", t.period, checkWindow("the TCB info", t.body.IssueDate, t.body.NextUpdate, c.at), adviceCollateral)

	seen := ""
	err = nil
	switch {
	case c.pck == nil || c.pck.ext == nil:
		err = errNoPCK
	case t.body.FMSPC != c.pck.ext.FMSPC || t.body.PCEID != c.pck.ext.PCEID:
		err = fmt.Errorf("FMSPC %x, PCEID %x; the platform has FMSPC %x, PCEID %x", t.body.FMSPC, t.body.PCEID, c.pck.ext.FMSPC, c.pck.ext.PCEID)
	default:
		seen = "FMSPC " + hex.EncodeToString(t.body.FMSPC[:])
		c.platform = t.body.Match(&c.pck.ext.TCB)
		c.tcb.Platform = NotSupported
		if c.platform != nil {
			c.tcb.Platform, c.tcb.Advisories = c.platform.Status, c.platform.Advisories
		}
	}
	c.rule("tcb_info_match", "a TCB info for this platform", seen, err, adviceCollateral)
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
	c.rule("qe_identity_current", "a QE identity that is valid at the time", e.period, checkWindow("the QE identity", b.IssueDate, b.NextUpdate, c.at), adviceCollateral)

	err = b.check(&c.q.QEReport)
	if b.ID != "QE" {
		err = errors.Join(err, fmt.Errorf("the identity is of enclave %q, wanted \"QE\"", b.ID))
	}
	if err == nil {
		c.tcb.QE = NotSupported
		if c.qe = b.Match(c.q.QEReport.ISVSVN); c.qe != nil {
			c.tcb.QE = c.qe.Status
		}
	}
	c.rule("qe_identity", "the quoting enclave of the QE identity",
		"ISVSVN "+strconv.Itoa(int(c.q.QEReport.ISVSVN)), err, adviceTampered)
}

func (c *check) signatures() {
	var err error
	if c.pck == nil || c.pck.key == nil {
		err = errNoPCK
	} else if report := c.q.QEReport.Bytes(); !verifyRaw(c.pck.key, report[:], &c.q.QEReportSignature) {
		err = errors.New("the signature does not match")
	}
	c.rule("qe_report_signature", "a QE report signed by the PCK key", "signed", err, adviceTampered)

	err = nil
	if want := c.q.QEReportData(); c.q.QEReport.ReportData != want {
		err = fmt.Errorf("report data %x…", c.q.QEReport.ReportData[:8])
	}
	c.rule("qe_report_data", "a QE report that holds the hash of the attestation key", "the hash of this quote's attestation key", err, adviceTampered)

	key, err := publicKey(&c.q.AttestationKey)
	if signed := c.q.SignedBytes(); err == nil && !verifyRaw(key, signed, &c.q.Signature) {
		err = errors.New("the signature does not match")
	}
	c.rule("quote_signature", "a quote signed by the attestation key", "signed", err, adviceTampered)
}

func (c *check) level() {
	c.tcb.Overall = Converge(c.tcb.Platform, c.tcb.QE)
	var err error
	switch {
	case c.tcb.Platform == "":
		err = &adviceError{errors.New("not known, as there is no authentic TCB info for this platform"), "see the rules tcb_info_signature and tcb_info_match"}
	case c.tcb.QE == "":
		err = &adviceError{errors.New("not known for the quoting enclave, as no authentic QE identity names it"), "see the rules qe_identity_signature and qe_identity"}
	case c.tcb.Overall == NotSupported:
		err = errors.New("no level of the TCB info or QE identity matches (TCBNotSupported)")
	case c.tcb.Overall == Revoked:
		err = errors.New("the status is Revoked: this platform must not be trusted any more")
	}
	c.rule("tcb_level", "a TCB level that is known and not revoked", c.tcb.Overall, err, "update the platform's firmware and microcode, then its PCK certificate")
}

func (c *check) claims() attest.Claims {
	r := &c.q.Report
	m := map[string]string{
		"mrenclave": hex.EncodeToString(r.MREnclave[:]),
		"mrsigner":  hex.EncodeToString(r.MRSigner[:]),
	}
	optional := func(key string, value []byte) {
		if !allZero(value) {
			m[key] = hex.EncodeToString(value)
		}
	}
	optional("config_id", r.ConfigID[:])
	optional("isv_family_id", r.ISVFamilyID[:])
	optional("isv_ext_prod_id", r.ISVExtProdID[:])
	out := attest.Claims{
		Format:       c.q.Format(),
		TEE:          c.q.TEE(),
		Measurement:  r.MREnclave[:],
		Signer:       r.MRSigner[:],
		ProdID:       r.ISVProdID,
		SVN:          r.ISVSVN,
		Debug:        r.Debug(),
		ReportData:   r.ReportData[:],
		CPUSVN:       r.CPUSVN[:],
		TCB:          c.tcb,
		Measurements: m,
		Simulated:    c.v.simulated,
	}
	if c.pck != nil && c.pck.ext != nil {
		out.PlatformID = hex.EncodeToString(c.pck.ext.PPID[:])
		out.FMSPC = hex.EncodeToString(c.pck.ext.FMSPC[:])
	}
	if c.platform != nil {
		out.TCBDate = c.platform.Date
	}
	out.TCBEvaluation = c.evaluation()
	return out
}

// evaluation returns the lower of the evaluation numbers, 0 when one is not known.
func (c *check) evaluation() int {
	if c.v.tcbInfo.body == nil || c.v.identity.body == nil {
		return 0
	}
	return min(c.v.tcbInfo.body.EvaluationNumber, c.v.identity.body.EvaluationNumber)
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
