package tpm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"maps"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"hitoku.dev/attest/eventlog"
)

// now is the time at which the test world is valid.
var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// world is a TPM in software with its maker, for tests. The structures are written
// by go-tpm, not by the code under test.
type world struct {
	t                testing.TB
	ak               crypto.Signer
	scheme           tpm2.TPMAlgID
	hash             tpm2.TPMAlgID
	attributes       tpm2.TPMAObject
	pcrs             PCRs
	nonce            []byte
	rootKey, caKey   *ecdsa.PrivateKey
	root, ca, akCert *x509.Certificate
	edit             func(*x509.Certificate) // of the attestation key's certificate
	editAttest       func(*tpm2.TPMSAttest)
}

func newWorld(t testing.TB) *world {
	return newWorldOf(t, newRSA(t), tpm2.TPMAlgRSASSA, tpm2.TPMAlgSHA256)
}

func newWorldOf(t testing.TB, ak crypto.Signer, scheme, hash tpm2.TPMAlgID) *world {
	w := &world{t: t, ak: ak, scheme: scheme, hash: hash, nonce: []byte("a nonce"), rootKey: newECC(t, elliptic.P256()), caKey: newECC(t, elliptic.P256())}
	w.attributes = tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, Restricted: true, SignEncrypt: true}
	w.pcrs = make(PCRs)
	for _, bank := range []eventlog.Alg{eventlog.SHA1, eventlog.SHA256, eventlog.SHA384} {
		for i := range numPCRs {
			w.must(w.pcrs.set(bank, i, sumOf(bank, []byte{byte(i)})))
		}
	}
	return w.issue()
}

func sumOf(a eventlog.Alg, b []byte) []byte {
	h := a.New()
	h.Write(b)
	return h.Sum(nil)
}

func newRSA(t testing.TB) *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newECC(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// issue makes root, authority and attestation key certificate anew.
func (w *world) issue() *world {
	w.root = w.certificate("Test TPM Root CA", 1, nil, w.rootKey, &w.rootKey.PublicKey, true, nil)
	w.ca = w.certificate("Test TPM CA", 2, w.root, w.rootKey, &w.caKey.PublicKey, true, nil)
	w.akCert = w.certificate("Test AK", 3, w.ca, w.caKey, w.ak.Public(), false, func(c *x509.Certificate) {
		c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{oidAKCertificate()}
		if w.edit != nil {
			w.edit(c)
		}
	})
	return w
}

func (w *world) certificate(cn string, serial int64, parent *x509.Certificate, by *ecdsa.PrivateKey, key crypto.PublicKey, ca bool, edit func(*x509.Certificate)) *x509.Certificate {
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: cn}, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(5, 0, 0),
		BasicConstraintsValid: true, IsCA: ca, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if ca {
		tmpl.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	}
	if edit != nil {
		edit(tmpl)
	}
	if parent == nil {
		parent = tmpl
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key, by)
	w.must(err)
	c, err := x509.ParseCertificate(der)
	w.must(err)
	return c
}

func (w *world) crl(issuer *x509.Certificate, key *ecdsa.PrivateKey, serials ...int64) []byte {
	return w.partialCRL(issuer, key, nil, serials...)
}

// partialCRL is crl with further extensions.
func (w *world) partialCRL(issuer *x509.Certificate, key *ecdsa.PrivateKey, extra []pkix.Extension, serials ...int64) []byte {
	tmpl := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.AddDate(0, 0, -1), NextUpdate: now.AddDate(0, 0, 29), ExtraExtensions: extra}
	for _, s := range serials {
		tmpl.RevokedCertificateEntries = append(tmpl.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(s), RevocationTime: now})
	}
	der, err := x509.CreateRevocationList(rand.Reader, tmpl, issuer, key)
	w.must(err)
	return der
}

// public is the attestation key as TPMT_PUBLIC.
func (w *world) public() []byte {
	p := tpm2.TPMTPublic{NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: w.attributes}
	switch k := w.ak.Public().(type) {
	case *rsa.PublicKey:
		p.Type = tpm2.TPMAlgRSA
		scheme := tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: w.hash})
		if w.scheme == tpm2.TPMAlgRSAPSS {
			scheme = tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSAPSS, &tpm2.TPMSSigSchemeRSAPSS{HashAlg: w.hash})
		}
		p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{Scheme: tpm2.TPMTRSAScheme{Scheme: w.scheme, Details: scheme}, KeyBits: tpm2.TPMKeyBits(k.N.BitLen())})
		p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: k.N.Bytes()})
	case *ecdsa.PublicKey:
		curve := map[elliptic.Curve]tpm2.TPMECCCurve{elliptic.P256(): tpm2.TPMECCNistP256, elliptic.P384(): tpm2.TPMECCNistP384}[k.Curve]
		p.Type = tpm2.TPMAlgECC
		p.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Scheme:  tpm2.TPMTECCScheme{Scheme: w.scheme, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: w.hash})},
			CurveID: curve,
		})
		point, err := k.Bytes()
		w.must(err)
		half := (len(point) - 1) / 2
		p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: point[1 : 1+half]}, Y: tpm2.TPM2BECCParameter{Buffer: point[1+half:]}})
	}
	return tpm2.Marshal(p)
}

