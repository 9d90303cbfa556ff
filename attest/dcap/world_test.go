package dcap

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"testing"
	"time"
)

// now is the time at which the test world is valid.
var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// world is a maker of platforms with one platform, for tests: it issues real
// chains, collateral and quotes, and can be told to misbehave before build.
type world struct {
	t testing.TB

	rootKey, caKey, signerKey, pckKey, attestationKey *ecdsa.PrivateKey
	root, ca, signer, pck                             *x509.Certificate

	ext                                   PCKExtension
	levels                                []map[string]any
	qeLevels                              []map[string]any
	evaluation                            int
	revokedPCK, revokedByRoot             []*big.Int
	editPCK, editCA, editSigner, editRoot func(*x509.Certificate)
	version                               int // of the TCB info
	tdx                                   bool
	modules                               []map[string]any // with tdx
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newWorld(t testing.TB) *world {
	w := &world{
		t: t, rootKey: newKey(t), caKey: newKey(t), signerKey: newKey(t), pckKey: newKey(t), attestationKey: newKey(t),
		evaluation: 20, version: 3,
		ext: PCKExtension{PPID: [16]byte{0xaa, 1}, FMSPC: [6]byte{0x00, 0x90, 0x6e, 0xd5, 0, 1}, TCB: PCKTCB{PCESVN: 13, Components: [16]byte{5, 5, 2}}},
	}
	w.levels = []map[string]any{level([16]byte{5, 5, 2}, 13, UpToDate), level([16]byte{4, 4}, 10, OutOfDate, "INTEL-SA-00001"), level([16]byte{}, 0, Revoked)}
	w.qeLevels = []map[string]any{qeLevel(8, UpToDate), qeLevel(4, OutOfDate), qeLevel(2, Revoked)}
	return w.issue()
}

func level(components [16]byte, pcesvn int, status string, advisories ...string) map[string]any {
	var list []map[string]any
	for _, c := range components {
		list = append(list, map[string]any{"svn": c})
	}
	return map[string]any{
		"tcb":     map[string]any{"sgxtcbcomponents": list, "pcesvn": pcesvn},
		"tcbDate": "2026-05-01T00:00:00Z", "tcbStatus": status, "advisoryIDs": advisories,
	}
}

func levelV2(components [16]byte, pcesvn int, status string) map[string]any {
	tcb := map[string]any{"pcesvn": pcesvn}
	for i, c := range components {
		tcb[fmt.Sprintf("sgxtcbcomp%02dsvn", i+1)] = c
	}
	return map[string]any{"tcb": tcb, "tcbDate": "2026-05-01T00:00:00Z", "tcbStatus": status}
}

func qeLevel(svn int, status string) map[string]any {
	return map[string]any{"tcb": map[string]any{"isvsvn": svn}, "tcbDate": "2026-05-01T00:00:00Z", "tcbStatus": status}
}

// issue makes every certificate anew.
func (w *world) issue() *world {
	w.root = w.certificate("Test SGX Root CA", 1, nil, nil, w.rootKey, w.rootKey, true, nil, w.editRoot)
	w.ca = w.certificate("Test SGX PCK Platform CA", 2, w.root, w.rootKey, w.caKey, nil, true, nil, w.editCA)
	w.signer = w.certificate("Test SGX TCB Signing", 3, w.root, w.rootKey, w.signerKey, nil, false, nil, w.editSigner)
	return w.issuePCK()
}

// issuePCK makes the PCK certificate anew.
func (w *world) issuePCK() *world {
	der, err := w.ext.Marshal()
	if err != nil {
		w.t.Fatal(err)
	}
	w.pck = w.certificate("Test SGX PCK Certificate", 4, w.ca, w.caKey, w.pckKey, nil, false, []pkix.Extension{{Id: OIDSGXExtension, Value: der}}, w.editPCK)
	return w
}

func (w *world) certificate(cn string, serial int64, parent *x509.Certificate, parentKey, key, self *ecdsa.PrivateKey, ca bool, extra []pkix.Extension, edit func(*x509.Certificate)) *x509.Certificate {
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: cn},
		NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(5, 0, 0),
		BasicConstraintsValid: true, IsCA: ca, KeyUsage: x509.KeyUsageDigitalSignature, ExtraExtensions: extra,
	}
	if ca {
		tmpl.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	}
	if edit != nil {
		edit(tmpl)
	}
	if self != nil {
		parent, parentKey = tmpl, self
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, parentKey)
	if err != nil {
		w.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		w.t.Fatal(err)
	}
	return cert
}

