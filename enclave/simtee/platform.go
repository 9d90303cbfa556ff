package simtee

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"sync"

	"hitoku.dev/attest"
	"hitoku.dev/attest/dcap"
	"hitoku.dev/enclave/simtee/authority"
)

// ErrNotProvisioned means that the platform has no PCK certificate yet: the
// node has not been enrolled.
var ErrNotProvisioned = errors.New("simulated platform has no PCK certificate yet; enrol the node first")

// NodeSVN is ISVSVN in the evidence of the platform itself; its ISVPRODID is 0.
const NodeSVN = 1

// Platform is a simulated machine: a platform id, the secret that sealing keys
// come from, a PCK key and the quoting enclave with its attestation key. Its
// methods may be called from several goroutines.
type Platform struct {
	path string // empty: kept in memory only

	ppid     [16]byte
	sealRoot [32]byte
	pckKey   *ecdsa.PrivateKey
	qe       quotingEnclave

	mu    sync.RWMutex
	chain []byte // PEM: PCK certificate, platform CA, root; empty until provisioned
}

// NewPlatform makes a machine from random alone. It lives in memory only.
func NewPlatform(random io.Reader) (*Platform, error) {
	p := new(Platform)
	for _, b := range [][]byte{p.ppid[:], p.sealRoot[:]} {
		if _, err := io.ReadFull(random, b); err != nil {
			return nil, fmt.Errorf("simulated platform: no randomness: %w", err)
		}
	}
	var err error
	if p.pckKey, err = authority.GenerateKey(random); err != nil {
		return nil, err
	}
	attestation, err := authority.GenerateKey(random)
	if err != nil {
		return nil, err
	}
	if p.qe, err = newQuotingEnclave(p, attestation); err != nil {
		return nil, err
	}
	return p, nil
}

// LoadOrCreatePlatform reads the machine kept in a file, or makes one with the
// system's randomness and stores it there, mode 0600.
func LoadOrCreatePlatform(path string) (*Platform, error) {
	return loadOrCreate(path, rand.Reader)
}

// PPID returns the platform id.
func (p *Platform) PPID() [16]byte { return p.ppid }

// ID returns the platform id in lower-case hexadecimal, as in attest.Claims.
func (p *Platform) ID() string { return hex.EncodeToString(p.ppid[:]) }

// PCKPublic returns the key that an authority certifies.
func (p *Platform) PCKPublic() *ecdsa.PublicKey { return &p.pckKey.PublicKey }

// Provisioned reports whether the platform has a PCK certificate.
func (p *Platform) Provisioned() bool { return len(p.pckChain()) > 0 }

func (p *Platform) pckChain() []byte {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.chain
}

// InstallPCK stores the chain that an authority issued for this platform: PCK
// certificate, platform CA and root, in PEM. A new chain replaces the old one.
func (p *Platform) InstallPCK(chainPEM []byte) error {
	chain, err := p.checkChain(chainPEM)
	if err != nil {
		return fmt.Errorf("PCK chain for simulated platform %s: %w", p.ID(), err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.store(chain); err != nil {
		return err
	}
	p.chain = chain
	return nil
}

const maxChain = 16 << 10

// checkChain returns the chain in the one form that goes into quotes.
func (p *Platform) checkChain(chainPEM []byte) ([]byte, error) {
	if len(chainPEM) > maxChain {
		return nil, fmt.Errorf("%d bytes, at most %d allowed", len(chainPEM), maxChain)
	}
	var certs []*x509.Certificate
	var out bytes.Buffer
	for rest := chainPEM; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("PEM block %q, wanted CERTIFICATE", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, cert)
		if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}); err != nil {
			return nil, err
		}
	}
	if len(certs) != 3 {
		return nil, fmt.Errorf("%d certificates, wanted 3 (PCK certificate, platform CA, root)", len(certs))
	}
	for i, cert := range certs {
		if err := cert.CheckSignatureFrom(certs[min(i+1, 2)]); err != nil {
			return nil, fmt.Errorf("certificate %q: %w", cert.Subject.CommonName, err)
		}
	}
	if !p.pckKey.PublicKey.Equal(certs[0].PublicKey) {
		return nil, errors.New("it certifies another key than this platform's")
	}
	ext, err := dcap.PCKExtensionOf(certs[0])
	if err != nil {
		return nil, err
	}
	if ext.PPID != p.ppid {
		return nil, fmt.Errorf("it names platform %x", ext.PPID)
	}
	return out.Bytes(), nil
}

