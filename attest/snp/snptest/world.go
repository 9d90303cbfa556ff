package snptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"sync"
	"testing"
	"time"

	"hitoku.dev/attest/snp"
)

// World is a made-up AMD.
type World struct {
	tb  testing.TB
	now time.Time

	mu    sync.Mutex
	lines map[snp.Product]*Line
}

// New makes a world whose certificates are valid around now. Keys are made when
// they are first asked for; a failure to make one ends the test.
func New(tb testing.TB, now time.Time) *World {
	return &World{tb: tb, now: now, lines: make(map[snp.Product]*Line)}
}

// Line is the part of the world with one product line.
type Line struct {
	Product        snp.Product
	ARK, ASK, ASVK Authority

	tb     testing.TB
	now    time.Time
	mu     sync.Mutex
	leaves map[leafID]*Leaf
}

// Authority is a root or intermediate key with its certificate.
type Authority struct {
	Cert *x509.Certificate
	Key  *rsa.PrivateKey
}

// Leaf is a VCEK or VLEK with its certificate.
type Leaf struct {
	Cert *x509.Certificate
	Key  *ecdsa.PrivateKey
}

// leafID names a VCEK by chip and TCB, a VLEK by provider and TCB.
type leafID struct {
	key  snp.SigningKey
	chip [64]byte
	csp  string
	tcb  snp.TCBVersion
}

// Line returns the product line, making its root and intermediate keys at first use.
func (w *World) Line(p snp.Product) *Line {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l := w.lines[p]; l != nil {
		return l
	}
	l := &Line{Product: p, tb: w.tb, now: w.now, leaves: make(map[leafID]*Leaf)}
	l.ARK = l.Authority("ARK-"+string(p), 0x10000, nil)
	l.ASK = l.Authority("SEV-"+string(p), 0x10001, nil)
	l.ASVK = l.Authority("SEV-VLEK-"+string(p), 0x10101, nil)
	w.lines[p] = l
	return l
}

// Roots returns the root certificate of every product line.
func (w *World) Roots() []*x509.Certificate {
	var out []*x509.Certificate
	for _, p := range snp.Products() {
		out = append(out, w.Line(p).ARK.Cert)
	}
	return out
}

// Authority makes a new authority certificate under the line's ARK, or the ARK
// itself while there is none. edit, which may be nil, changes it before it is signed.
func (l *Line) Authority(commonName string, serial int64, edit func(*x509.Certificate)) Authority {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	l.check(err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: subject(commonName),
		NotBefore: l.now.AddDate(-1, 0, 0), NotAfter: l.now.AddDate(5, 0, 0),
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
		SignatureAlgorithm: x509.SHA384WithRSAPSS,
	}
	parent, signer := l.ARK.Cert, l.ARK.Key
	if parent == nil {
		tmpl.KeyUsage |= x509.KeyUsageCRLSign
		tmpl.MaxPathLen, tmpl.MaxPathLenZero = -1, false
		parent, signer = tmpl, key
	}
	if edit != nil {
		edit(tmpl)
	}
	return Authority{l.issue(tmpl, parent, &key.PublicKey, signer), key}
}

// VCEK returns the key of a chip at a TCB and its certificate, the same at each
// call. Of a Turin chip the first 8 bytes of chipID are its hardware id.
func (l *Line) VCEK(chipID [64]byte, tcb snp.TCBVersion) *Leaf {
	return l.leaf(leafID{key: snp.VCEK, chip: chipID, tcb: tcb})
}

// VLEK returns the key that a cloud provider has for a TCB and its certificate,
// the same at each call.
func (l *Line) VLEK(csp string, tcb snp.TCBVersion) *Leaf {
	return l.leaf(leafID{key: snp.VLEK, csp: csp, tcb: tcb})
}

func (l *Line) leaf(id leafID) *Leaf {
	l.mu.Lock()
	defer l.mu.Unlock()
	if leaf := l.leaves[id]; leaf != nil {
		return leaf
	}
	var leaf *Leaf
	if id.key == snp.VLEK {
		leaf = l.NewVLEK(id.csp, id.tcb, nil)
	} else {
		leaf = l.NewVCEK(id.chip, id.tcb, nil)
	}
	l.leaves[id] = leaf
	return leaf
}

