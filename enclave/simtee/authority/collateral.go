package authority

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"time"

	"hitoku.dev/attest/dcap"
)

// Collateral returns what Intel's service would answer for a simulated platform
// at now: TCB info v3, quoting enclave identity v2, and both revocation lists,
// each with its issuers. It is good for CollateralLifetime.
func (a *Authority) Collateral(now time.Time) (*dcap.Collateral, error) {
	now = now.UTC().Truncate(time.Second)
	a.mu.Lock()
	defer a.mu.Unlock()
	var revoked []x509.RevocationListEntry
	for _, i := range a.issued {
		if !i.Revoked.IsZero() {
			revoked = append(revoked, x509.RevocationListEntry{SerialNumber: new(big.Int).SetBytes(i.Serial), RevocationTime: i.Revoked})
		}
	}
	c := &dcap.Collateral{PCKCRLChain: encodeChain(a.platformCA.cert, a.root.cert)}
	c.TCBInfoChain = encodeChain(a.tcbSigning.cert, a.root.cert)
	c.QEIdentityChain = c.TCBInfoChain
	var err error
	if c.PCKCRL, err = revocationList(&a.platformCA, revoked, now); err != nil {
		return nil, err
	}
	if c.RootCRL, err = revocationList(&a.root, nil, now); err != nil {
		return nil, err
	}
	if c.TCBInfo, err = a.signBody("tcbInfo", a.tcbInfo(now)); err != nil {
		return nil, err
	}
	if c.QEIdentity, err = a.signBody("enclaveIdentity", a.qeIdentity(now)); err != nil {
		return nil, err
	}
	return c, nil
}

// revocationList numbers lists by time, so that a later list has a higher number.
func revocationList(by *pair, revoked []x509.RevocationListEntry, now time.Time) ([]byte, error) {
	der, err := x509.CreateRevocationList(noRandomness{}, &x509.RevocationList{
		SignatureAlgorithm:        x509.ECDSAWithSHA256,
		Number:                    big.NewInt(now.Unix()),
		ThisUpdate:                now,
		NextUpdate:                now.Add(CollateralLifetime),
		RevokedCertificateEntries: revoked,
	}, by.cert, deterministic{by.key})
	if err != nil {
		return nil, fmt.Errorf("simulated revocation list of %s: %w", by.cert.Subject.CommonName, err)
	}
	return der, nil
}

// signBody returns {"<name>":body,"signature":"<r||s in hexadecimal>"}; the
// signature is over the body's exact bytes.
func (a *Authority) signBody(name string, body any) ([]byte, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(raw)
	sig, err := SignRaw(a.tcbSigning.key, digest[:])
	if err != nil {
		return nil, fmt.Errorf("simulated %s: %w", name, err)
	}
	return fmt.Appendf(nil, `{%q:%s,"signature":"%x"}`, name, raw, sig), nil
}

// The JSON forms follow the PCS API documentation, version 4; members in its order.
type (
	component struct {
		SVN      byte   `json:"svn"`
		Category string `json:"category,omitempty"`
		Type     string `json:"type,omitempty"`
	}
	platformTCB struct {
		Components []component `json:"sgxtcbcomponents"`
		PCESVN     int         `json:"pcesvn"`
	}
	qeTCB struct {
		ISVSVN int `json:"isvsvn"`
	}
	level struct {
		TCB        any      `json:"tcb"`
		Date       string   `json:"tcbDate"`
		Status     string   `json:"tcbStatus"`
		Advisories []string `json:"advisoryIDs,omitempty"`
	}
	tcbInfo struct {
		ID         string  `json:"id"`
		Version    int     `json:"version"`
		IssueDate  string  `json:"issueDate"`
		NextUpdate string  `json:"nextUpdate"`
		FMSPC      string  `json:"fmspc"`
		PCEID      string  `json:"pceId"`
		Type       int     `json:"tcbType"`
		Evaluation int     `json:"tcbEvaluationDataNumber"`
		Levels     []level `json:"tcbLevels"`
	}
	enclaveIdentity struct {
		ID             string  `json:"id"`
		Version        int     `json:"version"`
		IssueDate      string  `json:"issueDate"`
		NextUpdate     string  `json:"nextUpdate"`
		Evaluation     int     `json:"tcbEvaluationDataNumber"`
		MiscSelect     string  `json:"miscselect"`
		MiscMask       string  `json:"miscselectMask"`
		Attributes     string  `json:"attributes"`
		AttributesMask string  `json:"attributesMask"`
		MRSigner       string  `json:"mrsigner"`
		ProdID         int     `json:"isvprodid"`
		Levels         []level `json:"tcbLevels"`
	}
)

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// outdated is the date of the level below the present one.
var outdated = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

func (a *Authority) tcbInfo(now time.Time) tcbInfo {
	current, old := make([]component, 16), make([]component, 16)
	for i, svn := range cpuSVN {
		current[i].SVN = svn
	}
	for _, c := range [][]component{current, old} {
		c[0].Category, c[0].Type = "BIOS", "Early Microcode Update"
		c[1].Category, c[1].Type = "OS/VMM", "SGX Late Microcode Update"
		c[2].Category, c[2].Type = "OS/VMM", "TXT SINIT"
		c[3].Category = "BIOS"
	}
	return tcbInfo{
		ID: "SGX", Version: 3,
		IssueDate: stamp(now), NextUpdate: stamp(now.Add(CollateralLifetime)),
		FMSPC: strings.ToUpper(FMSPC), PCEID: "0000", Evaluation: a.tcb.Evaluation,
		Levels: []level{
			{TCB: platformTCB{current, PCESVN}, Date: stamp(a.tcb.Date), Status: a.tcb.Status, Advisories: a.tcb.Advisories},
			{TCB: platformTCB{old, PCESVN - 1}, Date: stamp(outdated), Status: "OutOfDate"},
		},
	}
}

func (a *Authority) qeIdentity(now time.Time) enclaveIdentity {
	hexUpper := func(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }
	return enclaveIdentity{
		ID: "QE", Version: 2,
		IssueDate: stamp(now), NextUpdate: stamp(now.Add(CollateralLifetime)),
		Evaluation: a.tcb.Evaluation,
		MiscSelect: "00000000", MiscMask: "FFFFFFFF",
		// Intel's values: INIT and PROVISION_KEY are wanted, MODE64 and XFRM are not looked at, all
		// other flags must be clear.
		Attributes:     "11000000000000000000000000000000",
		AttributesMask: "FBFFFFFFFFFFFFFF0000000000000000",
		MRSigner:       hexUpper(qeSigner[:]),
		ProdID:         QEProdID,
		Levels: []level{
			{TCB: qeTCB{QESVN}, Date: stamp(a.tcb.Date), Status: a.tcb.QEStatus},
			{TCB: qeTCB{1}, Date: stamp(outdated), Status: "OutOfDate"},
		},
	}
}
