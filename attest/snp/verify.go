package snp

import (
	"crypto/ecdsa"
	"crypto/sha512"
	"errors"
	"fmt"
	"strings"
	"time"

	"hitoku.dev/attest"
)

// FormatReport is the name of the format in claims.
const FormatReport = "sev-snp-report"

const (
	adviceRoot       = "is this evidence of the platform you expect? Another root is trusted only when it is named"
	adviceTampered   = "the evidence was changed on its way, or was not made by this platform; ask for fresh evidence"
	adviceCollateral = "fetch a current revocation list from " + KDS + ", or name the time at which the evidence was judged"
	adviceOtherCert  = "the certificate is not the one for this report: "
)

// Verify checks evidence with the verifier's roots and collateral at a time; see
// the function of the same name.
func (v *Verifier) Verify(raw []byte, at time.Time) (*attest.Result, error) {
	e, err := read(raw)
	if err != nil {
		return nil, err
	}
	c := &check{v: v, e: e, r: e.Report, at: at}
	c.rules = make([]attest.Rule, 0, 10)
	c.bundle = v.bundle(e)
	c.chain = v.pick(c.r, c.bundle, at)
	c.run()
	return &attest.Result{Claims: c.claims(), Rules: c.rules, NotChecked: c.notChecked()}, nil
}