// attest makes TPMS_ATTEST over the PCRs of a bank.
func (w *world) attest(bank eventlog.Alg, pcrs ...int) []byte {
	if len(pcrs) == 0 {
		for i := range numPCRs {
			pcrs = append(pcrs, i)
		}
	}
	mask := make([]byte, 3)
	h := eventlog.Alg(w.hash).New()
	for _, i := range slices.Sorted(slices.Values(pcrs)) {
		mask[i/8] |= 1 << (i % 8)
		h.Write(w.pcrs[bank][i])
	}
	a := tpm2.TPMSAttest{
		Magic: tpm2.TPMGeneratedValue, Type: tpm2.TPMSTAttestQuote, ExtraData: tpm2.TPM2BData{Buffer: w.nonce},
		ClockInfo: tpm2.TPMSClockInfo{Clock: 77, ResetCount: 3, RestartCount: 2, Safe: true}, FirmwareVersion: 0x0102,
		Attested: tpm2.NewTPMUAttest(tpm2.TPMSTAttestQuote, &tpm2.TPMSQuoteInfo{
			PCRSelect: tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: tpm2.TPMAlgID(bank), PCRSelect: mask}}},
			PCRDigest: tpm2.TPM2BDigest{Buffer: h.Sum(nil)},
		}),
	}
	if w.editAttest != nil {
		w.editAttest(&a)
	}
	return tpm2.Marshal(a)
}

// sign makes TPMT_SIGNATURE.
func (w *world) sign(message []byte) []byte {
	h, err := w.hash.Hash()
	w.must(err)
	digest := sumOf(eventlog.Alg(w.hash), message)
	var opts crypto.SignerOpts = h
	if w.scheme == tpm2.TPMAlgRSAPSS {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: h}
	}
	sig, err := w.ak.Sign(rand.Reader, digest, opts)
	w.must(err)
	s := tpm2.TPMTSignature{SigAlg: w.scheme}
	switch w.scheme {
	case tpm2.TPMAlgECDSA:
		var rs struct{ R, S *big.Int }
		_, err := asn1.Unmarshal(sig, &rs)
		w.must(err)
		s.Signature = tpm2.NewTPMUSignature(w.scheme, &tpm2.TPMSSignatureECC{
			Hash: w.hash, SignatureR: tpm2.TPM2BECCParameter{Buffer: rs.R.Bytes()}, SignatureS: tpm2.TPM2BECCParameter{Buffer: rs.S.Bytes()},
		})
	default:
		s.Signature = tpm2.NewTPMUSignature(w.scheme, &tpm2.TPMSSignatureRSA{Hash: w.hash, Sig: tpm2.TPM2BPublicKeyRSA{Buffer: sig}})
	}
	return tpm2.Marshal(s)
}

func (w *world) quote(bank eventlog.Alg, pcrs ...int) Quote {
	a := w.attest(bank, pcrs...)
	return Quote{Attest: a, Signature: w.sign(a), PCRs: PCRs{bank: maps.Clone(w.pcrs[bank])}}
}

func (w *world) evidence(banks ...eventlog.Alg) *Evidence {
	e := &Evidence{AKPublic: w.public()}
	for _, bank := range banks {
		e.Quotes = append(e.Quotes, w.quote(bank))
	}
	return e
}

func (w *world) pinned() Options { return Options{At: now, Keys: []crypto.PublicKey{w.ak.Public()}} }

// failed verifies and returns the names of the rules that failed.
func (w *world) failed(e *Evidence, o Options) []string {
	w.t.Helper()
	r, err := VerifyEvidence(e, o)
	w.must(err)
	return failedNames(r.Rules)
}

// protobuf writes go-tpm-tools' Attestation.
func (e *Evidence) protobuf() (out []byte) {
	put := func(to []byte, number int, b []byte) []byte {
		to = binary.AppendUvarint(to, uint64(number)<<3|2)
		return append(binary.AppendUvarint(to, uint64(len(b))), b...)
	}
	out = put(out, fieldAKPub, e.AKPublic)
	for _, q := range e.Quotes {
		var list []byte
		for bank, values := range q.PCRs {
			list = binary.AppendUvarint(append(list, 8), uint64(bank))
			for _, i := range slices.Sorted(maps.Keys(values)) {
				list = put(list, 2, put(binary.AppendUvarint([]byte{8}, uint64(i)), 2, values[i]))
			}
		}
		out = put(out, fieldQuotes, put(put(put(nil, 1, q.Attest), 2, q.Signature), 3, list))
	}
	if e.EventLog != nil {
		out = put(out, fieldEventLog, e.EventLog)
	}
	if e.AKCert != nil {
		out = put(out, fieldAKCert, e.AKCert)
	}
	for _, c := range e.Intermediates {
		out = put(out, fieldIntermediates, c)
	}
	return out
}
