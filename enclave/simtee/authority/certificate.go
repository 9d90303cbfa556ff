package authority

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"hitoku.dev/attest/dcap"
)

// subject follows Intel's, with names that cannot be mistaken for them.
func subject(commonName string) pkix.Name {
	return pkix.Name{CommonName: "Simulated " + commonName, Organization: []string{"Hitoku Simulation"}}
}

// certifySelf makes the three certificates of the authority over its keys.
// Profiles are those of the SGX PCK certificate specification, section 1.3; the
// distribution points are left out, since nobody serves these lists by name.
func (a *Authority) certifySelf(now time.Time) error {
	from, to := now.Add(-backdate), now.Add(RootLifetime)
	for _, c := range []struct {
		to       *pair
		by       *pair
		template *x509.Certificate
	}{
		{&a.root, &a.root, &x509.Certificate{
			Subject: subject("SGX Root CA"), IsCA: true, MaxPathLen: 1, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		}},
		{&a.platformCA, &a.root, &x509.Certificate{
			Subject: subject("SGX PCK Platform CA"), IsCA: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		}},
		{&a.tcbSigning, &a.root, &x509.Certificate{
			Subject: subject("SGX TCB Signing"), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment,
		}},
	} {
		c.template.NotBefore, c.template.NotAfter = from, to
		c.template.SerialNumber = serial([]byte("ca"), keyID(&c.to.key.PublicKey))
		cert, err := sign(c.template, c.by, &c.to.key.PublicKey)
		if err != nil {
			return fmt.Errorf("simulated authority: %s: %w", c.template.Subject.CommonName, err)
		}
		c.to.cert = cert
	}
	return nil
}

// IssuePCK certifies the PCK key of a platform and returns the chain in PEM:
// PCK certificate, platform CA, root. The same arguments again make another
// certificate, for example after the node lost it. The authority's state
// changes: marshal it again, or the certificate cannot be revoked.
func (a *Authority) IssuePCK(pub *ecdsa.PublicKey, ppid [16]byte, now time.Time) ([]byte, error) {
	if pub == nil || pub.Curve != elliptic.P256() {
		return nil, errors.New("simulated PCK: wanted an ECDSA P-256 key")
	}
	point, err := pub.Bytes()
	if err != nil {
		return nil, fmt.Errorf("simulated PCK: %w", err)
	}
	ext := dcap.PCKExtension{
		PPID:          ppid,
		TCB:           dcap.PCKTCB{Components: cpuSVN, PCESVN: PCESVN, CPUSVN: cpuSVN},
		FMSPC:         fmspc,
		SGXType:       dcap.SGXTypeScalable,
		Configuration: &dcap.PCKConfiguration{DynamicPlatform: new(bool), CachedKeys: new(bool), SMTEnabled: new(bool)},
	}
	instance := sha256.Sum256(append([]byte("hitoku simulated platform instance 1"), ppid[:]...))
	ext.PlatformInstanceID = new([16]byte)
	copy(ext.PlatformInstanceID[:], instance[:])
	der, err := ext.Marshal()
	if err != nil {
		return nil, fmt.Errorf("simulated PCK: %w", err)
	}

	a.mu.Lock()
	defer a.mu.Unlock()
	if a.revoked(ppid) {
		return nil, fmt.Errorf("platform %x: %w", ppid, ErrRevoked)
	}
	to := now.Add(PCKLifetime)
	if end := a.platformCA.cert.NotAfter; to.After(end) {
		to = end
	}
	number := binary.BigEndian.AppendUint64(nil, uint64(len(a.issued)))
	cert, err := sign(&x509.Certificate{
		Subject:         subject("SGX PCK Certificate"),
		SerialNumber:    serial([]byte("pck"), a.platformCA.cert.SubjectKeyId, point, ppid[:], number),
		NotBefore:       now.Add(-backdate),
		NotAfter:        to,
		KeyUsage:        x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment,
		ExtraExtensions: []pkix.Extension{{Id: dcap.OIDSGXExtension, Value: der}},
	}, &a.platformCA, pub)
	if err != nil {
		return nil, fmt.Errorf("simulated PCK: %w", err)
	}
	a.issued = append(a.issued, issued{PPID: ppid, Serial: cert.SerialNumber.Bytes()})
	return encodeChain(cert, a.platformCA.cert, a.root.cert), nil
}

// sign issues template over pub; by.cert is nil only for the root itself.
func sign(template *x509.Certificate, by *pair, pub *ecdsa.PublicKey) (*x509.Certificate, error) {
	template.BasicConstraintsValid = true
	template.SubjectKeyId = keyID(pub)
	template.SignatureAlgorithm = x509.ECDSAWithSHA256
	template.NotBefore = template.NotBefore.UTC().Truncate(time.Second)
	template.NotAfter = template.NotAfter.UTC().Truncate(time.Second)
	parent := by.cert
	if parent == nil {
		// Intel's root names its own key as authority too.
		parent, template.AuthorityKeyId = template, template.SubjectKeyId
	}
	if template.NotAfter.Before(template.NotBefore) {
		return nil, fmt.Errorf("issuer %q ended at %s", parent.Subject.CommonName, parent.NotAfter.Format(time.RFC3339))
	}
	der, err := x509.CreateCertificate(noRandomness{}, template, parent, pub, deterministic{by.key})
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// noRandomness fails when it is read: nothing here may need it.
type noRandomness struct{}

func (noRandomness) Read([]byte) (int, error) {
	return 0, errors.New("simulated authority: signing asked for randomness")
}

func keyID(pub *ecdsa.PublicKey) []byte {
	point, err := pub.Bytes()
	if err != nil {
		panic(err) // all keys here were made or checked by this package
	}
	id := sha256.Sum256(point)
	return id[:20]
}

// serial derives a serial number of 20 bytes, positive and never zero (RFC 5280, section 4.1.2.2).
func serial(items ...[]byte) *big.Int {
	h := sha256.New()
	for _, b := range items {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(b))))
		h.Write(b)
	}
	b := h.Sum(nil)[:20]
	b[0] = b[0]&0x3f | 0x40
	return new(big.Int).SetBytes(b)
}

func encodeChain(certs ...*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, c := range certs {
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a buffer takes everything
	}
	return out.Bytes()
}