func pemOf(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

func rawSign(t testing.TB, key *ecdsa.PrivateKey, message []byte) (sig [64]byte) {
	digest := sha256.Sum256(message)
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return sig
}

func (w *world) signJSON(member string, body any) []byte {
	raw, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.signRaw(member, raw)
}

func (w *world) signRaw(member string, raw []byte) []byte {
	sig := rawSign(w.t, w.signerKey, raw)
	return fmt.Appendf(nil, `{"%s":%s,"signature":"%x"}`, member, raw, sig)
}

func (w *world) tcbInfo() map[string]any {
	m := map[string]any{
		"id": "SGX", "version": w.version, "issueDate": now.AddDate(0, 0, -1), "nextUpdate": now.AddDate(0, 0, 29),
		"fmspc": hex.EncodeToString(w.ext.FMSPC[:]), "pceId": hex.EncodeToString(w.ext.PCEID[:]), "tcbType": 0,
		"tcbEvaluationDataNumber": w.evaluation, "tcbLevels": w.levels,
	}
	if w.version == 2 {
		delete(m, "id")
	}
	if w.tdx {
		m["id"], m["tdxModule"], m["tdxModuleIdentities"] = "TDX", tdModule(""), w.modules
	}
	return m
}

func (w *world) qeIdentity() map[string]any {
	id := "QE"
	if w.tdx {
		id = "TD_QE"
	}
	return map[string]any{
		"id": id, "version": 2, "issueDate": now.AddDate(0, 0, -1), "nextUpdate": now.AddDate(0, 0, 29),
		"tcbEvaluationDataNumber": w.evaluation + 1, "miscselect": "00000000", "miscselectMask": "FFFFFFFF",
		"attributes": "11000000000000000000000000000000", "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
		"mrsigner": hex.EncodeToString(make([]byte, 31)) + "07", "isvprodid": 1, "tcbLevels": w.qeLevels,
	}
}

func (w *world) crl(issuer *x509.Certificate, key *ecdsa.PrivateKey, serials []*big.Int) []byte {
	tmpl := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.AddDate(0, 0, -1), NextUpdate: now.AddDate(0, 0, 29)}
	for _, s := range serials {
		tmpl.RevokedCertificateEntries = append(tmpl.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: now})
	}
	der, err := x509.CreateRevocationList(rand.Reader, tmpl, issuer, key)
	if err != nil {
		w.t.Fatal(err)
	}
	return der
}

func (w *world) collateral() *Collateral {
	return &Collateral{
		TCBInfo: w.signJSON("tcbInfo", w.tcbInfo()), TCBInfoChain: pemOf(w.signer, w.root),
		QEIdentity: w.signJSON("enclaveIdentity", w.qeIdentity()), QEIdentityChain: pemOf(w.signer, w.root),
		PCKCRL: w.crl(w.ca, w.caKey, w.revokedPCK), PCKCRLChain: pemOf(w.ca, w.root), RootCRL: w.crl(w.root, w.rootKey, w.revokedByRoot),
	}
}

// quote makes an unsigned quote; seal signs it.
func (w *world) quote() *Quote {
	q := &Quote{
		Header:   Header{Version: Version3, KeyType: KeyTypeECDSAP256, QEVendorID: IntelQEVendorID()},
		Report:   ReportBody{Flags: FlagInit | FlagMode64, XFRM: 3, MREnclave: [32]byte{1, 2, 3}, MRSigner: [32]byte{4, 5}, ISVProdID: 9, ISVSVN: 2, ReportData: [64]byte{42}},
		QEReport: ReportBody{Flags: FlagInit | FlagMode64 | FlagProvisionKey, XFRM: 7, MRSigner: [32]byte{31: 7}, ISVProdID: 1, ISVSVN: 8},
		AuthData: []byte("authentication data"), CertType: CertPCKChain, CertData: pemOf(w.pck, w.ca, w.root),
	}
	return q
}

func (w *world) seal(q *Quote) []byte {
	pub, err := w.attestationKey.PublicKey.Bytes()
	if err != nil {
		w.t.Fatal(err)
	}
	copy(q.AttestationKey[:], pub[1:])
	q.QEReport.ReportData = q.QEReportData()
	report, signed := q.QEReport.Bytes(), q.SignedBytes()
	q.QEReportSignature = rawSign(w.t, w.pckKey, report[:])
	q.Signature = rawSign(w.t, w.attestationKey, signed[:])
	return w.marshal(q)
}

func (w *world) marshal(q *Quote) []byte {
	raw, err := q.Marshal()
	if err != nil {
		w.t.Fatal(err)
	}
	return raw
}

func (w *world) verify(raw []byte, c *Collateral) (failed []string, tcb string) {
	w.t.Helper()
	r, err := Verify(raw, Options{Root: w.root, Collateral: c, At: now})
	if err != nil {
		w.t.Fatal(err)
	}
	return slices.Compact(failedNames(r.Rules)), r.Claims.TCB.Overall
}