// NodeEvidence returns a quote of the platform's own enclave over b, whose
// purpose must be attest.PurposeNode. Programs cannot obtain it.
func (p *Platform) NodeEvidence(ctx context.Context, b *attest.Binding) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := b.Check(); err != nil {
		return nil, err
	}
	if b.Purpose != attest.PurposeNode {
		return nil, fmt.Errorf("node evidence: %w", &RefusedError{
			Rule: "purpose", Wanted: string(attest.PurposeNode), Seen: string(b.Purpose),
		})
	}
	return p.quote(identity{
		measurement: authority.NodeMeasurement,
		signer:      authority.NodeSigner,
		svn:         NodeSVN,
		flags:       dcap.FlagMode64,
		xfrm:        3,
	}, b)
}

// identity is what the simulated CPU knows of a program.
type identity struct {
	measurement, signer [32]byte
	prodID, svn         uint16
	flags, xfrm         uint64 // ATTRIBUTES as signed, without INIT
}

// quotingEnclave holds the attestation key, certified once by the PCK key.
type quotingEnclave struct {
	key       *ecdsa.PrivateKey
	public    [64]byte // x || y
	auth      []byte
	report    dcap.ReportBody
	signature [64]byte // of the PCK key over report
}

func newQuotingEnclave(p *Platform, key *ecdsa.PrivateKey) (quotingEnclave, error) {
	q := quotingEnclave{key: key, report: authority.QEReport()}
	if key.Curve != elliptic.P256() {
		return q, errors.New("attestation key: wanted P-256")
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		return q, fmt.Errorf("attestation key: %w", err)
	}
	copy(q.public[:], point[1:])
	auth := sha256.Sum256(append([]byte("hitoku simulated quoting enclave 1"), p.ppid[:]...))
	q.auth = auth[:]
	q.report.ReportData = (&dcap.Quote{AttestationKey: q.public, AuthData: q.auth}).QEReportData()
	raw := q.report.Bytes()
	digest := sha256.Sum256(raw[:])
	if q.signature, err = authority.SignRaw(p.pckKey, digest[:]); err != nil {
		return q, fmt.Errorf("quoting enclave report: %w", err)
	}
	return q, nil
}

// body is the report body of a program that asks for a statement over data.
func (id identity) body(data [attest.ReportDataSize]byte) *dcap.ReportBody {
	return &dcap.ReportBody{
		CPUSVN:     authority.CPUSVN(),
		Flags:      id.flags | dcap.FlagInit,
		XFRM:       id.xfrm,
		MREnclave:  id.measurement,
		MRSigner:   id.signer,
		ISVProdID:  id.prodID,
		ISVSVN:     id.svn,
		ReportData: data,
	}
}

// quote signs b for a program.
func (p *Platform) quote(id identity, b *attest.Binding) ([]byte, error) {
	return p.sign(id.body(b.ReportData()))
}

// sign makes a quote of a report body that this platform made itself.
func (p *Platform) sign(body *dcap.ReportBody) ([]byte, error) {
	chain := p.pckChain()
	if len(chain) == 0 {
		return nil, ErrNotProvisioned
	}
	q := dcap.Quote{
		Header: dcap.Header{
			Version:    dcap.Version3,
			KeyType:    dcap.KeyTypeECDSAP256,
			QESVN:      authority.QESVN,
			PCESVN:     authority.PCESVN,
			QEVendorID: dcap.IntelQEVendorID(),
		},
		Report:            *body,
		AttestationKey:    p.qe.public,
		QEReport:          p.qe.report,
		QEReportSignature: p.qe.signature,
		AuthData:          p.qe.auth,
		CertType:          dcap.CertPCKChain,
		CertData:          append(bytes.Clone(chain), 0), // Intel's chain ends with a zero byte
	}
	copy(q.Header.UserData[:], p.ppid[:])
	signed := q.SignedBytes()
	digest := sha256.Sum256(signed[:])
	var err error
	if q.Signature, err = authority.SignRaw(p.qe.key, digest[:]); err != nil {
		return nil, fmt.Errorf("quote: %w", err)
	}
	return q.Marshal()
}
