package collateraltest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"sync"
	"testing"
	"time"

	"hitoku.dev/attest/dcap"
	"hitoku.dev/attest/snp/snptest"
)

// Lifetime is how long documents are good from the day on which they are issued.
const Lifetime = 30 * 24 * time.Hour

// Evaluation numbers that the service publishes, the oldest first: the first is
// the standard one, the last is early.
func evaluations() []int { return []int{17, 18, 19} }

// World is a made-up Intel and AMD.
type World struct {
	tb testing.TB

	root, signer, platformCA, processorCA authority
	// AMD is the made-up AMD whose documents the service answers too.
	AMD *snptest.World

	mu        sync.Mutex
	now       time.Time
	serial    int64
	revoked   map[string][]x509.RevocationListEntry // by the issuer's common name
	platforms map[string]*Platform                  // by encrypted PPID
	status    string
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// New makes a world at a time. Certificates are valid from a year before to five
// years after it.
func New(tb testing.TB, now time.Time) *World {
	w := &World{
		tb: tb, now: now.UTC().Truncate(time.Second), revoked: map[string][]x509.RevocationListEntry{}, platforms: map[string]*Platform{}, status: dcap.UpToDate,
		AMD: snptest.New(tb, now),
	}
	w.root = w.issue("Made-up SGX Root CA", authority{}, true, nil)
	w.signer = w.issue("Made-up SGX TCB Signing", w.root, false, nil)
	w.platformCA = w.issue("Made-up SGX PCK Platform CA", w.root, true, nil)
	w.processorCA = w.issue("Made-up SGX PCK Processor CA", w.root, true, nil)
	return w
}

// Root is the root of the made-up Intel.
func (w *World) Root() *x509.Certificate { return w.root.cert }

// Signer is the certificate of the key that signs JSON documents.
func (w *World) Signer() *x509.Certificate { return w.signer.cert }

// Now is the world's time.
func (w *World) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// SetNow moves the world's time; what it issues from now on is issued then.
func (w *World) SetNow(t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = t.UTC().Truncate(time.Second)
}

// SetStatus says which TCB status present platforms have from now on.
func (w *World) SetStatus(status string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status = status
}

// Revoke puts a certificate into the lists issued from now on.
func (w *World) Revoke(c *x509.Certificate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	cn := c.Issuer.CommonName
	w.revoked[cn] = append(w.revoked[cn], x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: w.now})
}

func (w *World) check(err error) {
	if err != nil {
		w.tb.Helper()
		w.tb.Fatalf("collateraltest: %v", err)
	}
}

// issue makes a key and its certificate; without an issuer it is the root.
func (w *World) issue(cn string, by authority, ca bool, extra []pkix.Extension) authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.check(err)
	w.mu.Lock()
	w.serial++
	serial, now := w.serial, w.now
	w.mu.Unlock()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: cn},
		NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(5, 0, 0),
		BasicConstraintsValid: true, IsCA: ca, KeyUsage: x509.KeyUsageDigitalSignature, ExtraExtensions: extra,
	}
	if ca {
		tmpl.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	}
	parent, signer := by.cert, by.key
	if parent == nil {
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	w.check(err)
	cert, err := x509.ParseCertificate(der)
	w.check(err)
	return authority{cert, key}
}

func (w *World) ca(name string) authority {
	if name == dcap.CAProcessor {
		return w.processorCA
	}
	return w.platformCA
}

// issuedAt is the day of the world's time: what is issued on one day is the same.
func (w *World) issuedAt() time.Time { return w.Now().Truncate(24 * time.Hour) }

// CRL returns the list of a CA ("processor", "platform", or "" for the root), in DER.
func (w *World) CRL(ca string) []byte {
	by := w.root
	if ca != "" {
		by = w.ca(ca)
	}
	at := w.issuedAt()
	w.mu.Lock()
	entries := w.revoked[by.cert.Subject.CommonName]
	w.mu.Unlock()
	der, err := x509.CreateRevocationList(deterministic{}, &x509.RevocationList{
		Number: big.NewInt(at.Unix()), ThisUpdate: at, NextUpdate: at.Add(Lifetime), RevokedCertificateEntries: entries,
	}, by.cert, by.key)
	w.check(err)
	return der
}

// deterministic makes signatures over the same bytes equal.
type deterministic struct{}

func (deterministic) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// sign returns {"<member>":body,"signature":"…"}.
func (w *World) sign(member string, body []byte) []byte {
	digest := sha256.Sum256(body)
	sig := rawSignature(w.tb, w.signer.key, digest[:])
	return fmt.Appendf(nil, `{"%s":%s,"signature":"%x"}`, member, body, sig)
}

func rawSignature(tb testing.TB, key *ecdsa.PrivateKey, digest []byte) []byte {
	r, s, err := ecdsa.Sign(rand.Reader, key, digest)
	if err != nil {
		tb.Fatal(err)
	}
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return sig
}

func ppidOf(fmspc [6]byte) (ppid [16]byte) {
	sum := sha256.Sum256(append([]byte("PPID"), fmspc[:]...))
	copy(ppid[:], sum[:])
	return ppid
}

func fmspcOf(tb testing.TB, s string) (out [6]byte) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(out) {
		tb.Fatalf("collateraltest: FMSPC %q", s)
	}
	copy(out[:], b)
	return out
}
