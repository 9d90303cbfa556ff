package nvgpu

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"slices"
	"testing"
	"time"

	"hitoku.dev/attest"
)

var (
	now     = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	forever = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
)

// maker is an NVIDIA of its own: roots, and an authority for each kind of chip.
type maker struct {
	t       testing.TB
	root    *x509.Certificate
	rootKey *ecdsa.PrivateKey

	rimRoot   *x509.Certificate
	rimChain  []*x509.Certificate // the signer first, without the root
	rimSigner *ecdsa.PrivateKey
}

func newKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, tmpl, issuer *x509.Certificate, key, issuerKey *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	if tmpl.SerialNumber == nil {
		tmpl.SerialNumber = big.NewInt(7)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, issuer, &key.PublicKey, issuerKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func authority(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: now.AddDate(-3, 0, 0), NotAfter: forever,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, MaxPathLen: -1,
	}
}

func newMaker(t testing.TB) *maker {
	t.Helper()
	m := &maker{t: t, rootKey: newKey(t, elliptic.P384())}
	m.root = sign(t, authority("NVIDIA Device Identity CA"), authority("NVIDIA Device Identity CA"), m.rootKey, m.rootKey)
	key, caKey := newKey(t, elliptic.P384()), newKey(t, elliptic.P384())
	m.rimRoot = sign(t, authority("NVIDIA CoRIM signing Root CA"), authority("NVIDIA CoRIM signing Root CA"), key, key)
	ca := sign(t, authority("NVIDIA Reference Value GH100 CA"), m.rimRoot, caKey, key)
	m.rimSigner = newKey(t, elliptic.P384())
	signer := sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "RIM signer"}, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
	}, ca, m.rimSigner, caKey)
	m.rimChain = []*x509.Certificate{signer, ca}
	return m
}

// unit is a device that the maker built.
type unit struct {
	m     *maker
	chain []*x509.Certificate // the leaf first, the root last
	key   *ecdsa.PrivateKey
	arch  string

	nonce        [32]byte
	measurements [][]byte
	opaque       []field
}

type field struct {
	kind uint16
	data []byte
}

// spoil changes certificates before they are signed: 0 is the leaf, 3 the highest below the root.
type spoil func(place int, c *x509.Certificate)

func (m *maker) gpu(serial byte) *unit {
	u := m.unit("GH100", "HOPPER", serial, compositeID, nil)
	u.opaque = []field{
		{fieldVBIOSVersion, []byte{0x00, 0xa5, 0x00, 0x96, 0x01, 0, 0, 0}}, {fieldBoardID, []byte{0x37, 4, 0, 0}},
		{fieldChipSKU, []byte("885\x00\x00")}, {fieldProject, []byte("G520\x00")}, {fieldProjectSKU, []byte("0200\x00")},
		{fieldDriverVersion, []byte("590.12\x00")}, {fieldNVDEC0, []byte{statusDisabled}}, {fieldFWID, fwidValue()},
		{fieldProtectedPCIe, []byte{statusEnabled}}, {fieldOpaqueVersion, []byte{1, 0}}, {fieldFeatureFlag, []byte{2, 0}}, {77, []byte{1}},
	}
	return u
}

func (m *maker) nvswitch(serial byte) *unit {
	u := m.unit("LS_10", "LS10", serial, compositeID, nil)
	u.opaque = []field{{fieldVBIOSVersion, []byte("96.10.55.00.01")}, {fieldPDI, []byte{1, 2, 3, 4, 5, 6, 7, serial}}, {fieldSwitchLocked, []byte{1, 0}}}
	return u
}

// unit makes a device with 40 measurements, the values of which are its index repeated.
func (m *maker) unit(chip, arch string, serial byte, fwid func(t testing.TB) []byte, edit spoil) *unit {
	m.t.Helper()
	u := &unit{m: m, arch: arch, nonce: [32]byte{1, 2, 3}}
	issuer, issuerKey := m.root, m.rootKey
	u.chain = []*x509.Certificate{m.root}
	names := []string{chip + " A01 GSP FMC LF", chip + " A01 GSP BROM", "NVIDIA " + chip + " Provisioner ICA 1", "NVIDIA " + chip + " Identity"}
	for place, name := range slices.Backward(names) {
		tmpl := authority(name)
		switch place {
		case 1:
			tmpl.SerialNumber = new(big.Int).SetBytes([]byte{0x41, 0x29, serial})
		case 0:
			tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = false, false, x509.KeyUsageDigitalSignature
			if fwid != nil {
				tmpl.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 23, 133, 5, 4, 1}, Value: fwid(m.t)}}
			}
		}
		if edit != nil {
			edit(place, tmpl)
		}
		key := newKey(m.t, elliptic.P384())
		cert := sign(m.t, tmpl, issuer, key, issuerKey)
		u.chain = append([]*x509.Certificate{cert}, u.chain...)
		u.key, issuer, issuerKey = key, cert, key
	}
	for i := range 40 {
		value := make([]byte, 48)
		for j := range value {
			value[j] = byte(i)
		}
		u.measurements = append(u.measurements, value)
	}
	return u
}

