package collateraltest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/attest/snp/snptest"
)

// Platform is a machine with a PCK certificate and a quoting enclave.
type Platform struct {
	w           *World
	CA          string // dcap.CAProcessor or dcap.CAPlatform
	pck         authority
	ext         dcap.PCKExtension
	attestation *ecdsa.PrivateKey
	encrypted   []byte // stands for the encrypted PPID
}

// Platform makes a machine of an FMSPC (12 hexadecimal digits) under one of the two CAs.
func (w *World) Platform(fmspc, ca string) *Platform {
	id := fmspcOf(w.tb, fmspc)
	p := &Platform{w: w, CA: ca, ext: dcap.PCKExtension{
		PPID: ppidOf(id), FMSPC: id, TCB: dcap.PCKTCB{PCESVN: 13, Components: [16]byte{5, 5, 2}, CPUSVN: [16]byte{5, 5, 2}},
	}}
	der, err := p.ext.Marshal()
	w.check(err)
	p.pck = w.issue("Made-up SGX PCK Certificate", w.ca(ca), false, []pkix.Extension{{Id: dcap.OIDSGXExtension, Value: der}})
	p.attestation, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.check(err)
	p.encrypted = bytes.Repeat(p.ext.PPID[:], 24) // 384 bytes, as RSA-3072 makes
	w.mu.Lock()
	defer w.mu.Unlock()
	w.platforms[hex.EncodeToString(p.encrypted)] = p
	return p
}

// FMSPC is 12 lower-case hexadecimal digits.
func (p *Platform) FMSPC() string { return hex.EncodeToString(p.ext.FMSPC[:]) }

// Certificate is the PCK certificate.
func (p *Platform) Certificate() *x509.Certificate { return p.pck.cert }

// Authority is the certificate of the CA that issued it.
func (p *Platform) Authority() *x509.Certificate { return p.w.ca(p.CA).cert }

// chain is PCK certificate, its CA and the root, in PEM.
func (p *Platform) chain() []byte { return snptest.PEM(p.pck.cert, p.Authority(), p.w.root.cert) }

// Quote makes a quote of version 3 for SGX, or of version 4 for TDX, with its PCK chain.
func (p *Platform) Quote(t attest.TEE) []byte {
	q := p.quote()
	if t == attest.TDX {
		q.Header.Version, q.Header.TEEType, q.Report = dcap.Version4, dcap.TEETypeTDX, dcap.ReportBody{}
		q.TD = &dcap.TDReport{TEETCBSVN: [16]byte{6, 1, 3}, MRSEAM: [48]byte{7}, TDAttributes: dcap.TDSEPTVEDisable, XFAM: 3, MRTD: [48]byte{1, 2, 3}, ReportData: [64]byte{42}}
	}
	q.CertType, q.CertData = dcap.CertPCKChain, p.chain()
	return p.seal(q)
}

// QuoteOf makes a quote of version 3 of an enclave's report body, with its PCK chain.
func (p *Platform) QuoteOf(body dcap.ReportBody) []byte {
	q := p.quote()
	q.Report = body
	q.CertType, q.CertData = dcap.CertPCKChain, p.chain()
	return p.seal(q)
}

// QuoteByPPID makes a quote of SGX that names its PCK certificate by encrypted PPID only.
func (p *Platform) QuoteByPPID() []byte {
	q := p.quote()
	q.CertType = dcap.CertPPIDRSA3072
	q.CertData = append(bytes.Clone(p.encrypted), p.ext.TCB.CPUSVN[:]...)
	q.CertData = append(q.CertData, byte(p.ext.TCB.PCESVN), byte(p.ext.TCB.PCESVN>>8), 0, 0)
	return p.seal(q)
}

func (p *Platform) quote() *dcap.Quote {
	q := &dcap.Quote{
		Header:   dcap.Header{Version: dcap.Version3, KeyType: dcap.KeyTypeECDSAP256, QEVendorID: dcap.IntelQEVendorID()},
		Report:   dcap.ReportBody{Flags: dcap.FlagInit | dcap.FlagMode64, XFRM: 3, MREnclave: [32]byte{1, 2, 3}, MRSigner: [32]byte{4, 5}, ISVProdID: 9, ISVSVN: 2, ReportData: [64]byte{42}},
		QEReport: dcap.ReportBody{Flags: dcap.FlagInit | dcap.FlagMode64 | dcap.FlagProvisionKey, XFRM: 7, MRSigner: [32]byte{31: 7}, ISVProdID: 1, ISVSVN: 8},
		AuthData: []byte("authentication data"),
	}
	copy(q.Header.UserData[:], p.ext.PPID[:])
	return q
}

func (p *Platform) seal(q *dcap.Quote) []byte {
	pub, err := p.attestation.PublicKey.Bytes()
	p.w.check(err)
	copy(q.AttestationKey[:], pub[1:])
	q.QEReport.ReportData = q.QEReportData()
	report := q.QEReport.Bytes()
	digest := sha256.Sum256(report[:])
	copy(q.QEReportSignature[:], rawSignature(p.w.tb, p.pck.key, digest[:]))
	digest = sha256.Sum256(q.SignedBytes())
	copy(q.Signature[:], rawSignature(p.w.tb, p.attestation, digest[:]))
	raw, err := q.Marshal()
	p.w.check(err)
	return raw
}

// Collateral is everything that quotes of the platform need, standard evaluation number.
func (p *Platform) Collateral(t attest.TEE) *dcap.Collateral {
	id, w := "QE", p.w
	if t == attest.TDX {
		id = "TD_QE"
	}
	signer := snptest.PEM(w.signer.cert, w.root.cert)
	return &dcap.Collateral{
		TCBInfo: w.TCBInfo(t, p.FMSPC(), evaluations()[0]), TCBInfoChain: signer, QEIdentity: w.Identity(id, evaluations()[0]), QEIdentityChain: signer,
		PCKCRL: w.CRL(p.CA), PCKCRLChain: snptest.PEM(p.Authority(), w.root.cert), RootCRL: w.CRL(""), PCKChain: p.chain(),
	}
}
