package dcap

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"slices"
	"testing"
	"time"

	"hitoku.dev/attest"
)

func TestVerifySyntheticQuote(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r, err := Verify(w.seal(w.quote()), Options{Root: w.root, Collateral: w.collateral(), At: now})
	if err != nil || !r.OK() {
		t.Fatalf("refused: %v %+v", err, r)
	}
	c := r.Claims
	if c.Format != FormatSGX3 || c.TCB.Overall != UpToDate || c.TCBEvaluation != 20 || c.PlatformID != "aa010000000000000000000000000000" ||
		c.FMSPC != "00906ed50001" || c.ProdID != 9 || c.SVN != 2 || c.Debug || c.Simulated || c.ReportData[0] != 42 {
		t.Fatalf("claims %+v", c)
	}
	wanted := []string{
		"quote_format", "root_trusted", "pck_chain", "pck_revocation", "root_crl", "tcb_info_signature", "tcb_info_current",
		"tcb_info_match", "qe_identity_signature", "qe_identity_current", "qe_identity", "qe_report_signature", "qe_report_data", "quote_signature", "tcb_level",
	}
	var names []string
	for _, rule := range r.Rules {
		names = append(names, rule.Name)
		if rule.Wanted == "" || rule.Seen == "" {
			t.Errorf("rule %+v is not explained", rule)
		}
	}
	if !slices.Equal(names, wanted) {
		t.Fatalf("rules %v", names)
	}
}

