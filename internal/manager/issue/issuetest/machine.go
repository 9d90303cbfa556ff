// Package issuetest makes evidence of simulated machines for tests of the
// manager: genuine quotes with PCK chains under a simulated authority, for any
// measurement and any binding, honest or not.
//
// It is the adversary's workshop: unlike enclave/simtee it checks nothing, so a
// test can ask for what no TEE would sign. Nothing outside tests imports it.
package issuetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"io"
	"testing"
	"time"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/enclave/simtee/authority"
	"hitoku.dev/internal/csr"
)

// Machine is one simulated platform.
type Machine struct {
	PPID  [16]byte
	PCK   *ecdsa.PrivateKey
	Chain []byte // PEM, set by Certify or from the manager's reply
	quote *ecdsa.PrivateKey
}

// Identity is what runs in the TEE.
type Identity struct {
	Measurement [32]byte
	Signer      [32]byte
	ProdID, SVN uint16
	Debug       bool
}

// Node is the identity of a simulated platform itself.
func Node() Identity {
	return Identity{Measurement: authority.NodeMeasurement, Signer: authority.NodeSigner, SVN: 1}
}

// NewMachine makes a platform whose id ends in n.
func NewMachine(t testing.TB, n byte) *Machine {
	t.Helper()
	return NewMachineFrom(t, n, rand.Reader)
}

// NewMachineFrom is NewMachine with keys from random alone.
func NewMachineFrom(t testing.TB, n byte, random io.Reader) *Machine {
	t.Helper()
	m := &Machine{PPID: [16]byte{0xee, 15: n}}
	for _, k := range []**ecdsa.PrivateKey{&m.PCK, &m.quote} {
		key, err := authority.GenerateKey(random)
		if err != nil {
			t.Fatal(err)
		}
		*k = key
	}
	return m
}

// Certify lets an authority certify the machine's PCK key.
func (m *Machine) Certify(t testing.TB, a *authority.Authority, now time.Time) {
	t.Helper()
	chain, err := a.IssuePCK(&m.PCK.PublicKey, m.PPID, now)
	if err != nil {
		t.Fatal(err)
	}
	m.Chain = chain
}

// ID is the platform id in hexadecimal.
func (m *Machine) ID() string { return hex.EncodeToString(m.PPID[:]) }

// Key is the SHA-256 of the machine's PCK key in hexadecimal.
func (m *Machine) Key(t testing.TB) string {
	t.Helper()
	hash := SubjectHash(t, m.PCK)
	return hex.EncodeToString(hash[:])
}

// Quote signs report data as enclave id would have them signed.
func (m *Machine) Quote(t testing.TB, id Identity, data [64]byte) []byte {
	t.Helper()
	q := &dcap.Quote{
		Header: dcap.Header{
			Version: dcap.Version3, KeyType: dcap.KeyTypeECDSAP256, QESVN: authority.QESVN, PCESVN: authority.PCESVN,
			QEVendorID: dcap.IntelQEVendorID(),
		},
		Report: dcap.ReportBody{
			CPUSVN: authority.CPUSVN(), Flags: dcap.FlagInit | dcap.FlagMode64, XFRM: 3, MREnclave: id.Measurement, MRSigner: id.Signer,
			ISVProdID: id.ProdID, ISVSVN: id.SVN, ReportData: data,
		},
		QEReport: authority.QEReport(), AuthData: []byte("auth"), CertType: dcap.CertPCKChain, CertData: m.Chain,
	}
	if id.Debug {
		q.Report.Flags |= dcap.FlagDebug
	}
	point, err := m.quote.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	copy(q.AttestationKey[:], point[1:])
	q.QEReport.ReportData = q.QEReportData()
	report := q.QEReport.Bytes()
	q.QEReportSignature = raw(t, m.PCK, report[:])
	signed := q.SignedBytes()
	q.Signature = raw(t, m.quote, signed[:])
	out, err := q.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func raw(t testing.TB, key *ecdsa.PrivateKey, data []byte) [64]byte {
	t.Helper()
	digest := sha256.Sum256(data)
	sig, err := authority.SignRaw(key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// Evidence makes a quote over a binding.
func (m *Machine) Evidence(t testing.TB, id Identity, b *attest.Binding) (quote, binding []byte) {
	t.Helper()
	binding, err := b.MarshalDER()
	if err != nil {
		t.Fatal(err)
	}
	return m.Quote(t, id, b.ReportData()), binding
}

// Request makes a certificate request in PEM. A nil binding is left out.
func Request(t testing.TB, key crypto.Signer, commonName string, names []string, quote, binding []byte) string {
	t.Helper()
	attributes := []csr.Attribute{{OID: attest.OIDQuote, Value: quote}}
	if binding != nil {
		attributes = append(attributes, csr.Attribute{OID: attest.OIDBinding, Value: binding})
	}
	der, err := csr.Create(rand.Reader, csr.Template{CommonName: commonName, DNSNames: names, Attributes: attributes}, key)
	if err != nil {
		t.Fatal(err)
	}
	return PEM(der)
}

// PEM writes a request's bytes as text.
func PEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// SubjectHash is the SHA-256 of a key's SubjectPublicKeyInfo.
func SubjectHash(t testing.TB, key crypto.Signer) [32]byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return attest.SPKIHash(der)
}