func fwidValue() []byte {
	out := make([]byte, fwidSize)
	copy(out, "firmware")
	return out
}

type fwidASN1 struct {
	Algorithm asn1.ObjectIdentifier
	Digest    []byte
}

func sha384FWID() fwidASN1 {
	return fwidASN1{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}, fwidValue()}
}

func mustMarshal(t testing.TB, v any) []byte {
	t.Helper()
	der, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// compositeID is Hopper's form of the firmware id.
func compositeID(t testing.TB) []byte {
	return mustMarshal(t, struct {
		Version int
		Key     struct{ A []byte }
		ID      fwidASN1
	}{Version: 1, ID: sha384FWID()})
}

// tcbInfo is Blackwell's form.
func tcbInfo(t testing.TB) []byte {
	return mustMarshal(t, struct {
		Vendor string     `asn1:"tag:0"`
		SVN    int        `asn1:"tag:3"`
		FWIDs  []fwidASN1 `asn1:"tag:6"`
		Flags  []byte     `asn1:"tag:7"`
	}{"NVIDIA", 1, []fwidASN1{sha384FWID(), {sha384FWID().Algorithm, make([]byte, 48)}}, []byte{1}})
}

// unsigned is the request and the response without a signature.
func (u *unit) unsigned() []byte {
	out := append([]byte(requestHead), u.nonce[:]...)
	out = append(out, 0, 0x11, 0x60, 0, 0, byte(len(u.measurements)))
	var record []byte
	for i, v := range u.measurements {
		record = append(record, byte(i+1), 1)
		record = binary.LittleEndian.AppendUint16(record, uint16(len(v)+3))
		record = append(record, 1)
		record = binary.LittleEndian.AppendUint16(record, uint16(len(v)))
		record = append(record, v...)
	}
	out = append(out, byte(len(record)), byte(len(record)>>8), byte(len(record)>>16))
	out = append(append(out, record...), make([]byte, 32)...)
	var opaque []byte
	for _, f := range u.opaque {
		opaque = binary.LittleEndian.AppendUint16(opaque, f.kind)
		opaque = binary.LittleEndian.AppendUint16(opaque, uint16(len(f.data)))
		opaque = append(opaque, f.data...)
	}
	out = binary.LittleEndian.AppendUint16(out, uint16(len(opaque)))
	return append(out, opaque...)
}

// report is the whole signed report.
func (u *unit) report() []byte { return append(u.unsigned(), rawSign(u.m.t, u.key, u.unsigned())...) }

func rawSign(t testing.TB, key *ecdsa.PrivateKey, message []byte) []byte {
	t.Helper()
	digest := sha512.Sum384(message)
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	out := make([]byte, 96)
	r.FillBytes(out[:48])
	s.FillBytes(out[48:])
	return out
}

func pemOf(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// member is the device's object in the SDK's JSON.
func (u *unit) member() map[string]any {
	return map[string]any{
		"arch": u.arch, "nonce": hex.EncodeToString(u.nonce[:]),
		"evidence": base64.StdEncoding.EncodeToString(u.report()), "certificate": base64.StdEncoding.EncodeToString(pemOf(u.chain...)),
	}
}

func list(units ...*unit) []byte {
	var members []map[string]any
	for _, u := range units {
		members = append(members, u.member())
	}
	return encode(members)
}

func encode(v any) []byte {
	out, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return out
}

func (m *maker) options(rims ...[]byte) Options {
	return Options{At: now, Roots: []*x509.Certificate{m.root}, RIMRoots: []*x509.Certificate{m.rimRoot}, RIMs: rims}
}

func failed(r *attest.Result) []string {
	var names []string
	for _, rule := range r.Rules {
		if !rule.OK {
			names = append(names, rule.Name)
		}
	}
	return names
}