// NewVCEK makes another key and certificate for a chip; edit, which may be nil,
// changes the certificate before it is signed.
func (l *Line) NewVCEK(chipID [64]byte, tcb snp.TCBVersion, edit func(*x509.Certificate)) *Leaf {
	name := string(l.Product)
	if l.Product == snp.Milan {
		name += "-B0"
	}
	exts := l.Extensions(name, tcb)
	exts = append(exts, pkix.Extension{Id: amdOID(4), Value: chipID[:l.Product.HWIDSize()]})
	return l.newLeaf("SEV-VCEK", l.ASK, exts, l.now.AddDate(5, 0, 0), edit)
}

// NewVLEK is NewVCEK for a cloud provider. VLEKs live for a year.
func (l *Line) NewVLEK(csp string, tcb snp.TCBVersion, edit func(*x509.Certificate)) *Leaf {
	exts := append(l.Extensions(string(l.Product), tcb), pkix.Extension{Id: amdOID(5), Value: ia5(csp)})
	return l.newLeaf("SEV-VLEK", l.ASVK, exts, l.now.AddDate(1, 0, 0), edit)
}

// NewVCEKUnder is NewVCEK with another issuer than the line's ASK.
func (l *Line) NewVCEKUnder(issuer Authority, chipID [64]byte, tcb snp.TCBVersion) *Leaf {
	other := &Line{Product: l.Product, ASK: issuer, tb: l.tb, now: l.now}
	return other.NewVCEK(chipID, tcb, nil)
}

func (l *Line) newLeaf(commonName string, issuer Authority, exts []pkix.Extension, until time.Time, edit func(*x509.Certificate)) *Leaf {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	l.check(err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(0), Subject: subject(commonName), // AMD numbers every one of them 0
		NotBefore: l.now.AddDate(0, -6, 0), NotAfter: until,
		ExtraExtensions: exts, SignatureAlgorithm: x509.SHA384WithRSAPSS,
	}
	if edit != nil {
		edit(tmpl)
	}
	return &Leaf{l.issue(tmpl, issuer.Cert, &key.PublicKey, issuer.Key), key}
}

func (l *Line) issue(tmpl, parent *x509.Certificate, public any, signer *rsa.PrivateKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, public, signer)
	l.check(err)
	cert, err := x509.ParseCertificate(der)
	l.check(err)
	return cert
}

// CRL makes a revocation list signed by the ARK, valid for 90 days from a day
// before the time given, that lists the serial numbers.
func (l *Line) CRL(at time.Time, serials ...*big.Int) []byte {
	tmpl := &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: at.AddDate(0, 0, -1), NextUpdate: at.AddDate(0, 0, 89),
		SignatureAlgorithm: x509.SHA384WithRSAPSS,
	}
	for _, s := range serials {
		tmpl.RevokedCertificateEntries = append(tmpl.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: at.AddDate(0, 0, -2)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, tmpl, l.ARK.Cert, l.ARK.Key)
	l.check(err)
	return der
}

// Issuer returns the intermediate that issues a kind of key: ASK or ASVK.
func (l *Line) Issuer(k snp.SigningKey) Authority {
	if k == snp.VLEK {
		return l.ASVK
	}
	return l.ASK
}

// ChainPEM returns the intermediate for a kind of key and the ARK, as the KDS's
// cert_chain answers.
func (l *Line) ChainPEM(k snp.SigningKey) []byte {
	return PEM(l.Issuer(k).Cert, l.ARK.Cert)
}

// PEM writes certificates one after another.
func PEM(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

func (l *Line) check(err error) {
	if err != nil {
		l.tb.Helper()
		l.tb.Fatalf("snptest: %v", err)
	}
}

func subject(commonName string) pkix.Name {
	return pkix.Name{
		OrganizationalUnit: []string{"Engineering"}, Country: []string{"US"}, Locality: []string{"Santa Clara"},
		Province: []string{"CA"}, Organization: []string{"Made-up Micro Devices"}, CommonName: commonName,
	}
}