// check is one verification under way.
type check struct {
	v      *Verifier
	e      *Evidence
	r      *Report
	at     time.Time
	rules  []attest.Rule
	bundle *bundle
	chain  *chain // nil when there is no certificate for the report

	crlDate time.Time // of the revocation list used
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

// errNoChain is why a rule about a certificate cannot be judged without one.
func errNoChain() error {
	return &adviceError{errors.New("not checked, as no certificate of the key that signed the report is known"), "see the rule vcek_chain"}
}

func (c *check) run() {
	c.format()
	c.root()
	c.certificate()
	c.extensions()
	c.revocation()
	c.signature()
	c.order()
	c.origin()
}

func (c *check) format() {
	seen := "version " + "2345"[c.r.Version-MinVersion:][:1] + ", " + c.e.form
	if c.e.note != "" {
		seen += "; " + c.e.note
	}
	c.rule("report_format", "a SEV-SNP attestation report of version 2 to 5, reserved bits as the version says", seen, c.e.reserved,
		"the report was made by firmware that is newer than this program, or was changed on its way")
}

func (c *check) root() {
	err := join(c.v.rootsErr, c.bundle.rootErr)
	seen := ""
	switch {
	case c.chain == nil:
		err = join(err, errNoChain())
	case c.chain.rootErr != nil:
		err = join(err, c.chain.rootErr)
	default:
		seen = c.chain.ca.root.seen
		err = join(err, checkWindows(c.at, c.chain.ca.root.cert))
	}
	c.rule("root_trusted", "a chain to a trusted root key (ARK) of the product", seen, err, adviceRoot)
}

func (c *check) certificate() {
	err := c.bundle.err
	seen := ""
	if c.chain == nil {
		err = join(err, c.noCertificate())
	} else {
		if err == nil { // the bundle's error holds the chain's
			err = c.chain.err
		}
		seen = c.chain.issuedBy
		if c.chain.ca != nil {
			err = join(err, checkWindows(c.at, c.chain.cert, c.chain.ca.cert))
		}
	}
	c.rule("vcek_chain", "a VCEK or VLEK certificate, signed by its authority, valid at the time", seen, err, adviceTampered)
}

// noCertificate says which certificate is missing and where it can be had.
func (c *check) noCertificate() error {
	key := c.r.KeyInfo.SigningKey()
	if key == None {
		return &adviceError{errors.New("the report is not signed"), c.where()}
	}
	err := fmt.Errorf("neither evidence nor collateral has the %s certificate for this report", strings.ToUpper(key.String()))
	if c.v.err != nil {
		err = fmt.Errorf("%w; the collateral could not be read: %w", err, c.v.err)
	}
	return &adviceError{err, c.where()}
}

// where says how to get the certificate for the report.
func (c *check) where() string {
	r := c.r
	products := []Product{c.product()}
	if products[0] == "" { // version 2 does not say: Milan or Genoa
		products = []Product{Milan, Genoa}
	}
	var at []string
	for _, p := range products {
		switch r.KeyInfo.SigningKey() {
		case VCEK:
			path, err := VCEKPath(p, &r.ChipID, r.ReportedTCB)
			if err != nil {
				return err.Error() + "; ask the host for an extended report with its certificate table"
			}
			at = append(at, KDS+path)
		case VLEK:
			at = append(at, KDS+VLEKPath(p, r.ReportedTCB))
		default:
			return "the host must let its firmware sign reports with a VCEK or VLEK"
		}
	}
	advice := "fetch " + strings.Join(at, " or ")
	if r.KeyInfo.SigningKey() == VLEK {
		advice = "ask the host for an extended report with its certificate table; only the cloud provider can " + advice
	}
	return advice
}

// extensions judges what the certificate says against the report.
func (c *check) extensions() {
	var product, chip, tcb error
	var productSeen, chipSeen, tcbSeen string
	if c.chain == nil || c.chain.info == nil {
		product, chip, tcb = errNoChain(), errNoChain(), errNoChain()
	} else {
		i := c.chain.info
		product, chip, tcb = i.checkProduct(c.r), i.checkChip(c.r), i.checkTCB(c.r)
		productSeen, chipSeen, tcbSeen = c.chain.productSeen, c.chain.chipSeen, c.chain.tcbSeen
	}
	advice := ""
	if product != nil || chip != nil || tcb != nil {
		advice = adviceOtherCert + c.where()
	}
	c.rule("vcek_product", "a certificate for the processor that made the report", productSeen, product, advice)
	c.rule("vcek_chip_id", "a certificate for the chip that made the report, or for a cloud provider", chipSeen, chip, advice)
	c.rule("vcek_tcb", "a certificate for the reported TCB", tcbSeen, tcb, advice)
}

// revocation makes a rule only when there is a list to look in (see notChecked).
func (c *check) revocation() {
	if !c.revocationChecked() {
		return
	}
	err, seen := c.v.crls.err, ""
	if c.chain == nil {
		err = join(err, errNoChain())
	} else {
		var ageErr error
		err = c.chain.revocation.err
		seen, ageErr = c.chain.revocation.current(c.at, c.v.grace)
		err = join(err, ageErr)
		if best := c.chain.revocation.best; best != nil {
			c.crlDate = best.ThisUpdate
		}
	}
	c.rule("vcek_revocation", "a current revocation list of the root key that lists neither the certificate nor its authority", seen, err, adviceCollateral)
}

func (c *check) revocationChecked() bool {
	if c.chain == nil {
		return c.v.crls.err != nil
	}
	return c.chain.revocation.checked
}

func (c *check) signature() {
	r := c.r
	var err error
	switch key := r.KeyInfo.SigningKey(); {
	case key == None:
		err = errors.New("the report is not signed (SIGNING_KEY is none)")
	case key == VCEK && r.KeyInfo.MaskChipKey():
		err = errors.New("the report is not signed (MASK_CHIP_KEY forbids the VCEK)")
	case r.SignatureAlgo != SignatureECDSAP384:
		err = fmt.Errorf("signature algorithm %d, wanted %d (ECDSA P-384 with SHA-384)", r.SignatureAlgo, SignatureECDSAP384)
	case c.chain == nil || c.chain.key == nil:
		err = errNoChain()
	case !verifyReport(c.chain.key, c.e.Raw, &r.Signature):
		err = errors.New("the signature does not match")
	}
	c.rule("report_signature", "a report signed by the key of the certificate", "signed", err, adviceTampered)
}

// verifyReport checks ECDSA P-384 over the SHA-384 of the report's first 672 bytes.
func verifyReport(key *ecdsa.PublicKey, raw []byte, sig *Signature) bool {
	digest := sha512.Sum384(raw[:SignedSize])
	// SEQUENCE { INTEGER r, INTEGER s }, at most 2 + 2·(2 + 49) bytes: one length byte will do.
	var der [104]byte
	n := 2
	n += putInteger(der[n:], sig.R[:48])
	n += putInteger(der[n:], sig.S[:48])
	der[0], der[1] = 0x30, byte(n-2)
	return ecdsa.VerifyASN1(key, digest[:], der[:n])
}

// putInteger writes the little-endian number as a DER INTEGER.
func putInteger(out, le []byte) int {
	for len(le) > 1 && le[len(le)-1] == 0 {
		le = le[:len(le)-1]
	}
	n := 2
	out[0] = 0x02
	if le[len(le)-1]&0x80 != 0 {
		out[n] = 0
		n++
	}
	for i := len(le) - 1; i >= 0; i-- {
		out[n] = le[i]
		n++
	}
	out[1] = byte(n - 2)
	return n
}

func (c *check) order() {
	var err error
	if r := c.r; !r.ReportedTCB.atMost(r.CurrentTCB) || !r.CommittedTCB.atMost(r.CurrentTCB) {
		err = fmt.Errorf("current %v, reported %v, committed %v", r.CurrentTCB, r.ReportedTCB, r.CommittedTCB)
	}
	c.rule("tcb_order", "a reported and a committed TCB that are not above the current one", "not above it", err, adviceTampered)
}

// origin refuses reports that the host asked for: their report data is not the guest's.
func (c *check) origin() {
	var err error
	seen := "the guest, at VMPL 0 to 3"
	if c.r.VMPL > 3 {
		err = fmt.Errorf("VMPL %#x: the host asked for it", c.r.VMPL)
	}
	c.rule("report_origin", "a report that the guest asked for", seen, err, "send a report that the program inside the guest asked for")
}

func (c *check) notChecked() []string {
	out := make([]string, 0, 2)
	if !c.revocationChecked() {
		out = append(out, "revocation: no revocation list (CRL) of AMD was given")
	}
	if c.r.ChipID == [64]byte{} {
		out = append(out, "platform: the host masks CHIP_ID, so the report does not say which machine made it")
	}
	return out
}