// TestRefusals has one case for each way in which evidence or collateral can be wrong.
func TestRefusals(t *testing.T) {
	t.Parallel()
	noPCK := []string{"root_trusted", "pck_chain", "pck_revocation", "root_crl", "tcb_info_match", "qe_report_signature", "tcb_level"}
	noTCB := []string{"tcb_info_signature", "tcb_info_current", "tcb_info_match", "tcb_level"}
	noQE := []string{"qe_identity_signature", "qe_identity_current", "qe_identity", "tcb_level"}
	cases := map[string]struct {
		world  func(w *world)
		quote  func(w *world, q *Quote) // before signing
		signed func(w *world, q *Quote) // after signing
		coll   func(w *world, c *Collateral)
		failed []string
		tcb    string
	}{
		"honest":                {tcb: UpToDate},
		"TCB info v2":           {world: func(w *world) { w.version, w.levels = 2, []map[string]any{levelV2([16]byte{5, 5, 2}, 13, UpToDate)} }, tcb: UpToDate},
		"lower level":           {world: func(w *world) { w.ext.TCB.Components[0] = 4; w.issue() }, tcb: OutOfDate},
		"lower PCESVN":          {world: func(w *world) { w.ext.TCB.PCESVN = 12; w.issue() }, tcb: OutOfDate},
		"last component counts": {world: func(w *world) { w.levels[0] = level([16]byte{15: 1}, 0, UpToDate) }, tcb: OutOfDate},
		"revoked level":         {world: func(w *world) { w.ext.TCB = PCKTCB{}; w.issue() }, failed: []string{"tcb_level"}, tcb: Revoked},
		"no level":              {world: func(w *world) { w.levels = w.levels[:1]; w.ext.TCB = PCKTCB{}; w.issue() }, failed: []string{"tcb_level"}, tcb: NotSupported},
		"QE out of date":        {quote: func(w *world, q *Quote) { q.QEReport.ISVSVN = 5 }, tcb: OutOfDate},
		"QE revoked":            {quote: func(w *world, q *Quote) { q.QEReport.ISVSVN = 2 }, failed: []string{"tcb_level"}, tcb: Revoked},
		"QE below all levels":   {quote: func(w *world, q *Quote) { q.QEReport.ISVSVN = 1 }, failed: []string{"tcb_level"}, tcb: NotSupported},

		"QE of another author":  {quote: func(w *world, q *Quote) { q.QEReport.MRSigner[0] = 1 }, failed: []string{"qe_identity", "tcb_level"}, tcb: UpToDate},
		"QE of another product": {quote: func(w *world, q *Quote) { q.QEReport.ISVProdID = 2 }, failed: []string{"qe_identity", "tcb_level"}, tcb: UpToDate},
		"QE in debug":           {quote: func(w *world, q *Quote) { q.QEReport.Flags |= FlagDebug }, failed: []string{"qe_identity", "tcb_level"}, tcb: UpToDate},
		"QE with MISCSELECT":    {quote: func(w *world, q *Quote) { q.QEReport.MiscSelect = 1 }, failed: []string{"qe_identity", "tcb_level"}, tcb: UpToDate},
		"QE with masked flag":   {quote: func(w *world, q *Quote) { q.QEReport.Flags &^= FlagMode64 }, tcb: UpToDate},
		"QE report data":        {signed: func(w *world, q *Quote) { q.AuthData = []byte("other") }, failed: []string{"qe_report_data"}, tcb: UpToDate},
		"QE report signature":   {signed: func(w *world, q *Quote) { q.QEReportSignature[5] ^= 1 }, failed: []string{"qe_report_signature"}, tcb: UpToDate},
		"signature zero":        {signed: func(w *world, q *Quote) { q.Signature = [64]byte{} }, failed: []string{"quote_signature"}, tcb: UpToDate},
		"signature":             {signed: func(w *world, q *Quote) { q.Signature[40] ^= 1 }, failed: []string{"quote_signature"}, tcb: UpToDate},
		"report changed":        {signed: func(w *world, q *Quote) { q.Report.MREnclave[3] ^= 1 }, failed: []string{"quote_signature"}, tcb: UpToDate},
		"key not on the curve":  {signed: func(w *world, q *Quote) { q.AttestationKey = [64]byte{1} }, failed: []string{"qe_report_data", "quote_signature"}, tcb: UpToDate},
		"PCK revoked":           {world: func(w *world) { w.revokedPCK = []*big.Int{big.NewInt(7), w.pck.SerialNumber} }, failed: []string{"pck_revocation"}, tcb: UpToDate},
		"CA revoked":            {world: func(w *world) { w.revokedByRoot = []*big.Int{w.ca.SerialNumber} }, failed: []string{"root_crl"}, tcb: UpToDate},
		"TCB signer revoked":    {world: func(w *world) { w.revokedByRoot = []*big.Int{w.signer.SerialNumber} }, failed: []string{"root_crl"}, tcb: UpToDate},
		"PCK expired": {world: func(w *world) {
			w.editPCK = func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }
			w.issue()
		}, failed: []string{"pck_chain"}, tcb: UpToDate},
		"PCK not yet valid": {world: func(w *world) {
			w.editPCK = func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }
			w.issue()
		}, failed: []string{"pck_chain"}, tcb: UpToDate},
		"CA expired": {world: func(w *world) { w.editCA = func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }; w.issue() }, failed: []string{"pck_chain", "pck_revocation"}, tcb: UpToDate},
		"root expired": {world: func(w *world) {
			w.editRoot = func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }
			w.issue()
		}, failed: []string{"root_trusted"}, tcb: UpToDate},
		"signer expired": {world: func(w *world) {
			w.editSigner = func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }
			w.issue()
		}, failed: []string{"tcb_info_signature", "qe_identity_signature"}, tcb: UpToDate},
		"signer is a CA": {world: func(w *world) {
			w.editSigner = func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, c.KeyUsage|x509.KeyUsageCertSign }
			w.issue()
		}, failed: append(noTCB[:3:3], noQE...), tcb: ""},
		"PCK without extension": {world: func(w *world) { w.editPCK = func(c *x509.Certificate) { c.ExtraExtensions = nil }; w.issue() }, failed: []string{"pck_chain", "tcb_info_match", "tcb_level"}, tcb: ""},
		"PCK is a CA":           {world: func(w *world) { w.editPCK = func(c *x509.Certificate) { c.IsCA = true }; w.issue() }, failed: []string{"pck_chain"}, tcb: UpToDate},
		"unknown critical": {world: func(w *world) {
			w.editPCK = func(c *x509.Certificate) {
				c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
			}
			w.issue()
		}, failed: []string{"pck_chain"}, tcb: UpToDate},
		"simulated FMSPC under a real root": {world: func(w *world) { hex.Decode(w.ext.FMSPC[:], []byte(SimulatedFMSPC)); w.issue() }, failed: []string{"root_trusted"}, tcb: UpToDate},
		"chain of another root": {quote: func(w *world, q *Quote) {
			o := newWorld(w.t)
			w.pckKey, q.CertData = o.pckKey, pemOf(o.pck, o.ca, o.root)
		}, failed: []string{"root_trusted", "pck_revocation"}, tcb: UpToDate},
		"root of the same name":    {quote: func(w *world, q *Quote) { q.CertData = pemOf(w.pck, w.ca, newWorld(w.t).root) }, failed: []string{"root_trusted"}, tcb: UpToDate},
		"no root in the chain":     {quote: func(w *world, q *Quote) { q.CertData = pemOf(w.pck, w.ca) }, tcb: UpToDate},
		"final NUL":                {quote: func(w *world, q *Quote) { q.CertData = append(q.CertData, 0) }, tcb: UpToDate},
		"text beside the chain":    {quote: func(w *world, q *Quote) { q.CertData = append([]byte("hello\n"), q.CertData...) }, failed: noPCK},
		"empty chain":              {quote: func(w *world, q *Quote) { q.CertData = nil }, failed: noPCK},
		"stranger in the chain":    {quote: func(w *world, q *Quote) { q.CertData = pemOf(w.pck, w.ca, w.signer, w.root) }, failed: []string{"pck_chain"}, tcb: UpToDate},
		"chain in another order":   {quote: func(w *world, q *Quote) { q.CertData = pemOf(w.ca, w.pck, w.root) }, failed: []string{"root_trusted", "pck_chain", "pck_revocation", "root_crl", "tcb_info_match", "qe_report_signature", "tcb_level"}},
		"type 4 with CRL chain":    {quote: func(w *world, q *Quote) { q.CertType, q.CertData = CertPCKLeaf, pemOf(w.pck) }, tcb: UpToDate},
		"type 4 without a chain":   {quote: func(w *world, q *Quote) { q.CertType, q.CertData = CertPCKLeaf, pemOf(w.pck) }, coll: func(w *world, c *Collateral) { c.PCKCRLChain = nil }, failed: []string{"root_trusted", "pck_chain", "pck_revocation", "root_crl"}, tcb: UpToDate},
		"type 3 without a chain":   {quote: func(w *world, q *Quote) { q.CertType, q.CertData = CertPPIDRSA3072, make([]byte, 404) }, failed: noPCK},
		"type 3, chain root first": {quote: func(w *world, q *Quote) { q.CertType, q.CertData = CertPPIDRSA3072, make([]byte, 404) }, coll: func(w *world, c *Collateral) { c.PCKChain = pemOf(w.root, w.ca, w.pck) }, tcb: UpToDate},
		"issuer chains root first": {coll: func(w *world, c *Collateral) {
			c.TCBInfoChain, c.QEIdentityChain, c.PCKCRLChain = pemOf(w.root, w.signer), pemOf(w.root, w.signer), pemOf(w.root, w.ca)
		}, tcb: UpToDate},
		"type 3 with a chain": {quote: func(w *world, q *Quote) { q.CertType, q.CertData = CertPPIDRSA3072, make([]byte, 404) }, coll: func(w *world, c *Collateral) { c.PCKChain = pemOf(w.pck, w.ca, w.root) }, tcb: UpToDate},
		"type 1 with a chain": {quote: func(w *world, q *Quote) {
			q.CertType, q.CertData = CertPPIDPlain, append(w.ext.PPID[:], make([]byte, 20)...)
		}, coll: func(w *world, c *Collateral) { c.PCKChain = pemOf(w.pck, w.ca, w.root) }, tcb: UpToDate},
		"type 1 of another PPID":  {quote: func(w *world, q *Quote) { q.CertType, q.CertData = CertPPIDPlain, make([]byte, 36) }, coll: func(w *world, c *Collateral) { c.PCKChain = pemOf(w.pck, w.ca, w.root) }, failed: []string{"pck_chain"}, tcb: UpToDate},
		"type 2 of another PCEID": {quote: func(w *world, q *Quote) { q.CertType, q.CertData = CertPPIDRSA2048, append(make([]byte, 275), 1) }, coll: func(w *world, c *Collateral) { c.PCKChain = pemOf(w.pck, w.ca, w.root) }, failed: []string{"pck_chain"}, tcb: UpToDate},
		"type 7":                  {quote: func(w *world, q *Quote) { q.CertType = CertPlatformManifest }, failed: noPCK},

		"CRLs in hexadecimal": {coll: func(w *world, c *Collateral) {
			c.PCKCRL, c.RootCRL = []byte(hex.EncodeToString(c.PCKCRL)), bytes.ToUpper([]byte(hex.EncodeToString(c.RootCRL)+"\n"))
		}, tcb: UpToDate},
		"CRLs in PEM": {coll: func(w *world, c *Collateral) {
			c.PCKCRL = pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: c.PCKCRL})
			c.RootCRL = pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: c.RootCRL})
		}, tcb: UpToDate},
		"PCK CRL of the root":      {coll: func(w *world, c *Collateral) { c.PCKCRL = c.RootCRL }, failed: []string{"pck_revocation"}, tcb: UpToDate},
		"PCK CRL with wrong key":   {coll: func(w *world, c *Collateral) { c.PCKCRL = newWorld(w.t).collateral().PCKCRL }, failed: []string{"pck_revocation"}, tcb: UpToDate},
		"root CRL with wrong key":  {coll: func(w *world, c *Collateral) { c.RootCRL = newWorld(w.t).collateral().RootCRL }, failed: []string{"root_crl"}, tcb: UpToDate},
		"PCK CRL chain of another": {coll: func(w *world, c *Collateral) { c.PCKCRLChain = newWorld(w.t).collateral().PCKCRLChain }, failed: []string{"pck_revocation"}, tcb: UpToDate},
		"no PCK CRL":               {coll: func(w *world, c *Collateral) { c.PCKCRL = nil }, failed: []string{"pck_revocation"}, tcb: UpToDate},
		"no root CRL":              {coll: func(w *world, c *Collateral) { c.RootCRL = nil }, failed: []string{"root_crl"}, tcb: UpToDate},
		"bytes after a CRL":        {coll: func(w *world, c *Collateral) { c.RootCRL = append(c.RootCRL, 0) }, failed: []string{"root_crl"}, tcb: UpToDate},
		"no TCB info":              {coll: func(w *world, c *Collateral) { c.TCBInfo = nil }, failed: noTCB},
		"no TCB info chain":        {coll: func(w *world, c *Collateral) { c.TCBInfoChain = nil }, failed: noTCB},
		"TCB info re-encoded": {coll: func(w *world, c *Collateral) {
			c.TCBInfo = bytes.Replace(c.TCBInfo, []byte(`"pceId":`), []byte(`"pceId": `), 1)
		}, failed: noTCB},
		"TCB info signed by PCK": {coll: func(w *world, c *Collateral) {
			w.signerKey = w.pckKey
			c.TCBInfo, c.TCBInfoChain = w.signJSON("tcbInfo", w.tcbInfo()), pemOf(w.pck, w.ca, w.root)
		}, failed: noTCB},
		"TCB info of another root": {coll: func(w *world, c *Collateral) {
			o := newWorld(w.t).collateral()
			c.TCBInfo, c.TCBInfoChain = o.TCBInfo, o.TCBInfoChain
		}, failed: noTCB},
		"TCB info with a member more": {coll: func(w *world, c *Collateral) { c.TCBInfo = append([]byte(`{"x":1,`), c.TCBInfo[1:]...) }, failed: noTCB},
		"TCB info twice":              {coll: func(w *world, c *Collateral) { c.TCBInfo = append([]byte(`{"tcbInfo":{},`), c.TCBInfo[1:]...) }, failed: noTCB},
		"TCB info of another FMSPC": {coll: func(w *world, c *Collateral) {
			m := w.tcbInfo()
			m["fmspc"] = "00906ED50002"
			c.TCBInfo = w.signJSON("tcbInfo", m)
		}, failed: []string{"tcb_info_match", "tcb_level"}},
		"TCB info of another PCEID": {coll: func(w *world, c *Collateral) {
			m := w.tcbInfo()
			m["pceId"] = "0001"
			c.TCBInfo = w.signJSON("tcbInfo", m)
		}, failed: []string{"tcb_info_match", "tcb_level"}},
		"TCB info for TDX": {coll: func(w *world, c *Collateral) { m := w.tcbInfo(); m["id"] = "TDX"; c.TCBInfo = w.signJSON("tcbInfo", m) }, failed: noTCB},
		"TCB info with FMSPC in capitals": {coll: func(w *world, c *Collateral) {
			m := w.tcbInfo()
			m["fmspc"] = "00906ED50001"
			c.TCBInfo = w.signJSON("tcbInfo", m)
		}, tcb: UpToDate},
		"TCB info expired": {coll: func(w *world, c *Collateral) {
			m := w.tcbInfo()
			m["nextUpdate"] = now.Add(-time.Second)
			c.TCBInfo = w.signJSON("tcbInfo", m)
		}, failed: []string{"tcb_info_current"}, tcb: UpToDate},
		"TCB info from the future": {coll: func(w *world, c *Collateral) {
			m := w.tcbInfo()
			m["issueDate"] = now.Add(time.Second)
			c.TCBInfo = w.signJSON("tcbInfo", m)
		}, failed: []string{"tcb_info_current"}, tcb: UpToDate},
		"identity of the QvE": {coll: func(w *world, c *Collateral) {
			m := w.qeIdentity()
			m["id"] = "QVE"
			c.QEIdentity = w.signJSON("enclaveIdentity", m)
		}, failed: []string{"qe_identity", "tcb_level"}, tcb: UpToDate},
		"QE identity expired": {coll: func(w *world, c *Collateral) {
			m := w.qeIdentity()
			m["nextUpdate"] = now.Add(-time.Second)
			c.QEIdentity = w.signJSON("enclaveIdentity", m)
		}, failed: []string{"qe_identity_current"}, tcb: UpToDate},
		"QE identity as TCB info": {coll: func(w *world, c *Collateral) { c.QEIdentity = c.TCBInfo }, failed: noQE, tcb: UpToDate},
		"no QE identity":          {coll: func(w *world, c *Collateral) { c.QEIdentity = nil }, failed: noQE, tcb: UpToDate},
		"no collateral":           {coll: func(w *world, c *Collateral) { *c = Collateral{} }, failed: slices.Concat([]string{"pck_revocation", "root_crl"}, noTCB[:3], noQE)},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if tc.world != nil {
				tc.world(w)
			}
			q := w.quote()
			if tc.quote != nil {
				tc.quote(w, q)
			}
			raw := w.seal(q)
			if tc.signed != nil {
				tc.signed(w, q)
				raw = w.marshal(q)
			}
			c := w.collateral()
			if tc.coll != nil {
				tc.coll(w, c)
			}
			failed, tcb := w.verify(raw, c)
			if !slices.Equal(failed, tc.failed) || tcb != tc.tcb {
				r, _ := Verify(raw, Options{Root: w.root, Collateral: c, At: now})
				t.Errorf("failed %v, TCB %q; wanted %v, %q\n%+v", failed, tcb, tc.failed, tc.tcb, (&attest.Verdict{Rules: r.Rules}).Failed())
			}
		})
	}
}

func TestNoRootTrustsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r, err := Verify(w.seal(w.quote()), Options{Collateral: w.collateral(), At: now, Simulated: true})
	if err != nil {
		t.Fatal(err)
	}
	if failed := failedNames(r.Rules); !slices.Contains(failed, "root_trusted") || !slices.Contains(failed, "tcb_info_signature") || !slices.Contains(failed, "root_crl") {
		t.Fatalf("failed only %v", failed)
	}
	r, err = Verify(w.seal(w.quote()), Options{Root: IntelRoot(), Collateral: w.collateral(), At: now})
	if err != nil || r.OK() || !slices.Contains(failedNames(r.Rules), "root_trusted") {
		t.Fatalf("the Intel root accepted a stranger: %v", err)
	}
}

func TestConverge(t *testing.T) {
	t.Parallel()
	for _, tc := range [][3]string{
		{UpToDate, UpToDate, UpToDate},
		{SWHardeningNeeded, UpToDate, SWHardeningNeeded},
		{UpToDate, "", UpToDate},
		{UpToDate, OutOfDate, OutOfDate},
		{SWHardeningNeeded, OutOfDate, OutOfDate},
		{ConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded},
		{ConfigurationAndSWHardeningNeeded, OutOfDate, OutOfDateConfigurationNeeded},
		{OutOfDate, OutOfDate, OutOfDate},
		{OutOfDateConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded},
		{UpToDate, Revoked, Revoked},
		{Revoked, UpToDate, Revoked},
		{NotSupported, OutOfDate, NotSupported},
		{UpToDate, NotSupported, NotSupported},
		{"", OutOfDate, ""},
		{UpToDate, ConfigurationNeeded, ConfigurationNeeded},
	} {
		if got := Converge(tc[0], tc[1]); got != tc[2] {
			t.Errorf("Converge(%q, %q) = %q, wanted %q", tc[0], tc[1], got, tc[2])
		}
	}
}
